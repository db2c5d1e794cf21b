"""Labels alike everywhere, sizes equal or skewed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.data.partitions import iid, partition, quantity_dirichlet, quantity_lognormal, quantity_zipf
from fedjax_layers.data.partitions.counting import round_sizes
from tests.data.partitions.cases import BALANCED

SIGMAS = 4.5  # bounds are this many standard errors: one false alarm in 150,000


@settings(deadline=None, max_examples=80)
@given(clients=st.integers(1, 40), more=st.integers(0, 200), seed=st.integers(0, 2**31))
def test_iid_sizes_differ_by_at_most_one(clients, more, seed):
    labels = np.arange(clients + more) % 3
    sizes = np.bincount(iid(labels, clients, seed), minlength=clients)
    assert len(sizes) == clients
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("name", ["iid", "quantity_dirichlet", "quantity_lognormal", "quantity_zipf"])
def test_labels_of_a_client_are_a_sample_of_all(name):
    owner = partition(name, BALANCED, 20, 3)
    total, share = len(BALANCED), 1 / 10
    for client in range(20):
        n = (owner == client).sum()
        counts = np.bincount(BALANCED[owner == client], minlength=10)
        deviation = np.sqrt(n * share * (1 - share) * (total - n) / (total - 1))  # hypergeometric
        assert (abs(counts - n * share) <= SIGMAS * deviation + 1).all()


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_lognormal_sizes_have_a_normal_logarithm(sigma):
    clients, mean = 1000, 2000  # sizes of 70 and more even at 3.5 sigma, so rounding moves a log by < 0.01
    sizes = np.bincount(quantity_lognormal(np.zeros(clients * mean, int), clients, 1, sigma=sigma, min_size=0))
    logs = np.log(sizes)
    variance_error = sigma**2 * np.sqrt(2 / (clients - 1))
    assert abs(logs.var(ddof=1) - sigma**2) < SIGMAS * variance_error + 0.01
    # The scale is that of a mean of exp(sigma z): log(mean) - sigma^2 / 2, give or take both averages' errors.
    both = sigma / np.sqrt(clients) + np.sqrt((np.exp(sigma**2) - 1) / clients)
    assert abs(logs.mean() - np.log(mean) + sigma**2 / 2) < SIGMAS * both + 0.01


def test_lognormal_without_spread_is_even_and_a_huge_one_is_repaired():
    assert np.ptp(np.bincount(quantity_lognormal(BALANCED, 37, sigma=0.0))) <= 1
    sizes = np.bincount(quantity_lognormal(BALANCED, 37, sigma=1e4, min_size=10), minlength=37)
    assert sorted(sizes)[:-1] == [10] * 36


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.0, 2.5])
def test_zipf_sizes_follow_the_rank(exponent):
    sizes = np.bincount(quantity_zipf(BALANCED, 30, exponent=exponent, min_size=0), minlength=30)
    weights = np.arange(1.0, 31) ** -exponent
    assert (abs(sizes - 6000 * weights / weights.sum()) < 1).all()
    assert (np.diff(sizes) <= 0).all()
    repaired = np.bincount(quantity_zipf(BALANCED, 30, exponent=exponent, min_size=50))
    assert repaired.min() >= 50
    assert (np.diff(repaired) <= 1).all()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_dirichlet_sizes_have_the_right_second_moment(alpha):
    clients, draws = 8, 400
    labels = np.zeros(40_000, int)
    shares = np.stack(
        [np.bincount(quantity_dirichlet(labels, clients, s, alpha=alpha, min_size=0), minlength=clients) / 40_000
         for s in range(draws)]
    )  # fmt: skip
    squares = (shares**2).sum(axis=1)
    expected = (alpha + 1) / (clients * alpha + 1)  # of Dir(alpha * 1_8)
    assert abs(squares.mean() - expected) < SIGMAS * squares.std() / np.sqrt(draws)


@settings(deadline=None, max_examples=100)
@given(weights=st.lists(st.floats(0, 1e6), min_size=1, max_size=30).filter(any), total=st.integers(0, 10**9))
def test_round_sizes_keeps_sum_and_order_and_is_within_one(weights, total):
    weights = np.array(weights)
    sizes = round_sizes(weights, total)
    assert sizes.sum() == total
    assert (abs(sizes - weights / weights.sum() * total) < 1).all()
    assert (np.diff(sizes[np.argsort(weights, kind="stable")]) >= -1).all()


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("quantity_lognormal", {"sigma": -0.1}, "sigma: expected a finite number of at least 0, got -0.1"),
        ("quantity_lognormal", {"sigma": float("nan")}, "sigma: .* got nan"),
        ("quantity_zipf", {"exponent": -1}, "exponent: expected a finite number of at least 0, got -1"),
        ("quantity_zipf", {"exponent": float("inf")}, "exponent: .* got inf"),
    ],
)
def test_errors(name, params, message):
    with pytest.raises(ValueError, match=message):
        partition(name, BALANCED, 5, **params)
