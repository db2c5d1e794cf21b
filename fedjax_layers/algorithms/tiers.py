"""One global round over three tiers: devices train for their team, teams meet at the server.

The frame of every algorithm with teams; what a team and the server do with a mean is handed in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from fedjax_layers.algorithms.sharing import put_clients, take_clients
from fedjax_layers.local_training import LocalResult, Trainer, draw_orders, train_cohort
from fedjax_layers.ops import ClientAxis, segment_mean
from fedjax_layers.types import Array, Cohort, Key, Params, RoundInfo, per_client

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
    """

    round: Array
    server: Params
    teams: Params
    clients: Params = per_client()
    client_opt: Any = per_client()


@dataclasses.dataclass(frozen=True)
class Tiers:
    """Who belongs to which team, and who meets when. Arrays and numbers may be traced; ``num_teams`` may not.

    Attributes:
      team_of: ``[C]`` integers, each device's team.
      num_teams: T.
      team_rounds: K, team rounds per global round.
      weighting: how means are weighted: all devices and all teams alike, or by ``cohort.weight`` (examples).
      device_participation: share of a team's present devices that take part in each team round, at least one;
        ``None`` takes all.
      team_participation: share of the teams that take part in a global round, at least one; ``None`` takes all.
      stale_teams: the server also averages teams that did not take part, with the model they last had.
      global_every: the server meets the teams every so many rounds; in between, teams go on from their own models.
      pace: ``[T]`` integers, team rounds of each team, at most K; ``None`` is K for all.
    """

    team_of: Array
    num_teams: int
    team_rounds: int | Array = 1
    weighting: Literal["uniform", "examples"] = "uniform"
    device_participation: float | Array | None = None
    team_participation: float | Array | None = None
    stale_teams: bool = False
    global_every: int | Array = 1
    pace: Array | None = None

    @property
    def everyone(self) -> bool:
        """Static: every present device takes part in every team round."""
        return self.device_participation is None and self.team_participation is None and self.pace is None


def make_tiers(trainer: Trainer, team_of: Any, num_teams: int, **options: Any) -> Tiers:
    """Checked :class:`Tiers`; without ``team_of`` teams are consecutive and of equal size up to one.

    Raises:
      ValueError: a team id per device is missing or out of range, a number of rounds is below 1, a share is outside
        (0, 1], or an unknown weighting.
    """
    team_of = _checked_teams(trainer.num_clients, team_of, num_teams)
    tiers = Tiers(jnp.asarray(team_of, jnp.int32), num_teams, **options)
    if tiers.pace is not None:
        pace = jnp.asarray(tiers.pace, jnp.int32)
        if pace.shape != (num_teams,):
            raise ValueError(f"pace: expected an integer for each of {num_teams} teams, got shape {pace.shape}")
        tiers = dataclasses.replace(tiers, pace=pace)
    for name in ("team_rounds", "global_every"):
        at_least_one(name, getattr(tiers, name))
    for name in ("device_participation", "team_participation"):
        share = getattr(tiers, name)
        if share is not None and not isinstance(share, jax.core.Tracer) and not 0 < float(share) <= 1:
            raise ValueError(f"{name}: expected a share in (0, 1], got {float(share)}")
    if tiers.weighting not in ("uniform", "examples"):
        raise ValueError(f"weighting: expected 'uniform' or 'examples', got {tiers.weighting!r}")
    return tiers


def _checked_teams(clients: int, team_of: Any, num_teams: int) -> Any:
    """A team for each client, ``[C]`` integers; concrete ones are in range."""
    if not 1 <= num_teams <= clients:
        raise ValueError(f"num_teams: expected 1 to {clients}, the number of clients, got {num_teams}")
    if team_of is None:
        return np.arange(clients) * num_teams // clients
    if not isinstance(team_of, jax.Array):
        team_of = np.asarray(team_of)
    if team_of.shape != (clients,) or not jnp.issubdtype(team_of.dtype, jnp.integer):
        found = f"shape {team_of.shape} of {team_of.dtype}"
        raise ValueError(f"team_of: expected an integer for each of {clients} clients, got {found}")
    if not isinstance(team_of, jax.core.Tracer):
        wrong = np.flatnonzero((np.asarray(team_of) < 0) | (np.asarray(team_of) >= num_teams))
        if len(wrong):
            found = f"{int(team_of[wrong[0]])} for client {wrong[0]}"
            raise ValueError(f"team_of: expected ids 0 to {num_teams - 1}, got {found}")
    return team_of


def at_least_one(name: str, value: Any) -> None:
    """Refuse a concrete count below 1; a traced one passes."""
    if isinstance(value, int) and value < 1:
        raise ValueError(f"{name}: expected at least 1, got {value}")


