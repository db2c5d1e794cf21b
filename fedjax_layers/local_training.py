"""Local training: what one client does between two messages, and the same for a whole cohort."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from fedjax_layers.batches import batch_order, batch_rows, take_batch
from fedjax_layers.ops import ClientAxis, map_clients, select
from fedjax_layers.running_statistics import after_step, weights_only
from fedjax_layers.types import Array, Batch, Cohort, Key, Params, Pool, Task


@dataclasses.dataclass(frozen=True)
class Trainer:
    """How every client trains. Numbers may be traced where their type says ``Array``; the rest is static.

    Attributes:
      task: model and loss.
      optimizer: each client's optax optimiser; its ``update`` is called per client, under the client axis.
      num_clients: C, clients stored.
      max_examples: training examples of the largest client.
      batch_size: B. The last batch of an epoch holds the remainder: no example is dropped.
      epochs: passes over the client's training examples per round, each in a fresh order.
      steps: local steps per round instead of epochs, the same for every client; batches go round one shuffle of
        the client's examples, none twice in a batch.
      uniform: every client holds exactly ``max_examples``: no step is ever empty, and the loop has a fixed length
        (and with it a reverse-mode derivative).
      axis: width and devices of the client axis.
      keep_optimizer: clients keep their optimiser state from round to round instead of starting afresh.
      step_scale: ``round number -> factor`` on every update of that round, a learning-rate schedule over rounds.
      attack: ``(key, client id, start, trained) -> params`` that a client sends in place of what it has trained.

    Raises:
      ValueError: a count below 1, or both or neither of ``epochs`` and ``steps`` given.
    """

    task: Task
    optimizer: optax.GradientTransformation
    num_clients: int
    max_examples: int
    batch_size: int
    epochs: int | None = 1
    steps: int | None = None
    uniform: bool = False
    axis: ClientAxis = ClientAxis()
    keep_optimizer: bool = False
    step_scale: Callable[[Array], Array] | None = None
    attack: Callable[[Key, Array, Params, Params], Params] | None = None

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(f"epochs, steps: expected exactly one of them, got {self.epochs} and {self.steps}")
        for name in ("num_clients", "max_examples", "batch_size", "epochs", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected an integer of at least 1, got {value}")

    def phase(self, name: str, *, epochs: int | None, steps: int | None = None, **changes: Any) -> Trainer:
        """The trainer of another phase of the round, of so many epochs, or steps if given.

        Raises:
          ValueError: ``{name}_epochs`` or ``{name}_steps`` is below 1.
        """
        for kind, value in (("epochs", epochs), ("steps", steps)):
            if value is not None and value < 1:
                raise ValueError(f"{name}_{kind}: expected an integer of at least 1, got {value}")
        return dataclasses.replace(self, epochs=epochs if steps is None else None, steps=steps, **changes)

    @property
    def orders(self) -> int:
        """Shuffled orders drawn per round."""
        return self.epochs or 1

    def num_steps(self, count: int | Array) -> int | Array:
        """Local steps per round of a client with ``count`` training examples; 0 for an empty client."""
        if self.steps is not None:
            return self.steps * (count > 0) if isinstance(count, int) else jnp.where(count > 0, self.steps, 0)
        return self.orders * (-(-count // self.batch_size))

    def init_optimizer(self, params: Params) -> Any:
        """Optimiser states of all clients ``[C, ...]`` if they are kept from round to round, else ``()``."""
        if not self.keep_optimizer:
            return ()
        one = self.optimizer.init(weights_only(self.task, params))
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (self.num_clients, *jnp.shape(x))), one)


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


class StepGradient(NamedTuple):
    """A local step's gradient where it is not that of the loss on one batch: meta-gradients, inner solves.

    Attributes:
      compute: ``(params, batches, key, memory) -> (loss [], grads, memory)`` of one step: ``batches`` is a tuple,
        ``loss`` what is reported, ``grads`` goes to the optimiser, ``memory`` keeps its tree, shapes and dtypes. For a
        task with batch normalisation it returns a fourth value, the params that
        :class:`fedjax_layers.types.BatchNorm` gives; one that does not is refused there.
      batches: batches per step, each from a shuffled order of its own, so that they are independent of each other.
        The first is the one that a plain step would see, and ``key`` is the plain step's.
      begin: ``params -> memory`` before a round's first step; a client without steps returns it.
    """

    compute: Callable[[Params, tuple[Batch, ...], Key, Any], tuple[Any, ...]]
    batches: int = 1
    begin: Callable[[Params], Any] = lambda _: ()


class LocalOptions(NamedTuple):
    """What an algorithm changes in one round's local training.

    Attributes:
      trainable: ``[L]`` bool; updates of other layers are dropped *after* the optimiser, since momentum or weight
        decay would move a layer whose gradient alone is zero. Running statistics of other layers stand still as
        well. ``None`` trains all.
      scale: factor on every update; not on the running statistics.
      with_gradient: also return the mean gradient.
      step_gradient: where a step's gradient comes from; ``None`` is the loss on the step's batch. Its functions are
        static (no argument of a jitted function), but may close over arrays.
    """

    trainable: Array | None = None
    scale: Array | None = None
    with_gradient: bool = False
    step_gradient: StepGradient | None = None


def draw_orders(trainer: Trainer, key: Key, cohort: Cohort) -> Array:
    """The orders ``[K, orders, M]`` that :func:`train_cohort` would draw with this key, to walk through in parts."""

    def one(ident: Array, count: Array, key: Key) -> Array:
        return batch_order(jax.random.split(jax.random.fold_in(key, ident))[0], count, trainer)

    return map_clients(one, cohort.ids, cohort.train.count, shared=(key,), axis=trainer.axis)


def plain_gradient(task: Task) -> StepGradient:
    """The gradient of the loss on the step's batch."""

    def compute(params: Params, batches: tuple[Batch, ...], key: Key, memory: Any) -> tuple[Any, ...]:
        if task.batch_norm is None:
            return *jax.value_and_grad(task.loss)(params, batches[0], key), memory
        (loss, seen), grads = jax.value_and_grad(task.batch_norm.loss, has_aux=True)(params, batches[0], key)
        return loss, grads, memory, seen

    return StepGradient(compute)


