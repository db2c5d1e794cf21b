"""LocalAdaptation (Yu et al. 2020): FedAvg, then every client fine-tunes the global model once."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Gt

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.sharing.fedavg import fedavg
from fedjax_layers.algorithms.sharing.round import last_phase
from fedjax_layers.algorithms.sharing.state import SharingState
from fedjax_layers.clients import Epochs, LocalOptions, Trainer
from fedjax_layers.types import Algorithm, Cohort, Key


@factory(objectives=True)
def local_adaptation(
    trainer: Trainer,
    *,
    finish_epochs: Annotated[Epochs, Gt(0)] = 1,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Run FedAvg, then train the whole model ``finish_epochs`` more local epochs on each client, without averaging.

    Args:
      trainer: how each client trains. A kept optimiser state is carried into the fine-tuning.
      finish_epochs: local epochs after the last round. PLayer-FL's tables have 1.
      server_optimizer: as in :func:`fedavg`.

    Returns:
      The algorithm; ``finish`` gives the personal models.
    """
    tuner = trainer.phase("finish", epochs=finish_epochs)

    def finish(key: Key, state: SharingState, cohort: Cohort) -> Any:
        options = LocalOptions(scale=trainer.scale_of(state.round))
        return last_phase(tuner, key, cohort, state.server, options, state.client_opt)

    return fedavg(trainer, server_optimizer=server_optimizer)._replace(finish=finish)
