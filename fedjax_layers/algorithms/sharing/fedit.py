"""FedIT (Zhang et al. 2023): both factors of low-rank adapters are averaged, each by itself."""

from __future__ import annotations

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.sharing.adapter_round import Ranks, adapter_sharing
from fedjax_layers.clients import Trainer
from fedjax_layers.types import Algorithm


@factory(objectives=True)
def fedit(trainer: Trainer, *, ranks: Ranks = None, server_optimizer: ServerOptimizer = None) -> Algorithm:
    """Average the A and the B of all adapters, ``A <- sum_c p_c A_c`` and ``B <- sum_c p_c B_c``: FedAvg on adapters.

    The product of the means is not the mean of the products, which the dense models would have. Layers that are trained
    whole are averaged, too.

    Args:
      trainer: how each client trains; its task is one of :func:`fedjax_layers.low_rank`.
      ranks: the rank that a client holds, one number or one for each client ``[C]``, at most that of the adapters. None
        means all of it. Clients hold the first rows of A and columns of B, as in HetLoRA (Cho et al. 2024), and the
        mean counts the others as 0; where nobody of a round holds them, the server's stay.
      server_optimizer: as in :func:`fedavg`.

    Returns:
      The algorithm; it offers the global model, and with ``ranks`` the part of it that each client holds.

    Raises:
      ValueError: a task without adapters, or ranks out of range.

    Source: Zhang et al. 2023 (arXiv 2305.05644).
    """
    return adapter_sharing(trainer, "fedit", ranks=ranks, server_optimizer=server_optimizer)
