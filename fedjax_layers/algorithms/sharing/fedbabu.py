"""FedBABU (Oh et al. 2022): train and average all layers but a frozen head, and fine-tune the head at the end."""

from __future__ import annotations

from typing import Annotated, Any

import jax.numpy as jnp
from annotated_types import Ge, Gt

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.sharing.prefix import prefix
from fedjax_layers.algorithms.sharing.round import init_sharing, last_phase, local_phase, round_info, server_phase
from fedjax_layers.algorithms.sharing.state import SharingState
from fedjax_layers.clients import Epochs, LocalOptions, Trainer
from fedjax_layers.options import Mark
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Cohort, Key, Params, RoundInfo


@factory(objectives=True)
def fedbabu(
    trainer: Trainer,
    *,
    head_layers: Annotated[Traced[int], Ge(0), Mark.LAYERS] = 1,
    finish_epochs: Annotated[Epochs, Gt(0)] = 1,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Share all layers but the head, which stays at the common random start until the last fine-tuning.

    Args:
      trainer: how each client trains.
      head_layers: number of layers in the head, counted from the output. The paper's head is the last linear layer;
        PLayer-FL's code took the last two on image data from April 2025 on. May be traced.
      finish_epochs: epochs after the last round in which each client trains its head alone. PLayer-FL's tables have 1.
      server_optimizer: as in :func:`fedavg`.

    Returns:
      The algorithm; ``finish`` gives the personal models.
    """
    num_layers = trainer.task.layers.num_layers
    body = prefix(num_layers - head_layers, num_layers)
    tuner = trainer.phase("finish", epochs=finish_epochs, keep_optimizer=False)

    def init(key: Key, params: Params) -> SharingState:
        del key
        return init_sharing(trainer, params, personal=False, server_optimizer=server_optimizer)

    def round_(key: Key, state: SharingState, cohort: Cohort) -> tuple[SharingState, RoundInfo]:
        phase = local_phase(trainer, key, state, cohort, None, trainable=jnp.asarray(body))
        state = server_phase(trainer, key, state, phase, body, server_optimizer)
        return state, round_info(trainer, phase.passed, phase.cohort, body)

    def finish(key: Key, state: SharingState, cohort: Cohort) -> Any:
        scale = trainer.scale_of(state.round)
        options = LocalOptions(trainable=jnp.logical_not(body), scale=scale)
        return last_phase(tuner, key, cohort, state.server, options)

    return Algorithm(init, round_, global_model=lambda state: state.server, finish=finish)
