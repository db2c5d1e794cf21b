"""LG-FedAvg (Liang et al. 2020): each client keeps its own first layers, and the layers above are averaged."""

from __future__ import annotations

import jax

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.sharing.fixed_sharing import fixed_sharing
from fedjax_layers.algorithms.sharing.prefix import prefix
from fedjax_layers.clients import Trainer
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm


@factory(objectives=True)
def lg_fedavg(
    trainer: Trainer,
    *,
    local_layers: Traced[int] = 1,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Share all layers but the first ``local_layers``, the opposite of FedPer.

    Every step trains both parts on the gradient of the client's loss. This is the supervised case of the paper, whose
    local representations may have losses of their own. The authors' code starts from a model that FedAvg has trained
    and averages without weights; here the run decides on both.

    Args:
      trainer: how each client trains.
      local_layers: number of layers, counted from the input, that each client keeps to itself. The authors' code counts
        the shared layers from the output instead. May be traced.
      server_optimizer: of the shared layers, as in :func:`fedavg`.

    Returns:
      The algorithm; it offers personal models only.

    Raises:
      ValueError: ``local_layers`` outside 0..L.

    Source: Liang et al. 2020, Algorithm 1.
    """
    num_layers = trainer.task.layers.num_layers
    if not isinstance(local_layers, jax.core.Tracer) and not 0 <= local_layers <= num_layers:
        raise ValueError(f"local_layers: expected 0 to {num_layers}, got {local_layers}")
    shared = ~prefix(local_layers, num_layers)
    return fixed_sharing(trainer, shared=shared, server_optimizer=server_optimizer)
