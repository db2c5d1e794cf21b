"""Personal models, each built on demand from the client's row of a state and from what all clients share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Params = Any


class Overview(NamedTuple):
    """Sums over all clients' rows that are needed before any personal model can be built; taken in parts if need be.

    Attributes:
      wanted: ``rows [n, ...] -> []`` bool, whether one of these rows needs the sums. Where no row of any client does,
        now or later in the run, the sums are given as zeros.
      sums: ``(rows [n, ...], ids [n], counted [n]) -> pytree`` of sums over the rows for which ``counted`` (bool) is
        True.
      complete: ``(sums over all rows, shared) -> shared``, which puts the sums into what models are built from.
    """

    wanted: Callable[[Any], Array]
    sums: Callable[[Any, Array, Array], Any]
    complete: Callable[[Any, Any], Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Personal:
    """The clients' personal models, each built when it is asked for, so that C models need not be held to score them.

    Attributes:
      rows: what belongs to each client, leaves ``[C, ...]``, or ``[n, ...]`` where a state holds the rows of n clients
        alone.
      shared: what is the same for all clients.
      build: static; ``(row, shared, client id []) -> params`` of one client.
      overview: static; the sums that ``shared`` still lacks; ``None`` where it is complete.
    """

    rows: Any
    shared: Any
    build: Callable[[Any, Any, Array], Params] = dataclasses.field(metadata={"static": True})
    overview: Overview | None = dataclasses.field(default=None, metadata={"static": True})

    @property
    def ids(self) -> Array:
        """The clients in order, ``[C]`` int32; right only where the rows are those of all clients."""
        return jnp.arange(len(jax.tree.leaves(self.rows)[0]), dtype=jnp.int32)

    def total(self, ids: Array, counted: Array, wanted: Array | None = None) -> Any:
        """Sum, by the overview, over the rows of clients ``ids [n]`` that ``counted [n]`` marks; zeros if unwanted."""
        assert self.overview is not None  # callers ask only where there is one
        sums = lambda: self.overview.sums(self.rows, ids, counted)  # noqa: E731
        wanted = self.overview.wanted(self.rows) if wanted is None else wanted
        shapes = jax.eval_shape(sums)
        return jax.lax.cond(wanted, sums, lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))

    def completed(self, total: Any = None) -> Personal:
        """Return this with ``shared`` complete; ``total`` are the sums over all rows, ``None`` takes them here.

        Without ``total`` the rows must be those of all clients.
        """
        if self.overview is None:
            return self
        if total is None:
            total = self.total(self.ids, jnp.ones(self.ids.shape, bool))
        return dataclasses.replace(self, shared=self.overview.complete(total, self.shared), overview=None)

    def stacked(self, ids: Array | None = None) -> Params:
        """Build all models at once, leaves ``[C, ...]``; ``ids [n]`` names the clients of the rows, if not all."""
        whole = self.completed()
        build = lambda row, ident: whole.build(row, whole.shared, ident)  # noqa: E731
        return jax.vmap(build)(whole.rows, whole.ids if ids is None else ids)
