import hashlib
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.data import PARTITIONS, classes_per_client, dirichlet, iid, natural, partition
from fedjax_layers.data.partitions import ensure_min_size

BALANCED = np.repeat(np.arange(10), 600)


@st.composite
def cases(draw):
    counts = draw(st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any))
    labels = np.repeat(np.arange(len(counts)), counts)
    clients = draw(st.integers(1, min(12, len(labels))))
    return labels, clients, draw(st.integers(0, len(labels) // clients)), draw(st.integers(0, 2**31))


@settings(deadline=None, max_examples=150)
@given(case=cases(), alpha=st.floats(1e-6, 1e6))
def test_dirichlet_owns_every_example_and_keeps_the_minimum(case, alpha):
    labels, clients, min_size, seed = case
    owner = dirichlet(labels, clients, seed, alpha=alpha, min_size=min_size)
    assert owner.shape == labels.shape
    assert owner.dtype == np.int32
    assert owner.min() >= 0
    assert np.bincount(owner, minlength=clients).min() >= min_size
    assert len(np.bincount(owner, minlength=clients)) == clients


@settings(deadline=None, max_examples=80)
@given(case=cases())
def test_iid_sizes_differ_by_at_most_one(case):
    labels, clients, _, seed = case
    sizes = np.bincount(iid(labels, clients, seed), minlength=clients)
    assert len(sizes) == clients
    assert sizes.sum() == len(labels)
    assert sizes.max() - sizes.min() <= 1


@settings(deadline=None, max_examples=120)
@given(classes=st.integers(1, 7), extra=st.integers(0, 20), hand=st.integers(1, 7), seed=st.integers(0, 2**31))
def test_classes_per_client_deals_exactly_that_many(classes, extra, hand, seed):
    hand = min(hand, classes)
    clients = -(-classes // hand) + extra
    labels = np.repeat(np.arange(classes) * 3, 60)  # labels need not be consecutive
    owner = classes_per_client(labels, clients, seed, classes=hand, min_size=1)
    pairs = np.unique(np.stack([owner, labels]), axis=1)
    assert (np.bincount(pairs[0], minlength=clients) == hand).all()
    assert set(owner) == set(range(clients))
    owners = np.unique(pairs[1], return_counts=True)[1]
    assert len(owners) == classes
    assert owners.max() - owners.min() <= 1
    for label in np.unique(labels):  # a class is spread evenly over its owners
        shares = np.bincount(owner[labels == label])
        shares = shares[shares > 0]
        assert shares.max() - shares.min() <= 1


def test_classes_per_client_does_not_pair_the_same_classes_throughout():
    owner = classes_per_client(BALANCED, 50, 0, classes=2)
    hands = {tuple(np.unique(BALANCED[owner == c])) for c in range(50)}
    assert len(hands) > 15  # of 45 pairs; dealing from one pack over and over gives 5


@pytest.mark.parametrize("name", ["iid", "dirichlet", "classes_per_client"])
def test_same_seed_same_partition(name):
    one, two, other = (partition(name, BALANCED, 20, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert (one != other).mean() > 0.2


def test_partitions_golden_values():
    # Written down once: a change means that the same seed gives other clients, in a new NumPy for instance.
    digest = {
        name: hashlib.sha256(partition(name, BALANCED, 20, 0).astype("<i4").tobytes()).hexdigest()[:16]
        for name in ("iid", "dirichlet", "classes_per_client")
    }
    assert digest == {
        "iid": "8d8a9adea65627e5",
        "dirichlet": "fb832313ad82e114",
        "classes_per_client": "fe12656a2283e759",
    }


@pytest.mark.parametrize("alpha", [0.1, 0.5, 5.0])
def test_dirichlet_proportions_have_the_right_moments(alpha):
    clients, draws = 5, 100
    labels = np.repeat(np.arange(draws), 1000)  # each label is one draw of the proportions
    owner = dirichlet(labels, clients, 0, alpha=alpha, min_size=0)
    shares = np.zeros((draws, clients))
    np.add.at(shares, (labels, owner), 1 / 1000)
    np.testing.assert_allclose(shares.sum(1), 1)
    variance = (clients - 1) / clients**2 / (clients * alpha + 1)  # of Dir(alpha * 1_5)
    mean_error = np.sqrt(variance / draws)
    np.testing.assert_allclose(shares.mean(0), 1 / clients, atol=4.5 * mean_error)
    assert shares.var() == pytest.approx(variance, rel=0.25)


def test_dirichlet_limits():
    one_owner = dirichlet(BALANCED, 4, 0, alpha=1e-9, min_size=0)
    for label in range(10):
        assert len(np.unique(one_owner[label == BALANCED])) == 1
    alike = dirichlet(BALANCED, 4, 0, alpha=1e9, min_size=0)
    for label in range(10):
        assert np.ptp(np.bincount(alike[label == BALANCED])) <= 2  # one for each of a share's two ends


def test_dirichlet_is_fast_for_many_clients():
    labels = np.random.default_rng(0).integers(0, 10, 60_000)
    start = time.perf_counter()
    owner = dirichlet(labels, 10_000, 0, alpha=0.5, min_size=5)
    assert time.perf_counter() - start < 2  # measured: 0.02 s
    assert np.bincount(owner).min() >= 5


def one_by_one(sizes, min_size):
    """What ensure_min_size must reach: each missing example in turn from whoever is largest then."""
    sizes = np.array(sizes)
    for c in np.flatnonzero(sizes < min_size):
        while sizes[c] < min_size:
            sizes[sizes.argmax()] -= 1
            sizes[c] += 1
    return sizes


@settings(deadline=None, max_examples=150)
@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=10).filter(any), data=st.data())
def test_min_size_repair_takes_from_the_largest(sizes, data):
    min_size = data.draw(st.integers(0, sum(sizes) // len(sizes)))
    before = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    after = ensure_min_size(before, len(sizes), min_size)
    repaired = np.bincount(after, minlength=len(sizes))
    np.testing.assert_array_equal(np.sort(repaired), np.sort(one_by_one(sizes, min_size)))
    short = np.array(sizes) < min_size
    assert (repaired[short] == min_size).all()
    assert (before != after).sum() == np.maximum(min_size - np.array(sizes), 0).sum()  # and nothing else moved


def test_min_size_repair_by_hand():
    owner = np.repeat([0, 1, 3], [6, 9, 1])  # sizes 6, 9, 0, 1; clients 2 and 3 lack 3 and 2
    after = ensure_min_size(owner, 4, 3)
    # Five from the largest: 9 -> 6, then 6 and 6 in turn -> 5 and 5.
    np.testing.assert_array_equal(np.bincount(after), [5, 5, 3, 3])
    np.testing.assert_array_equal(owner, np.repeat([0, 1, 3], [6, 9, 1]))  # the argument is left alone


def test_natural_is_the_given_assignment():
    clients = np.array([2, 0, 1, 1, -1])
    owner = natural(np.zeros(5, int), clients=clients)
    np.testing.assert_array_equal(owner, clients)
    assert owner.dtype == np.int32
    with pytest.raises(ValueError, match="num_clients: expected 3, the natural clients of the data, got 4"):
        natural(np.zeros(5, int), 4, clients=clients)
    with pytest.raises(ValueError, match=r"clients: expected 5 integers, got shape \(4,\)"):
        natural(np.zeros(5, int), clients=clients[:4])
    with pytest.raises(ValueError, match=r"clients: .* got -1\.\.-1"):
        natural(np.zeros(5, int), clients=np.full(5, -1))


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "clients", "params", "message"),
    [
        ("dirichlet", 5, {"alpha": 0}, "alpha: expected a positive, finite number, got 0"),
        ("dirichlet", 5, {"alpha": -1.0}, "alpha: .* got -1.0"),
        ("dirichlet", 5, {"alpha": NAN}, "alpha: .* got nan"),
        ("dirichlet", 5, {"alpha": float("inf")}, "alpha: .* got inf"),
        ("dirichlet", 5, {"min_size": -1}, r"min_size: expected 0\.\.20 .* got -1"),
        ("dirichlet", 50, {}, r"min_size: expected 0\.\.2 with 100 examples for 50 clients, got 10"),
        ("dirichlet", 0, {}, r"num_clients: expected 1\.\.100, the number of examples, got 0"),
        ("iid", -3, {}, "num_clients: .* got -3"),
        ("iid", 101, {}, "num_clients: .* got 101"),
        ("iid", 2.0, {}, "num_clients: expected an integer, got 2.0"),
        ("iid", None, {}, "num_clients: expected an integer, got None"),
        ("classes_per_client", 5, {"classes": 0}, r"classes: expected 1\.\.4, the classes that occur, got 0"),
        ("classes_per_client", 5, {"classes": 5}, "classes: .* got 5"),
        ("classes_per_client", 3, {"classes": 1}, "num_clients x classes of at least 4, got 3 x 1"),
        ("classes_per_client", 9, {"min_size": 11}, "at least 11 examples for each client, got|got 11"),
        (
            "classes_per_client",
            99,
            {"min_size": 0, "classes": 4},
            "owners than examples of class 0, got 99 clients",
        ),
        (
            "dirichlet",
            5,
            {"alhpa": 1},
            "'dirichlet': expected one of alpha, min_size, got 'alhpa'; .* 'alpha'",
        ),
        ("dirichelt", 5, {}, "partition: expected one of .* got 'dirichelt'; did you mean 'dirichlet'"),
        ("natural", 5, {}, "partition 'natural': expected a value for 'clients', got none"),
    ],
)
def test_errors_name_argument_expected_and_found(name, clients, params, message):
    with pytest.raises(ValueError, match=message) as error:
        partition(name, np.arange(100) % 4, clients, **params)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("labels", [np.zeros((3, 2), int), np.zeros(6)])
def test_labels_must_be_a_row_of_integers(labels):
    with pytest.raises(ValueError, match="labels: expected 1-d integers"):
        iid(labels, 2)


def test_classes_per_client_reports_an_unreachable_minimum():
    labels = np.repeat([0, 1], [95, 5])
    with pytest.raises(ValueError, match="min_size: expected at least 10 examples for each client, got 2 for client"):
        classes_per_client(labels, 4, 0, classes=1)


def test_registry_holds_the_functions():
    assert PARTITIONS["dirichlet"] is dirichlet
    np.testing.assert_array_equal(partition("iid", BALANCED, 7, 3), iid(BALANCED, 7, 3))
