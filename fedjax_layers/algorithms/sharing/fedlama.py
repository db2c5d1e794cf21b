"""FedLAMA (Lee et al. 2021): layers on which the clients hardly differ are averaged in fewer rounds than the others."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge
from flax import struct

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.report import LayerRecord, Report
from fedjax_layers.algorithms.sharing.round import (
    init_sharing,
    kept_part,
    round_info,
    server_phase,
    sharing_pass,
    start_from,
    summed_part,
)
from fedjax_layers.algorithms.sharing.state import Own, Phase, SharingState
from fedjax_layers.clients import Client, ClientVisit, LocalOptions, Trainer, observe_store, train
from fedjax_layers.ops import Term, layer_sums
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Observer, Params, RoundInfo, per_client

REPORT = Report(
    layers=(
        LayerRecord("unit_discrepancy", "unit discrepancy", "How far the clients' layers are from their mean"),
        LayerRecord("relaxed", "averaged seldom", "Whether the layer waits for the end of the cycle (1) or not (0)"),
    )
)


@struct.dataclass
class FedLamaState:
    """State between rounds.

    Attributes:
      sharing: the server's model, and the models that clients have trained.
      turn: ``[]`` int32, the number of rounds in which somebody took part.
      relaxed: bool ``[L]``, the layers that are averaged in the last round of the cycle alone.
      cycle_of: ``[C]`` int32, the cycle in which each client last took part; -1 before.
    """

    sharing: SharingState
    turn: Array
    relaxed: Array
    cycle_of: Array = per_client()


@factory(report=REPORT)
def fedlama(
    trainer: Trainer,
    *,
    interval_factor: Annotated[Traced[int], Ge(1)] = 2,
    published_crossing: bool = False,
    published_overwrite: bool = False,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Average each layer every round, or every ``interval_factor`` rounds where the clients hardly differ on it.

    The paper's base interval is a number of local steps; here it is one round, so that the solver's work sets it. A
    cycle has ``interval_factor`` rounds. After its last one, in which all layers are averaged, the intervals of the
    next cycle follow from the unit discrepancies (:func:`relaxed_layers`). Until then a client keeps its own values of
    the layers that were not averaged, and trains them on.

    The paper keeps the same clients for a whole cycle. Here every round may have others, and this is the choice: a
    client that took part earlier in the cycle goes on from its own values of the relaxed layers, whichever rounds it
    missed; any other starts from the server's model; and at the end of the cycle the clients of the last round are
    averaged. What others have trained in relaxed layers is lost. With all clients in every round it is the paper's.
    Rounds in which nobody takes part do not count, and one client alone leaves the intervals as they are.

    Args:
      trainer: how each client trains; its work in a round is the paper's base interval.
      interval_factor: rounds after which a relaxed layer is averaged, the paper's phi. May be traced. 1 is FedAvg; 2
        in the paper, which also has 4.
      published_crossing: relax the layer at which the two curves cross as well, as the authors' code does.
      published_overwrite: let clients start every round from the whole model of the server, so that what they have
        trained in layers that were not averaged is lost, as in PLayer-FL's comparison.
      server_optimizer: as in :func:`fedavg`, of the layers that are averaged in the round.

    Returns:
      The algorithm; it offers the global model. Every round reports ``unit_discrepancy`` ``[L]``, NaN for layers that
      were not averaged, and ``relaxed``, bool ``[L]``.

    Source: Lee et al. 2021 (arXiv 2110.10302), Algorithms 1 and 2.
    """
    layers = trainer.task.layers
    factor = jnp.asarray(interval_factor, jnp.int32)

    def init(key: Key, params: Params) -> FedLamaState:
        del key
        sharing = init_sharing(trainer, params, personal=True, server_optimizer=server_optimizer)
        never = jnp.full(trainer.num_clients, -1, jnp.int32)
        return FedLamaState(sharing, jnp.int32(0), jnp.zeros(layers.num_layers, bool), never)

    def round_(key: Key, state: FedLamaState, cohort: Cohort) -> tuple[FedLamaState, RoundInfo]:
        old = state.sharing
        cycle, ends = state.turn // factor, state.turn % factor == factor - 1
        due = ends | ~state.relaxed
        options = LocalOptions(scale=trainer.scale_of(old.round))

        def visit(client: Client, own: Own) -> ClientVisit:
            fresh = jnp.ones_like(due) if published_overwrite else ~state.relaxed | (own.extra != cycle)
            params = start_from(layers, client.shared, own.model, fresh)
            result = train(trainer, key, client, params, opt_state=own.opt_state, options=options)
            summed = summed_part(trainer, result.sent, client.shared, due)
            row = Own(model=kept_part(result.params, own.model), opt_state=result.opt_state, extra=cycle)
            return ClientVisit(result.params, result.loss, Term(summed, client.share), row, fresh)

        phase = sharing_pass(trainer, key, old, cohort, visit, extra=state.cycle_of)
        heard = phase.cohort.weight > 0
        interval = jnp.where(state.relaxed, factor, 1)
        found = jnp.where(due, unit_discrepancy(trainer, phase, interval), jnp.nan)
        next_ = relaxed_layers(found, np.array(layers.sizes), published_crossing=published_crossing)
        relaxed = jnp.where(ends & (heard.sum() > 1), next_, state.relaxed)  # one client differs from nobody
        sharing = server_phase(trainer, key, old, phase, due, server_optimizer)
        info = round_info(trainer, phase.passed, phase.cohort, due, unit_discrepancy=found, relaxed=state.relaxed)
        info = dataclasses.replace(info, received=(heard[:, None] & phase.passed.out).sum(0, dtype=jnp.int32))
        turn = state.turn + heard.any().astype(jnp.int32)
        return FedLamaState(sharing, turn, relaxed, phase.passed.store.extra), info

    return Algorithm(init, round_, global_model=lambda state: state.sharing.server)


