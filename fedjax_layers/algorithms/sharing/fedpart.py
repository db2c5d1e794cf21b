"""FedPart (Wang et al. 2024): each round trains and averages one group of layers, from the first to the last."""

from __future__ import annotations

from typing import Annotated, Literal

import jax.numpy as jnp
from annotated_types import Ge

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.sharing.round import init_sharing, local_phase, round_info, server_phase
from fedjax_layers.algorithms.sharing.state import SharingState
from fedjax_layers.clients import Trainer
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Cohort, Key, LayerMap, Params, RoundInfo

Groups = Literal["layer", "block"]


@factory(objectives=True)
def fedpart(
    trainer: Trainer,
    *,
    warmup_rounds: Annotated[Traced[int], Ge(0)] = 5,
    rounds_per_group: Annotated[Traced[int], Ge(1)] = 2,
    full_rounds: Annotated[Traced[int], Ge(0)] = 0,
    groups: Groups = "layer",
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Train one group of layers in a round, on all layers of the server, and average that group alone.

    After warm-up rounds of FedAvg the groups take turns in the order of the forward pass, again and again. Layers that
    are frozen keep every bit, at the clients and at the server, and the running statistics of their norms do too (the
    published code lets these drift). A client's optimiser is fresh in every round, as in the paper; with
    ``keep_optimizer`` its state goes on, and frozen layers' moments follow their gradients though the layers do not
    move. The schedule goes by the number of the round, whoever takes part in it.

    Args:
      trainer: how each client trains.
      warmup_rounds: rounds at the start in which all layers are trained. May be traced. 5 in the published code.
      rounds_per_group: rounds for which a group is trained before the next one is. May be traced. 2 in the published
        code.
      full_rounds: rounds between two cycles over the groups in which all layers are trained. May be traced. The
        published code has none, the paper some.
      groups: what takes a turn: each ``"layer"`` of the layer map, as in the paper, or each ``"block"`` of layers.
      server_optimizer: as in :func:`fedavg`, of the group's layers.

    Returns:
      The algorithm; it offers the global model. Every round reports ``trained``, bool ``[L]``.

    Source: Wang et al. 2024 (arXiv 2410.11559), and its published schedule.
    """
    layers = trainer.task.layers

    def init(key: Key, params: Params) -> SharingState:
        del key
        return init_sharing(trainer, params, personal=False, server_optimizer=server_optimizer)

    def round_(key: Key, state: SharingState, cohort: Cohort) -> tuple[SharingState, RoundInfo]:
        trained = layers_of_round(state.round, layers, groups, warmup_rounds, rounds_per_group, full_rounds)
        phase = local_phase(trainer, key, state, cohort, None, trainable=trained)
        state = server_phase(trainer, key, state, phase, trained, server_optimizer)
        return state, round_info(trainer, phase.passed, phase.cohort, trained, trained=trained)

    return Algorithm(init, round_, global_model=lambda state: state.server)


def layers_of_round(
    round_number: Array,
    layers: LayerMap,
    groups: Groups,
    warmup_rounds: int | Array,
    rounds_per_group: int | Array,
    full_rounds: int | Array,
) -> Array:
    """Mark the layers that are trained in a round, bool ``[L]``; the first round is number 0."""
    group_of = jnp.arange(layers.num_layers) if groups == "layer" else jnp.asarray(layers.blocks)
    turns = rounds_per_group * (layers.num_layers if groups == "layer" else layers.num_blocks)
    place = (round_number - warmup_rounds) % (turns + full_rounds)
    everything = (round_number < warmup_rounds) | (place >= turns)
    return everything | (group_of == place // rounds_per_group)
