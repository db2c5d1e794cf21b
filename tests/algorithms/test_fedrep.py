"""FedRep against its oracle: two phases with an optimiser state each; special cases, traced numbers, bad input."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from fedjax_layers.clients import keys
from tests import toy
from tests.reference import personal
from tests.rounds import jit_optimised

ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0], [1, 2])  # partial, of unequal size: padded to three slots


def keys_of(t):
    """A round's key, and the head's and the representation's made of it."""
    key = jax.random.fold_in(jax.random.key(7), t)
    return key, jax.random.fold_in(key, keys.HEAD), key


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), toy.to_numpy(found), expected)


def row(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("args", "changes"),
    [({"head_epochs": 3}, {}), ({"head_steps": 5}, {"epochs": 2}), ({"head_epochs": 2}, {"epochs": None, "steps": 3})],
    ids=["epochs", "head steps", "body steps"],
)
def test_agrees_with_its_oracle(args, changes, keep, x64):
    task, pool = toy.make_task(), toy.make_pool()
    trainer = toy.make_trainer(task, keep_optimizer=keep, **changes)
    tuner = dataclasses.replace(trainer, epochs=args.get("head_epochs"), steps=args.get("head_steps"))
    algorithm = algorithms.fedrep(trainer, head_layers=2, **args)
    params = task.init(jax.random.key(1))
    start = toy.to_numpy(params)
    oracle = personal.FedRep(start, toy.CLIENTS, *pool, lr=0.1, beta=0.9, keep=keep, head_layers=2)
    state, step = algorithm.init(jax.random.key(2), params), jax.jit(algorithm.round)
    for t, ids in enumerate(ROUNDS):
        key, head_key, body_key = keys_of(t)
        state, info = step(key, state, toy.make_cohort(ids, pool, pad_to=3))
        drawn = {c: (toy.drawn_batches(tuner, head_key, c), toy.drawn_batches(trainer, body_key, c)) for c in ids}
        results = oracle.round([(c, float(toy.COUNTS[c]), drawn[c]) for c in ids])
        for slot, (_, _, trained, loss, _) in enumerate(results):
            close(row(info.observed, slot), trained)
            np.testing.assert_allclose(info.loss[slot], loss, rtol=1e-10)
        assert int(info.steps) == sum(len(batches) for pair in drawn.values() for batches in pair)
        assert info.sent.tolist() == info.received.tolist() == [len(ids), 0, 0]
        models = algorithm.models(state)
        assert models.global_model is None
        right = list(oracle.served())
        for client in toy.seen_after(ROUNDS, t):
            close(row(models.personal, client), right[client])


def served(factory, which, **args):
    """Served models after rounds with each round's key, the head's or the representation's."""
    task, pool = toy.make_task(jnp.float32), toy.make_pool(dtype=np.float32)
    epochs = args.pop("epochs", 1)
    algorithm = factory(toy.make_trainer(task, keep_optimizer=True, epochs=epochs), **args)
    state, step = algorithm.init(jax.random.key(2), task.init(jax.random.key(1))), jit_optimised(algorithm.round)
    for t, ids in enumerate(ROUNDS):
        state, _ = step(keys_of(t)[which], state, toy.make_cohort(ids, pool, pad_to=3))
    return algorithm.models(state)


def test_without_a_head_it_is_fedavg_bit_for_bit():
    found = served(algorithms.fedrep, 0, head_layers=0, head_epochs=2).personal
    expected = served(algorithms.fedavg, 2).global_model
    chex.assert_trees_all_equal(found, jax.tree.map(lambda x: jnp.broadcast_to(x, (toy.CLIENTS, *x.shape)), expected))


def test_without_a_representation_it_is_local_training_bit_for_bit():
    found = served(algorithms.fedrep, 0, head_layers=3, head_epochs=2)
    chex.assert_trees_all_equal(found.personal, served(algorithms.local, 1, epochs=2).personal)


@pytest.mark.slow
def test_the_number_of_head_layers_is_traced():
    task, pool = toy.make_task(jnp.float32), toy.make_pool(dtype=np.float32)
    params, cohort = task.init(jax.random.key(1)), toy.make_cohort([0, 2, 4], pool)

    def after_a_round(head_layers):
        algorithm = algorithms.fedrep(toy.make_trainer(task), head_layers=head_layers, head_epochs=2)
        state, _ = algorithm.round(jax.random.key(0), algorithm.init(jax.random.key(2), params), cohort)
        return algorithm.models(state).personal

    values = jnp.arange(4)
    once = jax.jit(chex.assert_max_traces(after_a_round, n=1))
    together = jax.jit(jax.vmap(after_a_round))(values)
    for i, value in enumerate(values):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), once(value), row(together, i))


@pytest.mark.parametrize("name", ["head_epochs", "head_steps"])
def test_a_head_that_is_never_trained_is_refused(name):
    trainer = toy.make_trainer(toy.make_task(jnp.float32))
    expected = {"head_epochs": "a positive number", "head_steps": "an integer of at least 1"}[name]
    with pytest.raises(ValueError, match=f"^{name}: expected {expected}, got 0$"):
        algorithms.fedrep(trainer, **{name: 0})
