"""FedAvg (McMahan et al. 2017) with any server optimiser (Reddi et al. 2021: FedAdam, FedYogi, ...)."""

from __future__ import annotations

import numpy as np

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.sharing.round import init_sharing, local_phase, round_info, server_phase
from fedjax_layers.algorithms.sharing.state import SharingState
from fedjax_layers.clients import Trainer
from fedjax_layers.types import Algorithm, Cohort, Key, Params, RoundInfo


@factory(objectives=True)
def fedavg(trainer: Trainer, *, server_optimizer: ServerOptimizer = None) -> Algorithm:
    """Average all layers over the cohort, weighted by ``cohort.weight``.

    Args:
      trainer: how each client trains.
      server_optimizer: applied to the pseudo-gradient ``server - mean``; ``None`` takes the mean itself. FedAdam is
        ``optax.adam(lr, eps=tau)``, FedYogi ``optax.yogi(lr, eps=tau)``, FedAvgM ``optax.sgd(lr, momentum=beta)``.

    Returns:
      The algorithm; its state keeps no personal model.
    """
    everything = np.ones(trainer.task.layers.num_layers, bool)

    def init(key: Key, params: Params) -> SharingState:
        del key
        return init_sharing(trainer, params, personal=False, server_optimizer=server_optimizer)

    def round_(key: Key, state: SharingState, cohort: Cohort) -> tuple[SharingState, RoundInfo]:
        phase = local_phase(trainer, key, state, cohort, None)
        state = server_phase(trainer, key, state, phase, everything, server_optimizer)
        return state, round_info(trainer, phase.passed, phase.cohort, everything)

    return Algorithm(init, round_, global_model=lambda state: state.server)
