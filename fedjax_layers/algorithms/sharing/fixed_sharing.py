"""Averaging of a fixed set of layers, named or given as a mask; the other layers stay with their client."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.novel import sharing_models, welcome_by_mean_of_layers
from fedjax_layers.algorithms.sharing.round import init_sharing, local_phase, round_info, server_phase
from fedjax_layers.algorithms.sharing.state import SharingState
from fedjax_layers.clients import Trainer
from fedjax_layers.ops.checks import layer_mask
from fedjax_layers.options import unknown_name
from fedjax_layers.types import Algorithm, Array, Cohort, Key, LayerMap, Params, RoundInfo


@factory(objectives=True)
def fixed_sharing(
    trainer: Trainer,
    *,
    shared: tuple[str, ...] | jax.Array | np.ndarray = (),
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Average exactly the layers chosen; every layer is trained every round.

    Args:
      trainer: how each client trains.
      shared: names of the layers that are averaged, or of blocks of layers; separated by commas on the command line. Or
        bool ``[L]``, which may be traced: then clients keep whole models, else the other layers alone. It has to be
        given.
      server_optimizer: as in :func:`fedavg`.

    Returns:
      The algorithm; it offers personal models only, since no one model holds all layers. A client that never took part
      is served the mean of the others' personal layers under the shared ones; with differential privacy, those of the
      common start.

    Raises:
      ValueError: no name, one that is none of the model's layers or blocks (the nearest is suggested), or a mask of
        another length.
    """
    mask = shared_mask(shared, trainer.task.layers)

    def init(key: Key, params: Params) -> SharingState:
        del key
        personal = ~mask if isinstance(mask, np.ndarray) else True
        return init_sharing(trainer, params, personal=personal, server_optimizer=server_optimizer)

    def round_(key: Key, state: SharingState, cohort: Cohort) -> tuple[SharingState, RoundInfo]:
        phase = local_phase(trainer, key, state, cohort, mask)
        state = server_phase(trainer, key, state, phase, mask, server_optimizer)
        return state, round_info(trainer, phase.passed, phase.cohort, mask)

    private = trainer.privacy is not None
    personal = lambda state: sharing_models(trainer.task.layers, state, mask, private=private)  # noqa: E731
    return Algorithm(init, round_, personal, welcome=None if private else welcome_by_mean_of_layers)


def shared_mask(shared: Sequence[str] | Array | np.ndarray, layers: LayerMap) -> Array | np.ndarray:
    """Bool ``[L]`` from names of layers or blocks, or from a mask; of NumPy unless it is traced.

    Raises:
      ValueError: as :func:`fixed_sharing`.
    """
    names = [shared] if isinstance(shared, str) else shared
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        known = shared if isinstance(shared, jax.core.Tracer) else np.asarray(shared)
        return layer_mask(known, layers, "shared")
    if not names:
        raise ValueError(f"shared: expected names of layers, of {', '.join(layers.names)}, got none")
    flags = np.zeros(layers.num_layers, bool)
    block_of = [layers.block_names[block] for block in layers.blocks]
    for name in names:
        if name not in layers.names and name not in layers.block_names:
            raise unknown_name("shared", name, {*layers.names, *layers.block_names})
        flags |= [name in (layer, block) for layer, block in zip(layers.names, block_of, strict=True)]
    return flags
