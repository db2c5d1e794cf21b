"""Scores of a language model, computed over its predicted tokens."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from fedjax_layers.ops.metrics.ratio import ratio
from fedjax_layers.types import Array


@dataclasses.dataclass(frozen=True)
class TokenScorer:
    """The scorer of a language model. It counts tokens and right predictions; a confusion matrix would not fit."""

    joint = False
    keeps_rows = False
    adds_up = True
    names = ("accuracy", "loss", "perplexity")

    def tally(self, outputs: Array, labels: Array, mask: Array) -> Array:
        """Count right predictions and all predictions among the places with a label, ``[2]`` int32."""
        there = mask.reshape(mask.shape + (1,) * (labels.ndim - 1)) & (labels >= 0)
        right = there & (jnp.argmax(outputs, -1) == labels)
        return jnp.stack([right.sum(dtype=jnp.int32), there.sum(dtype=jnp.int32)])

    def merge(self, tallies: Array) -> Array:
        """Sum counts ``[n, 2]`` to ``[2]``."""
        return tallies.sum(0, dtype=tallies.dtype)

    def scores(self, tally: Array, loss: Array) -> dict[str, Array]:
        """Return the scores of :func:`scores_from_hits`."""
        return scores_from_hits(tally[..., 0], tally[..., 1], loss)

    def whole(self, outputs: Array, labels: Array, mask: Array) -> dict[str, Array]:
        """Return no scores: the outputs at all places would not fit in memory."""
        del outputs, labels, mask
        return {}


@jax.jit
def scores_from_hits(hits: Array, total: Array, loss: Array) -> dict[str, Array]:
    """Compute accuracy, loss and perplexity.

    Perplexity is ``exp(total negative log-likelihood / predicted tokens)``.

    Args:
      hits: ``[...]``, the number of right predictions.
      total: ``[...]``, the number of predicted tokens.
      loss: ``[...]``, the mean negative log-likelihood per token, in nats; NaN where there is no token.

    Returns:
      Scores by name, ``[...]`` floats, NaN where there is no token.
    """
    real = jnp.result_type(float)
    accuracy = jnp.where(total > 0, ratio(hits.astype(real), total.astype(real)), jnp.nan)
    return {"accuracy": accuracy, "loss": loss, "perplexity": jnp.exp(loss)}
