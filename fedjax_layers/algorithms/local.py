"""Local: every client trains alone from the common start."""

from __future__ import annotations

import jax.numpy as jnp

from fedjax_layers.algorithms.fixed_sharing import fixed_sharing
from fedjax_layers.local_training import Trainer
from fedjax_layers.types import Algorithm


def local(trainer: Trainer) -> Algorithm:
    """Nothing is shared: the lower bar that federation must clear for each client.

    Args:
      trainer: how each client trains.

    Returns:
      The algorithm; it offers personal models only, and no byte moves.
    """
    return fixed_sharing(trainer, shared=jnp.zeros(trainer.task.layers.num_layers, bool))
