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

from fedjax_layers.algorithms.stacked import where_rows
from fedjax_layers.ops import weighted_mean
from fedjax_layers.types import Algorithm, Array, Params


def welcoming(algorithm: Algorithm, welcome: Callable[[Any], Any]) -> Algorithm:
    """The algorithm that serves, and adapts, clients that never took part from what ``welcome`` makes of its state."""
    return algorithm._replace(models=lambda state: algorithm.models(welcome(state)), welcome=welcome)


def with_mean(store: Any, seen: Array) -> Any:
    """Rows of the store ``[C, ...]``; of clients never seen the plain mean over the others, while there is one."""
    mean = weighted_mean(store, seen.astype(jnp.float32), jax.tree.map(lambda x: x[0], store))
    return with_one(store, seen | ~seen.any(), mean)


def with_one(store: Any, seen: Array, params: Params) -> Any:
    """Rows of the store ``[C, ...]``; of clients never seen these params ``[...]``."""
    return where_rows(seen, store, jax.tree.map(lambda x: x[None], params))


def welcome_by_mean(state: Any) -> Any:
    """A state whose ``clients`` are models or parts of them: the mean of those who have taken part."""
    return dataclasses.replace(state, clients=with_mean(state.clients, state.seen))


def welcome_by_server(state: Any) -> Any:
    """A state with a global model as ``server`` beside ``clients``: the global model."""
    return dataclasses.replace(state, clients=with_one(state.clients, state.seen, state.server))


def within_sharing(welcome: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same for a state that holds such a one as ``sharing``."""
    return lambda state: dataclasses.replace(state, sharing=welcome(state.sharing))
