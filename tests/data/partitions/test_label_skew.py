"""Each label cut up among the clients."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.data.partitions import dirichlet
from tests.data.partitions.cases import BALANCED


@st.composite
def labels_and_clients(draw):
    counts = draw(st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any))
    labels = np.repeat(np.arange(len(counts)), counts)
    clients = draw(st.integers(1, min(12, len(labels))))
    return labels, clients, draw(st.integers(0, len(labels) // clients)), draw(st.integers(0, 2**31))


@settings(deadline=None, max_examples=150)
@given(case=labels_and_clients(), alpha=st.floats(1e-6, 1e6))
def test_dirichlet_owns_every_example_and_keeps_the_minimum(case, alpha):
    labels, clients, min_size, seed = case
    owner = dirichlet(labels, clients, seed, alpha=alpha, min_size=min_size)
    assert owner.shape == labels.shape
    assert owner.dtype == np.int32
    assert owner.min() >= 0
    assert np.bincount(owner, minlength=clients).min() >= min_size
    assert len(np.bincount(owner, minlength=clients)) == clients


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
    squares = (shares**2).sum(axis=1)
    expected = (alpha + 1) / (clients * alpha + 1)
    assert abs(squares.mean() - expected) < 4.5 * squares.std() / np.sqrt(draws) + 1e-3  # shares are cut at 1/1000


def test_dirichlet_over_many_clients_gives_sizes_of_the_right_variance():
    clients, alpha = 4000, 0.5
    labels = np.arange(400_000) % 10
    sizes = np.bincount(dirichlet(labels, clients, 0, alpha=alpha, min_size=0), minlength=clients)
    # A size is a sum of 10 shares of 40,000, each of variance (C - 1) / C^2 / (C alpha + 1), and nearly a gamma
    # variable of shape 10 alpha; the variance of its sample variance has kurtosis 3 + 6 / shape.
    variance = 10 * 40_000**2 * (clients - 1) / clients**2 / (clients * alpha + 1)
    error = variance * np.sqrt((2 + 6 / (10 * alpha)) / clients)
    assert abs(sizes.var() - variance) < 4.5 * error + 10 / 6  # and ten roundings of both ends


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
