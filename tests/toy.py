"""A small ragged federation and a three-layer network, the asymmetric fixture of contract and oracle tests."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedjax_layers import ops
from fedjax_layers.clients import Client, LocalSolver, Setting, keys
from fedjax_layers.clients.batches import batch_order, batch_rows
from fedjax_layers.engine.device_data import DeviceData
from fedjax_layers.types import Cohort, Observer, Pool, Ranges, Task

WIDTHS = (4, 6, 7, 3)
CLIENTS = 5
COUNTS = np.array([9, 4, 14, 7, 1])  # ragged, one client of a single example
BATCH = 4


def _init(key, dtype):
    keys = jax.random.split(key, len(WIDTHS) - 1)
    shapes = list(itertools.pairwise(WIDTHS))
    return [
        {
            "w": jax.random.normal(k, shape, dtype) / np.sqrt(shape[0]).astype(dtype),
            "b": jax.random.normal(jax.random.fold_in(k, 1), shape[1:], dtype) / 10,
        }
        for k, shape in zip(keys, shapes, strict=True)
    ]


def _features(params, inputs, key):
    del key
    x = inputs.astype(params[0]["w"].dtype)
    for layer in params[:-1]:
        x = jnp.tanh(x @ layer["w"] + layer["b"][None])
    return x


def _apply(params, inputs, key):
    return _features(params, inputs, key) @ params[-1]["w"] + params[-1]["b"][None]


def _loss(params, batch, key):
    losses = optax.softmax_cross_entropy_with_integer_labels(_apply(params, batch.inputs, key), batch.labels)
    return jnp.where(batch.mask, losses, 0).sum() / jnp.maximum(batch.mask.sum(), 1).astype(losses.dtype)


def _float32(key):
    return _init(key, jnp.float32)


def _float64(key):
    return _init(key, jnp.float64)


def make_task(dtype=jnp.float64):
    """The network as a task."""
    init = _float64 if dtype == jnp.float64 else _float32
    shapes = jax.eval_shape(init, jax.random.key(0))
    losses = optax.softmax_cross_entropy_with_integer_labels
    task = Task(init, _apply, losses, _loss, ops.layer_map(shapes), WIDTHS[-1], features=_features)
    return task._replace(example=jax.ShapeDtypeStruct(WIDTHS[:1], dtype))


def make_pool(seed=0, dtype=np.float64):
    """Inputs and labels, client by client, with a shift of its own for each client."""
    rng = np.random.default_rng(seed)
    client = np.repeat(np.arange(CLIENTS), COUNTS)
    inputs = rng.normal(size=(COUNTS.sum(), WIDTHS[0])) + 0.5 * client[:, None]
    labels = (rng.integers(0, WIDTHS[-1], len(client)) * (client + 1)) % WIDTHS[-1]
    return inputs.astype(dtype), labels.astype(np.int32)


STARTS = np.concatenate([[0], np.cumsum(COUNTS)[:-1]])


def make_cohort(ids, pool, pad_to=None, weights=None):
    """A cohort of the clients ``ids``; slots up to ``pad_to`` are padding."""
    ids = np.asarray(ids, np.int32)
    weights = COUNTS[ids] if weights is None else np.asarray(weights)
    extra = 0 if pad_to is None else pad_to - len(ids)
    ids = np.concatenate([ids, np.full(extra, 1, np.int32)])
    weights = np.concatenate([weights, np.zeros(extra)])
    train = Ranges(jnp.asarray(STARTS[ids], jnp.int32), jnp.asarray(COUNTS[ids], jnp.int32))
    observer = Observer(trained_model)
    return Cohort(jnp.asarray(ids), jnp.asarray(weights, jnp.float32), train, Pool(*map(jnp.asarray, pool)), observer)


def trained_model(params, ident, data):
    """What an observer looks at who wants to see all trained models."""
    del ident, data
    return params


def visit_of(cohort, slot, shared=()):
    """One slot of a cohort, as its visit sees it."""
    start, count = (x[slot] for x in cohort.train)
    present = cohort.weight[slot] > 0
    share = cohort.weight[slot] / cohort.weight.sum()
    return Client(
        cohort.ids[slot],
        cohort.weight[slot],
        share,
        present,
        start,
        jnp.where(present, count, 0),
        cohort.pool,
        (),
        shared,
    )


def seen_after(rounds, t):
    """The clients that have taken part once round ``t`` is over; tests/algorithms/test_novel.py has the others."""
    return sorted({client for ids in rounds[: t + 1] for client in ids})


def make_federation(pool):
    """The same clients for ``simulate``; validation and test are the training examples again."""
    ranges = Ranges(jnp.asarray(STARTS, jnp.int32), jnp.asarray(COUNTS, jnp.int32))
    nothing = Ranges(jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32))
    largest = int(COUNTS.max())
    return DeviceData(Pool(*map(jnp.asarray, pool)), ranges, ranges, ranges, nothing, (largest, largest, largest, 0))


def make_trainer(task, *, learning_rate=0.1, momentum=0.9, **changes):
    """SGD with momentum, batches of four, one epoch."""
    trainer = Setting(task, CLIENTS, int(COUNTS.max())).bind(
        LocalSolver(optax.sgd(learning_rate, momentum=momentum), BATCH)
    )
    return dataclasses.replace(trainer, **changes)


def drawn_batches(trainer, round_key, client, role=0):
    """The pool rows of each local step of a client, as the package draws them; role j is a step's j-th batch."""
    client_key = jax.random.fold_in(round_key, client)
    order_key, _ = jax.random.split(client_key)
    if role:
        order_key = jax.random.fold_in(jax.random.fold_in(client_key, keys.LATER_BATCHES), role)
    count = jnp.int32(COUNTS[client])
    order = batch_order(order_key, count, trainer)
    batches = []
    for step in range(int(trainer.num_steps(int(COUNTS[client])))):
        rows, mask = batch_rows(order, jnp.int32(step), count, trainer)
        batches.append(STARTS[client] + np.asarray(rows)[np.asarray(mask)])
    return batches


def to_numpy(tree):
    """Arrays of NumPy instead of JAX."""
    return jax.tree.map(np.asarray, tree)
