"""PerMFL's theory on strongly convex quadratics: its minimiser, its rate, and where it diverges.

Two bounds on ``d_t = ||x^t - x*||`` are tested, round by round; both are theorems, asserted up to rounding alone.
Losses are mu-strongly convex and L_f-smooth, ``mu_1 = lambda mu / (lambda + mu)``,
``mu_2 = gamma mu_1 / (gamma + mu_1)``, and L_1, L_2 are the same of L_f.

*Exact inner solves.* A round is a gradient step on phi, up to the teams' inner errors e(x), which
``Round.inner_error`` bounds: ``d_{t+1} <= max(|1 - beta mu_2|, |1 - beta L_2|) d_t + beta gamma e(x^t)``. For
``beta <= 1 / L_2`` and no inner error this is ``d_T <= (1 - beta mu_2)^T d_0``; the note's form,
``d_T^2 <= (1 - beta mu_2)^T d_0^2``, is weaker.

*Finite K and L.* Let ``alpha (L_f + lambda) <= 1``, ``eta (lambda + gamma) <= 1`` and ``beta gamma <= 1``.

- A client step is Lipschitz with ``1 - alpha (mu + lambda)`` in theta and ``alpha lambda`` in w. So L steps that begin
  at w are with ``1 - m_1 / lambda`` in w, where ``m_1 = mu_1 (1 - (1 - alpha (mu + lambda))^L)``.
- So a team round is with ``1 - eta (gamma + m_1)`` in w and ``eta gamma`` in x, and K of them that begin at x with
  ``1 - m_2 / gamma`` in x, where ``m_2 = gamma m_1 / (gamma + m_1) (1 - (1 - eta (gamma + m_1))^K)``.
- So the server's step brings any two models nearer by ``1 - beta m_2``: the round has one fixed point, and
  ``d_{t+1} <= (1 - beta m_2) d_t + beta gamma e(x*)``.

No step of this needs quadratics; they give x*, the fixed point and e in closed form. Where clients and teams have
lambdas of their own, lambda_d and lambda_t, everything holds with ``mu_1 = lambda_t mu / (lambda_d + mu)``.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quadratics import permfl_round
from tests.reference.quadratics import Quadratics, Round, random_quadratics

ROUNDING = 1e-13  # of one round, absolute; 4e-15 were seen, about float64's spacing at models of norm 10
PULLS = [(0.3, 0.3, 0.5), (2.0, 2.0, 5.0), (2.0, 0.5, 1.5), (20.0, 0.5, 1.5)]  # lambda of clients, of teams, gamma
SOLVED = {"team_rounds": 25, "steps": 160}  # leaves less than 1e-14 of any inner error at the largest safe step sizes
START = np.linspace(-4, 5, 10)


def rounds_of(losses, pulls, share=1.0, *, beta=None, **counts):
    """The closed form with step sizes at this share of their safe ranges' ends."""
    client_lambda, team_lambda, gamma = pulls
    return Round(
        losses,
        *pulls,
        beta=share / gamma if beta is None else beta,
        eta=share / (team_lambda + gamma),
        alpha=share / (losses.smoothness + client_lambda),
        **counts,
    )


def path(one, rounds, start=START):
    """The server's models ``[rounds + 1, d]``."""
    models = [np.asarray(start)]
    for _ in range(rounds):
        models.append(np.asarray(permfl_round(one, models[-1]).server["x"]))
    return np.stack(models)


def norm(x):
    return np.linalg.norm(x, axis=-1)


@pytest.mark.parametrize("pulls", PULLS)
def test_the_closed_forms_minimise_the_nested_problem(pulls, x64):
    """All three tiers are stationary for the joint objective, written out; the clients' count for lambda alike."""
    one = rounds_of(random_quadratics(0), pulls).exact
    losses, (client_lambda, team_lambda, gamma) = one.losses, pulls

    def objective(x, w, theta):
        total = 0.0
        for t in range(losses.num_teams):
            own = np.flatnonzero(losses.team_of == t)
            total += gamma / 2 * jnp.sum((w[t] - x) ** 2)
            for c in own:
                away = theta[c] - losses.centres[c]
                client = away @ losses.hessians[c] @ away / 2 + client_lambda / 2 * jnp.sum((theta[c] - w[t]) ** 2)
                total += team_lambda / client_lambda * client / len(own)
        return total / losses.num_teams

    x = one.fixed_point
    w = one.teams(x)
    gradients = jax.grad(objective, (0, 1, 2))(x, w, one.clients(w[losses.team_of]))
    for gradient in gradients:
        np.testing.assert_allclose(gradient, 0, atol=ROUNDING)


