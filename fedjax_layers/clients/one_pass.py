"""One pass over a round's clients: each is trained, observed and added to sums, and then its model is dropped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers.clients.aggregate import join_sums, split_terms
from fedjax_layers.clients.batches import batch_order
from fedjax_layers.clients.client import Client, ClientVisit
from fedjax_layers.clients.result import LocalResult
from fedjax_layers.clients.step_gradient import LocalOptions
from fedjax_layers.clients.train import train_client
from fedjax_layers.clients.trainer import Trainer
from fedjax_layers.ops import ClientAxis, Visit, map_clients, visit_clients
from fedjax_layers.types import Array, Cohort, Key, Observer, Params, Pool


class Passed(NamedTuple):
    """The results of a pass: loss, outputs and observations of each slot ``[K, ...]``; sums; the store ``[C, ...]``."""

    loss: Array
    out: Any
    observed: Any
    sums: Any
    store: Any


def one_pass(
    trainer: Trainer,
    cohort: Cohort,
    visit: Callable[[Client, Any], ClientVisit],
    *,
    store: Any = (),
    slots: Any = (),
    shared: Any = (),
    centre: Any = None,
    private: bool = False,
) -> Passed:
    """Visit every slot of a cohort, a chunk of clients at a time.

    A client whose results are not finite is left out, unless the trainer keeps such results: it adds to no sum, keeps
    its row of the store, and its loss is NaN. :meth:`Trainer.heard` gives the cohort without these clients, with which
    the server's step must continue. Shares of a mean are those of all slots, so that :func:`rescaled` must follow.

    Where the trainer has a rule, each term with a weight is kept for every slot, and in place of their sum stands the
    model that the rule makes of them.

    Args:
      trainer: the trainer, with width and devices.
      cohort: the clients and their examples. Results of slots of weight 0 are meaningless.
      visit: ``(client, own) -> ClientVisit``, pure; ``own`` is the client's row of the store. It may close over
        numbers, masks and keys that are the same for all clients. A model to train from must be passed as ``shared``,
        since one closed over would belong to another mesh where there are several devices.
      store: leaves ``[C, ...]``, updated in place.
      slots: leaves ``[K, ...]``, passed to ``visit`` as ``client.slot``.
      shared: passed to ``visit`` as ``client.shared``.
      centre: for a rule, the model that was sent, or one for each segment; ``None`` means ``shared``.
      private: whether the sums keep the promise of the trainer's ``privacy``.

    Returns:
      The results. Memory grows with the width of the axis, and with what ``visit`` returns to be kept.

    Raises:
      ValueError: the trainer asks for differential privacy, and the caller does not provide it.
    """
    if trainer.privacy is not None and not private:
        raise ValueError("privacy: expected an algorithm whose server learns of a noisy mean alone, got another one")
    present = cohort.weight > 0
    weight = cohort.weight.astype(float)
    total = weight.sum()
    share = weight / jnp.where(total > 0, total, 1)
    count = jnp.where(present, cohort.train.count, 0)

    def one(own: Any, row: Any, watched: Any, pool: Pool, observer: Observer | None, shared: Any) -> Visit:
        ident, weight, share, there, start, count, slot, faults = row
        client = Client(ident, weight, share, there, start, count, pool, slot, shared, faults)
        found = visit(client, own)
        observed = observe(observer, found.trained, watched)
        sums, models = split_terms(found.sums, trainer.aggregate)
        heard = _heard(trainer, found, lost=faults.lost)
        loss = found.loss if heard is None else jnp.where(heard, found.loss, jnp.nan)
        return Visit((loss, found.out, observed, models), sums, found.row, heard)

    rows = (cohort.ids, cohort.weight, share, present, cohort.train.start, count, slots, cohort.faults)
    watched, observer = by_slot(cohort.observer)
    (loss, out, observed, models), sums, store = visit_clients(
        one,
        rows,
        watched,
        store=store,
        places=None if cohort.in_order else cohort.rows,
        present=present,
        shared=(cohort.pool, observer, shared),
        axis=trainer.axis,
    )
    counted = trainer.heard(cohort, loss).weight > 0
    centre = shared if centre is None else centre
    return Passed(loss, out, observed, join_sums(sums, models, trainer.rule_of(cohort.ids), counted, centre), store)


def _heard(trainer: Trainer, found: ClientVisit, lost: Array | None) -> Array | None:
    """Return ``[]`` bool, whether a client's results are used; ``None`` where they are in any case."""
    heard = None if lost is None else ~lost
    if trainer.keep_nonfinite:
        return heard
    sound = _all_finite((found.trained, found.sums, found.row, found.out)) & ~jnp.isnan(found.loss)
    return sound if heard is None else sound & heard