def unit_discrepancy(trainer: Trainer, phase: Phase, interval: Array) -> Array:
    """Compute how far the clients' trained layers are from their mean, ``[L]``.

    It is the mean over clients, by their weights, of the squared distance, divided by the layer's size and by
    ``interval`` ``[L]``, the rounds since the layer was averaged. A second look at the clients' rows is exact where
    the difference of two sums over one pass would cancel. Of a bad client it sees what that client has trained.
    """
    layers = trainer.task.layers

    def distances(params: Params, row: None, mean: Params) -> Array:
        del row
        return layer_sums(jax.tree.map(lambda x, u: jnp.square(x - u), params, mean), layers)

    cohort = dataclasses.replace(phase.cohort, observer=Observer(distances, data=phase.mean))
    squares = observe_store(trainer.axis, cohort, phase.passed.store.model)
    weight = cohort.weight[:, None].astype(float)
    share = weight / jnp.where(weight.sum() > 0, weight.sum(), 1)
    mean = jnp.where(share > 0, share * squares, 0).sum(0)
    return mean / (interval * np.array(layers.sizes)).astype(mean.dtype)


def relaxed_layers(discrepancy: Array, sizes: np.ndarray, *, published_crossing: bool = False) -> Array:
    """Choose the layers that are averaged once in a cycle, bool ``[L]``.

    Layers are taken by rising unit discrepancy, the first one first among equals. After each, ``delta`` is the share of
    the whole discrepancy in the layers taken, and ``lambda`` their share of the parameters. The layers before the first
    with ``delta > 1 - lambda`` are relaxed.

    Args:
      discrepancy: unit discrepancies ``[L]``.
      sizes: ``[L]``, the number of parameters of each layer.
      published_crossing: relax the first such layer, too.
    """
    order = jnp.argsort(discrepancy, stable=True)
    taken = jnp.cumsum((discrepancy * sizes)[order])
    delta = taken / jnp.where(taken[-1] > 0, taken[-1], 1)
    left = jnp.maximum(1 - jnp.cumsum(jnp.asarray(sizes / sizes.sum(), delta.dtype)[order]), 0)
    crossed = delta > left
    if published_crossing:
        crossed = jnp.concatenate([jnp.zeros(1, bool), crossed[:-1]])
    return jnp.zeros(len(sizes), bool).at[order].set(~crossed)
