"""Ditto: FedAvg undisturbed, personal models tethered to what each round began with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from tests import toy, two_quadratics
from tests.two_quadratics import MEANS, SHARES, START, A

LR, LAM = 0.2, 1.5


def after_rounds(rounds, **args):
    task = two_quadratics.make_task()
    algorithm = algorithms.ditto(two_quadratics.make_trainer(task, learning_rate=LR), lam=LAM, **args)
    state = algorithm.init(jax.random.key(0), task.init(jax.random.key(1)))
    for t in range(rounds):
        state, info = jax.jit(algorithm.round)(jax.random.key(t), state, two_quadratics.make_cohort())
    models = algorithm.models(state)
    return np.asarray(models.global_model[0]["w"]), np.asarray(models.personal[0]["w"]), info


@pytest.mark.parametrize(("args", "steps"), [({}, 1), ({"personal_epochs": 3}, 3), ({"personal_steps": 4}, 4)])
def test_rounds_on_quadratics_by_hand(args, steps, x64):
    """The tether leads to the w that the round began with, not to the one it ends in."""
    found_w, found_v, info = after_rounds(3, **args)
    w, personal = START, [START, START]
    for _ in range(3):
        for c, m in enumerate(MEANS):
            for _ in range(steps):
                personal[c] = personal[c] - LR * (A @ (personal[c] - m) + LAM * (personal[c] - w))
        w = sum(p * (w - LR * A @ (w - m)) for p, m in zip(SHARES, MEANS, strict=True))
    np.testing.assert_allclose(found_w, w, rtol=1e-10)
    np.testing.assert_allclose(found_v, personal, rtol=1e-10)
    np.testing.assert_array_equal(info.observed[0]["w"], found_v)
    assert int(info.steps) == 2 * (1 + steps)
    assert info.sent.tolist() == info.received.tolist() == [2], "the personal models stay where they are"


TAKEN_PART = np.array([0, 2, 3, 4])  # the others are served the global model by ditto, the start by local


def models_of(name, **args):
    """Two rounds of partial participation with kept optimiser states."""
    task, pool = toy.make_task(), toy.make_pool()
    algorithm = algorithms.registry[name](toy.make_trainer(task, keep_optimizer=True), **args)
    state = algorithm.init(jax.random.key(2), task.init(jax.random.key(1)))
    for t, ids in enumerate(([0, 2, 4], [3, 2])):
        state, _ = jax.jit(algorithm.round)(jax.random.key(t), state, toy.make_cohort(ids, pool, pad_to=3))
    return algorithm.models(state)


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12), a, b)


def test_without_a_tether_it_is_local_training_beside_fedavg(x64):
    found = models_of("ditto", lam=0.0)
    personal, local = (jax.tree.map(lambda x: x[TAKEN_PART], m.personal) for m in (found, models_of("local")))
    assert_close(personal, local)
    assert_close(found.global_model, models_of("fedavg").global_model)


def test_the_tether_moves_personal_models_and_not_the_global_one(x64):
    found = models_of("ditto", lam=3.0)
    assert_close(found.global_model, models_of("fedavg").global_model)
    gaps = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), found.personal, models_of("local").personal)
    assert max(jax.tree.leaves(gaps)) > 1e-2


def test_both_personal_epochs_and_steps_are_refused():
    trainer = toy.make_trainer(toy.make_task(jnp.float32))
    with pytest.raises(ValueError, match="personal_epochs, personal_steps: expected one of them, got 2 and 3"):
        algorithms.ditto(trainer, personal_epochs=2, personal_steps=3)
