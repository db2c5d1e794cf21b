"""The clients' teams, and the draws that decide which clients and teams take part."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.clients import Trainer, keys
from fedjax_layers.types import Array, Key


@dataclasses.dataclass(frozen=True)
class Tiers:
    """The clients' teams and their participation. Arrays and numbers may be traced, except ``num_teams``.

    Attributes:
      team_of: ``[C]`` integers, each client's team.
      num_teams: T, the number of teams.
      team_rounds: K, the number of team rounds per global round.
      weighting: how means are weighted: all clients and all teams equally, or by ``cohort.weight`` (examples).
      client_participation: share of a team's present clients that take part in each team round, at least one client;
        ``None`` means all.
      team_participation: share of the teams that take part in a global round, at least one team; ``None`` means all.
      stale_teams: whether the server also averages teams that did not take part, with their last model.
      global_every: number of global rounds per server step; in between, teams continue from their own models.
      pace: ``[T]`` integers, the number of team rounds of each team, at most K; ``None`` means K for all.
    """

    team_of: Array
    num_teams: int
    team_rounds: int | Array = 1
    weighting: Literal["uniform", "examples"] = "uniform"
    client_participation: float | Array | None = None
    team_participation: float | Array | None = None
    stale_teams: bool = False
    global_every: int | Array = 1
    pace: tuple[int, ...] | Array | None = None


def make_tiers(trainer: Trainer, team_of: Any, num_teams: int, **options: Any) -> Tiers:
    """Make checked :class:`Tiers`; ``team_of=None`` makes consecutive teams whose sizes differ by at most one.

    Raises:
      ValueError: a team id per client is missing or out of range, or a pace per team.
    """
    team_of = _checked_teams(trainer.num_clients, team_of, num_teams)
    tiers = Tiers(jnp.asarray(team_of, jnp.int32), num_teams, **options)
    if tiers.pace is not None:
        pace = jnp.asarray(tiers.pace, jnp.int32)
        if pace.shape != (num_teams,):
            raise ValueError(f"pace: expected an integer for each of {num_teams} teams, got shape {pace.shape}")
        tiers = dataclasses.replace(tiers, pace=pace)
    return tiers


def _checked_teams(clients: int, team_of: Any, num_teams: int) -> Any:
    """Return a team for each client, ``[C]`` integers; concrete ones are checked."""
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


def teams_that_take_part(key: Key, tiers: Tiers, team: Array, present: Array) -> Array:
    """Draw the teams that take part, bool ``[T]``, with a global round's key, among those with a present client."""
    some = jnp.zeros(tiers.num_teams, bool).at[team].max(present)
    if tiers.team_participation is None:
        return some
    ids = jnp.arange(tiers.num_teams)
    chance = _chances(key, ids)
    rank = _rank_within(jnp.zeros_like(ids), chance, some, 1)
    return some & (rank < _quota(tiers.team_participation, some.sum()))


def clients_that_take_part(key: Key, tiers: Tiers, team: Array, present: Array, ids: Array, team_round: Array) -> Array:
    """Draw the clients of a team round, bool ``[K]``, with its key."""
    if tiers.pace is not None:
        present = present & (team_round < tiers.pace[team])
    if tiers.client_participation is None:
        return present
    chance = _chances(key, ids)
    rank = _rank_within(team, chance, present, tiers.num_teams)
    members = jnp.zeros(tiers.num_teams, jnp.int32).at[team].add(present.astype(jnp.int32))
    return present & (rank < _quota(tiers.client_participation, members)[team])


def _chances(key: Key, ids: Array) -> Array:
    """Draw a number in [0, 1) for each of ``ids``."""
    stream = jax.random.fold_in(key, keys.PARTICIPATION)
    return jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(stream, i)))(ids)


def _quota(share: float | Array, members: Array) -> Array:
    """Return the share of ``members``, rounded to the nearest whole number, at least one."""
    return jnp.maximum(jnp.round(share * members.astype(jnp.float32)).astype(jnp.int32), 1)


def _rank_within(group: Array, chance: Array, present: Array, num_groups: int) -> Array:
    """Rank each entry among the present ones of its group by ``chance``."""
    group = jnp.where(present, group, num_groups)
    order = jnp.lexsort((chance, group))
    sizes = jnp.zeros(num_groups + 1, jnp.int32).at[group].add(1)
    starts = jnp.cumsum(sizes) - sizes
    place = jnp.zeros(len(group), jnp.int32).at[order].set(jnp.arange(len(group), dtype=jnp.int32))
    return place - starts[group]
