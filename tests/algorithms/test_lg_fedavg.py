"""LG-FedAvg: what stays is counted from the input; special cases, traced numbers, what moves, bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from tests import toy

ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0])


def run(factory, *, dtype=jnp.float32, **args):
    """Served models and the last report after rounds of partial participation with kept momenta."""
    task, pool = toy.make_task(dtype), toy.make_pool(dtype=np.dtype(dtype))
    algorithm = factory(toy.make_trainer(task, keep_optimizer=True), **args)
    state = algorithm.init(jax.random.key(2), task.init(jax.random.key(1)))
    step = jax.jit(algorithm.round)
    for t, ids in enumerate(ROUNDS):
        state, info = step(jax.random.key(t), state, toy.make_cohort(ids, pool, pad_to=3))
    return algorithm.models(state), info


def all_clients(params):
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (toy.CLIENTS, *x.shape)), params)


def test_nothing_local_is_fedavg_bit_for_bit():
    found, _ = run(algorithms.lg_fedavg, local_layers=0)
    expected, _ = run(algorithms.fedavg)
    chex.assert_trees_all_equal(found.personal, all_clients(expected.global_model))


def test_all_layers_local_is_local_training_bit_for_bit():
    found, _ = run(algorithms.lg_fedavg, local_layers=3)
    chex.assert_trees_all_equal(found.personal, run(algorithms.local)[0].personal)


@pytest.mark.parametrize("local_layers", [1, 2])
def test_the_first_layers_stay_where_fedper_keeps_the_last(local_layers):
    found, info = run(algorithms.lg_fedavg, local_layers=local_layers)
    assert info.sent.tolist() == info.received.tolist() == [0] * local_layers + [3] * (3 - local_layers)
    mirrored = run(algorithms.fedper, personal_layers=local_layers)[1]
    assert info.sent.tolist() == mirrored.sent.tolist()[::-1]
    for i, layer in enumerate(found.personal):
        gap = float(jnp.abs(layer["w"] - layer["w"][:1]).max())
        assert (gap > 1e-3) == (i < local_layers), "clients differ in the layers that are theirs, and in no other"
    assert found.global_model is None


def test_the_number_of_local_layers_is_traced():
    task, pool = toy.make_task(jnp.float32), toy.make_pool(dtype=np.float32)
    params, cohort = task.init(jax.random.key(1)), toy.make_cohort([0, 2, 4], pool)

    def served(local_layers):
        algorithm = algorithms.lg_fedavg(toy.make_trainer(task), local_layers=local_layers)
        state, _ = algorithm.round(jax.random.key(0), algorithm.init(jax.random.key(2), params), cohort)
        return algorithm.models(state).personal

    values = jnp.arange(4)
    once = jax.jit(chex.assert_max_traces(served, n=1))
    together = jax.jit(jax.vmap(served))(values)
    for i, value in enumerate(values):
        apart = jax.tree.map(lambda x, i=i: x[i], together)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), once(value), apart)


@pytest.mark.parametrize("wrong", [-1, 4])
def test_a_number_of_layers_that_the_model_does_not_have_is_refused(wrong):
    trainer = toy.make_trainer(toy.make_task(jnp.float32))
    with pytest.raises(ValueError, match=f"^local_layers: expected 0 to 3, got {wrong}$"):
        algorithms.lg_fedavg(trainer, local_layers=wrong)
