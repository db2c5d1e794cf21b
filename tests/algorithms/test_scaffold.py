"""SCAFFOLD by hand on two parabolas, and what its control variates promise."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers import algorithms, ops
from fedjax_layers.clients import LocalSolver, Setting
from fedjax_layers.types import Cohort, Observer, Pool, Ranges, Task
from tests import toy
from tests.rounds import rounds_of

CURVES, MINIMA = jnp.array([1.0, 3.0]), jnp.array([1.0, -1.0])  # f1 = (x - 1)^2 / 2, f2 = 3 (x + 1)^2 / 2


def _loss(params, batch, key):
    del key
    client = batch.inputs[0, 0].astype(int)
    return CURVES[client] * (params["x"] - MINIMA[client]) ** 2 / 2


def parabolas(start=0.0, name="scaffold", **options):
    params = {"x": jnp.asarray(start, float)}
    task = Task(lambda _: params, None, None, _loss, ops.layer_map(params), 1)
    solver = LocalSolver(optax.sgd(options.pop("learning_rate", 0.1)), batch_size=1, steps=options.pop("steps", 2))
    algorithm = algorithms.registry[name](Setting(task, 2, 1).bind(solver), **options)
    return algorithm, algorithm.init(jax.random.key(0), params)


def cohort(*clients):
    ids = jnp.array(clients)
    pool = Pool(jnp.array([[0.0], [1.0]]), jnp.zeros(2, jnp.int32))
    return Cohort(ids, jnp.ones(len(clients)), Ranges(ids, jnp.ones_like(ids)), pool, Observer(toy.trained_model))


def step(algorithm, state, *clients):
    return jax.jit(algorithm.round)(jax.random.key(1), state, cohort(*clients))


def test_two_rounds_by_hand(x64):
    algorithm, state = parabolas()
    state, info = step(algorithm, state, 0, 1)
    np.testing.assert_allclose(info.observed["x"], [0.19, -0.51], atol=1e-12)
    np.testing.assert_allclose([state.server["x"], state.common["x"]], [-0.16, 0.8], atol=1e-12)
    np.testing.assert_allclose(state.objective["x"], [-0.95, 2.55], atol=1e-12)
    assert info.sent.tolist() == info.received.tolist() == [4], "a variate goes with every model"
    state, info = step(algorithm, state, 0, 1)
    np.testing.assert_allclose(info.observed["x"], [-0.2721, -0.2909], atol=1e-12)
    np.testing.assert_allclose([state.server["x"], state.common["x"]], [-0.2815, 0.6075], atol=1e-12)
    np.testing.assert_allclose(state.objective["x"], [-1.1895, 2.4045], atol=1e-12)


def test_a_client_alone_moves_the_variate_by_its_share_of_all_clients(x64):
    algorithm, state = parabolas()
    state, _ = step(algorithm, state, 0)
    np.testing.assert_allclose([state.server["x"], state.common["x"]], [0.19, -0.475], atol=1e-12)


@pytest.mark.parametrize("option", ["I", "II"])
def test_the_servers_variate_is_the_mean_of_the_clients(option, x64):
    algorithm, state = parabolas(option=option)
    for clients in ((0,), (1,), (0, 1), (1,)):
        state, _ = step(algorithm, state, *clients)
        np.testing.assert_allclose(state.common["x"], state.objective["x"].mean(), atol=1e-12)


def test_at_the_optimum_the_model_stays_put(x64):
    """There the clients' gradients, which do not vanish, are their variates."""
    algorithm, state = parabolas(-0.5, steps=1, learning_rate=0.0)
    state, _ = step(algorithm, state, 0, 1)
    np.testing.assert_allclose(state.objective["x"], CURVES * (-0.5 - MINIMA), atol=1e-12)
    algorithm, _ = parabolas(-0.5, steps=7)
    for _ in range(3):
        state, info = step(algorithm, state, 0, 1)
        np.testing.assert_allclose([state.server["x"], *info.observed["x"]], -0.5, atol=1e-12)


def test_with_one_step_the_variates_cancel_for_all_clients(x64):
    algorithm, state = parabolas(0.3, steps=1)
    for _ in range(4):
        before = state.server["x"]
        state, _ = step(algorithm, state, 0, 1)
        gradient = (CURVES * (before - MINIMA)).mean()
        np.testing.assert_allclose(state.server["x"], before - 0.1 * gradient, atol=1e-12)


def test_with_variates_of_zero_it_is_fedavg_to_the_bit(x64):
    pool = toy.make_pool()
    found = []
    for name in ("scaffold", "fedavg"):
        rounds = rounds_of(name)
        state, _ = rounds.step(jax.random.key(3), rounds.start(), toy.make_cohort([0, 2, 4], pool))
        found.append(toy.to_numpy(state.server))
    jax.tree.map(np.testing.assert_array_equal, *found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": optax.adam(0.1)}, "optimizer: expected one with a fixed step"),
        ({"optimizer": optax.chain(optax.clip(1.0), optax.rmsprop(0.1))}, "optimizer: expected one with a fixed step"),
        ({"aggregate": ops.make_rule("coordinate_median", {})}, "aggregate: expected none"),
    ],
)
def test_what_has_no_meaning_is_refused(changes, message, x64):
    with pytest.raises(ValueError, match=message):
        algorithms.scaffold(toy.make_trainer(toy.make_task(), **changes))


def test_momentum_and_schedules_have_a_fixed_step(x64):
    optimizer = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(optax.linear_schedule(0.1, 0.0, 5), momentum=0.9))
    algorithms.scaffold(toy.make_trainer(toy.make_task(), optimizer=optimizer))


def test_several_local_steps_end_at_the_common_optimum_which_fedavg_misses(x64):
    algorithm, state = parabolas(steps=10)
    for _ in range(60):
        state, _ = step(algorithm, state, 0, 1)
    np.testing.assert_allclose(state.server["x"], -0.5, atol=1e-6)
    fedavg, plain = parabolas(steps=10, name="fedavg")
    for _ in range(60):
        plain, _ = step(fedavg, plain, 0, 1)
    assert abs(plain.server["x"] + 0.5) > 0.1