def train_client(
    trainer: Trainer,
    key: Key,
    params: Params,
    opt_state: Any,
    anchor: Params,
    data: tuple[Array, Array, Pool],
    options: LocalOptions = LocalOptions(),
    walk: tuple[Array, Array] | None = None,
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

    Returns:
      The trained parameters and so on. A client without examples returns what it was given.

    Raises:
      ValueError: a step's gradient of the algorithm's own leaves out the running statistics of the task.
    """
    start, count, pool = data
    task = trainer.task
    optimizer = optax.with_extra_args_support(trainer.optimizer)
    order_key, step_key = jax.random.split(key)
    source = options.step_gradient or plain_gradient(task)
    order_keys = [order_key, *(jax.random.fold_in(order_key, j) for j in range(1, source.batches))]
    first, orders = jnp.int32(0), [batch_order(k, count, trainer) for k in order_keys]
    if walk is not None:
        orders[0], first = walk

    def step(i: Array, carry: Any) -> Any:
        params, state, loss_sum, grad_sum, memory = carry
        batches = tuple(take_batch(pool, start, *batch_rows(order, first + i, count, trainer)) for order in orders)
        loss, grads, memory, *seen = source.compute(params, batches, jax.random.fold_in(step_key, i), memory)
        grads, shown, pulled_to = (weights_only(task, tree) for tree in (grads, params, anchor))
        updates, state = optimizer.update(grads, state, shown, anchor=pulled_to)
        if options.scale is not None:
            updates = jax.tree.map(lambda u: u * options.scale.astype(u.dtype), updates)  # type: ignore[union-attr]
        if options.trainable is not None:
            updates = select(options.trainable, task.layers, updates, jax.tree.map(jnp.zeros_like, updates))
        if options.with_gradient:
            grad_sum = jax.tree.map(jnp.add, grad_sum, grads)
        params = after_step(task, optax.apply_updates(params, updates), params, seen, options.trainable)
        return params, state, loss_sum + loss.astype(dtype), grad_sum, memory

    state = opt_state if trainer.keep_optimizer else optimizer.init(weights_only(task, params))
    zero_grad = jax.tree.map(jnp.zeros_like, params) if options.with_gradient else ()
    dtype = jnp.result_type(*jax.tree.leaves(params))
    num_steps = trainer.num_steps(trainer.max_examples if trainer.uniform else count)
    carry = (params, state, jnp.zeros((), dtype), zero_grad, source.begin(params))
    params, state, loss_sum, grad_sum, memory = jax.lax.fori_loop(0, num_steps, step, carry)
    mean = 1 / jnp.maximum(jnp.asarray(num_steps, loss_sum.dtype), 1)
    gradient = jax.tree.map(lambda g: g * mean.astype(g.dtype), grad_sum)
    return LocalResult(params, state if trainer.keep_optimizer else (), loss_sum * mean, gradient, memory)


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
      walk: the slots' shuffled orders ``[K, orders, M]`` of :func:`draw_orders`, and the step ``[]`` at which to go on
        in them; ``None`` shuffles afresh.

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
        ident, start, count, origin, own, opt_state, anchor, order = row
        server, shared, pool, round_key, first = common
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
        data, going_on = (start, count, pool), None if walk is None else (order, first)
        result = train_client(trainer, client_key, params, opt_state, pulled_to, data, options, going_on)
        if trainer.attack is None:
            return result
        return result._replace(params=trainer.attack(client_key, ident, params, result.params))

    orders, first = (None, None) if walk is None else walk
    rows = (cohort.ids, cohort.train.start, count, origin, own, opt_state, anchor, orders)
    return map_clients(one, rows, shared=((server, shared, cohort.pool, key, first),), axis=trainer.axis)
