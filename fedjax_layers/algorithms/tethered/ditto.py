"""Ditto (Li et al. 2021): FedAvg, and for each client a personal model that is pulled to the global one."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt

from fedjax_layers.algorithms.composition import with_objective
from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.objectives.tether import tether
from fedjax_layers.algorithms.sharing.fedavg import fedavg
from fedjax_layers.clients import Epochs, Steps, Trainer
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm


@factory()
def ditto(
    trainer: Trainer,
    *,
    lam: Annotated[Traced[float], Ge(0)] = 0.1,
    personal_epochs: Annotated[Epochs | None, Gt(0)] = None,
    personal_steps: Steps | None = None,
    server_optimizer: ServerOptimizer = None,
    published_personal_mean: bool = False,
) -> Algorithm:
    """Train ``w`` by FedAvg, and each client's model by ``v_c <- v_c - lr * [grad f_c(v_c) + lam * (v_c - w)]``.

    In a round every client of the cohort trains a copy of w, which is averaged, and its own v_c, which never leaves it
    and is pulled to the w that it received. Both use the same batches, as in the authors' code. The ``trained`` scores
    and the loss (without the pull) are of v_c. A client that never took part gets the global model, from which its v_c
    would start.

    Args:
      trainer: how each client trains both of them; kept optimiser states are one for w and one for v_c.
      lam: strength of the pull of the personal model to the global one, per unit of squared distance; 0 is local
        training beside FedAvg. PLayer-FL's tables have 0.1. May be traced.
      personal_epochs: local epochs of the personal model in a round, where they differ from the global model's.
      personal_steps: local steps of the personal model in a round, in place of epochs.
      server_optimizer: of the global model, as in :func:`fedavg`.
      published_personal_mean: repeat an error of PLayer-FL's code, which averages the personal models; the trained
        copies of the global model are dropped.

    Returns:
      The algorithm; it offers personal models and the global one.

    Raises:
      ValueError: a model with batch normalisation; both personal epochs and steps, or one of them below 1.
    """
    objective = tether(
        lam=lam,
        personal_epochs=personal_epochs,
        personal_steps=personal_steps,
        published_personal_mean=published_personal_mean,
    )
    return with_objective(lambda bound: fedavg(bound, server_optimizer=server_optimizer), objective)(trainer)
