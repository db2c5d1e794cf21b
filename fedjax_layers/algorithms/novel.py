"""What a client is served that has never taken part: a model made of those who have, in place of an untrained one.

Every state that keeps something for each client also keeps who has taken part, ``seen [C]``. What is kept for the
others nobody has trained; they are served, and adapt from, what an algorithm's ``welcome`` puts there. It changes
nothing for clients that have taken part.
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
    """Rows of the store ``[C, ...]``; of clients never seen the plain mean over the others, while there is one."""
    return with_one(store, seen | ~seen.any(), mean_of_seen(store, seen))


def mean_of_seen(store: Any, seen: Array) -> Any:
    """The plain mean ``[...]`` over the rows ``[C, ...]`` of clients that have taken part.

    Where all of them have, nobody asks for it, and row 0 is given in its place.
    """
    first = jax.tree.map(lambda x: x[0], store)
    if not jax.tree.leaves(store):
        return first

    def mean() -> Any:
        found, some = mean_of(sum_of_seen(store, seen), first)
        return jax.tree.map(lambda x, other: jnp.where(some, x, other), found, first)

    return jax.lax.cond(seen.all(), lambda: first, mean)


def sum_of_seen(store: Any, seen: Array) -> tuple[Any, Array]:
    """The sum ``[...]`` over the rows ``[n, ...]`` of clients that have taken part, and how many these are."""

    def total(x: Array) -> Array:
        # As a product, which reads the rows where they are: choosing them first would hold the store a second time.
        # What lies in rows of clients never seen is what every model starts from, and finite.
        kind = jnp.promote_types(x.dtype, jnp.float32)
        flags = seen.astype(x.dtype)
        return jnp.tensordot(flags, x, 1, precision=jax.lax.Precision.HIGHEST, preferred_element_type=kind)

    return jax.tree.map(total, store), seen.sum(dtype=jnp.int32)


def mean_of(total: tuple[Any, Array], like: Any) -> tuple[Any, Array]:
    """The mean of what :func:`sum_of_seen` has summed, in the dtypes of ``like``, and whether there was anybody."""
    sums, number = total
    mean = jax.tree.map(lambda s, x: (s / jnp.maximum(number, 1).astype(s.dtype)).astype(x.dtype), sums, like)
    return mean, number > 0


def with_one(store: Any, seen: Array, params: Params) -> Any:
    """Rows of the store ``[C, ...]``; of clients never seen these params ``[...]``."""
    return where_rows(seen, store, jax.tree.map(lambda x: x[None], params))


def seen_or(seen: Array, own: Any, other: Any) -> Any:
    """A client's own where it has taken part, ``seen []``, else the other; of one client."""
    return jax.tree.map(lambda a, b: jnp.where(seen, a, b), own, other)


def rows_or_mean(store: Any, seen: Array) -> Personal:
    """Served are rows of the store ``[C, ...]``; to clients never seen the mean over the others."""
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
    """Served are rows of the store ``[C, ...]``; to clients never seen ``other [...]``."""
    return Personal((store, seen), other, lambda row, other, _: seen_or(row[1], row[0], other))


def sharing_models(layers: LayerMap, state: Any, shared: Array | np.ndarray) -> Personal:
    """Served at the start of the next round: the server's layers where ``shared [L]``, above or below a client's own.

    Of a client never seen, its own layers are the mean of the others'.
    """
    own = rows_or_mean(state.clients, state.seen)
    assert own.overview is not None
    mean = own.overview

    def build(row: Any, common: Any, ident: Array) -> Params:
        of_seen, server = common
        return start_from(layers, server, own.build(row, of_seen, ident), shared)

    overview = mean._replace(complete=lambda total, common: (mean.complete(total, ()), common[1]))
    return Personal(own.rows, ((), state.server), build, overview)


def welcome_by_mean(state: Any, shared: Any, ids: Array) -> Any:
    """A state whose ``clients`` are models, served as :func:`rows_or_mean` has it: the mean of those seen."""
    del ids
    mean, some = shared
    return dataclasses.replace(state, clients=with_one(state.clients, state.seen | ~some, mean))


def welcome_by_mean_of_layers(state: Any, shared: Any, ids: Array) -> Any:
    """A state whose ``clients`` are models or parts of them, served as :func:`sharing_models` has it."""
    return welcome_by_mean(state, shared[0], ids)


def welcome_by_server(state: Any, shared: Any, ids: Array) -> Any:
    """A state with a global model as ``server`` beside ``clients``: the global model."""
    del shared, ids
    return dataclasses.replace(state, clients=with_one(state.clients, state.seen, state.server))


def within_sharing(welcome: Callable[[Any, Any, Array], Any]) -> Callable[[Any, Any, Array], Any]:
    """The same for a state that holds such a one as ``sharing``."""
    return lambda state, *known: dataclasses.replace(state, sharing=welcome(state.sharing, *known))
