"""FedProx (Li et al. 2020): FedAvg with a local pull to the global model."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from fedjax_layers.algorithms.composition import with_objective
from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.objectives.proximal import proximal
from fedjax_layers.algorithms.sharing.fedavg import fedavg
from fedjax_layers.clients import Trainer
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm


@factory()
def fedprox(
    trainer: Trainer,
    *,
    mu: Annotated[Traced[float], Ge(0)] = 0.1,
    server_optimizer: ServerOptimizer = None,
    published_self_reference: bool = False,
) -> Algorithm:
    """Add ``mu/2 * ||params - global||^2`` to FedAvg's local loss, with the global model of the round's start.

    Args:
      trainer: how each client trains.
      mu: strength of the pull to the global model. 0.1 is PLayer-FL's setting on every data set. May be traced.
      server_optimizer: as in :func:`fedavg`.
      published_self_reference: repeat an error of PLayer-FL's code before April 2025, in which the pull had no effect.
        It took the model being trained as its own reference, so that term and gradient vanished and FedProx was FedAvg.

    Returns:
      The algorithm.
    """
    objective = proximal(mu=mu, published_self_reference=published_self_reference)
    return with_objective(lambda bound: fedavg(bound, server_optimizer=server_optimizer), objective)(trainer)
