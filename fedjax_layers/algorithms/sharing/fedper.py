"""FedPer (Arivazhagan et al. 2019): base layers are shared, the last ones are personal."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.sharing.fixed_sharing import fixed_sharing
from fedjax_layers.algorithms.sharing.prefix import prefix
from fedjax_layers.clients import Trainer
from fedjax_layers.options import Mark
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm


@factory(objectives=True)
def fedper(
    trainer: Trainer,
    *,
    personal_layers: Annotated[Traced[int], Ge(0), Mark.LAYERS] = 1,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Share all layers but the last ``personal_layers``; every layer is trained every round.

    Args:
      trainer: how each client trains.
      personal_layers: number of layers, counted from the output, that each client keeps to itself. May be traced, where
        clients then keep whole models.
      server_optimizer: as in :func:`fedavg`.

    Returns:
      The algorithm.
    """
    num_layers = trainer.task.layers.num_layers
    shared = prefix(num_layers - personal_layers, num_layers)
    return fixed_sharing(trainer, shared=shared, server_optimizer=server_optimizer)
