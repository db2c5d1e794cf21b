"""Scores of a language model, by predicted tokens."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from fedjax_layers.ops.metrics.ratio import ratio
from fedjax_layers.types import Array


@dataclasses.dataclass(frozen=True)
class TokenScorer:
    """Scores of a vocabulary, whose confusion matrix would not fit: counts of places and of right ones."""

    joint = False
    keeps_rows = False
    adds_up = True
    names = ("accuracy", "loss", "perplexity")

    def tally(self, outputs: Array, labels: Array, mask: Array) -> Array:
        """Right places and places ``[2]`` int32, of those with a label."""
        there = mask.reshape(mask.shape + (1,) * (labels.ndim - 1)) & (labels >= 0)
        right = there & (jnp.argmax(outputs, -1) == labels)
        return jnp.stack([right.sum(dtype=jnp.int32), there.sum(dtype=jnp.int32)])

    def merge(self, tallies: Array) -> Array:
        """``[n, 2]`` -> ``[2]``."""
        return tallies.sum(0, dtype=tallies.dtype)

    def scores(self, tally: Array, loss: Array) -> dict[str, Array]:
        """Those of :func:`scores_from_hits`."""
        return scores_from_hits(tally[..., 0], tally[..., 1], loss)

    def whole(self, outputs: Array, labels: Array, mask: Array) -> dict[str, Array]:
        """None: the outputs of all places would not fit."""
        del outputs, labels, mask
        return {}


@jax.jit
def scores_from_hits(hits: Array, total: Array, loss: Array) -> dict[str, Array]:
    """Compute accuracy, loss and perplexity.

    Perplexity is ``exp(total negative log-likelihood / predicted tokens)`` (note on FedTLU, section 3).

    Args:
      hits: ``[...]`` predicted tokens that are right.
      total: ``[...]`` predicted tokens.
      loss: ``[...]`` mean of their negative log-likelihoods, nats; NaN where there is none.

    Returns:
      By name, ``[...]`` floats, NaN where there is no token.
    """
    real = jnp.result_type(float)
    accuracy = jnp.where(total > 0, ratio(hits.astype(real), total.astype(real)), jnp.nan)
    return {"accuracy": accuracy, "loss": loss, "perplexity": jnp.exp(loss)}
