"""Multi-layer perceptrons."""

from __future__ import annotations

import functools
from typing import Annotated

import flax.linen as nn
from annotated_types import Ge

from fedjax_layers.models.initializers import kaiming_normal
from fedjax_layers.types import Array


class MLP(nn.Module):
    """Dense layers with ReLU on the flattened input, with Kaiming-normal weights and zero biases.

    Attributes:
      num_classes: number of classes.
      hidden: width of each hidden layer.
    """

    num_classes: int
    hidden: Annotated[tuple[int, ...], Ge(1)] = (200, 200)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Compute logits ``[B, num_classes]`` of ``x [B, ...]``."""
        x = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            x = nn.relu(nn.Dense(width, kernel_init=kaiming_normal)(x))
        return nn.Dense(self.num_classes, kernel_init=kaiming_normal)(x)


heart_mlp = functools.partial(MLP, hidden=(50, 20, 20))
"""PLayer-FL's network for Fed-Heart-Disease, 10-50-20-20-5 (arXiv 2502.08829, official code)."""
