"""Statistics over runs and data sets, with NumPy and SciPy on the host.

NaN means "absent": a client without test examples, or a round that was not evaluated. Functions over clients leave such
entries out; functions over runs or data sets return NaN or raise. All raise ``ValueError`` for arrays of another rank
than stated or of unequal shapes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fedjax_layers.engine.history.client_statistics import Floats, Numbers, array_of, vectors


class Friedman(NamedTuple):
    """Friedman's chi-square ``statistic`` and its ``p_value``."""

    statistic: float
    p_value: float


class PairedDifference(NamedTuple):
    """Mean of ``a - b`` over ``pairs`` pairs, and its 95 % interval ``low .. high`` by Student's t."""

    mean: float
    low: float
    high: float
    pairs: int


def incentive(values: Numbers, alone: Numbers, common: Numbers, *, lower_is_better: bool = False) -> float:
    """Compute the share of clients that do strictly better than with local training and than with FedAvg.

    Source: Cho et al., as PLayer-FL (arXiv 2502.08829) measures incentivisation, there in per cent.

    Args:
      values: ``[C]``, each client's score with the algorithm in question.
      alone: ``[C]`` with local training.
      common: ``[C]`` with FedAvg.
      lower_is_better: True for a loss.

    Returns:
      A share from 0 to 1 of the clients that have all three scores; NaN if none has.
    """
    own, lone, shared = vectors(values=values, alone=alone, common=common)
    there = ~(np.isnan(own) | np.isnan(lone) | np.isnan(shared))
    if not there.any():
        return float("nan")
    better = own < np.minimum(lone, shared) if lower_is_better else own > np.maximum(lone, shared)
    return float(better[there].mean())


def median_interval(values: Numbers, resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Compute the median over runs, and half the width of its 95 % percentile bootstrap interval.

    Source: the tables of PLayer-FL (arXiv 2502.08829), made of 1000 resamples and at least 5 runs.

    Returns:
      ``(median, half_width)`` of ``values [R]``; the half-width of a single run is NaN, and both are NaN if a value is.

    Raises:
      ValueError: there is no run, or ``resamples`` is below 1.
    """
    runs = array_of("values", values, 1)
    if not runs.size or resamples < 1:
        raise ValueError(f"expected at least one run and one resample, got {runs.size} and {resamples}")
    if np.isnan(runs).any():
        return float("nan"), float("nan")
    median = float(np.median(runs))
    if runs.size < 2:
        return median, float("nan")
    drawn = np.random.default_rng(seed).integers(runs.size, size=(resamples, runs.size))
    with np.errstate(invalid="ignore"):
        low, high = np.percentile(np.median(runs[drawn], axis=1), [2.5, 97.5])
        return median, float(high - low) / 2


def paired_difference(a: Numbers, b: Numbers) -> PairedDifference:
    """Compute the mean of ``a [P] - b [P]`` over pairs (of a seed or client), with a 95 % interval by Student's t.

    Pairs with a NaN on either side are left out. A single pair has a NaN interval; no pair, a NaN mean too.
    """
    left, right = vectors(a=a, b=b)
    with np.errstate(invalid="ignore"):  # two infinite losses have no difference
        difference = (left - right)[~(np.isnan(left) | np.isnan(right))]
        return PairedDifference(*_mean_and_ends(difference))


def mean_interval(values: Numbers) -> tuple[float, float, float, int]:
    """Compute the mean of ``values [R]`` over runs, with the ends of its 95 % interval by Student's t.

    Returns:
      ``(mean, low, high, runs)``. A NaN among the values makes all NaN; a single run has no interval.
    """
    runs = array_of("values", values, 1)
    with np.errstate(invalid="ignore"):
        return _mean_and_ends(runs)


def _mean_and_ends(values: Floats) -> tuple[float, float, float, int]:
    number = int(values.size)
    mean = float(values.mean()) if number else float("nan")
    if number < 2:
        return mean, float("nan"), float("nan"), number
    half = float(_stats().t.ppf(0.975, number - 1) * values.std(ddof=1) / np.sqrt(number))
    return mean, mean - half, mean + half, number


def ranks(table: Numbers, *, higher_is_better: bool = True) -> Floats:
    """Compute the mean rank ``[treatments]`` over ``table [blocks, treatments]``; 1 is best, ties share ranks.

    Raises:
      ValueError: the table is empty or holds a NaN.
    """
    scores = _complete(table, 1)
    return np.asarray(_stats().rankdata(-scores if higher_is_better else scores, axis=1).mean(axis=0))


def friedman(table: Numbers) -> Friedman:
    """Test whether the treatments differ, with algorithms as treatments and data sets or seeds as blocks.

    PLayer-FL's published analysis passed one sample per data set, measured over algorithms, which tests whether the
    data sets differ. Here each treatment, a column, is one sample.

    Returns:
      The statistic of ``table [blocks, treatments]``, corrected for ties, and its p value by chi-square. A table in
      which every block is one tie gives 0 and 1.

    Raises:
      ValueError: there are fewer than three treatments, no block, or a NaN.
    """
    scores = _complete(table, 3)
    if (scores == scores[:, :1]).all():
        return Friedman(0.0, 1.0)
    result = _stats().friedmanchisquare(*scores.T)
    return Friedman(float(result.statistic), float(result.pvalue))


def nemenyi(table: Numbers) -> Floats:
    """Run Nemenyi's test on every pair of treatments of ``table [blocks, treatments]``, after Friedman's.

    The result is symmetric p values ``[treatments, treatments]``, 1 on the diagonal.

    Source: Demšar 2006, section 3.2.2, as :func:`critical_difference`.

    Raises:
      ValueError: fewer than two treatments, no block, or a NaN.
    """
    blocks, treatments = _complete(table, 2).shape
    rank, (first, second) = ranks(table), np.triu_indices(treatments, 1)
    apart = np.abs(rank[first] - rank[second]) / np.sqrt(treatments * (treatments + 1) / (6 * blocks))
    p_values = np.ones((treatments, treatments))
    p_values[first, second] = _stats().studentized_range.sf(apart * np.sqrt(2), treatments, np.inf)
    p_values[second, first] = p_values[first, second]
    return p_values


def critical_difference(num_treatments: int, num_blocks: int, alpha: float = 0.05) -> float:
    """Compute the difference of mean ranks above which Nemenyi's test tells two treatments apart at level ``alpha``.

    Source: Demšar 2006, section 3.2.2: ``q sqrt(k (k + 1) / (6 N))``, q from the studentised range over √2.

    Raises:
      ValueError: fewer than two treatments, no block, or ``alpha`` outside 0 .. 1.
    """
    if num_treatments < 2 or num_blocks < 1 or not 0 < alpha < 1:
        found = f"{num_treatments}, {num_blocks} and {alpha}"
        raise ValueError(f"expected 2 or more treatments, 1 or more blocks and 0 < alpha < 1, got {found}")
    quantile = _stats().studentized_range.ppf(1 - alpha, num_treatments, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(num_treatments * (num_treatments + 1) / (6 * num_blocks)))


def _stats() -> Any:
    from scipy import stats  # noqa: PLC0415  (slow to import: a refused command should not wait for it)

    return stats


def _complete(table: Numbers, treatments: int) -> Floats:
    scores = array_of("table", table, 2)
    if len(scores) < 1 or scores.shape[1] < treatments:
        raise ValueError(f"table: expected [blocks, treatments] from [1, {treatments}] up, got {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError("table: expected a score for every treatment in every block, found NaN")
    return scores
