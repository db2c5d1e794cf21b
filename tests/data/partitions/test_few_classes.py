"""Clients that hold a few classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.data.partitions import classes_per_client, partition
from fedjax_layers.data.partitions.few_classes import deal, owners_of
from tests.data.partitions.cases import BALANCED


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


def deal_one_by_one(rng, clients, hand, classes):
    """One pack after the other; what a hand that is under way holds already goes to the end of the new pack."""
    cards = []
    while len(cards) < clients * hand:
        pack = rng.permutation(classes).tolist()
        held = cards[len(cards) - len(cards) % hand :]
        cards += [k for k in pack if k not in held] + [k for k in pack if k in held]
    return np.reshape(cards[: clients * hand], (clients, hand))


@settings(deadline=None, max_examples=150)
@given(classes=st.integers(1, 12), clients=st.integers(1, 60), data=st.data())
def test_the_deal_is_that_of_one_pack_after_the_other(classes, clients, data):
    hand = data.draw(st.integers(1, classes))
    expected = deal_one_by_one(np.random.default_rng(clients), clients, hand, classes)
    np.testing.assert_array_equal(deal(np.random.default_rng(clients), clients, hand, classes), expected)


def test_owners_of_a_class_ascend():
    hands = np.array([[2, 0], [0, 1], [2, 1]])
    assert [clients.tolist() for clients in owners_of(hands, 4)] == [[0, 1], [1, 2], [0, 2], []]


def test_a_sliding_window_is_the_arithmetic_one():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10) + 100, 600))
    owner = classes_per_client(labels, 25, 0, classes=3, assignment="sliding")
    for client in range(25):
        expected = sorted((client + j) % 10 + 100 for j in range(3))
        assert np.unique(labels[owner == client]).tolist() == expected


@pytest.mark.parametrize(
    ("clients", "params", "message"),
    [
        (5, {"classes": 0}, r"classes: expected 1\.\.4, the classes that occur, got 0"),
        (5, {"classes": 5}, "classes: .* got 5"),
        (5, {"classes": 2.0}, "classes: .* got 2.0"),
        (3, {"classes": 1}, "num_clients x classes of at least 4, got 3 x 1"),
        (9, {"min_size": 12}, r"min_size: expected 0\.\.11 with 100 examples for 9 clients, got 12"),
        (99, {"min_size": 0, "classes": 4}, "owners than examples of class 0, got 99 clients but 25 examples"),
        (
            2,
            {"classes": 2, "assignment": "sliding"},
            "num_clients: expected at least 3 for 4 classes in windows of 2, got 2",
        ),
        (
            9,
            {"assignment": "slidng"},
            "assignment: expected one of random, sliding, got 'slidng'; did you mean 'sliding'",
        ),
    ],
)
def test_errors(clients, params, message):
    with pytest.raises(ValueError, match=message) as error:
        partition("classes_per_client", np.arange(100) % 4, clients, **params)
    assert "\n" not in str(error.value)


def test_classes_per_client_reports_an_unreachable_minimum():
    labels = np.repeat([0, 1], [95, 5])
    with pytest.raises(ValueError, match="min_size: expected at least 10 examples for each client, got 2 for client"):
        classes_per_client(labels, 4, 0, classes=1)
