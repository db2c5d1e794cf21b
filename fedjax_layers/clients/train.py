"""Local training of one client in one round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fedjax_layers.clients import keys
from fedjax_layers.clients.batches import batch_order, batch_rows, take_batch
from fedjax_layers.clients.result import LocalResult
from fedjax_layers.clients.running_statistics import after_step, weights_only, with_statistics
from fedjax_layers.clients.step_gradient import LocalOptions, StepGradient, plain_gradient
from fedjax_layers.clients.trainer import Trainer
from fedjax_layers.ops import select
from fedjax_layers.ops.optimizer_update import Objective, looks_at_objective, reseed, update_with
from fedjax_layers.types import Array, Batch, Key, Params, Pool, Task


def train_client(
    trainer: Trainer,
    key: Key,
    params: Params,
    opt_state: Any,
    anchor: Params,
    data: tuple[Array, Array, Pool],
    options: LocalOptions = LocalOptions(),
    place_in_order: tuple[Array, Array] | None = None,
    num_steps: int | Array | None = None,
) -> LocalResult:
    """Train one client for one round.

    Args:
      trainer: the local training and its setting.
      key: this client's key of this round.
      params: the model to train from.
      opt_state: the client's kept optimiser state, or ``()`` to start afresh.
      anchor: the params to which a proximal term pulls.
      data: first row of the client's range in the pool, number of its training examples, and the pool.
      options: the algorithm's changes to local training.
      place_in_order: a shuffled order ``[orders, M]`` of :func:`draw_order`, and the step at which to continue in it;
        ``None`` shuffles afresh.
      num_steps: number of local steps; ``None`` derives it from the number of examples, which is not possible where
        each client has its own work.

    Returns:
      The result. A client without examples returns what it was given.

    Raises:
      ValueError: the algorithm's own step gradient does not return the running statistics of the task.
    """
    start, count, pool = data
    task = trainer.task
    order_key, step_key = jax.random.split(key)
    source = options.step_gradient or plain_gradient(task)
    later_key = jax.random.fold_in(key, keys.LATER_BATCHES)
    order_keys = [order_key, *(jax.random.fold_in(later_key, j) for j in range(1, source.batches))]
    first, orders = jnp.int32(0), [batch_order(k, count, trainer) for k in order_keys]
    if place_in_order is not None:
        orders[0], first = place_in_order

    move = _mover(trainer, source, options, anchor)

    def step(i: Array, carry: Any) -> Any:
        params, state, loss_sum, grad_sum, carried = carry
        batches = tuple(take_batch(pool, start, *batch_rows(order, first + i, count, trainer)) for order in orders)
        batch_key = jax.random.fold_in(step_key, i)
        loss, grads, carried, *seen = source.compute(params, batches, batch_key, carried)
        grads = weights_only(task, grads)
        updates, state = move(grads, state, params, batches, batch_key)
        if options.with_gradient:
            grad_sum = jax.tree.map(jnp.add, grad_sum, grads)
        params = after_step(task, optax.apply_updates(params, updates), params, seen, options.trainable)
        return params, state, loss_sum + loss.astype(dtype), grad_sum, carried

    state = opt_state if trainer.keep_optimizer else trainer.optimizer.init(weights_only(task, params))
    state = reseed(state, jax.random.fold_in(key, keys.OPTIMIZER))
    zero_grad = jax.tree.map(jnp.zeros_like, params) if options.with_gradient else ()
    dtype = jnp.result_type(*jax.tree.leaves(params))
    if num_steps is None:
        num_steps = trainer.num_steps(trainer.max_examples if trainer.uniform else count)
    carry = (params, state, jnp.zeros((), dtype), zero_grad, source.begin(params))
    params, state, loss_sum, grad_sum, carried = jax.lax.fori_loop(0, num_steps, step, carry)
    mean = 1 / jnp.maximum(jnp.asarray(num_steps, loss_sum.dtype), 1)
    gradient = jax.tree.map(lambda g: g * mean.astype(g.dtype), grad_sum)
    return LocalResult(params, state if trainer.keep_optimizer else (), loss_sum * mean, gradient, carried)


def _mover(trainer: Trainer, source: StepGradient, options: LocalOptions, anchor: Params) -> Callable[..., Any]:
    """Make the function ``(grads, state, params, batches, key) -> (updates, state)`` of one local step."""
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
    """Restrict a step's gradient and objective to what it may change: no frozen layers, no running statistics."""
    assert source.objective is not None  # checked by the caller
    batch_loss = source.objective

    def fn(moved: Params) -> Array:
        moved = with_statistics(task, moved, params)
        return batch_loss(moved if trainable is None else select(trainable, task.layers, moved, params), batches, key)

    if trainable is not None:
        grads = select(trainable, task.layers, grads, jax.tree.map(jnp.zeros_like, grads))
    return grads, Objective(batch_loss(params, batches, key), grads, fn)
