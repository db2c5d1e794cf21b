"""Scores of a classifier, from its confusion matrix (which adds up over batches) and from the ranks of its outputs."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.ops.metrics.ranks import class_log_odds, rank_scores
from fedjax_layers.ops.metrics.ratio import ratio
from fedjax_layers.types import Array

COUNTED = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "mcc")  # computed from a confusion matrix
RANKED = ("roc_auc", "average_precision")  # computed from the order of all of a client's outputs
BY_CLASS = ("class_recall", "class_precision", "class_f1")  # have an axis of classes


@dataclasses.dataclass(frozen=True)
class ClassScorer:
    """The scorer of a classifier of examples, or of those places of a sequence whose label is not negative.

    Attributes:
      num_classes: S, the number of classes.
      ranked: whether AUROC and AUPRC are among the scores; they require a sort of every client's outputs.
    """

    num_classes: int
    ranked: bool = True
    joint = False

    @property
    def names(self) -> tuple[str, ...]:
        """See :class:`fedjax_layers.types.Scorer`."""
        return (*COUNTED, *(RANKED if self.ranked else ()), "loss")

    @property
    def adds_up(self) -> bool:
        """True: confusion matrices add up."""
        return True

    @property
    def keeps_rows(self) -> bool:
        """See :class:`fedjax_layers.types.Scorer`."""
        return self.ranked

    def tally(self, outputs: Array, labels: Array, mask: Array) -> Array:
        """Return the batch's confusion matrix ``[S, S]``."""
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            expected = f"integers for a task of {self.num_classes} classes"
            raise ValueError(f"labels: expected {expected}, got {labels.dtype}: a regression needs another scorer")
        return confusion_matrix(labels, jnp.argmax(outputs, -1), mask, self.num_classes)

    def merge(self, tallies: Array) -> Array:
        """Sum confusion matrices ``[n, S, S]`` to one ``[S, S]``."""
        return tallies.sum(0, dtype=tallies.dtype)

    def scores(self, tally: Array, loss: Array) -> dict[str, Array]:
        """Return the loss and the scores of :func:`scores_from_confusion` and :func:`scores_by_class`."""
        return scores_from_confusion(tally) | scores_by_class(tally) | {"loss": loss}

    def whole(self, outputs: Array, labels: Array, mask: Array) -> dict[str, Array]:
        """Return AUROC and AUPRC of one client's rows."""
        places = outputs.reshape(-1, outputs.shape[-1])
        classes = labels.reshape(-1)
        there = jnp.repeat(mask, classes.shape[0] // mask.shape[0]) & (classes >= 0)
        return rank_scores(class_log_odds(places), classes, there)


@functools.partial(jax.jit, static_argnames="num_classes")
def confusion_matrix(labels: Array, predictions: Array, mask: Array, num_classes: int) -> Array:
    """Count how often each true class was predicted as each class.

    Args:
      labels: ``[...]`` integers in ``0 .. S-1``; a row whose label or prediction lies outside is not counted.
      predictions: ``[...]`` integers, the predicted classes.
      mask: ``[...]`` bool, False for a padding row; its axes may be the leading ones only, where labels have several
        positions per row.
      num_classes: S, the number of classes; static.

    Returns:
      ``[S, S]`` int32: rows are true classes, columns predicted classes.

    Raises:
      ValueError: the shapes do not fit each other.
    """
    if labels.shape != predictions.shape:
        raise ValueError(f"predictions: expected the labels' shape {labels.shape}, got {predictions.shape}")
    if mask.shape != labels.shape[: mask.ndim]:
        raise ValueError(f"mask: expected {labels.shape} or its leading axes, got {mask.shape}")
    full = jnp.broadcast_to(mask.reshape(mask.shape + (1,) * (labels.ndim - mask.ndim)), labels.shape)
    labels, predictions = labels.astype(jnp.int32), predictions.astype(jnp.int32)  # uint8 may not hold S
    # A negative index would wrap around, so both ends are checked.
    known = (labels >= 0) & (labels < num_classes) & (predictions >= 0) & (predictions < num_classes)
    rows = jnp.where(full.astype(bool) & known, labels, num_classes)
    empty = jnp.zeros((num_classes, num_classes), jnp.int32)
    return empty.at[rows.ravel(), predictions.ravel()].add(1, mode="drop")


@jax.jit
def scores_from_confusion(confusion: Array) -> dict[str, Array]:
    """Compute the scores that follow from a confusion matrix.

    Each equals scikit-learn's function of that name on the same rows: ``f1_score`` with ``zero_division=0``
    over the classes present among true labels or predictions, ``balanced_accuracy_score`` (mean recall over
    the classes present among true labels), ``matthews_corrcoef`` (0 where undefined). They are the scores of
    PLayer-FL (arXiv 2502.08829, evaluation metrics), of which macro-F1 is the primary one.

    Args:
      confusion: ``[..., S, S]`` counts, rows true classes, columns predicted classes.

    Returns:
      Scores by name, ``[...]`` floats, NaN where there is no example.

    Raises:
      ValueError: ``confusion`` is not a stack of square matrices.
    """
    shape = confusion.shape
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"confusion: expected [..., S, S], got {shape}")
    real = jnp.result_type(float)
    hits = jnp.diagonal(confusion, axis1=-2, axis2=-1)  # [..., S]
    support = confusion.sum(-1, dtype=hits.dtype)  # [..., S], true rows of each class
    predicted = confusion.sum(-2, dtype=hits.dtype)  # [..., S]
    total = support.sum(-1, dtype=hits.dtype)  # [...]

    recall = ratio(hits.astype(real), support.astype(real))
    f1 = ratio(2 * hits.astype(real), (support + predicted).astype(real))
    examples = total.astype(real)
    scores = {
        "accuracy": ratio(hits.sum(-1).astype(real), examples),
        "macro_f1": ratio(f1.sum(-1), (support + predicted > 0).sum(-1).astype(real)),
        "weighted_f1": ratio((f1 * support.astype(real)).sum(-1), examples),
        "balanced_accuracy": ratio(recall.sum(-1), (support > 0).sum(-1).astype(real)),
        "mcc": _matthews(hits, support, predicted, total, real),
    }
    return {name: jnp.where(total > 0, scores[name], jnp.nan) for name in COUNTED}


