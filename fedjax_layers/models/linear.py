"""Logistic regression."""

from __future__ import annotations

import flax.linen as nn

from fedjax_layers.types import Array


class LogisticRegression(nn.Module):
    """One linear layer on the flattened input; Flax's default initial weights (LeCun normal), zero bias.

    Attributes:
      num_classes: number of classes.
    """

    num_classes: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """``x [B, ...]`` -> logits ``[B, num_classes]``."""
        return nn.Dense(self.num_classes)(x.reshape(x.shape[0], -1))
