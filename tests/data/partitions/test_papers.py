"""The splits of PLayer-FL and pFedLA."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.data import load
from fedjax_layers.data.partitions import partition, pfedla_1, pfedla_2, playerfl
from tests.data.partitions.cases import BALANCED


def test_playerfl_cuts_floors_in_the_order_of_the_data():
    labels = np.random.default_rng(1).permutation(np.repeat([3, 4, 8], [50, 71, 9]))
    owner = playerfl(labels, 4, 6, alpha=0.5)
    rng = np.random.default_rng(6)
    for label, n in ((3, 50), (4, 71), (8, 9)):
        proportions = rng.dirichlet(np.full(4, 0.5))
        counts = [int(p * n) for p in proportions[:3]]
        expected = np.repeat([0, 1, 2, 3], [*counts, n - sum(counts)])
        np.testing.assert_array_equal(owner[labels == label], expected)


def test_playerfl_gives_remainders_to_the_last_client():
    labels = np.zeros(1000, int)
    sizes = np.mean([np.bincount(playerfl(labels, 100, s, alpha=1e6), minlength=100) for s in range(20)], axis=0)
    assert (sizes[:-1] <= 10).all()
    assert sizes[-1] > 10 + 20  # 99 floors of numbers near 10 lose about half an example each


def test_playerfl_repairs_only_if_asked():
    labels = np.repeat(np.arange(3), 50)
    sizes = np.bincount(playerfl(labels, 20, 0, alpha=0.05), minlength=20)
    assert sizes.min() == 0
    assert np.bincount(playerfl(labels, 20, 0, alpha=0.05, min_size=5)).min() == 5


@settings(deadline=None, max_examples=80)
@given(
    counts=st.lists(st.integers(40, 90), min_size=2, max_size=8),
    clients=st.integers(1, 20),
    data=st.data(),
    seed=st.integers(0, 2**31),
)
def test_pfedla_1_has_the_same_amount_of_each_class(counts, clients, data, seed):
    classes = data.draw(st.integers(1, len(counts)))
    labels = np.repeat(np.arange(len(counts)), counts)
    owner = pfedla_1(labels, clients, seed, classes=classes)
    table = np.zeros((clients, len(counts)), int)
    np.add.at(table, (owner[owner >= 0], labels[owner >= 0]), 1)
    for row in table:
        held = row[row > 0]
        assert len(held) == classes
        assert np.ptp(held) == 0
    owners = (table > 0).sum(axis=0)
    assert owners.max() - owners.min() <= 1
    cuts = np.array(counts) // np.maximum(owners, 1)  # as much as the smallest cut of the client's classes
    np.testing.assert_array_equal(table.max(axis=1), [cuts[row > 0].min() for row in table])


def test_pfedla_1_in_the_paper_s_settings():
    for clients in (10, 100):  # balanced classes, dealt evenly: nothing is left over
        owner = pfedla_1(BALANCED, clients)
        assert (np.bincount(owner) == 6000 // clients).all()
        np.testing.assert_array_equal(np.sort(owner), np.sort(pfedla_1(BALANCED, clients, use_all=True)))
    fine = np.repeat(np.arange(100), 600)
    owner = pfedla_1(fine, 100, classes=12)
    assert all(len(np.unique(fine[owner == c])) == 12 for c in range(100))


def test_a_client_trains_and_is_tested_on_the_same_four_classes_for_good():
    """One public code splits anew whenever a client is loaded, so that test examples are trained on."""

    def made():
        return load("digits", partition="pfedla_1", clients=10, seed=1, test_fraction=0.3, val_fraction=0.0)

    one, again = made(), made()
    seen = [[set(one.example_ids[one.rows(c, s)]) for s in ("train", "test")] for c in range(10)]
    assert all(train and test and not train & test for train, test in seen)
    held = [[set(one.labels[one.rows(c, s)]) for s in ("train", "test")] for c in range(10)]
    assert all(len(train) == 4 and train == test for train, test in held)
    assert set.union(*(train for train, _ in held)) == set(range(10))
    assert one.partition_hash == again.partition_hash


def test_pfedla_1_hands_out_everything_if_asked():
    labels = np.repeat(np.arange(5), [100, 40, 70, 90, 33])
    assert (pfedla_1(labels, 7, classes=3, use_all=True) >= 0).all()
    assert (pfedla_1(labels, 7, classes=3) < 0).any()


@settings(deadline=None, max_examples=80)
@given(
    counts=st.lists(st.integers(300, 600), min_size=3, max_size=8),
    clients=st.integers(1, 20),
    share=st.floats(0.3, 0.9),
    data=st.data(),
    seed=st.integers(0, 2**31),
)
def test_pfedla_2_keeps_its_shares(counts, clients, share, data, seed):
    dominant = data.draw(st.integers(1, len(counts) - 1))
    labels = np.repeat(np.arange(len(counts)), counts)
    owner = pfedla_2(labels, clients, seed, dominant=dominant, share=share)
    table = np.zeros((clients, len(counts)), int)
    np.add.at(table, (owner[owner >= 0], labels[owner >= 0]), 1)
    assert table.min() >= 1
    low, high = sorted(((1 - share) / (len(counts) - dominant), share / dominant))
    # Amounts are within one of size * weight for a size that all clients share; so sizes are near each other
    # and, where the two weights are apart, so is what the dominating classes make up.
    size = table.sum(axis=1).mean()
    assert np.ptp(table.sum(axis=1)) <= 2 * len(counts)
    assert (table > (size - len(counts)) * low - 1 - 1e-6).all()
    assert (table < (size + len(counts)) * high + 1 + 1e-6).all()
    if share / dominant * size > (1 - share) / (len(counts) - dominant) * size + 2:
        top = np.sort(table, axis=1)[:, -dominant:].sum(axis=1)
        assert (abs(top - share * size) <= dominant + len(counts)).all()


@pytest.mark.parametrize("clients", [5, 10, 100])
def test_pfedla_2_in_the_paper_s_setting(clients):
    labels = np.repeat(np.arange(10), 6000)
    owner = pfedla_2(labels, clients, 1)
    table = np.zeros((clients, 10), int)
    np.add.at(table, (owner[owner >= 0], labels[owner >= 0]), 1)
    sizes = table.sum(axis=1)
    # Two dominating classes for each, dealt evenly: every class is asked for as often as it occurs, so next to
    # nothing is left, and each amount is within one of 40 or 2.5 per cent of 60,000 / C.
    assert (owner < 0).sum() <= 10
    assert (abs(sizes - 60_000 / clients) <= 10).all()
    ordered = np.sort(table, axis=1)
    assert (abs(ordered[:, -2:] - 0.4 * 60_000 / clients) <= 1).all()
    assert (abs(ordered[:, :-2] - 0.025 * 60_000 / clients) <= 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_clients_may_be_of_one_size_whatever_there_is(seed):
    labels = np.repeat(np.arange(10), np.random.default_rng(seed).integers(700, 800, 10))
    one, two = pfedla_1(labels, 10, seed, client_size=402), pfedla_2(labels, 10, seed, client_size=400)
    for owner, amounts in ((one, [0] * 6 + [100] * 4), (two, [10] * 8 + [160] * 2)):
        table = np.zeros((10, 10), int)
        np.add.at(table, (owner[owner >= 0], labels[owner >= 0]), 1)
        np.testing.assert_array_equal(np.sort(table, axis=1), [amounts] * 10)
    np.testing.assert_array_equal(pfedla_2(labels, 10, seed, client_size=10**6), pfedla_2(labels, 10, seed))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (pfedla_1, {"client_size": 3}, "client_size: expected an integer of at least 4, .* got 3"),
        (pfedla_2, {"client_size": 9}, "client_size: expected an integer of at least 10, .* got 9"),
        (pfedla_1, {"client_size": 40, "use_all": True}, "client_size: expected none with use_all, got 40"),
    ],
)
def test_sizes_that_cannot_be_are_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(BALANCED, 10, **options)


def test_pfedla_2_hands_out_everything_if_asked():
    labels = np.repeat(np.arange(5), [1000, 400, 700, 900, 330])
    assert (pfedla_2(labels, 7, dominant=2) < 0).any()
    owner = pfedla_2(labels, 7, dominant=2, use_all=True)
    assert (owner >= 0).all()
    assert all(len(np.unique(labels[owner == c])) == 5 for c in range(7))


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "clients", "params", "message"),
    [
        ("pfedla_1", 10, {"classes": 11}, r"classes: expected 1\.\.10, the classes that occur, got 11"),
        ("pfedla_1", 1600, {}, "num_clients: expected no more owners than examples of class . got 640 clients but 600"),
        ("pfedla_2", 10, {"dominant": 10}, r"dominant: expected 1\.\.9, fewer than the classes that occur, got 10"),
        ("pfedla_2", 10, {"dominant": 0}, "dominant: .* got 0"),
        ("pfedla_2", 10, {"share": 1.0}, "share: expected a number between 0 and 1, got 1.0"),
        ("pfedla_2", 10, {"share": NAN}, "share: .* got nan"),
        ("pfedla_2", 2000, {}, "num_clients: expected so few that each gets an example of every class, got none of"),
    ],
)
def test_errors(name, clients, params, message):
    with pytest.raises(ValueError, match=message.replace(". got", ".*got")) as error:
        partition(name, BALANCED, clients, **params)
    assert "\n" not in str(error.value)
