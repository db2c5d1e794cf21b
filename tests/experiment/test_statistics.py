"""Statistics over clients, rounds, runs and data sets: hand-computed values and published tables."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedjax_layers.experiment import statistics as fs

NAN, INF = math.nan, math.inf


def all_nan(values):
    return all(math.isnan(value) for value in values)


def test_incentive_is_strict_and_needs_both():
    own = [0.5, 0.5, 0.5, 0.5]
    local = [0.4, 0.5, 0.6, 0.4]
    fedavg = [0.4, 0.4, 0.4, 0.6]
    assert fs.incentive(own, local, fedavg) == 0.25  # equal to Local, below Local, below FedAvg: no
    assert fs.incentive(own, local, fedavg, lower_is_better=True) == 0.0  # the second and third miss one each
    assert fs.incentive([0.3, 0.4], [0.4, 0.4], [0.5, 0.6], lower_is_better=True) == 0.5


def test_incentive_names_arrays_of_unequal_shape():
    with pytest.raises(ValueError, match="common"):
        fs.incentive([0.1], [0.1], [0.1, 0.2])


def test_incentive_leaves_out_clients_that_lack_a_score():
    assert fs.incentive([0.5, NAN, 0.1, 0.9], [0.1, 0.1, 0.5, NAN], [0.1, 0.1, 0.1, 0.1]) == 0.5
    assert math.isnan(fs.incentive([NAN], [0.1], [0.1]))


# Over runs


def test_median_interval_against_the_exact_bootstrap():
    # Of three runs the bootstrap median is the lowest with probability 7/27 (at least two of three draws),
    # likewise the highest: both 2.5 % tails lie there.
    median, half = fs.median_interval([1.0, 2.0, 7.0])
    assert (median, half) == (2.0, 3.0)


def test_median_interval_narrows_with_runs_and_repeats_by_seed():
    runs = np.random.default_rng(3).normal(size=400)
    median, half = fs.median_interval(runs, seed=1)
    assert median == np.median(runs)
    # The median's standard error is sqrt(π / 2 / R) for a normal sample.
    assert half == pytest.approx(1.96 * math.sqrt(math.pi / 2 / 400), rel=0.3)
    assert (median, half) == fs.median_interval(runs, seed=1)
    assert half != fs.median_interval(runs, seed=2)[1]


def test_median_interval_of_one_run_of_none_and_of_a_failed_one():
    median, half = fs.median_interval([4.0])
    assert median == 4.0
    assert math.isnan(half)
    assert all_nan(fs.median_interval([1.0, NAN, 2.0]))
    with pytest.raises(ValueError, match="at least one run"):
        fs.median_interval([])


def test_paired_difference_by_hand():
    # Differences 1, 2, 3: mean 2, standard error 1/√3, t(0.975; 2) = 4.302653.
    found = fs.paired_difference([2.0, 4.0, 6.0, NAN], [1.0, 2.0, 3.0, 0.0])
    assert found.pairs == 3
    assert found.mean == pytest.approx(2.0)
    assert found.high - found.mean == pytest.approx(4.302652730 / math.sqrt(3))
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_paired_difference_of_few_and_of_infinite_values():
    one = fs.paired_difference([3.0], [1.0])
    assert one.mean == 2.0
    assert one.pairs == 1
    assert all_nan([one.low, one.high])
    none = fs.paired_difference([NAN], [1.0])
    assert none.pairs == 0
    assert math.isnan(none.mean)
    assert math.isnan(fs.paired_difference([INF, 1.0], [INF, 0.0]).mean)


# Over data sets

# Demšar 2006, table 6: AUC of C4.5 with and without pruning (cf) and minimal leaf size (m) on 14 data sets;
# the printed mean ranks are 3.143, 2.000, 2.893, 1.964 and Friedman's chi-square is 9.28. In the last row
# but one, 0.975 is printed twice where the printed ranks do not tie; 0.9751 puts it in the order of ranks.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_mean_ranks_of_a_published_table():
    np.testing.assert_allclose(fs.ranks(DEMSAR), [3.143, 2.000, 2.893, 1.964], atol=5e-4)


def test_ties_share_and_a_loss_ranks_the_other_way():
    np.testing.assert_array_equal(fs.ranks([[3, 1, 3, 0]]), [1.5, 3, 1.5, 4])
    np.testing.assert_array_equal(fs.ranks([[3, 1, 3, 0]], higher_is_better=False), [3.5, 2, 3.5, 1])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=1, max_size=6))
def test_ranks_of_both_directions_add_up(table):
    higher, lower = fs.ranks(table), fs.ranks(table, higher_is_better=False)
    np.testing.assert_allclose(higher + lower, 5)
    assert higher.sum() == pytest.approx(10)


def test_friedman_takes_algorithms_as_treatments_not_data_sets():
    # Four data sets, three algorithms, the same order on each: the algorithms differ as clearly as they can,
    # chi-square = 12 / (4·3·4) · (4² + 8² + 12²) − 3·4·4 = 8 of 2 degrees of freedom, so p = exp(−4).
    table = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.3, 0.4, 0.5], [0.2, 0.3, 0.4]])
    found = fs.friedman(table)
    assert found.statistic == pytest.approx(8.0)
    assert found.p_value == pytest.approx(math.exp(-4))
    # The published orientation asks about the data sets: another statistic and another p.
    published = stats.friedmanchisquare(*table)
    assert published.statistic == pytest.approx(9.0)
    assert found.p_value != pytest.approx(published.pvalue)


def test_friedman_where_only_the_data_sets_differ():
    # Each algorithm is first, second and third once; the data sets lie far apart. The published orientation
    # finds a "significant" difference, although no algorithm is better than another.
    table = np.array([[1, 2, 3], [12, 13, 11], [23, 21, 22]], float)
    assert fs.friedman(table) == pytest.approx((0.0, 1.0))
    assert stats.friedmanchisquare(*table).pvalue < 0.05


def test_friedman_of_a_published_table_and_of_a_tie():
    # Demšar's 9.28 is not corrected for ties; SciPy divides by 1 − Σ(t³ − t) / (N k (k² − 1)).
    ties = 3 * 6 + 60  # three pairs and one block of four
    expected = 9.28 / (1 - ties / (14 * 4 * 15))
    assert fs.friedman(DEMSAR).statistic == pytest.approx(expected, abs=0.01)
    assert fs.friedman(np.full((5, 3), 0.7)) == (0.0, 1.0)


def test_nemenyi_agrees_with_the_critical_difference():
    found = fs.nemenyi(DEMSAR)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 1)
    rank = fs.ranks(DEMSAR)
    apart = np.abs(rank[:, None] - rank)
    for alpha in (0.05, 0.10, 0.5):
        np.testing.assert_array_equal(apart > fs.critical_difference(4, 14, alpha), found < alpha)


@pytest.mark.parametrize("blocks", [1, 4, 9])
def test_nemenyi_of_two_treatments_is_a_test_of_a_normal_difference(blocks):
    # Mean ranks 1 and 2 lie one rank apart, whose standard error is 1/√blocks: p = 2 (1 − Φ(√blocks)).
    table = np.tile([0.9, 0.1], (blocks, 1))
    p_value = math.erfc(math.sqrt(blocks / 2))
    np.testing.assert_allclose(fs.nemenyi(table), [[1, p_value], [p_value, 1]], rtol=1e-6)


@pytest.mark.parametrize(("treatments", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_difference_by_demsar_s_table_5(treatments, q):
    expected = q * math.sqrt(treatments * (treatments + 1) / (6 * 14))
    assert fs.critical_difference(treatments, 14) == pytest.approx(expected, rel=5e-4)


def test_incomplete_tables_are_refused():
    with pytest.raises(ValueError, match=r"from \[1, 3\] up, got \(4, 2\)"):
        fs.friedman(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="found NaN"):
        fs.ranks([[1.0, NAN]])
    with pytest.raises(ValueError, match="treatments"):
        fs.nemenyi(np.zeros((4, 1)))
    with pytest.raises(ValueError, match="alpha"):
        fs.critical_difference(3, 4, alpha=1.0)
