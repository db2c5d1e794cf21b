"""Statistics over clients, rounds, runs and data sets: NumPy and SciPy on the host.

NaN means "not there": a client without test examples, a round that was not evaluated. Functions over
clients leave such entries out (:func:`summarise` counts the others as ``n``); functions over runs or data sets
carry NaN on or refuse it. All raise ``ValueError`` on arrays of another rank than stated or of unequal shape.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.ArrayLike
Floats = npt.NDArray[np.float64]


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


def summarise(values: Numbers, weights: Numbers) -> dict[str, float | int]:
    """Summarise one score over clients.

    Args:
      values: ``[C]``, one score per client; clients with NaN are left out.
      weights: ``[C]``, at least 0: usually each client's number of test examples.

    Returns:
      ``n``, the number of clients with a score; over them ``mean`` (all clients alike), ``weighted`` (NaN if the
      weights sum to 0), ``std`` (population), ``min`` and ``p10`` (10th percentile, linear; a loss's lowest values
      too, hence its best). All but ``n`` are NaN if no client has a score.

    Raises:
      ValueError: a weight is negative or not finite.
    """
    scores, weight = _vectors(values=values, weights=weights)
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError("weights: expected finite numbers of at least 0")
    there = ~np.isnan(scores)
    scores, weight = scores[there], weight[there]
    if not scores.size:
        return dict.fromkeys(("mean", "weighted", "std", "min", "p10"), float("nan")) | {"n": 0}
    counted = weight > 0  # an infinite loss at weight 0 must not become NaN
    total = weight.sum()
    with np.errstate(invalid="ignore"):  # the spread of an infinite loss is NaN, without a warning
        return {
            "mean": float(scores.mean()),
            "weighted": float(scores[counted] @ weight[counted] / total) if total > 0 else float("nan"),
            "std": float(scores.std()),
            "min": float(scores.min()),
            "p10": float(np.percentile(scores, 10)),
            "n": int(scores.size),
        }


def fairness_variance(values: Numbers) -> float:
    """Population variance over the clients of ``values [C]`` that have a score; lower is fairer.

    Source: Divi et al., as PLayer-FL (arXiv 2502.08829) measures fairness. NaN if no client has a score.
    """
    scores = _array("values", values, 1)
    scores = scores[~np.isnan(scores)]
    with np.errstate(invalid="ignore"):
        return float(scores.var()) if scores.size else float("nan")


def incentive(values: Numbers, local: Numbers, fedavg: Numbers, *, lower_is_better: bool = False) -> float:
    """Share of clients that are strictly better off than with local training and than with FedAvg.

    Source: Cho et al., as PLayer-FL (arXiv 2502.08829) measures incentivisation, there in per cent.

    Args:
      values: ``[C]``, each client's score with the algorithm in question.
      local: ``[C]`` with local training.
      fedavg: ``[C]`` with FedAvg.
      lower_is_better: True for a loss.

    Returns:
      A share from 0 to 1 of the clients that have all three scores; NaN if none has.
    """
    own, alone, common = _vectors(values=values, local=local, fedavg=fedavg)
    there = ~(np.isnan(own) | np.isnan(alone) | np.isnan(common))
    if not there.any():
        return float("nan")
    better = own < np.minimum(alone, common) if lower_is_better else own > np.maximum(alone, common)
    return float(better[there].mean())


def best_round(val_loss: Numbers) -> npt.NDArray[np.intp]:
    """Find each client's best round by validation loss; a test score never enters.

    Args:
      val_loss: ``[E, C]`` of E evaluations; NaN where a client was not evaluated.

    Returns:
      ``[C]`` index of the lowest loss, the first one on ties; -1 for a client that was never evaluated. A
      client whose every loss is infinite gets its first evaluation, so that it stays in the count.
    """
    loss = _array("val_loss", val_loss, 2)
    lowest = np.where(np.isnan(loss), np.inf, loss).min(axis=0, initial=np.inf)
    return _first(loss == lowest)  # NaN equals nothing


def best_common_round(val_loss: Iterable[Numbers], weights: Numbers) -> int:
    """Find the best evaluation of a model that several clients share: one evaluation for all of them.

    Args:
      val_loss: ``[n, C]`` of n evaluations each, gone through twice, so that not all of them need be in memory; NaN
        where a client was not evaluated.
      weights: ``[C]``, at least 0, usually each client's number of training examples.

    Returns:
      Index of the lowest weighted mean loss, the first one on ties, over the clients that have a loss in every
      evaluation in which anybody has one; -1 without such a client.
    """
    weight = _array("weights", weights, 1)
    common, there = weight > 0, []
    for block in val_loss:
        missing = np.isnan(_array("val_loss", block, 2))
        there.append(~missing.all(axis=1))
        common &= ~missing[there[-1]].any(axis=0)
    rows = np.flatnonzero(np.concatenate(there))
    if not rows.size or not common.any():
        return -1
    share = weight[common] / weight[common].sum()
    # Row by row, so that the sums do not depend on the blocks.
    means = [(_array("val_loss", block, 2)[:, common] * share).sum(axis=1) for block in val_loss]
    return int(rows[np.argmin(np.concatenate(means)[rows])])


def last_round(val_loss: Numbers) -> npt.NDArray[np.intp]:
    """Index ``[C]`` of each client's last evaluation in ``val_loss [E, C]``: -1 if there is none."""
    evaluated = ~np.isnan(_array("val_loss", val_loss, 2))
    behind = _first(evaluated[::-1])
    return np.where(behind < 0, -1, len(evaluated) - 1 - behind)


