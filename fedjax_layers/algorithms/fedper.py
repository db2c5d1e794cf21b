"""FedPer (Arivazhagan et al. 2019): base layers are shared, the last ones are personal."""

from __future__ import annotations

import jax
import optax

from fedjax_layers.algorithms.sharing import (
    SharingState,
    init_sharing,
    local_phase,
    round_info,
    served_models,
    server_phase,
)
from fedjax_layers.local_training import Trainer
from fedjax_layers.ops import prefix_mask
from fedjax_layers.ops.checks import layer_mask
from fedjax_layers.types import Algorithm, Cohort, Key, Models, Params, RoundInfo


def fedper(
    trainer: Trainer,
    *,
    personal_layers: int | jax.Array = 1,
    server_optimizer: optax.GradientTransformation | None = None,
) -> Algorithm:
    """Share all layers but the last ``personal_layers``; every layer is trained every round.

    Args:
      trainer: how each client trains.
      personal_layers: layers kept by the client, counted from the output; may be traced.
      server_optimizer: as in :func:`fedavg`.

    Returns:
      The algorithm.
    """
    num_layers = trainer.task.layers.num_layers
    return fixed_sharing(trainer, prefix_mask(num_layers - personal_layers, num_layers), server_optimizer)


def fixed_sharing(
    trainer: Trainer, shared: jax.Array, server_optimizer: optax.GradientTransformation | None = None
) -> Algorithm:
    """Share exactly the layers of a given mask.

    Args:
      trainer: how each client trains.
      shared: bool ``[L]``; may be traced.
      server_optimizer: as in :func:`fedavg`.

    Returns:
      The algorithm; it offers personal models only, since no one model holds all layers.

    Raises:
      ValueError: a mask of another length.
    """
    shared = layer_mask(shared, trainer.task.layers, "shared")

    def init(key: Key, params: Params) -> SharingState:
        del key
        return init_sharing(trainer, params, personal=True, server_optimizer=server_optimizer)

    def round_(key: Key, state: SharingState, cohort: Cohort) -> tuple[SharingState, RoundInfo]:
        result = local_phase(trainer, key, state, cohort, shared)
        state = server_phase(trainer, state, cohort, result, shared, server_optimizer)
        return state, round_info(trainer, result, cohort, shared)

    def models(state: SharingState) -> Models:
        return Models(personal=served_models(trainer, state, shared))

    return Algorithm(init, round_, models)
