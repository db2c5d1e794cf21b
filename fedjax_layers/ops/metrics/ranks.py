"""Exact areas under a classifier's ROC and precision-recall curves, each class against all others."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from fedjax_layers.ops.metrics.ratio import ratio
from fedjax_layers.types import Array


def class_log_odds(outputs: Array) -> Array:
    """Compute ``log p_s - log (1 - p_s)`` of the softmax, which has the same order as each class's probabilities.

    Probabilities near 1 are equal in float32, so that their examples would be tied; log odds tell them apart.

    Args:
      outputs: logits ``[n, S]``, S at least 2.

    Returns:
      ``[n, S]``; NaN in each row with a NaN output.
    """
    away = outputs - outputs.max(-1, keepdims=True)
    share = jnp.exp(away)
    total = share.sum(-1, keepdims=True)
    leads = 2 * share > total  # true of at most one class, for which the rest is summed rather than subtracted
    rest = jnp.where(leads, 0, share).sum(-1, keepdims=True)
    return away - jnp.log(jnp.where(leads, rest, total - share))


def rank_scores(scores: Array, labels: Array, mask: Array) -> dict[str, Array]:
    """Compute AUROC and AUPRC of one set of examples, each class against all others.

    Both equal scikit-learn's: ``roc_auc_score`` (of several classes ``average="macro", multi_class="ovr"``) and
    ``average_precision_score``, with tied scores as one threshold. For two classes they are those of class 1; for more,
    the mean over the classes that have some but not all of the examples.

    Args:
      scores: ``[n, S]``, higher for a likelier class; NaN ranks lowest.
      labels: ``[n]`` integers, the true classes.
      mask: ``[n]`` bool, which rows are real.

    Returns:
      ``roc_auc`` and ``average_precision``, ``[]`` each; NaN where all real rows have one class, or there is no real
      row.

    Source: Fawcett 2006 (ROC as a rank statistic); Davis and Goadrich 2006, average precision without interpolation.
    """
    classes = jnp.arange(scores.shape[1], dtype=labels.dtype)
    if scores.shape[1] == 2:
        scores, classes = scores[:, 1:], classes[1:]
    lowest = jnp.where(jnp.isnan(scores), -jnp.inf, scores).T  # classes first: each class's scores are contiguous
    positive = (labels == classes[:, None]) & mask
    negative = (labels != classes[:, None]) & mask
    beaten, precision = _count(lowest, positive, negative)
    own, others = (x.sum(1).astype(scores.dtype) for x in (positive, negative))
    there = own * others > 0
    found = jnp.stack([1 - ratio(beaten, 2 * own * others), ratio(precision, own), jnp.ones_like(own)])
    area, precision, classes_there = jnp.where(there, found, 0).sum(1)
    return {"roc_auc": area / classes_there, "average_precision": precision / classes_there}  # 0 / 0 is NaN


def _count(scores: Array, positive: Array, negative: Array) -> tuple[Array, Array]:
    """Count for each class of ``[S, n]`` twice the pairs that a negative wins, ties half; and sum the precisions."""
    what = jnp.where(positive, 2, negative.astype(jnp.int32))
    keys, what = lax.sort((-scores, what), dimension=1, num_keys=1)
    end = jnp.ones((keys.shape[0], 1), bool)
    change = keys[:, 1:] != keys[:, :-1]
    first, last = jnp.concatenate([end, change], 1), jnp.concatenate([change, end], 1)  # of each group of ties
    hits, false = (jnp.cumsum(what == kind, axis=1, dtype=jnp.int32) for kind in (2, 1))
    far = jnp.int32(jnp.iinfo(jnp.int32).max)
    through = (lax.cummin(jnp.where(last, x, far), axis=1, reverse=True) for x in (hits, false))
    hits_through, false_through = (x.astype(scores.dtype) for x in through)
    before = lax.cummax(jnp.where(first, false - (what == 1), 0), axis=1)
    beaten = jnp.where(what == 2, before.astype(scores.dtype) + false_through, 0)
    precision = jnp.where(what == 2, ratio(hits_through, hits_through + false_through), 0)
    return beaten.sum(1), precision.sum(1)
