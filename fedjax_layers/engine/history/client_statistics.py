"""Statistics over the clients of one run, and the choice of evaluations, with NumPy on the host.

NaN means "absent": a client without test examples, or a round that was not evaluated. Such entries are left out
(:func:`summarise` counts the others as ``n``). All functions raise ``ValueError`` for arrays of another rank than
stated or of unequal shapes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Numbers = npt.ArrayLike
Floats = npt.NDArray[np.float64]


def summarise(values: Numbers, weights: Numbers) -> dict[str, float | int]:
    """Summarise one score over clients.

    Args:
      values: ``[C]``, one score per client; clients with NaN are left out.
      weights: ``[C]``, at least 0: usually each client's number of test examples.

    Returns:
      ``n``, the number of clients with a score; and over these ``mean`` (unweighted), ``weighted`` (NaN if the weights
      sum to 0), ``std`` (population), ``min`` and ``p10`` (10th percentile, linear; for a loss, too, of its lowest
      values, hence its best). All but ``n`` are NaN if no client has a score.

    Raises:
      ValueError: a weight is negative or not finite.
    """
    scores, weight = vectors(values=values, weights=weights)
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError("weights: expected finite numbers of at least 0")
    there = ~np.isnan(scores)
    scores, weight = scores[there], weight[there]
    if not scores.size:
        return dict.fromkeys(("mean", "weighted", "std", "min", "p10"), float("nan")) | {"n": 0}
    counted = weight > 0  # an infinite loss at weight 0 must not become NaN
    total = weight.sum()
    with np.errstate(invalid="ignore"):  # the spread of an infinite loss is NaN, and needs no warning
        return {
            "mean": float(scores.mean()),
            "weighted": float(scores[counted] @ weight[counted] / total) if total > 0 else float("nan"),
            "std": float(scores.std()),
            "min": float(scores.min()),
            "p10": float(np.percentile(scores, 10)),
            "n": int(scores.size),
        }


def fairness_variance(values: Numbers) -> float:
    """Compute the population variance over the clients of ``values [C]`` that have a score; lower is fairer.

    Source: Divi et al., as PLayer-FL (arXiv 2502.08829) measures fairness. NaN if no client has a score.
    """
    scores = array_of("values", values, 1)
    scores = scores[~np.isnan(scores)]
    with np.errstate(invalid="ignore"):
        return float(scores.var()) if scores.size else float("nan")


def best_round(val_loss: Numbers) -> npt.NDArray[np.intp]:
    """Find each client's best round by validation loss, without looking at any test score.

    Args:
      val_loss: ``[E, C]`` of E evaluations; NaN where a client was not evaluated.

    Returns:
      ``[C]`` index of the lowest loss, the first one on ties; -1 for a client that was never evaluated. A
      client whose every loss is infinite gets its first evaluation, so that it stays in the count.
    """
    loss = array_of("val_loss", val_loss, 2)
    lowest = np.where(np.isnan(loss), np.inf, loss).min(axis=0, initial=np.inf)
    return _first(loss == lowest)  # NaN equals nothing


def best_common_round(val_loss: Iterable[Numbers], weights: Numbers) -> int:
    """Find the best evaluation of a model that several clients share: one evaluation for all of them.

    Args:
      val_loss: blocks ``[n, C]`` of n evaluations each. It is iterated twice, so that not all blocks need be in memory.
        NaN where a client was not evaluated.
      weights: ``[C]``, at least 0, usually each client's number of training examples.

    Returns:
      Index of the lowest weighted mean loss, the first one on ties, over the clients that have a loss in every
      evaluation in which any client has one; -1 without such a client.
    """
    weight = array_of("weights", weights, 1)
    common, there = weight > 0, []
    for block in val_loss:
        missing = np.isnan(array_of("val_loss", block, 2))
        there.append(~missing.all(axis=1))
        common &= ~missing[there[-1]].any(axis=0)
    rows = np.flatnonzero(np.concatenate(there))
    if not rows.size or not common.any():
        return -1
    share = weight[common] / weight[common].sum()
    # Sums go row by row, so that they do not depend on the blocks.
    means = [(array_of("val_loss", block, 2)[:, common] * share).sum(axis=1) for block in val_loss]
    return int(rows[np.argmin(np.concatenate(means)[rows])])


def last_round(val_loss: Numbers) -> npt.NDArray[np.intp]:
    """Find the index ``[C]`` of each client's last evaluation in ``val_loss [E, C]``; -1 if there is none."""
    evaluated = ~np.isnan(array_of("val_loss", val_loss, 2))
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
    padded = np.vstack([table, np.full((1, *table.shape[1:]), np.nan)])  # index -1 reads this last row
    return padded[rows, np.arange(rows.size)]


def _first(hits: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Find the first True along axis 0, -1 where there is none."""
    if not len(hits):
        return np.full(hits.shape[1], -1)
    return np.where(hits.any(axis=0), hits.argmax(axis=0), -1)


def array_of(name: str, values: Numbers, axes: int) -> Floats:
    """Convert ``values`` to a float array of rank ``axes``; another rank is a ``ValueError`` that names ``name``."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != axes:
        raise ValueError(f"{name}: expected rank {axes}, got shape {array.shape}")
    return array


def vectors(**values: Numbers) -> list[Floats]:
    """Convert each of ``values`` to a float array of rank 1; unequal shapes are a ``ValueError`` that names them."""
    arrays = [array_of(name, value, 1) for name, value in values.items()]
    if len({array.shape for array in arrays}) > 1:
        found = ", ".join(f"{name} {array.shape}" for name, array in zip(values, arrays, strict=True))
        raise ValueError(f"expected arrays of one shape, got {found}")
    return arrays