@pytest.mark.parametrize("steps", [1, 4, 15])
def test_a_round_is_the_affine_map_of_its_closed_form(steps, x64):
    losses = random_quadratics(0)
    for pulls in PULLS:
        for team_rounds in (1, 3, 10):
            for share in (0.3, 1.0):
                one = rounds_of(losses, pulls, share, steps=steps, team_rounds=team_rounds)
                found = permfl_round(one, START).server["x"]
                np.testing.assert_allclose(found, one.after(START), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("pulls", [PULLS[0], *(pytest.param(pulls, marks=pytest.mark.slow) for pulls in PULLS[1:])])
def test_the_minimiser_stays_and_is_reached(pulls, x64):
    one = rounds_of(random_quadratics(0), pulls, **SOLVED)
    best = one.exact.fixed_point
    error = one.inner_error(best)
    assert error < 1e-13
    state = permfl_round(one, best)
    teams = one.teams(best)
    assert norm(state.server["x"] - best) <= one.beta * one.gamma * error + ROUNDING
    np.testing.assert_allclose(state.teams["x"], teams, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(state.clients["x"], one.clients(teams[one.losses.team_of]), rtol=0, atol=ROUNDING)

    # From afar: the finite loops' own fixed point is within gamma * error / m_2 of x*, and beta does not move it.
    one = dataclasses.replace(one, beta=1 / one.exact.curvature[1])
    low = one.curvature[0]
    rounds = int(np.ceil(np.log(ROUNDING / norm(START - one.fixed_point)) / np.log(1 - one.beta * low)))
    last = path(one, rounds)[-1]
    assert norm(last - best) <= one.gamma * error / low + ROUNDING + ROUNDING / (one.beta * low)


@pytest.mark.parametrize("pulls", PULLS)
def test_exact_solves_contract_at_the_rate_of_gradient_descent(pulls, x64):
    losses = random_quadratics(1)
    low, high = rounds_of(losses, pulls).exact.curvature
    for beta in (0.2 / pulls[2], 1 / pulls[2], 1 / high):
        one = rounds_of(losses, pulls, beta=beta, **SOLVED)
        models = path(one, 8)
        away = norm(models - one.exact.fixed_point)
        errors = np.array([one.inner_error(x) for x in models[:-1]])
        assert errors.max() < 1e-12
        assert (away[1:] <= (1 - beta * low) * away[:-1] + beta * one.gamma * errors + ROUNDING).all()
        assert (away[1:] >= (1 - beta * high) * away[:-1] - beta * one.gamma * errors - ROUNDING).all()
        assert (away**2 <= (1 - beta * low) ** np.arange(9) * away[0] ** 2).all()  # the note's form, with room


@pytest.mark.parametrize("steps", [1, 4, 15])
@pytest.mark.parametrize("pulls", PULLS)
def test_finite_inner_loops_contract_by_their_own_rate_and_leave_their_own_error(pulls, steps, x64):
    losses = random_quadratics(2)
    for team_rounds in (1, 3, 10):
        for share in (0.3, 1.0):
            one = rounds_of(losses, pulls, share, steps=steps, team_rounds=team_rounds)
            low, high = one.curvature
            models = path(one, 8)
            own = norm(models - one.fixed_point)
            assert (own[1:] <= (1 - one.beta * low) * own[:-1] + ROUNDING).all()
            assert (own[1:] >= (1 - one.beta * high) * own[:-1] - ROUNDING).all()
            best = one.exact.fixed_point
            left = one.beta * one.gamma * one.inner_error(best)
            away = norm(models - best)
            assert (away[1:] <= (1 - one.beta * low) * away[:-1] + left + ROUNDING).all()
            assert norm(one.fixed_point - best) <= left / (one.beta * low) + ROUNDING


@pytest.mark.parametrize(("steps", "team_rounds"), [(1, 1), (4, 3), (15, 10), (160, 25)])
def test_the_rates_are_attained_where_clients_share_their_flattest_direction(steps, team_rounds, x64):
    """So one step or round more or less than claimed, or another constant, breaks equality here."""
    losses = random_quadratics(3, shared_axes=True)
    axes = np.linalg.eigh(losses.hessians[0])[1]
    for pulls in PULLS:
        one = rounds_of(losses, pulls, 0.7, steps=steps, team_rounds=team_rounds)
        for direction, curvature in zip((axes[:, 0], axes[:, -1]), one.curvature, strict=True):
            moved = permfl_round(one, one.fixed_point + direction).server["x"] - one.fixed_point
            np.testing.assert_allclose(moved, (1 - one.beta * curvature) * direction, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("steps", "team_rounds"), [(1, 1), (4, 3), (15, 10)])
def test_the_rate_holds_without_quadratics(steps, team_rounds, x64):
    """Quadratics plus ``2 sum log cosh``, whose curvature lies in (0, 2]: two starts approach each other."""
    plain = random_quadratics(4)
    losses = dataclasses.replace(plain, smoothness=plain.smoothness + 2)
    for pulls in PULLS:
        one = rounds_of(losses, pulls, team_rounds=team_rounds, steps=steps)
        models = np.stack([START, START[::-1] * 0.3])
        for _ in range(5):
            after = np.asarray(permfl_round(one, models, bend=2.0).server["x"])
            apart = norm(after[0] - after[1])
            assert apart <= (1 - one.beta * one.curvature[0]) * norm(models[0] - models[1]) + ROUNDING
            models = after


@pytest.mark.parametrize(("product", "factor"), [(1.8, 0.8), (2.2, 1.2)])
def test_the_server_diverges_where_beta_times_the_curvature_exceeds_two(product, factor, x64):
    """P is the curvature that the server sees; along its steepest direction a round is ``1 - beta P``."""
    for pulls in PULLS:
        one = rounds_of(random_quadratics(5), pulls, steps=4, team_rounds=3)
        values, axes = np.linalg.eigh(one.hessian)
        one = dataclasses.replace(one, beta=product / values[-1])
        models = path(one, 12, one.fixed_point + axes[:, -1])
        np.testing.assert_allclose(norm(models - one.fixed_point), factor ** np.arange(13), rtol=1e-10)


@pytest.mark.parametrize(("product", "grows"), [(1.95, False), (2.05, True)])
def test_beta_gamma_of_two_is_the_limit_where_teams_do_not_follow_the_server(product, grows, x64):
    """Curvature and lambda far above gamma hold the teams at their minimisers, and a round is ``1 - beta gamma``."""
    losses = stiff(1e6, centres=random_quadratics(0).centres[:3])
    one = rounds_of(losses, (1e4, 1e4, 1.0), beta=product, steps=4, team_rounds=4)
    away = norm(path(one, 10) - one.fixed_point)
    assert ((away[1:] > away[:-1]) == grows).all()
    np.testing.assert_allclose(away[1:] / away[:-1], product - 1, rtol=1e-3)


@pytest.mark.parametrize(("curvature", "grows"), [(10.0, False), (11.0, True)])
def test_teams_that_follow_keep_the_server_stable_beyond_the_warning(curvature, grows, x64):
    """The released code's defaults, lambda = gamma = 5 and beta = 0.99, diverge from a curvature of about 10.5 on."""
    losses = stiff(curvature, centres=random_quadratics(0).centres[:3])
    one = rounds_of(losses, (5.0, 5.0, 5.0), beta=0.99, **SOLVED)
    assert one.beta * one.gamma > 4.9
    away = norm(path(one, 20) - one.fixed_point)
    assert ((away[1:] > away[:-1]) == grows).all()


@pytest.mark.parametrize(("product", "factor"), [(1.8, 0.8), (2.2, 1.2)])
def test_a_client_diverges_where_alpha_times_its_curvature_exceeds_two(product, factor, x64):
    losses = random_quadratics(6)
    steps = 9
    one = rounds_of(losses, PULLS[1], steps=steps, team_rounds=1)
    one = dataclasses.replace(one, alpha=product / (losses.smoothness + one.client_lambda))
    trained = np.asarray(permfl_round(one, START).clients["x"])
    wanted = one.clients(np.broadcast_to(START, trained.shape))
    for c, hessian in enumerate(losses.hessians):
        steepest = np.linalg.eigh(hessian)[1][:, -1]
        before, after = (START - wanted[c]) @ steepest, (trained[c] - wanted[c]) @ steepest
        np.testing.assert_allclose(after, (-factor) ** steps * before, rtol=1e-9)


def stiff(curvature, centres):
    """Three clients in two teams, curvature alike in all directions."""
    hessians = np.broadcast_to(curvature * np.eye(centres.shape[1]), (3, *centres.shape[1:] * 2)).copy()
    return Quadratics(hessians, centres, np.array([0, 1, 0]), curvature, curvature)
