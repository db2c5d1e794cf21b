"""One global round over three tiers: devices train for their team, teams meet at the server.

The frame of every algorithm with teams; what a team and the server do with a mean is handed in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from fedjax_layers import keys
from fedjax_layers.algorithms.novel import welcoming, with_one
from fedjax_layers.algorithms.sharing import put_clients, take_clients, take_note
from fedjax_layers.algorithms.stacked import copies, where_rows
from fedjax_layers.algorithms.tiers import Tiers, devices_that_take_part, teams_that_take_part
from fedjax_layers.local_training import LocalResult, Trainer, draw_orders, train_cohort
from fedjax_layers.ops import ClientAxis, segment_mean, weighted_mean
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Models, Params, RoundInfo, per_client

TeamStep = Callable[[Params, Params, Params], Params]  # (team, server, mean of its devices) -> team
ServerStep = Callable[[Params, Params], Params]  # (server, mean of the teams) -> server


@struct.dataclass
class TierState:
    """State between global rounds.

    Attributes:
      round: ``[]`` int32, global rounds done.
      server: params of the global model.
      teams: params of the teams' models, leaves ``[T, ...]``.
      clients: each device's latest trained model, leaves ``[C, ...]``.
      client_opt: devices' optimiser states ``[C, ...]``, or ``()``.
      seen: ``[C]`` bool, devices that have taken part.
    """

    round: Array
    server: Params
    teams: Params
    clients: Params = per_client()
    client_opt: Any = per_client()
    seen: Array = per_client()


def init_tiers(trainer: Trainer, tiers: Tiers, params: Params) -> TierState:
    """The state before the first round: every model is ``params``."""
    return TierState(
        round=jnp.int32(0),
        server=params,
        teams=copies(params, tiers.num_teams),
        clients=copies(params, trainer.num_clients),
        client_opt=trainer.init_optimizer(params),
        seen=jnp.zeros(trainer.num_clients, bool),
    )


def tiered_algorithm(init: Callable[..., TierState], round_: Callable[..., Any], tiers: Tiers) -> Algorithm:
    """The algorithm of these functions; a device that never took part is served its team's model.

    Of a team that has never met, the team's model is as untrained as the device's: there it is the global one.
    """

    def welcome(state: TierState) -> TierState:
        met = jnp.zeros(tiers.num_teams, bool).at[tiers.team_of].max(state.seen)
        parents = jax.tree.map(lambda x: x[tiers.team_of], with_one(state.teams, met, state.server))
        return dataclasses.replace(state, clients=where_rows(state.seen, state.clients, parents))

    return welcoming(Algorithm(init, round_, lambda s: Models(s.clients, s.server, s.teams, tiers.team_of)), welcome)


class _Carry(NamedTuple):
    """What goes from team round to team round: teams ``[T, ...]``, and per slot ``[K, ...]`` the rest."""

    teams: Params
    trained: Params
    opt_state: Any
    loss: Array
    turns: Array  # team rounds that the slot took part in


def tiered_round(
    trainer: Trainer, key: Key, state: TierState, cohort: Cohort, tiers: Tiers, team: TeamStep, server: ServerStep
) -> tuple[TierState, RoundInfo]:
    """One global round: K team rounds in each team, then one step of the server.

    A team begins the round at the server's model, or goes on from its own where the server was not met last time. In
    each team round its devices begin at its model (to which a proximal term of ``trainer`` pulls them), train, and
    it makes a step towards their mean. A team without a device in a team round stands still; the server stands still
    where no team took part.

    Args:
      trainer: how devices train in one team round.
      key: the round's; team round k uses ``fold_in(fold_in(key, TEAM_ROUNDS), k)``, and the key itself draws the
        devices' shuffles where they train by steps.
      state: before the round.
      cohort: the devices that are present.
      tiers: teams and participation.
      team: ``(team, server, mean of its devices) -> team``, one model each.
      server: ``(server, mean of the teams) -> server``.

    Returns:
      The state and the report. ``trained`` is each device's model after its last team round; ``sent`` and
      ``received`` count the transfers of each layer between devices and teams, ``extra`` those between teams and
      server (``team_sent``).
    """
    origin = tiers.team_of[cohort.ids]
    present = cohort.weight > 0
    weights = cohort.weight if tiers.weighting == "examples" else present.astype(cohort.weight.dtype)
    met = teams_that_take_part(key, tiers, origin, present)
    fresh = met & (state.round % tiers.global_every == 0)
    teams = where_rows(fresh, copies(state.server, tiers.num_teams), state.teams)

    # By steps, a device walks on through one shuffle of its examples; by epochs, each team round shuffles anew.
    orders = draw_orders(trainer, key, cohort) if trainer.goes_by_steps else None
    steps = trainer.num_steps(cohort.train.count, cohort.ids)
    team_rounds_key = jax.random.fold_in(key, keys.TEAM_ROUNDS)

    def team_round(k: Array, carry: _Carry) -> _Carry:
        round_key = jax.random.fold_in(team_rounds_key, k)
        active = devices_that_take_part(round_key, tiers, origin, present & met[origin], cohort.ids, k)
        here = dataclasses.replace(cohort, weight=jnp.where(active, cohort.weight, 0))
        walk = None if orders is None else (orders, k * steps)
        result = train_cohort(
            trainer, round_key, here, server=carry.teams, origin=origin, opt_state=carry.opt_state, walk=walk
        )
        return _team_update(carry, result, active, origin, weights, state.server, tiers, team, trainer.axis)

    first = _Carry(
        teams,
        copies(state.server, cohort.ids.shape[0]),
        take_clients(state.client_opt, cohort),
        jnp.zeros(present.shape, jnp.result_type(*jax.tree.leaves(state.server))),
        jnp.zeros(present.shape, jnp.int32),
    )
    last = jax.lax.fori_loop(0, tiers.team_rounds, team_round, first)
    new_server = _server_update(state, last.teams, origin, present, weights, met, tiers, server)
    return _close_round(trainer, state, cohort, tiers, met, last, new_server)


def _team_update(
    carry: _Carry,
    result: LocalResult,
    active: Array,
    origin: Array,
    weights: Array,
    server: Params,
    tiers: Tiers,
    team: TeamStep,
    axis: ClientAxis,
) -> _Carry:
    counted = jnp.where(active, weights, 0)
    mean = segment_mean(result.params, origin, tiers.num_teams, counted, carry.teams, axis)
    some = jnp.zeros(tiers.num_teams, bool).at[origin].max(counted > 0)
    stepped = jax.vmap(lambda w, m: team(w, server, m))(carry.teams, mean)
    trained, opt_state = result.params, result.opt_state
    if not tiers.everyone:
        trained, opt_state = where_rows(active, (trained, opt_state), (carry.trained, carry.opt_state))
    return _Carry(
        where_rows(some, stepped, carry.teams),
        trained,
        opt_state,
        carry.loss + jnp.where(active, result.loss, 0),
        carry.turns + active,
    )


def _server_update(
    state: TierState,
    teams: Params,
    origin: Array,
    present: Array,
    weights: Array,
    met: Array,
    tiers: Tiers,
    server: ServerStep,
) -> Params:
    """The server's model, moved if this is a round in which it meets the teams."""
    size = jnp.zeros(tiers.num_teams, weights.dtype).at[origin].add(jnp.where(present, weights, 0))
    if tiers.weighting == "uniform":
        size = (size > 0).astype(size.dtype)
    counted = jnp.where(met & (size > 0), size, 0)
    if tiers.stale_teams:
        everyone = jnp.maximum(size, 1) if tiers.weighting == "uniform" else size
        counted = jnp.where(counted.sum() > 0, everyone, 0)
    moved = server(state.server, weighted_mean(teams, counted, state.server))
    meets = ((state.round + 1) % tiers.global_every == 0) & (counted.sum() > 0)
    return jax.tree.map(lambda new, old: jnp.where(meets, new, old), moved, state.server)


