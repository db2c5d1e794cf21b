"""What one client does between two messages, and the same for a whole cohort."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from fedjax_layers import keys
from fedjax_layers.batches import batch_order, batch_rows, take_batch
from fedjax_layers.local_training.step_gradient import LocalOptions, StepGradient, plain_gradient
from fedjax_layers.local_training.trainer import Trainer
from fedjax_layers.ops import map_clients, select
from fedjax_layers.ops.optimizer_update import Objective, looks_at_objective, reseed, update_with
from fedjax_layers.running_statistics import after_step, weights_only, with_statistics
from fedjax_layers.types import Array, Batch, Cohort, Key, Params, Pool, Task


class LocalResult(NamedTuple):
    """Result of local training; stacked ``[K, ...]`` where it comes from :func:`train_cohort`.

    Attributes:
      params: trained parameters.
      opt_state: optimiser state, ``()`` unless it is kept.
      loss: mean training loss over the steps; 0 for a client without steps.
      gradient: mean of the steps' gradients where asked for, else ``()``.
      memory: what a :class:`StepGradient` remembers after the last step, else ``()``.
    """

    params: Params
    opt_state: Any
    loss: Array
    gradient: Any
    memory: Any = ()


def draw_orders(trainer: Trainer, key: Key, cohort: Cohort) -> Array:
    """The orders ``[K, orders, M]`` that :func:`train_cohort` would draw with this key, to walk through in parts."""

    def one(ident: Array, count: Array, key: Key) -> Array:
        return batch_order(jax.random.split(jax.random.fold_in(key, ident))[0], count, trainer)

    return map_clients(one, cohort.ids, cohort.train.count, shared=(key,), axis=trainer.axis)


def train_client(
    trainer: Trainer,
    key: Key,
    params: Params,
    opt_state: Any,
    anchor: Params,
    data: tuple[Array, Array, Pool],
    options: LocalOptions = LocalOptions(),
    walk: tuple[Array, Array] | None = None,
    num_steps: int | Array | None = None,
) -> LocalResult:
    """Train one client for one round.

    Args:
      trainer: how.
      key: this client's key of this round.
      params: where it begins.
      opt_state: its kept optimiser state, or ``()`` to start afresh.
      anchor: what a proximal term pulls to.
      data: first row of the client's range in the pool, number of its training examples, and the pool.
      options: what the algorithm changes.
      walk: a shuffled order ``[orders, M]`` of :func:`draw_orders`, and the step at which to go on in it; ``None``
        shuffles afresh.
      num_steps: local steps; ``None`` follows from the number of examples, which it does not where each client has its
        own work.

    Returns:
      The trained parameters and so on. A client without examples returns what it was given.

    Raises:
      ValueError: a step's gradient of the algorithm's own leaves out the running statistics of the task.
    """
    start, count, pool = data
    task = trainer.task
    order_key, step_key = jax.random.split(key)
    source = options.step_gradient or plain_gradient(task)
    later_key = jax.random.fold_in(key, keys.LATER_BATCHES)
    order_keys = [order_key, *(jax.random.fold_in(later_key, j) for j in range(1, source.batches))]
    first, orders = jnp.int32(0), [batch_order(k, count, trainer) for k in order_keys]
    if walk is not None:
        orders[0], first = walk

    move = _mover(trainer, source, options, anchor)

    def step(i: Array, carry: Any) -> Any:
        params, state, loss_sum, grad_sum, memory = carry
        batches = tuple(take_batch(pool, start, *batch_rows(order, first + i, count, trainer)) for order in orders)
        batch_key = jax.random.fold_in(step_key, i)
        loss, grads, memory, *seen = source.compute(params, batches, batch_key, memory)
        grads = weights_only(task, grads)
        updates, state = move(grads, state, params, batches, batch_key)
        if options.with_gradient:
            grad_sum = jax.tree.map(jnp.add, grad_sum, grads)
        params = after_step(task, optax.apply_updates(params, updates), params, seen, options.trainable)
        return params, state, loss_sum + loss.astype(dtype), grad_sum, memory

    state = opt_state if trainer.keep_optimizer else trainer.optimizer.init(weights_only(task, params))
    state = reseed(state, jax.random.fold_in(key, keys.OPTIMIZER))
    zero_grad = jax.tree.map(jnp.zeros_like, params) if options.with_gradient else ()
    dtype = jnp.result_type(*jax.tree.leaves(params))
    if num_steps is None:
        num_steps = trainer.num_steps(trainer.max_examples if trainer.uniform else count)
    carry = (params, state, jnp.zeros((), dtype), zero_grad, source.begin(params))
    params, state, loss_sum, grad_sum, memory = jax.lax.fori_loop(0, num_steps, step, carry)
    mean = 1 / jnp.maximum(jnp.asarray(num_steps, loss_sum.dtype), 1)
    gradient = jax.tree.map(lambda g: g * mean.astype(g.dtype), grad_sum)
    return LocalResult(params, state if trainer.keep_optimizer else (), loss_sum * mean, gradient, memory)


def _mover(trainer: Trainer, source: StepGradient, options: LocalOptions, anchor: Params) -> Callable[..., Any]:
    """``(grads, state, params, batches, key) -> (updates, state)`` of one local step."""
    task, optimizer = trainer.task, trainer.optimizer
    looks = source.objective is not None and looks_at_objective(optimizer, weights_only(task, anchor))

    def move(grads: Params, state: Any, params: Params, batches: tuple[Batch, ...], key: Key) -> tuple[Params, Any]:
        shown, pulled_to = (weights_only(task, tree) for tree in (params, anchor))
        objective = None
        if looks:
            grads, objective = _objective(task, source, params, grads, batches, key, options.trainable)
        updates, state = update_with(optimizer, grads, state, shown, anchor=pulled_to, objective=objective)
        if options.scale is not None:
            updates = jax.tree.map(lambda u: u * options.scale.astype(u.dtype), updates)  # type: ignore[union-attr]
        if options.trainable is not None:
            updates = select(options.trainable, task.layers, updates, jax.tree.map(jnp.zeros_like, updates))
        return updates, state

    return move


def _objective(
    task: Task,
    source: StepGradient,
    params: Params,
    grads: Params,
    batches: tuple[Batch, ...],
    key: Key,
    trainable: Array | None,
) -> tuple[Params, Objective]:
    """Gradient and objective of a step as functions of what moves: neither frozen layers nor running statistics."""
    assert source.objective is not None  # the caller has looked
    batch_loss = source.objective

    def fn(moved: Params) -> Array:
        moved = with_statistics(task, moved, params)
        return batch_loss(moved if trainable is None else select(trainable, task.layers, moved, params), batches, key)

    if trainable is not None:
        grads = select(trainable, task.layers, grads, jax.tree.map(jnp.zeros_like, grads))
    return grads, Objective(batch_loss(params, batches, key), grads, fn)


def train_cohort(
    trainer: Trainer,
    key: Key,
    cohort: Cohort,
    *,
    server: Params | None = None,
    own: Params | None = None,
    shared: Array | None = None,
    origin: Array | None = None,
    opt_state: Any = (),
    anchor: Params | None = None,
    options: LocalOptions = LocalOptions(),
    walk: tuple[Array, Array] | None = None,
) -> LocalResult:
    """Train every slot of the cohort, each from its own start.

    A slot begins at ``server`` where ``own`` is ``None``, at ``own`` where ``server`` is ``None``, and with both at
    the server's layers where ``shared`` is true and its own elsewhere. With ``origin`` there are several servers
    (teams). The start is put together client by client inside the map, so that K copies of it are never held at once.

    Args:
      trainer: how.
      key: the round's key; slot k uses ``fold_in(key, ids[k])``, so a client's result does not depend on its slot.
      cohort: who, with which examples. What slots of weight 0 compute is for nobody.
      server: params of one model, or of several, ``[T, ...]``, with ``origin``.
      own: params stacked ``[K, ...]``.
      shared: bool ``[L]``.
      origin: ``[K]`` integers, which of the servers is each slot's.
      opt_state: kept optimiser states ``[K, ...]``, or ``()``.
      anchor: stacked ``[K, ...]``; ``None`` is where each slot began.
      options: what the algorithm changes.
      walk: the slots' shuffled orders ``[K, orders, M]`` of :func:`draw_orders`, and the step, ``[]`` or ``[K]``, at
        which to go on in them; ``None`` shuffles afresh.

    Returns:
      Stacked results ``[K, ...]``.

    Raises:
      ValueError: neither ``server`` nor ``own``, or both without ``shared``.
    """
    if server is None and own is None:
        raise ValueError("server, own: expected at least one of them, found neither")
    if server is not None and own is not None and shared is None:
        raise ValueError("shared: expected a mask [L] beside server and own, found None")
    slots = cohort.ids.shape[0]
    chex.assert_tree_shape_prefix((cohort.weight, cohort.train, origin, own, opt_state, anchor), (slots,))
    count = jnp.where(cohort.weight > 0, cohort.train.count, 0)

    def one(row: Any, common: Any) -> LocalResult:
        ident, start, count, origin, own, opt_state, anchor, going_on, steps = row
        server, shared, pool, round_key = common
        if origin is not None:
            server = jax.tree.map(lambda x: x[origin], server)
        if server is None:
            params = own
        elif own is None:
            params = server
        else:
            params = select(shared, trainer.task.layers, server, own)
        client_key = jax.random.fold_in(round_key, ident)
        pulled_to = params if anchor is None else anchor
        data = (start, count, pool)
        result = train_client(trainer, client_key, params, opt_state, pulled_to, data, options, going_on, steps)
        if trainer.attack is None:
            return result
        return result._replace(params=trainer.attack(client_key, ident, params, result.params))

    going_on = None if walk is None else (walk[0], jnp.broadcast_to(walk[1], (slots,)))
    steps = trainer.num_steps(count, cohort.ids) if trainer.own_work else None
    rows = (cohort.ids, cohort.train.start, count, origin, own, opt_state, anchor, going_on, steps)
    return map_clients(one, rows, shared=((server, shared, cohort.pool, key),), axis=trainer.axis)
