"""A classifier of texts by the mean of their word vectors."""

from __future__ import annotations

from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from annotated_types import Ge

from fedjax_layers.types import Array


class EmbeddingBag(nn.Module):
    """The mean of the tokens' vectors, then a dense layer: fastText's classifier without n-grams (Joulin et al. 2017).

    With ``width=None`` it is logistic regression on the shares of the words in a text: one layer, and convex.

    Attributes:
      num_classes: number of classes.
      num_embeddings: V, the number of tokens, whose ids are 0 to V - 1.
      width: length of a token's vector; ``None`` gives each token a logit per class, and there is no dense layer.
      padding: the id that fills texts up; it does not enter the mean.
    """

    num_classes: int
    num_embeddings: Annotated[int, Ge(1)]
    width: Annotated[int | None, Ge(1)] = 16
    padding: Annotated[int, Ge(0)] = 0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Compute logits ``[B, num_classes]`` of token ids ``x [B, S]``; padding alone gives the bias."""
        real = (x != self.padding)[..., None]
        share = real / jnp.maximum(real.sum(1, keepdims=True), 1)
        if self.width is None:
            zeros, shape = nn.initializers.zeros_init(), (self.num_embeddings, self.num_classes)
            table = self.param("embedding", zeros, shape, jnp.float32)
            bias = self.param("bias", zeros, shape[1:], jnp.float32)
            return (table[x] * share.astype(table.dtype)).sum(1) + bias[None]
        vectors = nn.Embed(self.num_embeddings, self.width, embedding_init=nn.initializers.normal(1.0))(x)
        return nn.Dense(self.num_classes)((vectors * share.astype(vectors.dtype)).sum(1))
