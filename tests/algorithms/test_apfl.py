"""APFL: FedAvg undisturbed, mixtures by hand on quadratics, the weight's single step, special cases, bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers import algorithms
from fedjax_layers.ops import proximal_pull
from tests import toy, two_quadratics
from tests.two_quadratics import MEANS, SHARES, START, A

LR, ROUNDS = 0.2, ([0, 2, 4], [3, 1], [2, 3, 0])


def on_quadratics(rounds, *, changes=None, **args):
    """State, models and the last report."""
    task = two_quadratics.make_task()
    algorithm = algorithms.apfl(two_quadratics.make_trainer(task, learning_rate=LR, **(changes or {})), **args)
    state = algorithm.init(jax.random.key(0), task.init(jax.random.key(1)))
    for t in range(rounds):
        state, info = jax.jit(algorithm.round)(jax.random.key(t), state, two_quadratics.make_cohort())
    return state, algorithm.models(state), info


def by_hand(rounds, steps, personal_weight, rate=0.0):
    """w, the v's, the weights, and the mixtures before the last averaging; every step uses the full gradient."""
    w, own, weights = START, [START, START], [personal_weight, personal_weight]
    for _ in range(rounds):
        copies, trained = [], []
        for c, m in enumerate(MEANS):
            w_c, v, a = w, own[c], weights[c]
            for step in range(steps):
                slope = A @ (a * v + (1 - a) * w_c - m)
                moved = np.clip(a - rate * slope @ (v - w_c), 0, 1) if step == 0 else a
                w_c, v, a = w_c - LR * A @ (w_c - m), v - LR * a * slope, moved
            own[c], weights[c] = v, a
            copies.append(w_c)
            trained.append(a * v + (1 - a) * w_c)
        w = sum(p * x for p, x in zip(SHARES, copies, strict=True))
    return w, own, weights, trained


@pytest.mark.parametrize("args", [{}, {"adaptive": True, "personal_weight_rate": 0.03}], ids=["fixed", "adaptive"])
@pytest.mark.parametrize("steps", [1, 3])
def test_rounds_on_quadratics_by_hand(args, steps, x64):
    """All three move at once; the weight in the first step only; what is served mixes with the averaged w."""
    state, models, info = on_quadratics(4, changes={"epochs": steps}, personal_weight=0.3, **args)
    w, own, weights, trained = by_hand(4, steps, 0.3, args.get("personal_weight_rate", 0.0))
    np.testing.assert_allclose(models.global_model[0]["w"], w, rtol=1e-10)
    np.testing.assert_allclose(state.personal_weight, weights, rtol=1e-10)
    np.testing.assert_allclose(state.sharing.clients[0]["w"], own, rtol=1e-10)
    np.testing.assert_allclose(info.observed[0]["w"], trained, rtol=1e-10)
    served = [a * v + (1 - a) * w for a, v in zip(weights, own, strict=True)]
    np.testing.assert_allclose(models.personal[0]["w"], served, rtol=1e-10)
    assert int(info.steps) == 2 * steps
    assert info.sent.tolist() == info.received.tolist() == [2], "v and its weight stay where they are"
    assert (np.abs(np.subtract(weights, 0.3)) > 1e-3).all() == bool(args), "the fixture must move the weights"


def test_the_weight_follows_the_derivative_of_the_loss(x64):
    """By central differences of the client's loss along the mixtures that a round begins with."""
    before, models, _ = on_quadratics(2, personal_weight=0.3)
    after, _, _ = on_quadratics(3, personal_weight=0.3, adaptive=True, personal_weight_rate=0.0)
    np.testing.assert_array_equal(after.personal_weight, [0.3, 0.3])
    w = np.asarray(models.global_model[0]["w"])
    task = two_quadratics.make_task()
    algorithm = algorithms.apfl(
        two_quadratics.make_trainer(task, learning_rate=LR),
        personal_weight=0.3,
        adaptive=True,
        personal_weight_rate=0.01,
    )
    found, info = jax.jit(algorithm.round)(jax.random.key(2), before, two_quadratics.make_cohort())
    for c, m in enumerate(MEANS):
        v = np.asarray(before.sharing.clients[0]["w"][c])

        def loss(a, v=v, m=m):
            gap = a * v + (1 - a) * w - m
            return gap @ A @ gap / 2

        slope = (loss(0.3 + 1e-4) - loss(0.3 - 1e-4)) / 2e-4
        np.testing.assert_allclose(found.personal_weight[c], 0.3 - 0.01 * slope, rtol=1e-8)
    np.testing.assert_allclose(info.extra["personal_weight"], np.mean(found.personal_weight), rtol=1e-12)


def test_the_weight_stays_within_bounds_and_waits_for_a_difference(x64):
    first, _, _ = on_quadratics(1, adaptive=True, personal_weight_rate=1e6)
    np.testing.assert_array_equal(first.personal_weight, [0.5, 0.5])
    second, _, _ = on_quadratics(2, adaptive=True, personal_weight_rate=1e6)
    assert set(np.asarray(second.personal_weight).tolist()) <= {0.0, 1.0}


