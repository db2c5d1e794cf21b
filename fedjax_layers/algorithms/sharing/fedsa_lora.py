"""FedSA-LoRA (Guo et al. 2025): the A of low-rank adapters is averaged, and each client keeps a B of its own."""

from __future__ import annotations

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.sharing.adapter_round import Ranks, adapter_sharing
from fedjax_layers.clients import Trainer
from fedjax_layers.types import Algorithm


@factory(objectives=True)
def fedsa_lora(trainer: Trainer, *, ranks: Ranks = None, server_optimizer: ServerOptimizer = None) -> Algorithm:
    """Train both factors, average ``A <- sum_c p_c A_c``, and keep each ``B_c`` with its client.

    A client is served the server's A with its own B, so that an absent client has a newer A beside an older B. Clients
    are weighted as the run says; the paper weights them equally. Layers that are trained whole are averaged, on which
    the paper is silent.

    Args:
      trainer: how each client trains; its task is one of :func:`fedjax_layers.low_rank`.
      ranks: as in :func:`fedit`.
      server_optimizer: as in :func:`fedavg`.

    Returns:
      The algorithm; it offers personal models only. A client that never took part has B = 0, which is the base: the
      B of others fits their examples.

    Raises:
      ValueError: a task without adapters, or ranks out of range.

    Source: Guo et al. 2025 (arXiv 2410.01463).
    """
    return adapter_sharing(trainer, "fedsa_lora", local="B", ranks=ranks, server_optimizer=server_optimizer)