def _all_finite(tree: Any) -> Array:
    found = [jnp.isfinite(x).all() for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.stack(found).all()


def rescaled(trainer: Trainer, sums: Any, whole: Array, heard: Array) -> Any:
    """Multiply sums by ``whole / heard``, so that the shares of the clients that were heard add up to 1.

    Args:
      trainer: the trainer; where it has a rule, the sums are the rule's models, and stay as they are.
      sums: leaves ``[...]`` or ``[T, ...]``, sums of values times shares.
      whole: ``[]`` or ``[T]``, the weight of all clients to which the shares refer.
      heard: the weight of those that were not left out. Where both are equal, no bit of the sums changes.
    """
    if trainer.aggregate is not None:
        return sums
    whole, heard = whole.astype(float), heard.astype(float)
    factor = jnp.where(heard > 0, whole / jnp.where(heard > 0, heard, 1), 1)

    def one(x: Array) -> Array:
        return x * factor.reshape(factor.shape + (1,) * (x.ndim - factor.ndim)).astype(x.dtype)

    return jax.tree.map(one, sums)


def by_slot(observer: Observer | None) -> tuple[Any, Observer | None]:
    """Split an observer into its rows by slot, leaves ``[K, ...]``, and the observer without them."""
    return ((), None) if observer is None else (observer.rows, dataclasses.replace(observer, rows=()))


def observe(observer: Observer | None, params: Params, row: Any) -> Any:
    """Call an observer on one client's model, with its row of the observer's rows; ``()`` without an observer."""
    if observer is None:
        return ()
    look = lambda: observer.look(params, row, observer.data)  # noqa: E731
    if observer.due is True:
        return look()
    shapes = jax.eval_shape(look)
    return jax.lax.cond(observer.due, look, lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))


def observe_store(axis: ClientAxis, cohort: Cohort, store: Params) -> Any:
    """Call the cohort's observer on the slots' models where these are rows of a store ``[C, ...]``."""
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
    """Draw the order ``[orders, M]`` in which :func:`train` sees a client's examples, to go through it in parts."""
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
    """Train one client locally.

    Args:
      trainer: the local training and its setting.
      key: the round's key, or one of its streams; the client's id is folded into it, so that no result depends on
        slots.
      client: the client.
      params: the model to train from.
      opt_state: the client's kept optimiser state, or ``()``.
      anchor: the params to which a proximal term pulls; ``None`` means ``params``.
      options: the algorithm's changes to local training.
      place_in_order: as in :func:`fedjax_layers.clients.train_client`.

    Returns:
      What the client trained, and what it sends (``sent``).
    """
    client_key = jax.random.fold_in(key, client.ident)
    data = (client.start, client.count, client.pool)
    work, _, broken = client.faults
    steps = None
    if trainer.own_work or work is not None:
        steps = trainer.num_steps(client.count, client.ident, work)
    anchor = params if anchor is None else anchor
    result = train_client(trainer, client_key, params, opt_state, anchor, data, options, place_in_order, steps)
    if trainer.attack is not None:
        result = result._replace(poisoned=trainer.attack(client_key, client.ident, params, result.params))
    if broken is not None:
        params, poisoned = jax.tree.map(lambda x: _nan_where(broken, x), (result.params, result.poisoned))
        result = result._replace(params=params, poisoned=poisoned)
    return result


def _nan_where(broken: Array, x: Array) -> Array:
    return jnp.where(broken, jnp.nan, x) if jnp.issubdtype(x.dtype, jnp.inexact) else x
