"""Local training: which examples a client sees when, what moves, and derivatives through it."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers.clients import LocalOptions, train_client, train_cohort
from fedjax_layers.clients.batches import batch_order, batch_rows, take_batch
from fedjax_layers.types import Pool
from tests import toy

MAX = int(toy.COUNTS.max())


def trainer_of(**changes):
    return toy.make_trainer(toy.make_task(jnp.float32), **changes)


def batches(trainer, count, key=0):
    """The rows of every step, those of the mask only, and whether the mask came first."""
    order = batch_order(jax.random.key(key), jnp.int32(count), trainer)
    found = []
    for step in range(int(trainer.num_steps(jnp.int32(count)))):
        rows, mask = (np.asarray(x) for x in batch_rows(order, jnp.int32(step), jnp.int32(count), trainer))
        assert rows.shape == mask.shape == (trainer.batch_size,)
        assert (np.diff(mask.astype(int)) <= 0).all(), "real rows come first"
        found.append(rows[mask].tolist())
    return found


def start(trainer, seed=1):
    return trainer.task.init(jax.random.key(seed))


def data_of(client, pool=None):
    inputs, labels = pool or toy.make_pool(dtype=np.float32)
    ranges = (jnp.int32(toy.STARTS[client]), jnp.int32(toy.COUNTS[client]))
    return (*ranges, Pool(jnp.asarray(inputs), jnp.asarray(labels)))


@pytest.mark.parametrize("count", [0, 1, 5, MAX])
def test_an_order_begins_with_a_permutation_of_the_examples(count):
    order = np.asarray(batch_order(jax.random.key(0), jnp.int32(count), trainer_of(epochs=7)))
    assert order.shape == (7, MAX)
    for row in order:
        assert sorted(row[:count]) == list(range(count))
    if count > 4:
        assert len({tuple(row[:count]) for row in order}) > 1, "each epoch has an order of its own"


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9, MAX])
def test_an_epoch_uses_every_example_once(count, epochs):
    per_epoch = -(-count // toy.BATCH)
    found = batches(trainer_of(epochs=epochs), count)
    assert len(found) == epochs * per_epoch
    for e in range(epochs):
        one = found[e * per_epoch : (e + 1) * per_epoch]
        assert [len(b) for b in one[:-1]] == [toy.BATCH] * (per_epoch - 1)
        assert len(one[-1]) == count - toy.BATCH * (per_epoch - 1), "the last batch holds the remainder"
        assert sorted(itertools.chain(*one)) == list(range(count))


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9, MAX])
def test_fixed_steps_go_round_the_examples_without_a_duplicate_in_a_batch(count):
    found = batches(trainer_of(epochs=None, steps=11), count)
    assert len(found) == 11
    for batch in found:
        assert len(batch) == len(set(batch)) == min(count, toy.BATCH)
    used = np.bincount(np.concatenate(found), minlength=count)
    assert used.max() - used.min() <= 1


@pytest.mark.parametrize("changes", [{"epochs": 2}, {"epochs": None, "steps": 3}])
def test_an_empty_client_does_no_step(changes):
    assert batches(trainer_of(**changes), 0) == []


@pytest.mark.parametrize("uniform", [True, False])
def test_every_order_is_equally_likely(uniform):
    trainer = dataclasses.replace(trainer_of(), max_examples=3, uniform=uniform)
    keys = jax.random.split(jax.random.key(0), 3000)
    orders = np.asarray(jax.vmap(lambda k: batch_order(k, jnp.int32(3), trainer)[0])(keys))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    np.testing.assert_allclose(counts / 3000, np.full(6, 1 / 6), atol=4.5 * np.sqrt(5 / 36 / 3000))


def test_a_ragged_clients_order_does_not_depend_on_the_largest_client():
    """Where the valid positions fall is as likely for a short client as for a full one."""
    trainer = trainer_of()
    keys = jax.random.split(jax.random.key(0), 3000)
    first = np.asarray(jax.vmap(lambda k: batch_order(k, jnp.int32(3), trainer)[0, :2])(keys))
    _, counts = np.unique(first, axis=0, return_counts=True)
    np.testing.assert_allclose(counts / 3000, np.full(6, 1 / 6), atol=4.5 * np.sqrt(5 / 36 / 3000))


def test_padding_rows_are_the_clients_own_first_example():
    _, _, pool = data_of(2)
    rows, mask = jnp.asarray([3, 99, 7]), jnp.asarray([True, False, True])
    batch = take_batch(pool, jnp.int32(toy.STARTS[2]), rows, mask)
    expected = toy.STARTS[2] + np.array([3, 0, 7])
    np.testing.assert_array_equal(batch.inputs, np.asarray(pool.inputs)[expected])
    np.testing.assert_array_equal(batch.labels, np.asarray(pool.labels)[expected])
    assert batch.mask.tolist() == [True, False, True]


def test_a_client_sees_its_own_range_only():
    inputs, labels = toy.make_pool(dtype=np.float32)
    poisoned = np.full_like(inputs, np.nan)
    own = slice(toy.STARTS[3], toy.STARTS[3] + toy.COUNTS[3])
    poisoned[own] = inputs[own]
    trainer = trainer_of(epochs=3)
    params = start(trainer)
    train = jax.jit(lambda data: train_client(trainer, jax.random.key(4), params, (), params, data))
    clean, found = (train(data_of(3, (x, labels))) for x in (inputs, poisoned))
    jax.tree.map(np.testing.assert_array_equal, found, clean)


@pytest.mark.parametrize(
    "changes", [{}, {"epochs": None, "steps": 5}, {"optimizer": optax.adamw(0.1, weight_decay=0.5)}]
)
def test_a_client_without_examples_returns_what_it_was_given(changes):
    trainer = trainer_of(keep_optimizer=True, **changes)
    params = start(trainer)
    kept = jax.tree.map(jnp.ones_like, trainer.optimizer.init(params))
    begin, _, pool = data_of(2)
    options = LocalOptions(with_gradient=True)
    found = train_client(trainer, jax.random.key(0), params, kept, params, (begin, jnp.int32(0), pool), options)
    jax.tree.map(np.testing.assert_array_equal, (found.params, found.opt_state), (params, kept))
    assert float(found.loss) == 0
    assert all(float(jnp.abs(g).max()) == 0 for g in jax.tree.leaves(found.gradient))


def test_results_go_with_the_client_not_with_its_slot():
    trainer, pool = trainer_of(), toy.make_pool(dtype=np.float32)
    params, key = start(trainer), jax.random.key(3)
    train = jax.jit(lambda cohort: train_cohort(trainer, key, cohort, server=params))
    forward = train(toy.make_cohort([0, 2, 4, 3], pool))
    backward = train(toy.make_cohort([3, 4, 2, 0], pool, pad_to=6))
    flipped = jax.tree.map(lambda x: x[3::-1], backward)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), forward, flipped)
    alone = jax.jit(lambda data: train_client(trainer, jax.random.fold_in(key, 2), params, (), params, data))(
        data_of(2)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-5, atol=1e-6), forward._replace(observed=()), alone
    )


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1, momentum=0.9), optax.adamw(0.1, weight_decay=0.5)])
def test_layers_that_are_not_trained_do_not_move_whatever_the_optimiser_remembers(optimizer):
    trainer = trainer_of(optimizer=optimizer, epochs=2, keep_optimizer=True)
    params = start(trainer)
    moving = jax.tree.map(jnp.ones_like, optimizer.init(params))  # momentum in every layer
    options = LocalOptions(trainable=jnp.asarray([True, False, True]))
    found = train_client(trainer, jax.random.key(0), params, moving, params, data_of(2), options).params
    jax.tree.map(np.testing.assert_array_equal, found[1], params[1])
    for layer in (0, 2):
        assert float(jnp.abs(found[layer]["w"] - params[layer]["w"]).max()) > 0.01


def test_the_mean_gradient_and_loss_are_over_the_steps():
    """Steps of size zero: the gradients are all taken at the start, so that means can be had by hand."""
    trainer, params = trainer_of(), start(trainer_of())
    options = LocalOptions(scale=jnp.float32(0), with_gradient=True)
    key = jax.random.key(5)
    found = train_client(trainer, jax.random.fold_in(key, 0), params, (), params, data_of(0), options)
    jax.tree.map(np.testing.assert_array_equal, found.params, params)
    pool = data_of(0)[2]
    losses, grads, loss_and_grad = [], [], jax.jit(jax.value_and_grad(trainer.task.loss))
    for rows in toy.drawn_batches(trainer, key, 0):
        batch = take_batch(pool, jnp.int32(0), jnp.asarray(rows), jnp.ones(len(rows), bool))
        loss, grad = loss_and_grad(params, batch, None)
        losses.append(loss)
        grads.append(grad)
    assert len(grads) == 3
    np.testing.assert_allclose(found.loss, np.mean(losses), rtol=1e-6)
    mean = jax.tree.map(lambda *g: np.mean(g, 0), *grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found.gradient, mean)


def test_a_slot_begins_at_the_servers_shared_layers_and_its_own_others():
    trainer, pool = trainer_of(), toy.make_pool(dtype=np.float32)
    server = start(trainer)
    own = jax.jit(jax.vmap(trainer.task.init))(jax.random.split(jax.random.key(8), 2))
    nobody = toy.make_cohort([2, 0], pool, weights=[0, 0])  # does no step, so it shows where it began
    shared = jnp.asarray([True, False, True])
    train = jax.jit(lambda own: train_cohort(trainer, jax.random.key(0), nobody, server=server, own=own, shared=shared))
    found = train(own).params
    for slot in range(2):
        for layer, source in enumerate((server, jax.tree.map(lambda x, s=slot: x[s], own), server)):
            jax.tree.map(lambda a, b, s=slot: np.testing.assert_array_equal(a[s], b), found[layer], source[layer])


def test_what_a_slot_begins_with_is_checked():
    trainer, cohort = trainer_of(), toy.make_cohort([0, 2], toy.make_pool(dtype=np.float32))
    params = start(trainer)
    stacked = jax.tree.map(lambda x: jnp.stack([x, x]), params)
    with pytest.raises(ValueError, match="server, own: expected at least one of them"):
        train_cohort(trainer, jax.random.key(0), cohort)
    with pytest.raises(ValueError, match=r"shared: expected a mask \[L\] beside server and own"):
        train_cohort(trainer, jax.random.key(0), cohort, server=params, own=stacked)
    with pytest.raises(AssertionError, match="prefix"):
        train_cohort(trainer, jax.random.key(0), cohort, own=jax.tree.map(lambda x: x[:1], stacked))


@pytest.mark.slow
def test_the_uniform_loop_has_a_derivative(x64):
    """d final loss / d learning rate against a central difference."""
    task, pool = toy.make_task(), toy.make_pool()
    data = data_of(2, pool)  # the largest client
    params = task.init(jax.random.key(1))

    def final(rate):
        trainer = toy.make_trainer(task, learning_rate=rate, epochs=2, uniform=True)
        key = jax.random.key(0)
        begin, count, pool = data
        batch = take_batch(pool, begin, jnp.arange(MAX), jnp.arange(MAX) < count)
        return task.loss(train_client(trainer, key, params, (), params, data).params, batch, None)

    slope = jax.jit(jax.grad(final))(0.1)
    step = 1e-5
    np.testing.assert_allclose(slope, (final(0.1 + step) - final(0.1 - step)) / (2 * step), rtol=1e-7)
    assert abs(float(slope)) > 1e-3
    orders = [batch_order(jax.random.key(0), jnp.int32(MAX), toy.make_trainer(task, uniform=u)) for u in (True, False)]
    assert [sorted(o[0].tolist()) for o in orders] == [list(range(MAX))] * 2


@pytest.mark.parametrize("name", ["num_clients", "max_examples", "batch_size", "min_batch"])
def test_counts_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}: expected an integer of at least 1, got 0"):
        trainer_of(**{name: 0})


def test_either_epochs_or_steps_and_one_epoch_where_nothing_is_said():
    with pytest.raises(ValueError, match="epochs, steps: expected at most one of them"):
        trainer_of(steps=3)
    assert trainer_of(epochs=None).epochs == 1
    with pytest.raises(ValueError, match="steps: expected an integer of at least 1, got 0"):
        trainer_of(epochs=None, steps=0)


def test_kept_optimiser_states_are_one_per_client():
    trainer = trainer_of(keep_optimizer=True)
    states = trainer.init_optimizer(start(trainer))
    assert {x.shape[0] for x in jax.tree.leaves(states)} == {toy.CLIENTS}
    assert trainer_of().init_optimizer(start(trainer)) == ()