def _close_round(
    trainer: Trainer, state: TierState, cohort: Cohort, tiers: Tiers, met: Array, last: _Carry, server: Params
) -> tuple[TierState, RoundInfo]:
    took_part = dataclasses.replace(cohort, weight=jnp.where(last.turns > 0, cohort.weight, 0))
    transfers = last.turns.sum(dtype=jnp.int32)
    between = jnp.where((state.round + 1) % tiers.global_every == 0, met.sum(dtype=jnp.int32), 0)
    layers = jnp.full(trainer.task.layers.num_layers, transfers)
    info = RoundInfo(
        trained=last.trained,
        loss=last.loss / jnp.maximum(last.turns, 1).astype(last.loss.dtype),
        steps=(trainer.num_steps(cohort.train.count, cohort.ids) * last.turns).sum(dtype=jnp.int32),
        sent=layers,
        received=layers,
        sent_scalars=jnp.int32(0),
        extra={"team_sent": between},
    )
    state = dataclasses.replace(
        state,
        round=state.round + (last.turns.sum() > 0),
        server=server,
        teams=last.teams,
        clients=put_clients(state.clients, took_part, last.trained),
        client_opt=put_clients(state.client_opt, took_part, last.opt_state),
        seen=take_note(state.seen, took_part),
    )
    return state, info
