"""Per-FedAvg on quadratics, where the meta-gradient is known, and against the exact one on a network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from fedjax_layers.algorithms.sharing.per_fedavg import meta_gradient
from fedjax_layers.clients.batches import take_batch
from fedjax_layers.types import Pool
from tests import toy, two_quadratics
from tests.two_quadratics import EYE, MEANS, SHARES, START, A

RATE = 0.3


def after_rounds(rounds, **args):
    task = two_quadratics.make_task()
    trainer = two_quadratics.make_trainer(task, learning_rate=0.2, epochs=4)
    algorithm = algorithms.per_fedavg(trainer, adaptation_rate=RATE, **args)
    state = algorithm.init(jax.random.key(0), task.init(jax.random.key(1)))
    for t in range(rounds):
        state, _ = jax.jit(algorithm.round)(jax.random.key(t), state, two_quadratics.make_cohort())
    return algorithm, state


@pytest.mark.parametrize(
    ("variant", "gradient"),
    [
        ("fo", A @ (EYE - RATE * A)),  # at the adapted point, times w - m
        ("hf", (EYE - RATE * A) @ A @ (EYE - RATE * A)),  # of f(w - a f'(w)): the Hessian is A on every batch
    ],
)
def test_rounds_on_quadratics_are_powers_of_the_meta_gradients_matrix(variant, gradient, x64):
    """Four local steps of ``w <- w - 0.2 * G (w - m_c)`` from the global model, then the mean; twice."""
    _, state = after_rounds(2, variant=variant)
    w = START
    for _ in range(2):
        step = np.linalg.matrix_power(EYE - 0.2 * gradient, 4)
        w = sum(p * (m + step @ (w - m)) for p, m in zip(SHARES, MEANS, strict=True))
    np.testing.assert_allclose(state.server[0]["w"], w, rtol=1e-9)


@pytest.mark.parametrize("delta", [1e-3, 10.0])
def test_the_hessian_free_gradient_is_the_exact_one_on_a_quadratic(delta, x64):
    """A central difference of a linear gradient has no error, however large its step."""
    task, pool = two_quadratics.make_task(), two_quadratics.make_cohort().pool
    params = task.init(jax.random.key(0))
    batches = [
        take_batch(pool, jnp.int32(0), jnp.asarray(rows), jnp.ones(2, bool)) for rows in ([0, 1], [2, 3], [3, 6])
    ]
    compute = meta_gradient(task, RATE, delta).compute
    _, found, _ = compute(params, tuple(batches), jax.random.key(0), ())

    def after_adaptation(params):
        slope = jax.grad(task.loss)(params, batches[1], None)
        return task.loss(jax.tree.map(lambda p, g: p - RATE * g, params, slope), batches[0], None)

    np.testing.assert_allclose(found[0]["w"], jax.grad(after_adaptation)(params)[0]["w"], rtol=1e-9)


@pytest.mark.slow
def test_on_a_network_the_hessian_free_gradient_comes_near_the_exact_one_and_the_first_order_one_does_not(x64):
    task, (inputs, labels) = toy.make_task(), toy.make_pool()
    params = task.init(jax.random.key(1))
    pool = Pool(jnp.asarray(inputs), jnp.asarray(labels))
    outer, inner = (
        take_batch(pool, jnp.int32(13), jnp.asarray(rows), jnp.ones(4, bool)) for rows in ([0, 3, 5, 9], [1, 2, 8, 12])
    )

    def after_adaptation(params):
        slope = jax.grad(task.loss)(params, inner, None)
        return task.loss(jax.tree.map(lambda p, g: p - RATE * g, params, slope), outer, None)

    loss, exact = jax.value_and_grad(after_adaptation)(params)
    errors = {}
    for name, delta in (("fo", None), ("hf", 1e-4)):
        found_loss, found, _ = meta_gradient(task, RATE, delta).compute(
            params, (outer, inner, inner), jax.random.key(0), ()
        )
        np.testing.assert_allclose(found_loss, loss, rtol=1e-12)
        gaps = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), found, exact)
        errors[name] = max(jax.tree.leaves(gaps))
    assert errors["hf"] < 1e-8
    assert errors["fo"] > 1e-2


@pytest.mark.parametrize(("args", "steps"), [({}, 1), ({"finish_epochs": 3}, 3), ({"finish_steps": 2}, 2)])
def test_the_personal_model_is_the_global_one_after_plain_steps_at_the_adaptation_rate(args, steps, x64):
    algorithm, state = after_rounds(1, **args)
    assert algorithm.models(state).personal is None
    final = algorithm.finish(jax.random.key(9), state, two_quadratics.make_cohort())
    shrink = np.linalg.matrix_power(EYE - RATE * A, steps)
    for c, m in enumerate(MEANS):
        np.testing.assert_allclose(final[0]["w"][c], m + shrink @ (state.server[0]["w"] - m), rtol=1e-10)


def test_adaptation_sees_the_clients_training_examples_only(x64):
    inputs, labels = toy.make_pool()
    poisoned = np.full_like(inputs, np.nan)
    own = slice(toy.STARTS[3], toy.STARTS[3] + toy.COUNTS[3])
    poisoned[own] = inputs[own]
    task = toy.make_task()
    algorithm = algorithms.per_fedavg(toy.make_trainer(task))
    state = algorithm.init(jax.random.key(0), task.init(jax.random.key(1)))
    clean, found = (
        algorithm.finish(jax.random.key(0), state, toy.make_cohort([3], (x, labels))) for x in (inputs, poisoned)
    )
    jax.tree.map(np.testing.assert_array_equal, found, clean)


def test_bad_arguments_are_refused():
    trainer = toy.make_trainer(toy.make_task(jnp.float32))
    with pytest.raises(ValueError, match=r"variant: expected one of fo, hf, got 'second'"):
        algorithms.per_fedavg(trainer, variant="second")
    with pytest.raises(ValueError, match="steps: expected an integer of at least 1, got 0"):
        algorithms.per_fedavg(trainer, finish_steps=0)
