"""One pass over the clients of a round: each is visited, trained, looked at, added to sums and let go."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers.clients.batches import batch_order
from fedjax_layers.clients.step_gradient import LocalOptions
from fedjax_layers.clients.train import LocalResult, train_client
from fedjax_layers.clients.trainer import Trainer
from fedjax_layers.ops import ClientAxis, Visit, map_clients, visit_clients
from fedjax_layers.types import Array, Cohort, Key, Observer, Params, Pool


class Client(NamedTuple):
    """One slot of a cohort, as its visit sees it.

    Attributes:
      ident: ``[]`` int32, who it is.
      weight: ``[]``, its aggregation weight; 0 for padding.
      share: ``[]``, its part of the cohort's weights, which add up to 1, or to 0 where nobody is there.
      present: ``[]`` bool.
      start: ``[]`` int32, first row of its training examples in the pool.
      count: ``[]`` int32, how many there are; 0 for padding.
      pool: all examples.
      slot: what the caller has for each slot, a row of it.
      shared: what the caller hands to all visits alike.
    """

    ident: Array
    weight: Array
    share: Array
    present: Array
    start: Array
    count: Array  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    pool: Pool
    slot: Any
    shared: Any


class ClientVisit(NamedTuple):
    """What a visit leaves behind.

    Attributes:
      trained: the model that the cohort's observer looks at; nothing else of it is kept.
      loss: ``[]``, mean training loss.
      sums: tree of :class:`fedjax_layers.ops.Term`.
      row: the client's row of the store from now on.
      out: kept of every slot; small.
    """

    trained: Params
    loss: Array
    sums: Any = ()
    row: Any = ()
    out: Any = ()


class Passed(NamedTuple):
    """What a pass leaves: of each slot ``[K, ...]`` loss, outputs and observations; sums; the store ``[C, ...]``."""

    loss: Array
    out: Any
    observed: Any
    sums: Any
    store: Any


def one_pass(
    axis: ClientAxis,
    cohort: Cohort,
    visit: Callable[[Client, Any], ClientVisit],
    *,
    store: Any = (),
    slots: Any = (),
    shared: Any = (),
) -> Passed:
    """Visit every slot of a cohort, a chunk of clients at a time.

    Args:
      axis: width and devices.
      cohort: who, with which examples. What slots of weight 0 compute is for nobody.
      visit: ``(client, own) -> ClientVisit``, pure; ``own`` is the client's row of the store. It may close over
        numbers, masks and keys that are the same for all clients; a model to train from is handed over as ``shared``,
        since one from outside would be of another mesh where there are several devices.
      store: leaves ``[C, ...]``, renewed in place.
      slots: leaves ``[K, ...]``, handed to the visits as ``client.slot``.
      shared: handed to all visits as ``client.shared``.

    Returns:
      What is left: memory follows the width of the axis, and what the visits ask to keep.
    """
    present = cohort.weight > 0
    weight = cohort.weight.astype(float)
    total = weight.sum()
    share = weight / jnp.where(total > 0, total, 1)
    count = jnp.where(present, cohort.train.count, 0)

    def one(own: Any, row: Any, watched: Any, pool: Pool, observer: Observer | None, shared: Any) -> Visit:
        ident, weight, share, there, start, count, slot = row
        client = Client(ident, weight, share, there, start, count, pool, slot, shared)
        found = visit(client, own)
        observed = observe(observer, found.trained, watched)
        return Visit((found.loss, found.out, observed), found.sums, found.row)

    rows = (cohort.ids, cohort.weight, share, present, cohort.train.start, count, slots)
    watched, observer = by_slot(cohort.observer)
    (loss, out, observed), sums, store = visit_clients(
        one,
        rows,
        watched,
        store=store,
        places=None if cohort.in_order else cohort.rows,
        present=present,
        shared=(cohort.pool, observer, shared),
        axis=axis,
    )
    return Passed(loss, out, observed, sums, store)


def by_slot(observer: Observer | None) -> tuple[Any, Observer | None]:
    """What an observer knows of each slot, leaves ``[K, ...]``, and the observer without it."""
    return ((), None) if observer is None else (observer.rows, dataclasses.replace(observer, rows=()))


def observe(observer: Observer | None, params: Params, row: Any) -> Any:
    """What an observer finds of one client's model, with its row of what it knows by slot; ``()`` without one."""
    if observer is None:
        return ()
    look = lambda: observer.look(params, row, observer.data)  # noqa: E731
    if observer.due is True:
        return look()
    shapes = jax.eval_shape(look)
    return jax.lax.cond(observer.due, look, lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))


def observe_store(axis: ClientAxis, cohort: Cohort, store: Params) -> Any:
    """What the cohort's observer finds of the slots' models where they are rows of a store ``[C, ...]``."""
    watched, observer = by_slot(cohort.observer)
    if observer is None:
        return ()

    if cohort.in_order or axis.mesh is not None:
        rows = store if cohort.in_order else jax.tree.map(lambda x: x[cohort.rows], store)
        look = lambda row, watched, observer: observe(observer, row, watched)  # noqa: E731
        return map_clients(look, rows, watched, shared=(observer,), axis=axis)

    def one(place: Array, watched: Any, store: Params, observer: Observer) -> Any:
        return observe(observer, jax.tree.map(lambda x: x[place], store), watched)

    return map_clients(one, cohort.rows, watched, shared=(store, observer), axis=axis)


def draw_order(trainer: Trainer, key: Key, client: Client) -> Array:
    """The order ``[orders, M]`` in which :func:`train` would see a client's examples, to go through in parts."""
    return batch_order(jax.random.split(jax.random.fold_in(key, client.ident))[0], client.count, trainer)


def train(
    trainer: Trainer,
    key: Key,
    client: Client,
    params: Params,
    *,
    opt_state: Any = (),
    anchor: Params | None = None,
    options: LocalOptions = LocalOptions(),
    place_in_order: tuple[Array, Array] | None = None,
) -> LocalResult:
    """Local training of one client within its visit.

    Args:
      trainer: how.
      key: the round's, or one of its streams, into which the client's id is folded: no result depends on slots.
      client: who.
      params: where it begins.
      opt_state: its kept optimiser state, or ``()``.
      anchor: what a proximal term pulls to; ``None`` is where it begins.
      options: what the algorithm changes.
      place_in_order: as in :func:`fedjax_layers.clients.train_client`.

    Returns:
      What it sends, of which a bad client's model is the poisoned one.
    """
    client_key = jax.random.fold_in(key, client.ident)
    data = (client.start, client.count, client.pool)
    steps = trainer.num_steps(client.count, client.ident) if trainer.own_work else None
    anchor = params if anchor is None else anchor
    result = train_client(trainer, client_key, params, opt_state, anchor, data, options, place_in_order, steps)
    if trainer.attack is None:
        return result
    return result._replace(params=trainer.attack(client_key, client.ident, params, result.params))