def scores_by_class(confusion: Array) -> dict[str, Array]:
    """Compute recall, precision and F1 of each class.

    Each equals scikit-learn's with ``average=None, zero_division=0``, except that it is NaN for a class that does not
    occur (for recall: among true labels; for precision and F1: among labels and predictions).

    Args:
      confusion: ``[..., S, S]`` counts, rows true classes, columns predicted classes.

    Returns:
      The scores :data:`BY_CLASS` by name, ``[..., S]`` floats each.
    """
    real = jnp.result_type(float)
    hits = jnp.diagonal(confusion, axis1=-2, axis2=-1).astype(real)
    support, predicted = (confusion.sum(axis).astype(real) for axis in (-1, -2))
    there = support + predicted > 0
    found = (ratio(hits, support), ratio(hits, predicted), ratio(2 * hits, support + predicted))
    known = (support > 0, there, there)
    return {name: jnp.where(k, x, jnp.nan) for name, x, k in zip(BY_CLASS, found, known, strict=True)}


def _matthews(hits: Array, support: Array, predicted: Array, total: Array, real: Any) -> Array:
    """Compute Gorodkin's R_K by TP·TN − FP·FN per class, as n·Σhits − Σ support·predicted cancels in float32."""
    every = total[..., None]
    false_negative, false_positive = support - hits, predicted - hits
    true_negative = every - support - false_positive
    covariance = (
        hits.astype(real) * true_negative.astype(real) - false_positive.astype(real) * false_negative.astype(real)
    ).sum(-1)
    of_truth = (support.astype(real) * (every - support).astype(real)).sum(-1)
    of_predictions = (predicted.astype(real) * (every - predicted).astype(real)).sum(-1)
    return ratio(covariance, jnp.sqrt(of_truth) * jnp.sqrt(of_predictions))
