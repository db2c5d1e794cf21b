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

from fedjax_layers.algorithms.sharing import start_from
from fedjax_layers.algorithms.stacked import where_rows
from fedjax_layers.types import Array, LayerMap, Params, Personal


def with_mean(store: Any, seen: Array) -> Any:
    """Rows of the store ``[C, ...]``; of clients never seen the plain mean over the others, while there is one."""
    return with_one(store, seen | ~seen.any(), mean_of_seen(store, seen))


def mean_of_seen(store: Any, seen: Array) -> Any:
    """The plain mean ``[...]`` over the rows ``[C, ...]`` of clients that have taken part.

    Where all of them have, nobody asks for it, and row 0 is given in its place.
    """
    first = jax.tree.map(lambda x: x[0], store)

    def mean(x: Array) -> Array:
        # As a product, which reads the rows where they are: choosing them first would hold the store a second time.
        # What lies in rows of clients never seen is what every model starts from, and finite.
        kind = jnp.promote_types(x.dtype, jnp.float32)
        flags = seen.astype(x.dtype)
        total = jnp.tensordot(flags, x, 1, precision=jax.lax.Precision.HIGHEST, preferred_element_type=kind)
        return jnp.where(seen.any(), total / jnp.maximum(seen.sum(), 1).astype(kind), x[0]).astype(x.dtype)

    if not jax.tree.leaves(store):
        return first
    return jax.lax.cond(seen.all(), lambda: first, lambda: jax.tree.map(mean, store))


def with_one(store: Any, seen: Array, params: Params) -> Any:
    """Rows of the store ``[C, ...]``; of clients never seen these params ``[...]``."""
    return where_rows(seen, store, jax.tree.map(lambda x: x[None], params))


def seen_or(seen: Array, own: Any, other: Any) -> Any:
    """A client's own where it has taken part, ``seen []``, else the other; of one client."""
    return jax.tree.map(lambda a, b: jnp.where(seen, a, b), own, other)


def rows_or_mean(store: Any, seen: Array) -> Personal:
    """Served are rows of the store ``[C, ...]``; to clients never seen the mean over the others."""
    return rows_or(store, seen | ~seen.any(), mean_of_seen(store, seen))


def rows_or(store: Any, seen: Array, other: Params) -> Personal:
    """Served are rows of the store ``[C, ...]``; to clients never seen ``other [...]``."""
    return Personal((store, seen), other, lambda row, other: seen_or(row[1], row[0], other))


def sharing_models(layers: LayerMap, state: Any, shared: Array | np.ndarray) -> Personal:
    """Served at the start of the next round: the server's layers where ``shared [L]``, above or below a client's own.

    Of a client never seen, its own layers are the mean of the others'.
    """
    own = rows_or_mean(state.clients, state.seen)

    def build(row: Any, common: Any) -> Params:
        mean, server = common
        return start_from(layers, server, own.build(row, mean), shared)

    return Personal(own.rows, (own.shared, state.server), build)


def welcome_by_mean(state: Any) -> Any:
    """A state whose ``clients`` are models or parts of them: the mean of those who have taken part."""
    return dataclasses.replace(state, clients=with_mean(state.clients, state.seen))


def welcome_by_server(state: Any) -> Any:
    """A state with a global model as ``server`` beside ``clients``: the global model."""
    return dataclasses.replace(state, clients=with_one(state.clients, state.seen, state.server))


def within_sharing(welcome: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same for a state that holds such a one as ``sharing``."""
    return lambda state: dataclasses.replace(state, sharing=welcome(state.sharing))
