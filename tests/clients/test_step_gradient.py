"""The gradient of a local step as a parameter: its batches, its key, its memory, and what holds as without it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.clients import LocalOptions, StepGradient, train_client, train_cohort
from fedjax_layers.types import Pool
from tests import toy

ROLES = 3


def trainer_of(**changes):
    return toy.make_trainer(toy.make_task(jnp.float32), **changes)


def recording(steps):
    """No gradient; remembers the pool rows ``[steps, ROLES, B]`` it was given, -1 for padding."""

    def compute(params, batches, key, memory):
        del key
        place, rows = memory
        seen = jnp.stack([jnp.where(b.mask, b.inputs[:, 0].astype(jnp.int32), -1) for b in batches])
        return jnp.float32(0), jax.tree.map(jnp.zeros_like, params), (place + 1, rows.at[place].set(seen))

    return StepGradient(compute, batches=ROLES, begin=lambda _: (jnp.int32(0), jnp.full((steps, ROLES, toy.BATCH), -1)))


@pytest.mark.parametrize("changes", [{}, {"epochs": 3}, {"epochs": None, "steps": 5}, {"uniform": True}])
def test_each_batch_of_a_step_has_an_order_of_its_own_and_the_first_is_the_plain_one(changes):
    trainer, (_, labels) = trainer_of(**changes), toy.make_pool(dtype=np.float32)
    client, key = 2, jax.random.key(4)  # the largest
    rows = np.tile(np.arange(len(labels), dtype=np.float32)[:, None], (1, toy.WIDTHS[0]))
    cohort = toy.make_cohort([client], (rows, labels))
    steps = int(trainer.num_steps(int(toy.COUNTS[client])))
    params = trainer.task.init(jax.random.key(0))
    options = LocalOptions(step_gradient=recording(steps))
    result = train_cohort(trainer, key, cohort, server=params, options=options)
    seen = np.asarray(result.carried[1][0])
    assert int(result.carried[0][0]) == steps
    for role in range(ROLES):
        batches = [row[row >= 0].tolist() for row in seen[:, role]]
        assert batches == [b.tolist() for b in toy.drawn_batches(trainer, key, client, role)]
        used = np.bincount(np.concatenate(batches) - toy.STARTS[client], minlength=toy.COUNTS[client])
        assert used.max() - used.min() <= (trainer.steps is not None), "each epoch has every example once per batch"
    assert len({seen[:, role].tobytes() for role in range(ROLES)}) == ROLES


def test_the_batches_of_a_step_are_independent():
    """The first examples of three batches, out of three: all 27 triples equally often."""
    trainer = dataclasses.replace(trainer_of(), max_examples=3, batch_size=1)
    data = (jnp.int32(0), jnp.int32(3), Pool(jnp.arange(3.0)[:, None], jnp.zeros(3, jnp.int32)))
    params = jnp.zeros(())
    first = StepGradient(
        lambda p, batches, _, memory: (
            jnp.float32(0),
            p,
            (memory[0] + 1, jnp.where(memory[0] == 0, jnp.stack([b.inputs[0, 0] for b in batches]), memory[1])),
        ),
        batches=ROLES,
        begin=lambda _: (jnp.int32(0), jnp.zeros(ROLES)),
    )
    options = LocalOptions(scale=jnp.float32(0), step_gradient=first)

    def one(key):
        return train_client(trainer, key, params, (), params, data, options).carried[1]

    drawn = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 5400))).astype(int)
    counts = np.bincount(drawn @ [9, 3, 1], minlength=27)
    np.testing.assert_allclose(counts / 5400, np.full(27, 1 / 27), atol=4.5 * np.sqrt(26 / 27**2 / 5400))


def noisy(task):
    """The task with a loss that depends on the key, as dropout does."""

    def loss(params, batch, key):
        noise = jax.random.normal(key, (toy.WIDTHS[0],), jnp.float32)
        return task.loss(params, batch._replace(inputs=batch.inputs + noise), None)

    return task._replace(loss=loss)


@pytest.mark.parametrize("changes", [{"epochs": 2}, {"keep_optimizer": True}, {"uniform": True}])
def test_the_losss_own_gradient_given_by_hand_changes_no_bit(changes):
    trainer = trainer_of(**changes)
    trainer = dataclasses.replace(trainer, task=noisy(trainer.task))
    clients = [2] if trainer.uniform else [0, 4, 2]
    cohort = toy.make_cohort(clients, toy.make_pool(dtype=np.float32))
    params = trainer.task.init(jax.random.key(1))
    opt_state = jax.tree.map(lambda x: x[jnp.asarray(clients)], trainer.init_optimizer(params))
    by_hand = StepGradient(
        lambda p, batches, key, memory: (*jax.value_and_grad(trainer.task.loss)(p, batches[0], key), memory), batches=2
    )
    plain, found = (
        train_cohort(
            trainer,
            jax.random.key(3),
            cohort,
            server=params,
            opt_state=opt_state,
            options=LocalOptions(jnp.asarray([True, False, True]), jnp.float32(0.5), True, gradient),
        )
        for gradient in (None, by_hand)
    )
    jax.tree.map(np.testing.assert_array_equal, found, plain)
    assert jax.tree.leaves(plain.carried) == []
    np.testing.assert_array_equal(found.params[1]["w"][0], params[1]["w"])
    assert float(jnp.abs(found.params[2]["w"][0] - params[2]["w"]).max()) > 1e-3


def test_the_gradient_given_is_the_one_that_is_followed_and_averaged():
    trainer = trainer_of(momentum=0.0, learning_rate=0.5)
    params = trainer.task.init(jax.random.key(1))
    ones = StepGradient(lambda p, *_: (jnp.float32(7), jax.tree.map(jnp.ones_like, p), ()))
    options = LocalOptions(with_gradient=True, step_gradient=ones)
    cohort = toy.make_cohort([0], toy.make_pool(dtype=np.float32))  # nine examples: three steps
    found = train_cohort(trainer, jax.random.key(3), cohort, server=params, options=options)
    jax.tree.map(lambda x, p: np.testing.assert_allclose(x[0], p - 1.5, rtol=1e-6, atol=1e-6), found.params, params)
    jax.tree.map(lambda g: np.testing.assert_allclose(g, 1), found.gradient)
    np.testing.assert_allclose(found.loss, [7])


def test_a_client_without_steps_remembers_what_it_began_with():
    trainer = trainer_of()
    params = trainer.task.init(jax.random.key(1))
    halves = StepGradient(lambda p, b, k, memory: (jnp.float32(0), p, memory), begin=lambda p: p[0]["w"] / 2)
    nobody = toy.make_cohort([2, 0], toy.make_pool(dtype=np.float32), weights=[0, 0])
    options = LocalOptions(step_gradient=halves)
    elsewhere = jax.tree.map(lambda x: jnp.zeros((2, *x.shape)), params)
    found = train_cohort(trainer, jax.random.key(0), nobody, server=params, anchor=elsewhere, options=options)
    np.testing.assert_array_equal(found.carried, np.stack([params[0]["w"] / 2] * 2))
