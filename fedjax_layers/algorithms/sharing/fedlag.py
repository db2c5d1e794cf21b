"""FedLAG (Nguyen et al. 2024): layers in which the clients' updates oppose each other become personal."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Le
from flax import struct

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.novel import welcome_by_server, within_sharing
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
from fedjax_layers.algorithms.sharing.state import Own, SharingState
from fedjax_layers.clients import Client, ClientVisit, LocalOptions, Trainer, train
from fedjax_layers.ops import Term, top_k_mask
from fedjax_layers.ops.layer_metrics.conflict import conflicting_pairs
from fedjax_layers.options import Mark
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Params, Personal, RoundInfo, RoundMemory

REPORT = Report(
    layers=(
        LayerRecord("conflicts", "pairs in conflict", "Pairs of clients whose updates of the layer oppose each other"),
        LayerRecord("personal", "layer personal", "Whether the layer stays with its client (1) or is averaged (0)"),
    )
)


@struct.dataclass
class FedLagState:
    """State between rounds.

    Attributes:
      sharing: the server's model, and the models that clients have trained.
      turn: ``[]`` int32, the number of rounds in which somebody took part.
      conflicts: ``[L]`` int32, pairs in conflict, added up over the warm-up.
      shared: bool ``[L]``, the layers that are averaged: all until the end of the warm-up.
    """

    sharing: SharingState
    turn: Array
    conflicts: Array
    shared: Array


@factory(report=REPORT)
def fedlag(
    trainer: Trainer,
    *,
    warmup_rounds: Annotated[Traced[int], Ge(1)] = 10,
    top_k: Annotated[Traced[int], Ge(0), Mark.LAYERS] = 2,
    cosine_threshold: Annotated[Traced[float], Ge(-1), Le(1)] = 0.0,
    published_upload: bool = False,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Run FedAvg and count conflicts of the clients' updates; then keep the ``top_k`` layers with most personal.

    In the warm-up every round adds to a layer's score the number of pairs of its clients whose updates of the layer
    have a cosine below ``cosine_threshold``. An update is what a client's whole round has changed; the published code
    takes the gradient that is left from the last batch. After the warm-up the layers with the largest scores (of equal
    ones the first) stay with their client, who goes on from what it last trained. A client that never took part gets
    the server's values of these layers, which are the mean as the warm-up left it. Rounds in which nobody takes part
    do not count.

    Args:
      trainer: how each client trains.
      warmup_rounds: rounds of FedAvg in which conflicts are counted. May be traced. The published code takes half of
        the run's rounds, at most 30; an algorithm here does not know how long a run is.
      top_k: number of layers that become personal. May be traced. 2 in the published code; 0 is FedAvg.
      cosine_threshold: the cosine below which two updates are in conflict. May be traced.
      published_upload: let clients send their personal layers too, which the server averages for clients that never
        took part, as in the published code.
      server_optimizer: as in :func:`fedavg`, of the layers that are sent.

    Returns:
      The algorithm; it offers personal models only. Every round reports ``conflicts`` ``[L]``, the scores so far, and
      ``personal``, bool ``[L]``.

    Raises:
      ValueError: more personal layers than the model has.

    Source: Nguyen et al. 2024 (arXiv 2410.02845).
    """
    layers = trainer.task.layers
    if not isinstance(top_k, jax.core.Tracer) and int(top_k) > layers.num_layers:
        raise ValueError(f"top_k: expected at most the model's {layers.num_layers} layers, got {top_k}")

    def init(key: Key, params: Params) -> FedLagState:
        del key
        sharing = init_sharing(trainer, params, personal=True, server_optimizer=server_optimizer)
        num = layers.num_layers
        return FedLagState(sharing, jnp.int32(0), jnp.zeros(num, jnp.int32), jnp.ones(num, bool))

    def round_(key: Key, state: FedLagState, cohort: Cohort) -> tuple[FedLagState, RoundInfo]:
        old, warm = state.sharing, state.turn < warmup_rounds
        sent = jnp.ones_like(state.shared) if published_upload else state.shared
        options = LocalOptions(scale=trainer.scale_of(old.round))

        def visit(client: Client, own: Own) -> ClientVisit:
            fresh = state.shared | ~own.extra
            params = start_from(layers, client.shared, own.model, fresh)
            result = train(trainer, key, client, params, opt_state=own.opt_state, options=options)
            summed = summed_part(trainer, result.sent, client.shared, sent)
            row = Own(model=kept_part(result.params, own.model), opt_state=result.opt_state, extra=jnp.bool_(True))
            update = jax.tree.map(jnp.subtract, result.sent, client.shared)
            return ClientVisit(result.params, result.loss, Term(summed, client.share), row, (fresh, update))

        phase = sharing_pass(trainer, key, old, cohort, visit, extra=old.seen)
        fresh, updates = phase.passed.out
        heard = phase.cohort.weight > 0
        count = lambda: conflicting_pairs(updates, layers, heard, cosine_threshold)  # noqa: E731
        conflicts = state.conflicts + jax.lax.cond(warm, count, lambda: jnp.zeros_like(state.conflicts))
        turn = state.turn + heard.any().astype(jnp.int32)
        decides = warm & (turn == warmup_rounds)
        shared = jnp.where(decides, ~top_k_mask(conflicts.astype(jnp.float32), top_k), state.shared)
        sharing = server_phase(trainer, key, old, phase, sent, server_optimizer)
        info = round_info(trainer, phase.passed, phase.cohort, sent, conflicts=conflicts, personal=~state.shared)
        info = dataclasses.replace(info, received=(heard[:, None] & fresh).sum(0, dtype=jnp.int32))
        return FedLagState(sharing, turn, conflicts, shared), info

    def personal(state: FedLagState) -> Personal:
        def build(row: tuple[Params, Array], common: tuple[Params, Array], ident: Array) -> Params:
            del ident
            (own, seen), (server, shared) = row, common
            return start_from(layers, server, own, shared | ~seen)

        sharing = state.sharing
        return Personal((sharing.clients, sharing.seen), (sharing.server, state.shared), build)

    # The updates of all clients are compared with each other.
    memory = RoundMemory(slot=1)
    return Algorithm(init, round_, personal, welcome=within_sharing(welcome_by_server), memory=memory)
