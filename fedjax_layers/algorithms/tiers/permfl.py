"""PerMFL (arXiv 2407.14251): client, team and global models, each pulled to its parent."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le

from fedjax_layers.algorithms.factory import factory
from fedjax_layers.algorithms.tiers.round import TierState, init_tiers, tiered_algorithm, tiered_round
from fedjax_layers.algorithms.tiers.tree import make_tiers
from fedjax_layers.clients import Trainer
from fedjax_layers.ops import permfl_server_step, permfl_team_step
from fedjax_layers.ops.prox import with_proximal_term
from fedjax_layers.options import Mark
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Params, RoundInfo

Coefficient = float | jax.Array


@factory()
def permfl(
    trainer: Trainer,
    *,
    team_of: Annotated[Any, Mark.FIELD] = None,
    num_teams: Annotated[int, Ge(1), Mark.FROM_DATA] = 4,
    team_rounds: Annotated[Traced[int], Ge(1)] = 10,
    client_lambda: Annotated[Traced[float], Ge(0)] = 0.5,
    team_lambda: Annotated[Traced[float], Ge(0)] = 0.5,
    gamma: Annotated[Traced[float], Ge(0)] = 1.5,
    eta: Annotated[Traced[float], Ge(0)] = 0.03,
    beta: Annotated[Traced[float], Ge(0)] = 0.6,
    lambda_decay: Annotated[Traced[float], Ge(0)] = 1.0,
    gamma_decay: Annotated[Traced[float], Ge(0)] = 1.0,
    beta_decay: Annotated[Traced[float], Ge(0)] = 1.0,
    weighting: Literal["uniform", "examples"] = "uniform",
    client_participation: Annotated[Traced[float] | None, Gt(0), Le(1)] = None,
    team_participation: Annotated[Traced[float] | None, Gt(0), Le(1)] = None,
    stale_teams: bool = False,
    global_every: Annotated[Traced[int], Ge(1)] = 1,
    pace: Annotated[tuple[int, ...] | Array | None, Ge(0)] = None,
    published_client_lambda: bool = False,
) -> Algorithm:
    """Run nested proximal updates: L client steps in each of K team rounds in one global round.

    A client minimises ``f(theta) + client_lambda/2 * ||theta - w||^2`` from its team's model w. The team takes a
    :func:`~fedjax_layers.ops.permfl_team_step` towards the mean of its clients, and the server a
    :func:`~fedjax_layers.ops.permfl_server_step` towards the mean of its teams. Defaults are the paper's setting of its
    team-formation table, the only one that is known. The personal model is the client's last trained
    theta; a client keeps nothing between team rounds. A client that never took part gets its team's model, from which
    its theta would start.

    ``trainer`` decides the client's steps; the paper has plain SGD with step size alpha and ``steps=L``.

    Args:
      trainer: how a client trains in one team round.
      team_of: ``[C]`` integers, each client's team; ``None`` makes consecutive teams of equal size up to one.
      num_teams: number of teams, T.
      team_rounds: rounds within each team in one global round, K. 10 in the paper's team-formation table.
      client_lambda: strength of the pull of a client's model to its team's. 0.5 in the paper's team-formation table.
      team_lambda: strength of the pull of a team's model to its clients'; the paper has one lambda for both.
        0.5 in the same table.
      gamma: strength of the pull between the teams' models and the global one. 1.5 in the same table.
      eta: step size of the teams' models. 0.03 in the same table.
      beta: step size of the global model. 0.6 in the same table.
      lambda_decay: factor on both lambdas from one global round to the next; 1 keeps them.
      gamma_decay: factor on gamma from one global round to the next.
      beta_decay: factor on beta from one global round to the next.
      weighting: how means over clients and teams are weighted: ``"uniform"``, as in the paper, or by training
        ``"examples"``.
      client_participation: share of a team's clients that take part in each team round; without it all do.
      team_participation: share of the teams that take part in each global round; without it all do.
      stale_teams: let the server average absent teams as well, with the model they last had, as the released code does.
      global_every: global rounds between meetings of the server with the teams; in between each team goes on from its
        own model.
      pace: number of team rounds of each team ``[T]``, at most ``team_rounds``; without it all have ``team_rounds``.
      published_client_lambda: repeat an error of the released code, which hands the number of local steps L to the
        clients as their lambda. Needs a trainer with ``steps``.

    Returns:
      The algorithm. Every round reports ``team_sent``, the models that teams sent to the server.

    Raises:
      ValueError: a negative coefficient, no ``steps`` for the published lambda, or what
        :func:`fedjax_layers.algorithms.tiers.tree.make_tiers` refuses.

    Warns:
      UserWarning: concrete coefficients leave their stable range, see :func:`unstable`.
    """
    if published_client_lambda:
        if trainer.steps is None:
            raise ValueError("published_client_lambda: expected a trainer with steps, got one with epochs")
        if trainer.own_work:
            raise ValueError("published_client_lambda: expected as many steps for all clients, got some for each")
        client_lambda = 1.0 * trainer.steps  # type: ignore[operator]  # one number
    for complaint in unstable(team_lambda=team_lambda, gamma=gamma, eta=eta, beta=beta):
        warnings.warn(f"permfl: {complaint}", stacklevel=3)
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

    def client_trainer(pull: Coefficient) -> Trainer:
        return dataclasses.replace(trainer, optimizer=with_proximal_term(trainer.optimizer, pull))

    def init(key: Key, params: Params) -> TierState:
        del key
        return init_tiers(client_trainer(client_lambda), tiers, params)

    def round_(key: Key, state: TierState, cohort: Cohort) -> tuple[TierState, RoundInfo]:
        to_team, to_devices = (_decayed(x, lambda_decay, state.round) for x in (client_lambda, team_lambda))
        to_server = _decayed(gamma, gamma_decay, state.round)

        def team_step(team: Params, server: Params, mean: Params) -> Params:
            return permfl_team_step(team, server, mean, eta=eta, lam=to_devices, gamma=to_server)

        def server_step(server: Params, mean: Params) -> Params:
            return permfl_server_step(server, mean, beta=_decayed(beta, beta_decay, state.round), gamma=to_server)

        return tiered_round(client_trainer(to_team), key, state, cohort, tiers, team_step, server_step)

    return tiered_algorithm(init, round_, tiers)


def unstable(
    *,
    team_lambda: Coefficient,
    gamma: Coefficient,
    eta: Coefficient,
    beta: Coefficient,
    alpha: Coefficient | None = None,
    client_lambda: Coefficient = 0.0,
    smoothness: float = 0.0,
) -> list[str]:
    """List what is wrong with the coefficients, a line each; traced ones are not checked.

    Args:
      team_lambda: strength of the pull of a team to its clients.
      gamma: strength of the pull between teams and server.
      eta: step size of the teams.
      beta: step size of the server.
      alpha: step size of the clients; ``None`` if it is not known.
      client_lambda: strength of the pull of a client to its team.
      smoothness: L_f, the Lipschitz constant of the clients' gradients; 0 if it is not known.

    Source: PerMFL's updates: convex combinations need ``beta * gamma <= 1`` and ``eta * (lambda + gamma) <= 1``;
    with stiff clients the server diverges from ``|1 - beta * gamma| >= 1`` on (teams that follow it push that limit
    out: docs/algorithms/permfl.md), a client from ``alpha * (lambda + L_f) >= 2`` on.
    """
    lines = []
    if _known(beta, gamma) and abs(1 - float(beta * gamma)) >= 1 and float(beta * gamma) != 0:
        lines.append(f"the server may diverge: expected |1 - beta * gamma| below 1, got {abs(1 - beta * gamma):.4g}")
    if _known(eta, team_lambda, gamma) and float(eta * (team_lambda + gamma)) > 1 + 1e-9:  # equality is allowed
        found = f"{eta * (team_lambda + gamma):.4g}"
        lines.append(f"a team overshoots: expected eta * (team_lambda + gamma) of at most 1, got {found}")
    if alpha is not None and _known(alpha, client_lambda) and float(alpha * (client_lambda + smoothness)) >= 2:
        found = f"{alpha * (client_lambda + smoothness):.4g}"
        lines.append(f"a client diverges: expected alpha * (client_lambda + smoothness) below 2, got {found}")
    return lines


def _decayed(value: Coefficient, decay: Coefficient, round_number: Array) -> Coefficient:
    if _known(decay) and float(decay) == 1:
        return value
    return value * jnp.asarray(decay) ** round_number


def _known(*values: Any) -> bool:
    return not any(isinstance(value, jax.core.Tracer) for value in values)
