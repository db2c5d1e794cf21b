"""A global round over three tiers: clients train for their team, then the server averages the teams.

All algorithms with teams use it; they pass the steps that a team and the server take with a mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from fedjax_layers.algorithms.novel import seen_or, with_one
from fedjax_layers.algorithms.tiers.tree import Tiers, clients_that_take_part, teams_that_take_part
from fedjax_layers.clients import (
    Client,
    ClientVisit,
    Trainer,
    draw_order,
    keys,
    observe_store,
    one_pass,
    rescaled,
    train,
)
from fedjax_layers.clients.stacked import copies, where_rows
from fedjax_layers.clients.store import take_note
from fedjax_layers.ops import Term, settle, weighted_mean
from fedjax_layers.types import (
    Algorithm,
    Array,
    Cohort,
    Key,
    Overview,
    Params,
    Personal,
    RoundInfo,
    RoundMemory,
    per_client,
)

TeamStep = Callable[[Params, Params, Params], Params]  # (team, server, mean of its clients) -> team
ServerStep = Callable[[Params, Params], Params]  # (server, mean of the teams) -> server


@struct.dataclass
class TierState:
    """State between global rounds.

    Attributes:
      round: ``[]`` int32, the number of global rounds done.
      server: params of the global model.
      teams: params of the teams' models, leaves ``[T, ...]``.
      clients: each client's latest trained model, leaves ``[C, ...]``.
      client_opt: clients' optimiser states ``[C, ...]``, or ``()``.
      seen: ``[C]`` bool, who has taken part.
    """

    round: Array
    server: Params
    teams: Params
    clients: Params = per_client()
    client_opt: Any = per_client()
    seen: Array = per_client()


def init_tiers(trainer: Trainer, tiers: Tiers, params: Params) -> TierState:
    """Make the state before the first round, in which every model is ``params``."""
    return TierState(
        round=jnp.int32(0),
        server=params,
        teams=copies(params, tiers.num_teams),
        clients=copies(params, trainer.num_clients),
        client_opt=trainer.init_optimizer(params),
        seen=jnp.zeros(trainer.num_clients, bool),
    )


def tiered_algorithm(init: Callable[..., TierState], round_: Callable[..., Any], tiers: Tiers) -> Algorithm:
    """Make the algorithm of these functions; a client that never took part gets its team's model.

    Where no client of its team has taken part, the team's model is untrained too, and the client gets the global one.
    """

    def personal(state: TierState) -> Personal:
        def build(row: Any, parents: Params, ident: Array) -> Params:
            own, seen = row
            return seen_or(seen, own, jax.tree.map(lambda x: x[tiers.team_of[ident]], parents))

        def seen_by_team(rows: Any, ids: Array, counted: Array) -> Array:
            seen = (rows[1] & counted).astype(jnp.int32)
            return jnp.zeros(tiers.num_teams, jnp.int32).at[tiers.team_of[ids]].add(seen)

        overview = Overview(
            wanted=lambda rows: ~rows[1].all(),
            sums=seen_by_team,
            complete=lambda met, shared: with_one(shared[0], met > 0, shared[1]),
        )
        return Personal((state.clients, state.seen), (state.teams, state.server), build, overview)

    def welcome(state: TierState, parents: Params, ids: Array) -> TierState:
        of_device = jax.tree.map(lambda x: x[tiers.team_of[ids]], parents)
        return dataclasses.replace(state, clients=where_rows(state.seen, state.clients, of_device))

    return Algorithm(
        init,
        round_,
        personal,
        global_model=lambda state: state.server,
        teams=lambda state: (state.teams, tiers.team_of),
        welcome=welcome,
        # The teams of before stay beside those of the round, for a team of which nobody is heard.
        memory=RoundMemory(visit=4, states=2, server=1 + 2 * tiers.num_teams),
    )


class _Carry(NamedTuple):
    """The values passed between team rounds: teams ``[T, ...]``, the store ``[C, ...]``, the rest by slot ``[K]``."""

    teams: Params
    store: Any  # the clients' models and optimiser states
    loss: Array
    turns: Array  # number of team rounds in which the slot took part


def tiered_round(
    trainer: Trainer, key: Key, state: TierState, cohort: Cohort, tiers: Tiers, team: TeamStep, server: ServerStep
) -> tuple[TierState, RoundInfo]:
    """Run one global round: K team rounds in each team, then one step of the server.

    A team begins the round at the server's model, or continues from its own if the last round had no server step. In
    each team round its clients begin at its model (to which a proximal term of ``trainer`` pulls them) and train, and
    the team takes a step towards their mean. A team without a client in a team round stays unchanged, and so does the
    server where no team took part.

    Args:
      trainer: how clients train in one team round.
      key: the round's key. Team round k uses ``fold_in(fold_in(key, TEAM_ROUNDS), k)``; the key itself draws the
        clients' shuffles where they train by steps.
      state: the state before the round.
      cohort: the clients that are present.
      tiers: teams and participation.
      team: ``(team, server, mean of its clients) -> team``, one model each.
      server: ``(server, mean of the teams) -> server``.

    Returns:
      The state and the report. The observer looks at each client's model after its last team round; ``sent`` and
      ``received`` count the transfers of each layer between clients and teams, ``extra`` those between teams and server
      (``team_sent``).
    """
    team_of_slot = tiers.team_of[cohort.ids]
    present = cohort.weight > 0
    weights = cohort.weight if tiers.weighting == "examples" else present.astype(cohort.weight.dtype)
    met = teams_that_take_part(key, tiers, team_of_slot, present)
    fresh = met & (state.round % tiers.global_every == 0)
    teams = where_rows(fresh, copies(state.server, tiers.num_teams), state.teams)

    team_rounds_key = jax.random.fold_in(key, keys.TEAM_ROUNDS)

    def team_round(k: Array, carry: _Carry) -> _Carry:
        round_key = jax.random.fold_in(team_rounds_key, k)
        active = clients_that_take_part(round_key, tiers, team_of_slot, present & met[team_of_slot], cohort.ids, k)
        counted = jnp.where(active, weights, 0).astype(float)
        size = jnp.zeros(tiers.num_teams, counted.dtype).at[team_of_slot].add(counted)
        share = counted / jnp.where(size > 0, size, 1)[team_of_slot]

        def visit(client: Client, own: Any) -> ClientVisit:
            place, share = client.slot
            begin = jax.tree.map(lambda x: x[place], client.shared)
            place_in_order = None
            if trainer.goes_by_steps:  # a client continues in one shuffle of its examples
                place_in_order = (draw_order(trainer, key, client), k * trainer.num_steps(client.count, client.ident))
            result = train(trainer, round_key, client, begin, opt_state=own[1], place_in_order=place_in_order)
            term = Term(result.sent, share, place, tiers.num_teams)
            return ClientVisit(result.params, result.loss, term, (result.params, result.opt_state))

        here = dataclasses.replace(cohort, weight=jnp.where(active, cohort.weight, 0), observer=None)
        passed = one_pass(trainer, here, visit, store=carry.store, slots=(team_of_slot, share), shared=carry.teams)
        active &= trainer.heard(here, passed.loss).weight > 0
        heard = jnp.zeros_like(size).at[team_of_slot].add(jnp.where(active, counted, 0))
        mean = settle(rescaled(trainer, passed.sums, size, heard), heard > 0, carry.teams)
        stepped = jax.vmap(lambda w, m: team(w, state.server, m))(carry.teams, mean)
        loss = carry.loss + jnp.where(here.weight > 0, passed.loss, 0)
        return _Carry(where_rows(heard > 0, stepped, carry.teams), passed.store, loss, carry.turns + active)

    loss = jnp.zeros(present.shape, jnp.result_type(*jax.tree.leaves(state.server)))
    first = _Carry(teams, (state.clients, state.client_opt), loss, jnp.zeros(present.shape, jnp.int32))
    last = jax.lax.fori_loop(0, tiers.team_rounds, team_round, first)
    present = trainer.heard(cohort, last.loss).weight > 0
    some = jnp.zeros(tiers.num_teams, bool).at[team_of_slot].max(present)  # a team of which nobody was heard stays
    last = last._replace(teams=where_rows(some, last.teams, state.teams))
    new_server = _server_update(state, last.teams, team_of_slot, present, weights, met, tiers, server)
    return _close_round(trainer, state, cohort, tiers, met, last, new_server)


def _server_update(
    state: TierState,
    teams: Params,
    team_of_slot: Array,
    present: Array,
    weights: Array,
    met: Array,
    tiers: Tiers,
    server: ServerStep,
) -> Params:
    """Compute the server's model, which changes only in rounds with a server step."""
    size = jnp.zeros(tiers.num_teams, weights.dtype).at[team_of_slot].add(jnp.where(present, weights, 0))
    if tiers.weighting == "uniform":
        size = (size > 0).astype(size.dtype)
    counted = jnp.where(met & (size > 0), size, 0)
    if tiers.stale_teams:
        mass = jnp.maximum(size, 1) if tiers.weighting == "uniform" else size
        counted = jnp.where(counted.sum() > 0, mass, 0)
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
        observed=observe_store(trainer.axis, cohort, last.store[0]),
        loss=last.loss / jnp.maximum(last.turns, 1).astype(last.loss.dtype),
        steps=(trainer.steps_of_slots(cohort) * last.turns).sum(dtype=jnp.int32),
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
        clients=last.store[0],
        client_opt=last.store[1],
        seen=take_note(state.seen, took_part),
    )
    return state, info
