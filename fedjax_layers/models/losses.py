"""Loss functions that give one loss per example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.types import Array


def softmax_losses(outputs: Array, labels: Array) -> Array:
    """Compute the cross-entropy of each example.

    Args:
      outputs: logits ``[B, ..., classes]``.
      labels: integers ``[B, ...]`` in ``0 .. classes - 1``; in a sequence, negative where nothing is to be predicted.

    Returns:
      ``[B]`` nats; for a sequence, the mean over the places that have a label, 0 without any.
    """
    return _per_example(_cross_entropy(jax.nn.log_softmax(outputs), labels), labels)


def count_labels(labels: Array) -> Array:
    """Count the places of each sequence that have a label: ``[B, ...]`` -> ``[B]`` int32."""
    return (labels >= 0).sum(axis=tuple(range(1, labels.ndim)), dtype=jnp.int32)


def focal_losses(gamma: float, alpha: Sequence[float] | None = None) -> Callable[[Array, Array], Array]:
    """Make PLayer-FL's multiclass focal loss (arXiv 2502.08829, official code).

    The loss is ``10 · mean_k a_k (1 - q_k)^gamma · CE``, where CE is cross-entropy and ``q_k`` is the predicted
    probability p of class k if k is the label, else ``1 - p``; ``a_k`` is likewise ``alpha_k`` or ``1 - alpha_k``.

    Args:
      gamma: how much less an example counts that is already predicted well; 0, or at least 1 (in between, the gradient
        is infinite where a prediction is certain).
      alpha: ``[classes]``, weight of each class; ``None`` weights all terms 1.

    Returns:
      ``(outputs [B, ..., classes], labels [B, ...]) -> [B]``.

    Raises:
      ValueError: ``gamma`` or an entry of ``alpha`` is out of range.
    """
    if not (gamma == 0 or gamma >= 1):
        raise ValueError(f"gamma: expected 0 or at least 1, got {gamma}")
    if alpha is not None and not all(0 <= a <= 1 for a in alpha):
        raise ValueError(f"alpha: expected numbers in [0, 1], got {tuple(alpha)}")

    def losses(outputs: Array, labels: Array) -> Array:
        log_p = jax.nn.log_softmax(outputs)
        true = _one_hot(labels, outputs.shape[-1])
        missing = jnp.where(true, -jnp.expm1(log_p), jnp.exp(log_p))  # 1 - q, without cancellation
        terms = missing**gamma
        if alpha is not None:
            a = np.asarray(alpha, outputs.dtype)
            terms = terms * jnp.where(true, a, 1 - a)
        return _per_example(10 * terms.mean(-1) * _cross_entropy(log_p, labels), labels)

    return losses


def target_losses(kind: Literal["squared", "absolute", "huber"], scale: float = 1.0) -> Callable[[Array, Array], Array]:
    """Make the loss of a regression on errors in units of ``scale``.

    Args:
      kind: ``"squared"`` error, ``"absolute"``, or ``"huber"``: half the square up to one ``scale``, linear beyond
        (Huber 1964).
      scale: the unit of errors, positive.

    Returns:
      ``(outputs [B, 1] or [B, D], labels [B] or [B, D]) -> [B]``, the mean over an example's targets.

    Raises:
      ValueError: the kind is unknown.
    """
    if kind not in _ERRORS:
        raise ValueError(f"loss: expected one of {', '.join(_ERRORS)} for a regression, or a function, got {kind!r}")

    def losses(outputs: Array, labels: Array) -> Array:
        targets = labels.reshape(labels.shape[0], -1).astype(outputs.dtype)
        return _ERRORS[kind]((outputs.reshape(targets.shape) - targets) / scale).mean(1)

    return losses


def _huber(errors: Array) -> Array:
    size = jnp.abs(errors)
    return jnp.where(size <= 1, errors**2 / 2, size - 0.5)


_ERRORS: dict[str, Callable[[Array], Array]] = {"squared": jnp.square, "absolute": jnp.abs, "huber": _huber}


def cox_losses(outputs: Array, labels: Array) -> Array:
    """Compute the negative log partial likelihood of each event among all rows, with Breslow's (1974) rule for ties.

    Args:
      outputs: log hazards ``[B, 1]``.
      labels: ``[B, 2]``, time, and 1 for an event; a row of negative time is padding.

    Returns:
      ``[B]``, ``log Σ exp(output of those alive at the time) - output`` for an event, 0 for a censored example.

    Source: Cox 1972.
    """
    hazard, time, event = outputs.reshape(-1), labels[:, 0], labels[:, 1] > 0
    order = jnp.argsort(-time)
    longest_first = -time[order]
    until = jax.lax.cumlogsumexp(hazard[order])
    at_risk = until[jnp.searchsorted(longest_first, -time, side="right") - 1]  # includes all rows of the same time
    return jnp.where(event, at_risk - hazard, 0)


def count_events(labels: Array) -> Array:
    """Count the events of each example ``[B, 2]``: ``[B]`` int32, 1 for an event, else 0."""
    return (labels[:, 1] > 0).astype(jnp.int32)


def _cross_entropy(log_p: Array, labels: Array) -> Array:
    # A sum over a comparison in place of a gather, whose gradient would be a scatter.
    return -jnp.where(_one_hot(labels, log_p.shape[-1]), log_p, 0).sum(-1)


def _one_hot(labels: Array, num_classes: int) -> Array:
    return labels[..., None] == jnp.arange(num_classes, dtype=labels.dtype).reshape((1,) * labels.ndim + (-1,))


def _per_example(values: Array, labels: Array) -> Array:
    if values.ndim == 1:
        return values
    places = jnp.maximum(count_labels(labels), 1).astype(values.dtype)
    return jnp.where(labels >= 0, values, 0).sum(axis=tuple(range(1, values.ndim))) / places
