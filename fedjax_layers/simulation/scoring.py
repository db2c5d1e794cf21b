"""Scores of a classifier from its confusion matrix: pure, jitted, vmappable over clients, models and seeds.

Confusion matrices and loss sums add up over batches, so that the scores do not depend on how an evaluation is
cut into batches.
"""

from __future__ import annotations

import functools
from collections.abc import Collection

import jax
import jax.numpy as jnp

from fedjax_layers.types import Array

METRICS = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "mcc", "loss")
"""The names of all scores, in the order in which to report them."""

LANGUAGE_METRICS = ("accuracy", "loss", "perplexity")
"""The names of all scores of a language model, of predicted tokens."""

ALL_METRICS = (*METRICS, "perplexity")
"""The names of all scores of any model."""

LOWER_IS_BETTER = frozenset({"loss", "perplexity"})
"""The scores of which a lower one is better; of all others a higher one is."""


def headline(metrics: Collection[str]) -> str:
    """The score by which models are compared: macro-F1 of classes, perplexity of language."""
    return "macro_f1" if "macro_f1" in metrics else "perplexity"


@functools.partial(jax.jit, static_argnames="num_classes")
def confusion_matrix(labels: Array, predictions: Array, mask: Array, num_classes: int) -> Array:
    """Count how often each true class was predicted as each class.

    Args:
      labels: ``[...]`` integers in ``0 .. S-1``; a row whose label or prediction lies outside is not counted.
      predictions: ``[...]`` integers, the predicted classes.
      mask: ``[...]`` bool, False for a padding row; or its leading axes only, for labels of several positions
        per row.
      num_classes: S, static.

    Returns:
      ``[S, S]`` int32: rows are true classes, columns predicted classes.

    Raises:
      ValueError: shapes that do not belong together.
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
def scores_from_confusion(confusion: Array, loss_sum: Array) -> dict[str, Array]:
    """Compute every score of :data:`METRICS` from counts.

    Each equals scikit-learn's function of that name on the same rows: ``f1_score`` with ``zero_division=0``
    over the classes present among true labels or predictions, ``balanced_accuracy_score`` (mean recall over
    the classes present among true labels), ``matthews_corrcoef`` (0 where undefined). They are the scores of
    PLayer-FL (arXiv 2502.08829, evaluation metrics), macro-F1 the primary one.

    Args:
      confusion: ``[..., S, S]`` counts, rows true classes, columns predicted classes.
      loss_sum: ``[...]`` sum of the losses of the counted examples.

    Returns:
      By name, ``[...]`` floats. All are NaN where there is no example, and only there: the NaN loss of a
      diverged model is reported as infinite, so that it is not mistaken for a client without examples.

    Raises:
      ValueError: ``confusion`` is not a stack of square matrices, or ``loss_sum`` is not one number for each.
    """
    shape = confusion.shape
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"confusion: expected [..., S, S], got {shape}")
    if jnp.shape(loss_sum) != shape[:-2]:
        raise ValueError(f"loss_sum: expected {shape[:-2]}, one number per matrix, got {jnp.shape(loss_sum)}")
    real = jnp.result_type(float)
    hits = jnp.diagonal(confusion, axis1=-2, axis2=-1)  # [..., S]
    support = confusion.sum(-1, dtype=hits.dtype)  # [..., S], true rows of each class
    predicted = confusion.sum(-2, dtype=hits.dtype)  # [..., S]
    total = support.sum(-1, dtype=hits.dtype)  # [...]

    recall = _ratio(hits.astype(real), support.astype(real))
    f1 = _ratio(2 * hits.astype(real), (support + predicted).astype(real))
    examples = total.astype(real)
    loss = _ratio(loss_sum.astype(real), examples)
    scores = {
        "accuracy": _ratio(hits.sum(-1).astype(real), examples),
        "macro_f1": _ratio(f1.sum(-1), (support + predicted > 0).sum(-1).astype(real)),
        "weighted_f1": _ratio((f1 * support.astype(real)).sum(-1), examples),
        "balanced_accuracy": _ratio(recall.sum(-1), (support > 0).sum(-1).astype(real)),
        "mcc": _matthews(hits, support, predicted, total, real),
        "loss": jnp.where(jnp.isnan(loss), jnp.inf, loss),
    }
    return {name: jnp.where(total > 0, scores[name], jnp.nan) for name in METRICS}


@jax.jit
def scores_from_hits(hits: Array, total: Array, loss_sum: Array) -> dict[str, Array]:
    """Compute every score of :data:`LANGUAGE_METRICS` from counts.

    Perplexity is ``exp(total negative log-likelihood / predicted tokens)`` (note on FedTLU, section 3).

    Args:
      hits: ``[...]`` predicted tokens that are right.
      total: ``[...]`` predicted tokens.
      loss_sum: ``[...]`` sum of their negative log-likelihoods, nats.

    Returns:
      By name, ``[...]`` floats, NaN where there is no token; a diverged model's loss and perplexity are infinite.
    """
    real = jnp.result_type(float)
    tokens = total.astype(real)
    loss = _ratio(loss_sum.astype(real), tokens)
    loss = jnp.where(jnp.isnan(loss), jnp.inf, loss)
    scores = {"accuracy": _ratio(hits.astype(real), tokens), "loss": loss, "perplexity": jnp.exp(loss)}
    return {name: jnp.where(total > 0, scores[name], jnp.nan) for name in LANGUAGE_METRICS}


def _matthews(hits: Array, support: Array, predicted: Array, total: Array, real: jnp.dtype) -> Array:
    """Gorodkin's R_K; TP·TN − FP·FN per class, because n·Σhits − Σ support·predicted cancels in float32."""
    every = total[..., None]
    false_negative, false_positive = support - hits, predicted - hits
    true_negative = every - support - false_positive
    covariance = (
        hits.astype(real) * true_negative.astype(real) - false_positive.astype(real) * false_negative.astype(real)
    ).sum(-1)
    of_truth = (support.astype(real) * (every - support).astype(real)).sum(-1)
    of_predictions = (predicted.astype(real) * (every - predicted).astype(real)).sum(-1)
    return _ratio(covariance, jnp.sqrt(of_truth) * jnp.sqrt(of_predictions))


def _ratio(top: Array, bottom: Array) -> Array:
    """``top / bottom``, 0 where ``bottom`` is 0."""
    safe = jnp.where(bottom > 0, bottom, 1)
    return jnp.where(bottom > 0, top / safe, 0)
