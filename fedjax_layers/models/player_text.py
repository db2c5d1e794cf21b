"""PLayer-FL's network for texts, in four layers: embeddings, attention, two dense layers, classifier."""

from __future__ import annotations

from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from annotated_types import Ge

from fedjax_layers.models.initializers import kaiming_normal
from fedjax_layers.types import Array, Key


class TextEmbedding(nn.Module):
    """The sum of a vector for the token and a vector for its place.

    Attributes:
      num_embeddings: V, the number of tokens.
      width: D, the length of the vectors.
    """

    num_embeddings: Annotated[int, Ge(1)]
    width: Annotated[int, Ge(1)]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map token ids ``x [B, S]`` to ``[B, S, D]``."""
        tokens = self.param("tokens", _unit_rows, (self.num_embeddings, self.width), jnp.float32)
        return tokens[x] + self.param("positions", kaiming_normal, (x.shape[-1], self.width), jnp.float32)


class SelfAttention(nn.Module):
    """Self-attention with one head and a shortcut; queries, keys and values have no biases."""

    @nn.compact
    def __call__(self, x: Array, real: Array) -> Array:
        """Map ``x [B, S, D]`` to ``[B, S, D]``; ``real [B, S]`` bool marks the places that may be attended to."""
        width = x.shape[-1]
        query, key, value, out = (
            self.param(name, kaiming_normal, (width, width), jnp.float32) for name in ("query", "key", "value", "out")
        )
        bias = self.param("bias", nn.initializers.zeros_init(), (width,), jnp.float32)
        scores = jnp.einsum("btd,bsd->bts", x @ query, x @ key) * width**-0.5
        lowest = jnp.finfo(scores.dtype).min  # finite, so that a text of padding alone attends to all places alike
        attended = nn.softmax(jnp.where(real[:, None, :], scores, lowest)) @ (x @ value)
        return x + attended @ out + bias


class DensePair(nn.Module):
    """Two dense layers with ReLU between them, and a shortcut around both.

    Attributes:
      hidden: output width of the first layer.
    """

    hidden: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``x [..., D]`` to ``[..., D]``."""
        width, zeros = x.shape[-1], nn.initializers.zeros_init()
        inner = self.param("inner", kaiming_normal, (width, self.hidden), jnp.float32)
        inner_bias = self.param("inner_bias", zeros, (self.hidden,), jnp.float32)
        outer = self.param("outer", kaiming_normal, (self.hidden, width), jnp.float32)
        return x + nn.relu(x @ inner + inner_bias) @ outer + self.param("outer_bias", zeros, (width,), jnp.float32)


class PlayerText(nn.Module):
    """Embeddings, attention, dense pair, and a classifier of the first place: four layers without norms.

    The published network starts its token table from BERT's; here its rows are random, of length 1.

    Attributes:
      num_classes: number of classes.
      num_embeddings: V, the number of tokens, whose ids are 0 to V - 1.
      padding: the id that fills texts up and is never attended to.
      width: D, the length of the vectors.
      hidden: width inside the dense pair; ``None`` means 4 D.

    Source: PLayer-FL (arXiv 2502.08829), the models of Sent-140 and MIMIC-III.
    """

    num_classes: int
    num_embeddings: Annotated[int, Ge(1)]
    padding: Annotated[int, Ge(0)] = 0
    width: Annotated[int, Ge(1)] = 768
    hidden: Annotated[int | None, Ge(1)] = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Compute logits ``[B, num_classes]`` of token ids ``x [B, S]``."""
        y = TextEmbedding(self.num_embeddings, self.width, name="embedding")(x)
        y = SelfAttention(name="attention")(y, x != self.padding)
        y = DensePair(self.hidden or 4 * self.width, name="dense")(y)
        return nn.Dense(self.num_classes, kernel_init=kaiming_normal, name="classifier")(y[:, 0])


def _unit_rows(key: Key, shape: tuple[int, int], dtype: jnp.dtype = jnp.float32) -> Array:
    rows = nn.initializers.normal(1.0)(key, shape, dtype)
    return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)
