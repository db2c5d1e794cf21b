"""Dirichlet mixes of labels at given client sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.data.partitions import dirichlet_balanced, dirichlet_lognormal, quantity_lognormal
from fedjax_layers.data.partitions.label_skew import _whole
from tests.data.partitions.cases import BALANCED


def counts_of(owner, labels, clients):
    counts = np.zeros((clients, labels.max() + 1), int)
    np.add.at(counts, (owner, labels), 1)
    return counts


@settings(deadline=None, max_examples=100)
@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    clients=st.integers(1, 12),
    alpha=st.floats(1e-4, 1e4),
    seed=st.integers(0, 2**31),
)
def test_balanced_clients_are_of_one_size_whatever_the_labels(counts, clients, alpha, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    clients = min(clients, len(labels))
    sizes = np.bincount(dirichlet_balanced(labels, clients, seed, alpha=alpha), minlength=clients)
    assert sizes.sum() == len(labels)
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("alpha", [0.1, 0.5, 5.0])
def test_mixes_are_dirichlet_draws(alpha):
    clients, size, classes = 20_000, 50, 5
    labels = np.arange(clients * size) % classes
    shares = counts_of(dirichlet_balanced(labels, clients, 2, alpha=alpha), labels, clients) / size
    squares = (shares**2).sum(axis=1)
    expected = (alpha + 1) / (classes * alpha + 1)  # of Dir(alpha * 1_5)
    # Three things move the mean square: chance; rounding, by at most 1/4 of an example squared for each class; and
    # examples that go elsewhere as their class is asked for too often, which change a client's squares by at most
    # twice their share. That share is half the sum over classes of |demand - supply| / N.
    variance = (classes - 1) / classes**2 / (classes * alpha + 1)
    moved = 0.5 * classes * 4.5 * np.sqrt(variance / clients)
    bound = 4.5 * squares.std() / np.sqrt(clients) + classes / 4 / size**2 + 2 * moved
    assert abs(squares.mean() - expected) < bound
    assert bound < 0.25 * (expected - 1 / classes) + 0.01  # and it does tell one alpha from another


def test_mixes_of_uneven_labels_ask_for_what_there_is():
    labels = np.repeat(np.arange(4), [8000, 1000, 500, 500])
    shares = counts_of(dirichlet_balanced(labels, 100, 0, alpha=1e4), labels, 100) / 100
    # Dir(4e4 * q): nearly q itself, up to 4.5 standard deviations, a rounding and what is moved for it.
    q = np.array([0.8, 0.1, 0.05, 0.05])
    assert (abs(shares - q) < 4.5 * np.sqrt(q * (1 - q) / 4e4) + 2 / 100).all()


def test_extreme_concentrations():
    one_label = counts_of(dirichlet_balanced(BALANCED, 10, 0, alpha=1e-9), BALANCED, 10)
    assert (np.sort(one_label, axis=1)[:, -1] >= 600 / 10).all()
    alike = counts_of(dirichlet_balanced(BALANCED, 20, 0, alpha=1e9), BALANCED, 20)
    assert abs(alike - 30).max() <= 2


@settings(deadline=None, max_examples=60)
@given(sizes=st.lists(st.integers(0, 1000), min_size=1, max_size=8), classes=st.integers(1, 6), seed=st.integers(0, 99))
def test_whole_numbers_have_the_right_sums_and_are_near(sizes, classes, seed):
    rng = np.random.default_rng(seed)
    sizes = np.array(sizes)
    mixes = rng.dirichlet(np.full(classes, 0.3), size=len(sizes))
    whole = _whole(sizes, mixes, rng)
    assert (whole >= 0).all()
    np.testing.assert_array_equal(whole.sum(axis=1), sizes)
    assert (abs(whole - sizes[:, None] * mixes) < 1 + 1e-9).all()


def test_whole_numbers_are_right_on_average():
    mix, draws = np.array([0.05, 0.15, 0.35, 0.45]), 40_000
    whole = _whole(np.full(draws, 3), np.tile(mix, (draws, 1)), np.random.default_rng(0))
    assert (abs(whole.mean(axis=0) - 3 * mix) < 4.5 * whole.std(axis=0) / np.sqrt(draws)).all()


def test_sizes_with_lognormal_are_those_of_the_quantity_skew():
    for min_size in (0, 10):
        both = dirichlet_lognormal(BALANCED, 30, 4, alpha=0.1, sigma=1.5, min_size=min_size)
        only = quantity_lognormal(BALANCED, 30, 4, sigma=1.5, min_size=min_size)
        np.testing.assert_array_equal(np.bincount(both, minlength=30), np.bincount(only, minlength=30))
    even = dirichlet_lognormal(BALANCED, 30, 4, alpha=0.1, sigma=0.0)
    assert np.ptp(np.bincount(even)) == 0
