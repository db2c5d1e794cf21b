"""Losses per example."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.types import Array


def softmax_losses(outputs: Array, labels: Array) -> Array:
    """Cross-entropy of each example.

    Args:
      outputs: logits ``[B, ..., classes]``.
      labels: integers ``[B, ...]`` in ``0 .. classes - 1``; of a sequence, a negative one where nothing is predicted.

    Returns:
      ``[B]`` nats; of a sequence the mean over the places that have a label, 0 without any.
    """
    return _per_example(_cross_entropy(jax.nn.log_softmax(outputs), labels), labels)


def count_labels(labels: Array) -> Array:
    """How many places of each sequence have a label: ``[B, ...]`` -> ``[B]`` int32."""
    return (labels >= 0).sum(axis=tuple(range(1, labels.ndim)), dtype=jnp.int32)


def focal_losses(gamma: float, alpha: Sequence[float] | None = None) -> Callable[[Array, Array], Array]:
    """PLayer-FL's multiclass focal loss (arXiv 2502.08829, official code).

    ``10 · mean_k a_k (1 - q_k)^gamma · CE`` with ``q_k`` the predicted probability of class k where k is the
    label and one minus it elsewhere, ``a_k`` likewise ``alpha_k`` or ``1 - alpha_k``; CE is cross-entropy.

    Args:
      gamma: how much less an example counts that is already predicted well; 0, or at least 1 (between them
        the gradient is infinite where a prediction is certain).
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


def _cross_entropy(log_p: Array, labels: Array) -> Array:
    # A sum over a comparison, not a gather: the gradient of a gather is a scatter.
    return -jnp.where(_one_hot(labels, log_p.shape[-1]), log_p, 0).sum(-1)


def _one_hot(labels: Array, num_classes: int) -> Array:
    return labels[..., None] == jnp.arange(num_classes, dtype=labels.dtype).reshape((1,) * labels.ndim + (-1,))


def _per_example(values: Array, labels: Array) -> Array:
    if values.ndim == 1:
        return values
    places = jnp.maximum(count_labels(labels), 1).astype(values.dtype)
    return jnp.where(labels >= 0, values, 0).sum(axis=tuple(range(1, values.ndim))) / places
