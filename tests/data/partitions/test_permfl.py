"""PerMFL's split, against the rule written out and against its known numbers."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.data import load, read_idx
from fedjax_layers.data.partitions import partition, permfl

MNIST = [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]  # training and test set together


def written_out(labels, devices, classes, *, chunk, extra, lognormal, draw_seeds):
    """The rule, one device and class at a time, with the generators seeded and called as published."""
    pools = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
    python, numpy = random.Random(draw_seeds[0]), np.random.RandomState(draw_seeds[1])
    props = numpy.lognormal(0, 2.0, (len(pools), devices, classes))
    scale = np.array([[[max(len(pool) - devices, 0)]] for pool in pools])
    props = scale * props / np.sum(props, (1, 2), keepdims=True)
    owner = np.full(len(labels), -1)
    taken = [0] * len(pools)

    def take(device, k, count):
        owner[pools[k][taken[k] : taken[k] + count]] = device
        taken[k] += count

    for device in range(devices):
        for j in range(classes):
            take(device, (device + j) % len(pools), chunk)
    for device in range(devices):
        for j in range(classes):
            k = (device + j) % len(pools)
            count = python.randint(*extra)
            if lognormal:
                count += int(props[k, device // max(devices // len(pools), 1), j])
            if devices <= 20:
                count *= 2
            if taken[k] + count < len(pools[k]):
                take(device, k, count)
    return owner


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(150, 900), min_size=1, max_size=11),
    devices=st.integers(1, 30),
    classes=st.integers(1, 11),
    chunk=st.integers(1, 4),
    low=st.integers(0, 60),
    spread=st.integers(0, 300),
    lognormal=st.booleans(),
    draw_seeds=st.tuples(st.integers(0, 2**32), st.integers(0, 2**32 - 1)),
)
def test_it_is_the_rule_written_out(counts, devices, classes, chunk, low, spread, lognormal, draw_seeds):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    classes = min(classes, len(counts))
    options = {"chunk": chunk, "extra": (low, low + spread), "lognormal": lognormal, "draw_seeds": draw_seeds}
    expected = written_out(labels, devices, classes, **options)
    np.testing.assert_array_equal(permfl(labels, devices, classes=classes, **options), expected)


def assert_known_mnist_numbers(owner):
    sizes = np.bincount(owner[owner >= 0], minlength=40)
    assert sizes.sum() == 39_669
    assert (sizes.min(), np.median(sizes), sizes.max()) == (701, 979.5, 1468)
    assert sizes[:5].tolist() == [952, 938, 1054, 750, 903]
    train = (0.75 * sizes).astype(int)  # 3:1, training rounded down
    assert (train.sum(), (sizes - train).sum()) == (29_735, 9_934)


def test_the_known_numbers_follow_from_mnist_s_class_counts():
    assert_known_mnist_numbers(permfl(np.repeat(np.arange(10), MNIST), 40))


@pytest.mark.data
def test_the_known_numbers_on_mnist(data_dir):
    files = ("train-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
    labels = np.concatenate([read_idx(data_dir / "mnist" / file) for file in files])
    assert np.bincount(labels).tolist() == MNIST
    owner = permfl(labels, 40)
    assert_known_mnist_numbers(owner)
    for device in range(40):
        assert set(labels[owner == device]) == {device % 10, (device + 1) % 10}


@pytest.mark.data
def test_a_quarter_for_the_test_is_the_published_split_of_mnist(data_dir):
    published = {"partition": "permfl", "clients": 40, "test_fraction": 0.25, "val_fraction": 0.0}
    data = load("mnist", data_dir=data_dir, split="all", **published)
    assert {split: int(sizes.sum()) for split, sizes in data.sizes.items()} == {"train": 29_735, "val": 0, "test": 9934}


def test_cifar_100_leaves_most_clients_with_their_first_chunks():
    labels = np.repeat(np.arange(100), 600)
    owner = permfl(labels, 350, classes=3, lognormal=False, draw_seeds=(1, 1))
    sizes = np.bincount(owner[owner >= 0])
    assert (sizes == 30).mean() == pytest.approx(0.76, abs=0.005)


def test_few_clients_get_twice_as_much():
    labels = np.repeat(np.arange(10), 10_000)
    options = {"extra": (7, 7), "lognormal": False, "chunk": 1, "classes": 1}
    assert set(np.bincount(permfl(labels, 20, **options) + 1)[1:]) == {1 + 14}
    assert set(np.bincount(permfl(labels, 21, **options) + 1)[1:]) == {1 + 7}


def test_a_class_is_never_used_up_by_a_draw():
    labels = np.zeros(21 + 3 * 5, int)  # after the first chunks there is room for three draws of 5
    sizes = np.bincount(permfl(labels, 21, classes=1, chunk=1, extra=(5, 5), lognormal=False) + 1)
    assert sizes[0] == 5  # nobody's: the third draw would have taken the last example
    assert sizes[1:].tolist() == [6, 6] + [1] * 19


def test_the_seed_is_added_to_both():
    labels = np.repeat(np.arange(10), 700)
    expected = permfl(labels, 10, draw_seeds=(12, 2), extra=(10, 60))
    np.testing.assert_array_equal(permfl(labels, 10, 7, draw_seeds=(5, 2**32 - 5), extra=(10, 60)), expected)


@pytest.mark.parametrize(
    ("clients", "params", "message"),
    [
        (40, {"classes": 0}, r"classes: expected 1\.\.10, the classes that occur, got 0"),
        (40, {"chunk": 0}, r"chunk: expected 1\.\.150, the examples for each client, got 0"),
        (40, {"extra": (600, 300)}, r"extra: expected two whole numbers of at least 0, .* got \(600, 300\)"),
        (40, {"extra": (300,)}, r"extra: .* got \(300,\)"),
        (40, {"extra": (-1, 3)}, r"extra: .* got \(-1, 3\)"),
        (40, {"draw_seeds": (5,)}, r"draw_seeds: expected two whole numbers of at least 0, got \(5,\)"),
        (310, {}, "num_clients: expected 10 examples of class 0 for each owner, got 600 for 62 clients"),
    ],
)
def test_errors(clients, params, message):
    with pytest.raises(ValueError, match=message) as error:
        partition("permfl", np.arange(6000) % 10, clients, **params)
    assert "\n" not in str(error.value)
