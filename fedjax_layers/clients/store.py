"""The store of all clients' rows, ``[C, ...]``: reading and writing the rows of a round's cohort, ``[K, ...]``."""

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
    """Read the rows ``[K, ...]`` of the cohort's slots from the store ``[C, ...]``."""
    if cohort.in_order:
        return store
    return jax.tree.map(lambda x: x[cohort.rows], store)


def put_clients(store: Any, cohort: Cohort, rows: Any) -> Any:
    """Replace the cohort's rows of the store; slots of weight 0 write nothing."""
    leaves = jax.tree.leaves(store)
    if not leaves:  # the store is empty
        return store
    if cohort.in_order:
        keep = cohort.weight > 0
        return where_rows(keep, rows, store)
    # Padding gets an index past the end, which the scatter drops.
    target = jnp.where(cohort.weight > 0, cohort.rows, leaves[0].shape[0])
    return jax.tree.map(lambda s, r: s.at[target].set(r, mode="drop"), store, rows)


def take_note(seen: Any, cohort: Cohort) -> Any:
    """Mark the cohort's clients in ``seen [C]``, which says who has taken part."""
    return put_clients(seen, cohort, jnp.ones(cohort.ids.shape, bool))


def sequential(visit: Callable[[Key, Any, Cohort], tuple[Any, Any]], key: Key, state: Any, cohort: Cohort) -> Any:
    """Run a round one slot after another, each from the state after the one before.

    Args:
      visit: ``(key, state, cohort) -> (state, seen)``, the computation for a cohort; ``seen`` is ``[K, ...]``.
      key: the round's key, passed to every call.
      state: the state before the round.
      cohort: the cohort, whose slots are passed to ``visit`` as cohorts of one.

    Returns:
      The state after the last slot, and ``seen`` of all slots ``[K, ...]``.
    """

    def one(state: Any, slot: Any) -> tuple[Any, Any]:
        ident, weight, train, place, watched, faults = jax.tree.map(lambda x: x[None], slot)
        looking = None if observer is None else dataclasses.replace(observer, rows=watched)
        alone = Cohort(ident, weight, train, cohort.pool, looking, place, faults=faults)
        state, seen = visit(key, state, alone)
        return state, jax.tree.map(lambda x: x[0], seen)

    watched, observer = by_slot(cohort.observer)
    return jax.lax.scan(one, state, (cohort.ids, cohort.weight, cohort.train, cohort.rows, watched, cohort.faults))


def renew_clients(
    fn: Callable[..., Any], store: Any, cohort: Cohort, *rows: Any, axis: ClientAxis, shared: tuple[Any, ...] = ()
) -> Any:
    """Replace each present client's row of the store by ``fn(its row, *row, *shared)``, a chunk at a time.

    Args:
      fn: function of one client; its result has the tree, shapes and dtypes of the store's row.
      store: leaves ``[C, ...]``.
      cohort: the clients whose rows are replaced, except slots of weight 0.
      *rows: pytrees with leaves ``[K, ...]``.
      axis: width and devices.
      shared: pytrees that every client gets whole.

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