def init_tiers(trainer: Trainer, tiers: Tiers, params: Params) -> TierState:
    """The state before the first round: every model is ``params``."""
    return TierState(
        round=jnp.int32(0),
        server=params,
        teams=_copies(params, tiers.num_teams),
        clients=_copies(params, trainer.num_clients),
        client_opt=trainer.init_optimizer(params),
    )


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
      key: the round's; team round k uses ``fold_in(key, k)``, and the key itself draws the devices' shuffles where
        they train by steps.
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
    met = _teams_that_take_part(key, tiers, origin, present)
    fresh = met & (state.round % tiers.global_every == 0)
    teams = _where(fresh, _copies(state.server, tiers.num_teams), state.teams)

    # By steps, a device walks on through one shuffle of its examples; by epochs, each team round shuffles anew.
    orders = None if trainer.steps is None else draw_orders(trainer, key, cohort)

    def team_round(k: Array, carry: _Carry) -> _Carry:
        round_key = jax.random.fold_in(key, k)
        active = _devices_that_take_part(round_key, tiers, origin, present & met[origin], cohort.ids, k)
        here = dataclasses.replace(cohort, weight=jnp.where(active, cohort.weight, 0))
        walk = None if orders is None else (orders, k * (trainer.steps or 0))
        result = train_cohort(
            trainer, round_key, here, server=carry.teams, origin=origin, opt_state=carry.opt_state, walk=walk
        )
        return _team_update(carry, result, active, origin, weights, state.server, tiers, team, trainer.axis)

    first = _Carry(
        teams,
        _copies(state.server, cohort.ids.shape[0]),
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
        trained, opt_state = _where(active, (trained, opt_state), (carry.trained, carry.opt_state))
    return _Carry(
        _where(some, stepped, carry.teams),
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
    one = jnp.zeros(tiers.num_teams, jnp.int32)
    mean = segment_mean(teams, one, 1, counted, fallback=_copies(state.server, 1))
    moved = server(state.server, jax.tree.map(lambda x: x[0], mean))
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
        steps=(trainer.num_steps(cohort.train.count) * last.turns).sum(dtype=jnp.int32),
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
    )
    return state, info


def _teams_that_take_part(key: Key, tiers: Tiers, origin: Array, present: Array) -> Array:
    """Bool ``[T]``: teams drawn for this global round, among those with a present device."""
    some = jnp.zeros(tiers.num_teams, bool).at[origin].max(present)
    if tiers.team_participation is None:
        return some
    ids = jnp.arange(tiers.num_teams)
    chance = jax.vmap(lambda t: jax.random.uniform(jax.random.fold_in(key, t)))(ids)
    rank = _rank_within(jnp.zeros_like(ids), chance, some, 1)
    return some & (rank < _quota(tiers.team_participation, some.sum()))


def _devices_that_take_part(
    key: Key, tiers: Tiers, origin: Array, present: Array, ids: Array, team_round: Array
) -> Array:
    """Bool ``[K]``: devices of this team round."""
    if tiers.pace is not None:
        present = present & (team_round < tiers.pace[origin])
    if tiers.device_participation is None:
        return present
    chance = jax.vmap(lambda c: jax.random.uniform(jax.random.fold_in(key, c)))(ids)
    rank = _rank_within(origin, chance, present, tiers.num_teams)
    members = jnp.zeros(tiers.num_teams, jnp.int32).at[origin].add(present.astype(jnp.int32))
    return present & (rank < _quota(tiers.device_participation, members)[origin])


def _quota(share: float | Array, members: Array) -> Array:
    """The share of ``members``, rounded to the nearest whole number, at least one."""
    return jnp.maximum(jnp.round(share * members.astype(jnp.float32)).astype(jnp.int32), 1)


def _rank_within(group: Array, chance: Array, present: Array, num_groups: int) -> Array:
    """Place of each entry among the present ones of its group, by ``chance``."""
    group = jnp.where(present, group, num_groups)
    order = jnp.lexsort((chance, group))
    sizes = jnp.zeros(num_groups + 1, jnp.int32).at[group].add(1)
    starts = jnp.cumsum(sizes) - sizes
    place = jnp.zeros(len(group), jnp.int32).at[order].set(jnp.arange(len(group), dtype=jnp.int32))
    return place - starts[group]


def _copies(params: Params, num: int) -> Params:
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (num, *x.shape)), params)


def _where(flags: Array, on: Any, off: Any) -> Any:
    """Rows of ``on`` where flagged, else of ``off``; leaves ``[K, ...]``."""
    return jax.tree.map(lambda a, b: jnp.where(flags.reshape(-1, *(1,) * (a.ndim - 1)), a, b), on, off)
