"""Personal models of clients that never took part, made from the models of those that did.

Every state that keeps a row for each client also keeps who has taken part, ``seen [C]``. The rows of other clients are
untrained; an algorithm's ``welcome`` puts into them the model that they get, and adapt from. It changes nothing for
clients that have taken part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.algorithms.sharing.round import start_from
from fedjax_layers.clients.stacked import where_rows
from fedjax_layers.types import Array, LayerMap, Overview, Params, Personal


def with_mean(store: Any, seen: Array) -> Any:
    """Replace the rows of clients never seen in a store ``[C, ...]`` by the plain mean over the others, if any."""
    return with_one(store, seen | ~seen.any(), mean_of_seen(store, seen))


def mean_of_seen(store: Any, seen: Array) -> Any:
    """Compute the plain mean ``[...]`` over the rows ``[C, ...]`` of clients that have taken part.

    Where all have, the mean is not needed, and row 0 is returned.
    """
    first = jax.tree.map(lambda x: x[0], store)
    if not jax.tree.leaves(store):
        return first

    def mean() -> Any:
        found, some = mean_of(sum_of_seen(store, seen), first)
        return jax.tree.map(lambda x, other: jnp.where(some, x, other), found, first)

    return jax.lax.cond(seen.all(), lambda: first, mean)


def sum_of_seen(store: Any, seen: Array) -> tuple[Any, Array]:
    """Sum the rows ``[n, ...]`` of clients that have taken part, ``[...]``, and count these clients."""

    def total(x: Array) -> Array:
        # A product reads the rows in place; selecting them first would copy the store. The rows of clients never seen
        # are finite, since they hold the common start.
        kind = jnp.promote_types(x.dtype, jnp.float32)
        flags = seen.astype(x.dtype)
        return jnp.tensordot(flags, x, 1, precision=jax.lax.Precision.HIGHEST, preferred_element_type=kind)

    return jax.tree.map(total, store), seen.sum(dtype=jnp.int32)


def mean_of(total: tuple[Any, Array], like: Any) -> tuple[Any, Array]:
    """Turn the result of :func:`sum_of_seen` into a mean, in the dtypes of ``like``, and whether there is any row."""
    sums, number = total
    mean = jax.tree.map(lambda s, x: (s / jnp.maximum(number, 1).astype(s.dtype)).astype(x.dtype), sums, like)
    return mean, number > 0


def with_one(store: Any, seen: Array, params: Params) -> Any:
    """Replace the rows of clients never seen in a store ``[C, ...]`` by ``params [...]``."""
    return where_rows(seen, store, jax.tree.map(lambda x: x[None], params))


def seen_or(seen: Array, own: Any, other: Any) -> Any:
    """Choose one client's own row where it has taken part, ``seen []``, else ``other``."""
    return jax.tree.map(lambda a, b: jnp.where(seen, a, b), own, other)


def rows_or_mean(store: Any, seen: Array) -> Personal:
    """Make personal models from the rows of a store ``[C, ...]``; clients never seen get the mean over the others."""
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), store)

    def build(row: Any, shared: Any, ident: Array) -> Params:
        del ident
        (own, seen), (mean, some) = row, shared
        return seen_or(seen | ~some, own, mean)

    overview = Overview(
        wanted=lambda rows: ~rows[1].all(),
        sums=lambda rows, ids, counted: sum_of_seen(rows[0], rows[1] & counted),
        complete=lambda total, _: mean_of(total, like),
    )
    return Personal((store, seen), (), build, overview)


def rows_or(store: Any, seen: Array, other: Params) -> Personal:
    """Make personal models from the rows of a store ``[C, ...]``; clients never seen get ``other [...]``."""
    return Personal((store, seen), other, lambda row, other, _: seen_or(row[1], row[0], other))


def sharing_models(layers: LayerMap, state: Any, shared: Array | np.ndarray, *, private: bool = False) -> Personal:
    """Make personal models of the server's layers where ``shared [L]`` is True, and each client's own elsewhere.

    The own layers of a client never seen are the mean of the others'; if ``private`` they are those of the common
    start, since own layers have no noise and must not reach another client.
    """
    if private:
        return Personal(state.clients, state.server, lambda own, server, _: start_from(layers, server, own, shared))
    own = rows_or_mean(state.clients, state.seen)
    assert own.overview is not None
    mean = own.overview

    def build(row: Any, common: Any, ident: Array) -> Params:
        of_seen, server = common
        return start_from(layers, server, own.build(row, of_seen, ident), shared)

    overview = mean._replace(complete=lambda total, common: (mean.complete(total, ()), common[1]))
    return Personal(own.rows, ((), state.server), build, overview)


def welcome_by_mean(state: Any, shared: Any, ids: Array) -> Any:
    """Give clients never seen the mean of the others, in a state whose ``clients`` are models."""
    del ids
    mean, some = shared
    return dataclasses.replace(state, clients=with_one(state.clients, state.seen | ~some, mean))


def welcome_by_mean_of_layers(state: Any, shared: Any, ids: Array) -> Any:
    """Give clients never seen the mean of the others' own layers, in a state for :func:`sharing_models`."""
    return welcome_by_mean(state, shared[0], ids)


def welcome_by_server(state: Any, shared: Any, ids: Array) -> Any:
    """Give clients never seen the global model, in a state with ``server`` beside ``clients``."""
    del shared, ids
    return dataclasses.replace(state, clients=with_one(state.clients, state.seen, state.server))


def within_sharing(welcome: Callable[[Any, Any, Array], Any]) -> Callable[[Any, Any, Array], Any]:
    """Apply ``welcome`` to the field ``sharing`` of a state."""
    return lambda state, *known: dataclasses.replace(state, sharing=welcome(state.sharing, *known))