def select_rounds(scores: Numbers, index: npt.ArrayLike) -> Floats:
    """Take each client's scores at its own round: ``scores [E, C, ...]`` at ``index [C]``, NaN where that is -1.

    Raises:
      ValueError: ``index`` is not one integer of -1 to E-1 per client.
    """
    table, rows = np.asarray(scores, np.float64), np.asarray(index)
    if table.ndim < 2:
        raise ValueError(f"scores: expected [E, C] or more axes, got shape {table.shape}")
    if rows.shape != table.shape[1:2] or rows.dtype.kind not in "iu":
        raise ValueError(f"index: expected {table.shape[1]} integers, got {rows.dtype} {rows.shape}")
    if ((rows < -1) | (rows >= len(table))).any():
        raise ValueError(f"index: expected -1 to {len(table) - 1}, got {rows.min()} to {rows.max()}")
    padded = np.vstack([table, np.full((1, *table.shape[1:]), np.nan)])  # row -1
    return padded[rows, np.arange(rows.size)]


def median_interval(values: Numbers, resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Median over runs and half the width of its 95 % percentile bootstrap interval.

    Source: the tables of PLayer-FL (arXiv 2502.08829), made of 1000 resamples and at least 5 runs.

    Returns:
      ``(median, half_width)`` of ``values [R]``; a single run's half-width is NaN; both are if a value is.

    Raises:
      ValueError: there is no run, or ``resamples`` is below 1.
    """
    runs = _array("values", values, 1)
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
    """Mean of ``a [P] - b [P]`` over pairs (of one seed or client) with a 95 % interval by Student's t.

    Pairs with a NaN on either side are left out. A single pair has a NaN interval; no pair, a NaN mean too.
    """
    left, right = _vectors(a=a, b=b)
    with np.errstate(invalid="ignore"):  # two infinite losses have no difference
        difference = (left - right)[~(np.isnan(left) | np.isnan(right))]
        pairs = int(difference.size)
        mean = float(difference.mean()) if pairs else float("nan")
        if pairs < 2:
            return PairedDifference(mean, float("nan"), float("nan"), pairs)
        half = float(_stats().t.ppf(0.975, pairs - 1) * difference.std(ddof=1) / np.sqrt(pairs))
    return PairedDifference(mean, mean - half, mean + half, pairs)


def ranks(table: Numbers, *, higher_is_better: bool = True) -> Floats:
    """Mean rank ``[treatments]`` over ``table [blocks, treatments]``; 1 is best, ties share ranks.

    Raises:
      ValueError: the table is empty or holds a NaN.
    """
    scores = _complete(table, 1)
    return np.asarray(_stats().rankdata(-scores if higher_is_better else scores, axis=1).mean(axis=0))


def friedman(table: Numbers) -> Friedman:
    """Test whether the treatments differ, with algorithms as treatments and data sets or seeds as blocks.

    PLayer-FL's published analysis handed over one sample per data set, measured over algorithms; that asks
    whether the data sets differ. Here each treatment, a column, is one sample.

    Returns:
      Of ``table [blocks, treatments]``, the statistic, corrected for ties, and its p by chi-square. A table
      in which every block is one tie gives 0 and 1.

    Raises:
      ValueError: fewer than three treatments, no block, or a NaN.
    """
    scores = _complete(table, 3)
    if (scores == scores[:, :1]).all():
        return Friedman(0.0, 1.0)
    result = _stats().friedmanchisquare(*scores.T)
    return Friedman(float(result.statistic), float(result.pvalue))


def nemenyi(table: Numbers) -> Floats:
    """Nemenyi's test of every pair of treatments of ``table [blocks, treatments]``, after Friedman's.

    Returns symmetric p values ``[treatments, treatments]``, 1 on the diagonal.

    Raises:
      ValueError: fewer than two treatments, no block, or a NaN.
    """
    import scikit_posthocs  # noqa: PLC0415  slow to import: it brings pandas and plotting along

    return np.asarray(scikit_posthocs.posthoc_nemenyi_friedman(_complete(table, 2)), dtype=np.float64)


def critical_difference(num_treatments: int, num_blocks: int, alpha: float = 0.05) -> float:
    """Difference of mean ranks from which on Nemenyi's test tells two treatments apart at level ``alpha``.

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


def _first(hits: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """First True along axis 0, -1 where there is none."""
    if not len(hits):
        return np.full(hits.shape[1], -1)
    return np.where(hits.any(axis=0), hits.argmax(axis=0), -1)


def _array(name: str, values: Numbers, axes: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != axes:
        raise ValueError(f"{name}: expected rank {axes}, got shape {array.shape}")
    return array


def _vectors(**values: Numbers) -> list[Floats]:
    arrays = [_array(name, value, 1) for name, value in values.items()]
    if len({array.shape for array in arrays}) > 1:
        found = ", ".join(f"{name} {array.shape}" for name, array in zip(values, arrays, strict=True))
        raise ValueError(f"expected arrays of one shape, got {found}")
    return arrays


def _complete(table: Numbers, treatments: int) -> Floats:
    scores = _array("table", table, 2)
    if len(scores) < 1 or scores.shape[1] < treatments:
        raise ValueError(f"table: expected [blocks, treatments] from [1, {treatments}] up, got {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError("table: expected a score for every treatment in every block, found NaN")
    return scores
