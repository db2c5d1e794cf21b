"""pFedMe on quadratics, whose Moreau envelope is known, and what its switches do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from tests import toy, two_quadratics
from tests.two_quadratics import EYE, MEANS, SHARES, START, A

LAM, RATE, LR, BETA = 2.0, 0.1, 0.15, 1.4


def after_rounds(rounds, *, epochs=1, **args):
    """Model and both clients' personal ones on the quadratics."""
    task = two_quadratics.make_task()
    trainer = two_quadratics.make_trainer(task, learning_rate=LR, epochs=epochs)
    algorithm = algorithms.pfedme(trainer, **{"lam": LAM, "inner_learning_rate": RATE} | args)
    state = algorithm.init(jax.random.key(0), task.init(jax.random.key(1)))
    for t in range(rounds):
        state, info = jax.jit(algorithm.round)(jax.random.key(t), state, two_quadratics.make_cohort())
    models = algorithm.models(state)
    np.testing.assert_array_equal(info.observed[0]["w"], models.personal[0]["w"])
    return np.asarray(models.global_model[0]["w"]), np.asarray(models.personal[0]["w"])


def test_one_inner_step_on_quadratics_is_a_power_of_a_matrix(x64):
    """(w, theta) moves linearly about the client's minimum; theta goes on from step to step, not round to round."""
    found_x, found_theta = after_rounds(2, epochs=3, inner_steps=1, beta=BETA)
    to_theta = np.block([RATE * LAM * EYE, EYE - RATE * A - RATE * LAM * EYE])  # theta' from (w, theta)
    to_w = np.block([EYE - LR * LAM * EYE, np.zeros((3, 3))]) + LR * LAM * to_theta
    three_steps = np.linalg.matrix_power(np.vstack([to_w, to_theta]), 3)
    x = START
    for _ in range(2):
        ends = [np.tile(m, 2) + three_steps @ np.tile(x - m, 2) for m in MEANS]
        x = (1 - BETA) * x + BETA * sum(p * e[:3] for p, e in zip(SHARES, ends, strict=True))
    np.testing.assert_allclose(found_x, x, rtol=1e-10)
    np.testing.assert_allclose(found_theta, [e[3:] for e in ends], rtol=1e-10)


def test_many_inner_steps_solve_the_proximal_problem(x64):
    """theta is the proximal point of w, and w steps down the envelope, whose Hessian is lam A (A + lam)^-1."""
    x, theta = after_rounds(1, inner_steps=400)
    solve = np.linalg.inv(A + LAM * EYE)
    np.testing.assert_allclose(theta, [solve @ (A @ m + LAM * START) for m in MEANS], rtol=1e-10)
    steps = [START - LR * LAM * A @ solve @ (START - m) for m in MEANS]
    np.testing.assert_allclose(x, sum(p * w for p, w in zip(SHARES, steps, strict=True)), rtol=1e-10)


def after_toy_round(learning_rate=1e-3, **args):
    """The models after a round of all of the toy's clients."""
    task = toy.make_task()
    algorithm = algorithms.pfedme(toy.make_trainer(task, momentum=0.0, learning_rate=learning_rate), **args)
    state = algorithm.init(jax.random.key(2), task.init(jax.random.key(1)))
    state, _ = jax.jit(algorithm.round)(jax.random.key(0), state, toy.make_cohort(range(toy.CLIENTS), toy.make_pool()))
    return algorithm.models(state)


def distance(a, b):
    return jnp.sqrt(sum(((x - y) ** 2).sum() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)))


def test_a_strong_pull_holds_theta_at_w(x64):
    """At the solution lam (w - theta) is the gradient at theta: the gap falls as 1/lam."""

    @jax.jit
    def gap(lam):
        args = {"lam": lam, "inner_learning_rate": 0.5 / lam, "inner_steps": 60, "learning_rate": 0.1 / lam}
        return distance(*(after_toy_round(**args, published_local_model=on).personal for on in (False, True)))

    gaps = [float(gap(lam)) for lam in (100.0, 1000.0)]
    assert gaps[0] < 0.1
    np.testing.assert_allclose(gaps[0] / gaps[1], 10, rtol=0.2)


@pytest.mark.slow
def test_the_switch_serves_the_local_w_and_changes_no_training(x64):
    models, published = (jax.jit(lambda on=on: after_toy_round(published_local_model=on))() for on in (False, True))
    jax.tree.map(np.testing.assert_array_equal, models.global_model, published.global_model)
    shares = toy.COUNTS / toy.COUNTS.sum()
    mean = jax.tree.map(lambda x: np.tensordot(shares, x, 1), toy.to_numpy(published.personal))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), mean, toy.to_numpy(models.global_model))
    assert distance(models.personal, published.personal) > 0.1


def test_the_server_stays_at_beta_zero(x64):
    x, theta = after_rounds(2, beta=0.0)
    np.testing.assert_array_equal(x, START)
    assert np.abs(theta - START).max() > 0.1


def test_the_uniform_loop_has_a_derivative_by_lam(x64):
    """d loss of theta / d lam against a central difference."""
    task, pool = toy.make_task(), toy.make_pool()
    cohort = toy.make_cohort([2], pool)
    params = task.init(jax.random.key(1))

    def final(lam):
        algorithm = algorithms.pfedme(toy.make_trainer(task, uniform=True), lam=lam)
        state = algorithm.init(jax.random.key(0), params)
        return algorithm.round(jax.random.key(0), state, cohort)[1].loss[0]

    value_and_slope, step = jax.jit(jax.value_and_grad(final)), 1e-4
    slope = value_and_slope(3.0)[1]
    ahead, behind = (value_and_slope(3.0 + d)[0] for d in (step, -step))
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-6)
    assert abs(float(slope)) > 1e-4


def test_no_inner_step_is_refused():
    with pytest.raises(ValueError, match="inner_steps: expected at least 1, got 0"):
        algorithms.pfedme(toy.make_trainer(toy.make_task(jnp.float32)), inner_steps=0)
