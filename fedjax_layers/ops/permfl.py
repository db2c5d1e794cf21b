"""PerMFL's three updates (arXiv 2407.14251): a client is pulled to its team's model, a team to the server's."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fedjax_layers.types import Array, Params

Coefficient = float | Array


def permfl_client_step(theta: Params, grads: Params, team: Params, *, alpha: Coefficient, lam: Coefficient) -> Params:
    """Take one step of a client: ``theta - alpha * (grads + lam * (theta - team))``.

    It is the gradient step on ``f(theta) + lam/2 * ||theta - team||^2``, whose minimum over theta is the client's
    Moreau envelope at its team's model.

    Args:
      theta: the client's params, any pytree.
      grads: gradient of the client's loss at ``theta``, the same tree.
      team: params of the client's team, the same tree.
      alpha: step size; may be traced, like all coefficients here.
      lam: strength of the pull to the team, per unit of squared distance.

    Returns:
      The client's next params.

    Source: PerMFL, Algorithm 1, client update.
    """

    def step(t: Array, g: Array, w: Array) -> Array:
        a, pull = (jnp.asarray(c, t.dtype) for c in (alpha, lam))
        return t - a * (g + pull * (t - w))

    return jax.tree.map(step, theta, grads, team)


def permfl_team_step(
    team: Params, server: Params, client_mean: Params, *, eta: Coefficient, lam: Coefficient, gamma: Coefficient
) -> Params:
    """Step a team: ``(1 - eta*lam - eta*gamma) * team + eta*gamma * server + eta*lam * client_mean``.

    It is the gradient step on the mean of its clients' envelopes plus ``gamma/2 * ||team - server||^2``, and a convex
    combination where ``eta * (lam + gamma) <= 1``.

    Args:
      team: the team's params, any pytree.
      server: the global params, the same tree.
      client_mean: mean of the team's clients' params, the same tree.
      eta: step size.
      lam: strength of the pull between clients and team.
      gamma: strength of the pull between team and server.

    Returns:
      The team's next params.

    Source: PerMFL, Algorithm 1, team update.
    """

    def step(w: Array, x: Array, theta: Array) -> Array:
        to_devices, to_server = (jnp.asarray(eta * c, w.dtype) for c in (lam, gamma))
        return (1 - to_devices - to_server) * w + to_server * x + to_devices * theta

    return jax.tree.map(step, team, server, client_mean)


def permfl_server_step(server: Params, team_mean: Params, *, beta: Coefficient, gamma: Coefficient) -> Params:
    """Take one step of the server: ``(1 - beta*gamma) * server + beta*gamma * team_mean``.

    Args:
      server: the global params, any pytree.
      team_mean: mean of the teams' params, the same tree.
      beta: step size. The step is a convex combination where ``beta * gamma <= 1``, and may diverge where ``|1 - beta *
        gamma| >= 1``.
      gamma: strength of the pull between teams and server.

    Returns:
      The next global params.

    Source: PerMFL, Algorithm 1, server update.
    """

    def step(x: Array, w: Array) -> Array:
        pull = jnp.asarray(beta * gamma, x.dtype)
        return (1 - pull) * x + pull * w

    return jax.tree.map(step, server, team_mean)
