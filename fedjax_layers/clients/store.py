"""What is kept for all clients, ``[C, ...]``, and a round's share of it, ``[K, ...]``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.clients import by_slot
from fedjax_layers.clients.stacked import where_rows
from fedjax_layers.ops import ClientAxis, Visit, visit_clients
from fedjax_layers.types import Cohort, Key


def take_clients(store: Any, cohort: Cohort) -> Any:
    """Rows ``[K, ...]`` of the store ``[C, ...]`` for the cohort's slots."""
    if cohort.in_order:
        return store
    return jax.tree.map(lambda x: x[cohort.rows], store)


def put_clients(store: Any, cohort: Cohort, rows: Any) -> Any:
    """The store with the cohort's rows replaced; slots of weight 0 write nothing."""
    leaves = jax.tree.leaves(store)
    if not leaves:  # nothing of this kind is kept
        return store
    if cohort.in_order:
        keep = cohort.weight > 0
        return where_rows(keep, rows, store)
    # Padding is sent past the end, where the scatter drops it.
    target = jnp.where(cohort.weight > 0, cohort.rows, leaves[0].shape[0])
    return jax.tree.map(lambda s, r: s.at[target].set(r, mode="drop"), store, rows)


def take_note(seen: Any, cohort: Cohort) -> Any:
    """``seen [C]``, who has taken part, after a round with this cohort."""
    return put_clients(seen, cohort, jnp.ones(cohort.ids.shape, bool))


def sequential(visit: Callable[[Key, Any, Cohort], tuple[Any, Any]], key: Key, state: Any, cohort: Cohort) -> Any:
    """A round slot after slot, each from the state that the last one left.

    Args:
      visit: ``(key, state, cohort) -> (state, seen)``, what a round does with a cohort; ``seen`` is ``[K, ...]``.
      key: the round's, handed to every visit.
      state: before the round.
      cohort: whose slots are visited in turn, as cohorts of one.

    Returns:
      The state after the last slot, and ``seen`` of all slots ``[K, ...]``.
    """

    def one(state: Any, slot: Any) -> tuple[Any, Any]:
        ident, weight, train, place, watched = jax.tree.map(lambda x: x[None], slot)
        looking = None if observer is None else dataclasses.replace(observer, rows=watched)
        alone = Cohort(ident, weight, train, cohort.pool, looking, place)
        state, seen = visit(key, state, alone)
        return state, jax.tree.map(lambda x: x[0], seen)

    watched, observer = by_slot(cohort.observer)
    return jax.lax.scan(one, state, (cohort.ids, cohort.weight, cohort.train, cohort.rows, watched))


def renew_clients(
    fn: Callable[..., Any], store: Any, cohort: Cohort, *rows: Any, axis: ClientAxis, shared: tuple[Any, ...] = ()
) -> Any:
    """The store with ``fn(its row, *row, *shared)`` in place of each present client's row, a chunk at a time.

    Args:
      fn: of one client; its result has the tree, shapes and dtypes of the store's row.
      store: leaves ``[C, ...]``.
      cohort: whose rows are renewed; slots of weight 0 renew nothing.
      *rows: pytrees with leaves ``[K, ...]``.
      axis: width and devices.
      shared: pytrees handed to every client whole.

    Returns:
      The store, leaves ``[C, ...]``.
    """
    return visit_clients(
        lambda own, *args: Visit(row=fn(own, *args)),
        *rows,
        store=store,
        places=None if cohort.in_order else cohort.rows,
        present=cohort.weight > 0,
        shared=shared,
        axis=axis,
    ).store
