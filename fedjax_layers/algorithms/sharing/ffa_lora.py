"""FFA-LoRA (Sun et al. 2024): the A of low-rank adapters stays as it was drawn, the same for all, and B is averaged."""

from __future__ import annotations

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.sharing.adapter_round import Ranks, adapter_sharing
from fedjax_layers.clients import Trainer
from fedjax_layers.types import Algorithm


@factory(objectives=True)
def ffa_lora(trainer: Trainer, *, ranks: Ranks = None, server_optimizer: ServerOptimizer = None) -> Algorithm:
    """Train and average B alone, ``B <- sum_c p_c B_c``, so that the mean of the products is the product of the means.

    Every client has the A of the common start, which is drawn once and never sent. Layers that are trained whole are
    averaged as well.

    Args:
      trainer: how each client trains; its task is one of :func:`fedjax_layers.low_rank`.
      ranks: as in :func:`fedit`.
      server_optimizer: as in :func:`fedavg`.

    Returns:
      The algorithm; it offers the global model, and with ``ranks`` the part of it that each client holds.

    Raises:
      ValueError: a task without adapters, or ranks out of range.

    Source: Sun et al. 2024 (arXiv 2403.12313).
    """
    return adapter_sharing(trainer, "ffa_lora", frozen="A", ranks=ranks, server_optimizer=server_optimizer)