def test_the_step_of_the_weight_follows_the_schedule_of_the_others(x64):
    halved = {"learning_rate_factor": lambda t: 0.5 ** t.astype(jnp.float32)}
    plain, _, _ = on_quadratics(1)
    task = two_quadratics.make_task()
    moved = []
    for changes in ({}, halved):
        trainer = two_quadratics.make_trainer(task, learning_rate=LR, **changes)
        algorithm = algorithms.apfl(trainer, adaptive=True, personal_weight_rate=0.01)
        state, _ = jax.jit(algorithm.round)(jax.random.key(1), plain, two_quadratics.make_cohort())
        moved.append(np.asarray(state.personal_weight) - 0.5)
    np.testing.assert_allclose(2 * moved[1], moved[0], rtol=1e-10)
    assert (np.abs(moved[0]) > 1e-4).all()


def run(name, *, dtype=jnp.float32, optimizer=None, rounds=ROUNDS, **args):
    """State and models after rounds of partial participation with kept optimiser states."""
    task, pool = toy.make_task(dtype), toy.make_pool(dtype=np.dtype(dtype))
    changes = {} if optimizer is None else {"optimizer": optimizer}
    algorithm = algorithms.registry[name](toy.make_trainer(task, keep_optimizer=True, **changes), **args)
    state, step = algorithm.init(jax.random.key(2), task.init(jax.random.key(1))), jax.jit(algorithm.round)
    for t, ids in enumerate(rounds):
        state, _ = step(jax.random.key(t), state, toy.make_cohort(ids, pool, pad_to=3))
    return state, algorithm.models(state)


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12), a, b)


@pytest.mark.slow
def test_weight_zero_serves_fedavg_and_weight_one_local_training(x64):
    expected = run("fedavg", dtype=jnp.float64)[1].global_model
    everyone = jax.tree.map(lambda x: jnp.broadcast_to(x, (toy.CLIENTS, *x.shape)), expected)
    nothing, all_own = (
        run("apfl", dtype=jnp.float64, personal_weight=personal_weight)[1] for personal_weight in (0.0, 1.0)
    )
    assert_close(nothing.personal, everyone)
    assert_close(all_own.personal, run("local", dtype=jnp.float64)[1].personal)
    for models in (nothing, all_own):
        assert_close(models.global_model, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    [
        optax.chain(optax.clip_by_global_norm(0.3), optax.sgd(0.5)),
        optax.chain(proximal_pull(0.7), optax.sgd(0.1, momentum=0.9)),
    ],
    ids=["clipped", "pulled"],
)
def test_each_of_the_two_models_has_an_optimiser_of_its_own(optimizer, x64):
    """The norm of one does not clip the other, and each is pulled to where it began."""
    found = run("apfl", dtype=jnp.float64, optimizer=optimizer, personal_weight=1.0)[1]
    assert_close(found.global_model, run("fedavg", dtype=jnp.float64, optimizer=optimizer)[1].global_model)
    assert_close(found.personal, run("local", dtype=jnp.float64, optimizer=optimizer)[1].personal)


def test_an_absent_client_keeps_its_weight_and_its_own_model():
    before, _ = run("apfl", adaptive=True, personal_weight_rate=0.5)
    after, _ = run("apfl", adaptive=True, personal_weight_rate=0.5, rounds=(*ROUNDS, [0, 2]))
    absent, present = np.array([1, 3, 4]), np.array([0, 2])
    chex.assert_trees_all_equal(
        *(
            jax.tree.map(lambda x: x[absent], (s.personal_weight, s.sharing.clients, s.sharing.client_opt))
            for s in (before, after)
        )
    )
    assert (np.asarray(before.personal_weight)[present] != np.asarray(after.personal_weight)[present]).all()


@pytest.mark.slow
def test_its_numbers_are_traced():
    task, pool = toy.make_task(jnp.float32), toy.make_pool(dtype=np.float32)
    params, cohort = task.init(jax.random.key(1)), toy.make_cohort([0, 2, 4], pool)

    def served(personal_weight, rate):
        algorithm = algorithms.apfl(
            toy.make_trainer(task), personal_weight=personal_weight, adaptive=True, personal_weight_rate=rate
        )
        state = algorithm.init(jax.random.key(2), params)
        for t in range(2):
            state, _ = algorithm.round(jax.random.key(t), state, cohort)
        return algorithm.models(state).personal

    values = jnp.array([[0.0, 0.1], [0.3, 0.0], [0.8, 2.0]])
    once = jax.jit(chex.assert_max_traces(served, n=1))
    together = jax.jit(jax.vmap(served))(*values.T)
    for i, (personal_weight, rate) in enumerate(values):
        apart = jax.tree.map(lambda x, i=i: x[i], together)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), once(personal_weight, rate), apart
        )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"personal_weight": 1.1}, r"personal_weight: expected 0 to 1, got 1.1"),
        ({"personal_weight": -0.1}, r"personal_weight: expected 0 to 1, got -0.1"),
        ({"personal_weight": float("nan")}, r"personal_weight: expected a finite number, got nan"),
        ({"personal_weight_rate": -1.0}, "personal_weight_rate: expected at least 0, got -1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(args, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        algorithms.apfl(toy.make_trainer(toy.make_task(jnp.float32)), **args)


def test_batch_normalisation_is_refused():
    task = toy.make_task(jnp.float32)._replace(batch_norm=object())
    with pytest.raises(ValueError, match=r"^task: expected a model without batch normalisation for apfl, got one$"):
        algorithms.apfl(toy.make_trainer(task))
