"""Hierarchical local SGD: plain averaging within teams, then over teams."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from fedjax_layers.algorithms.factory import factory
from fedjax_layers.algorithms.tiers.round import TierState, init_tiers, tiered_algorithm, tiered_round
from fedjax_layers.algorithms.tiers.tree import make_tiers
from fedjax_layers.clients import Trainer
from fedjax_layers.options import Mark
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Params, RoundInfo


@factory()
def hsgd(
    trainer: Trainer,
    *,
    team_of: Annotated[Any, Mark.FIELD] = None,
    num_teams: Annotated[int, Ge(1), Mark.FROM_DATA] = 4,
    team_rounds: Annotated[Traced[int], Ge(1)] = 5,
    weighting: Literal["uniform", "examples"] = "uniform",
    client_participation: Annotated[Traced[float] | None, Gt(0), Le(1)] = None,
    team_participation: Annotated[Traced[float] | None, Gt(0), Le(1)] = None,
    stale_teams: bool = False,
    global_every: Annotated[Traced[int], Ge(1)] = 1,
    pace: Annotated[tuple[int, ...] | Array | None, Ge(0)] = None,
) -> Algorithm:
    """Average within each team K times, each time after clients train from the team's model; then average the teams.

    This is the h-SGD of PerMFL's tables: PerMFL's round without any pull. The personal model is the client's last
    trained one, as in PerMFL, or its team's model if it never took part.

    Args:
      trainer: how a client trains in one team round.
      team_of: ``[C]`` integers, each client's team; ``None`` makes consecutive teams of equal size up to one.
      num_teams: number of teams, T.
      team_rounds: rounds within each team in one global round, K.
      weighting: how means over clients and teams are weighted: ``"uniform"``, as PerMFL has it, or by training
        ``"examples"``.
      client_participation: share of a team's clients that take part in each team round; without it all do.
      team_participation: share of the teams that take part in each global round; without it all do.
      stale_teams: let the server average absent teams as well, with the model they last had, as the released code does.
      global_every: global rounds between meetings of the server with the teams.
      pace: number of team rounds of each team ``[T]``, at most ``team_rounds``; without it all have ``team_rounds``.

    Returns:
      The algorithm.

    Raises:
      ValueError: see :func:`fedjax_layers.algorithms.tiers.tree.make_tiers`.
    """
    tiers = make_tiers(
        trainer,
        team_of,
        num_teams,
        team_rounds=team_rounds,
        weighting=weighting,
        client_participation=client_participation,
        team_participation=team_participation,
        stale_teams=stale_teams,
        global_every=global_every,
        pace=pace,
    )

    def init(key: Key, params: Params) -> TierState:
        del key
        return init_tiers(trainer, tiers, params)

    def round_(key: Key, state: TierState, cohort: Cohort) -> tuple[TierState, RoundInfo]:
        return tiered_round(
            trainer, key, state, cohort, tiers, lambda team, server, mean: mean, lambda server, mean: mean
        )

    return tiered_algorithm(init, round_, tiers)
