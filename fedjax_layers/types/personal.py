"""What each client is served, put together from its own row of a state and what all share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Params = Any


class Overview(NamedTuple):
    """What must be known of all clients before one is served: sums over their rows, which may come in parts.

    Attributes:
      wanted: ``rows [n, ...] -> []`` bool, whether one of these rows needs it; where none of all rows does, now and
        ever after, the sums are given as zeros.
      sums: ``(rows [n, ...], ids [n], counted [n]) -> pytree`` of sums over the rows that count, bool.
      complete: ``(sums over all rows, shared) -> shared`` for the building of models.
    """

    wanted: Callable[[Any], Array]
    sums: Callable[[Any, Array, Array], Any]
    complete: Callable[[Any, Any], Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Personal:
    """What each client would use, put together when it is asked for: C models need not be held to score them.

    Attributes:
      rows: what is each client's own, leaves ``[C, ...]``, or ``[n, ...]`` of a state with the rows of some alone.
      shared: what is the same for all.
      build: static; ``(row, shared, client id []) -> params`` of one client.
      overview: static; what ``shared`` still lacks; ``None`` where it is complete.
    """

    rows: Any
    shared: Any
    build: Callable[[Any, Any, Array], Params] = dataclasses.field(metadata={"static": True})
    overview: Overview | None = dataclasses.field(default=None, metadata={"static": True})

    @property
    def ids(self) -> Array:
        """``[C]`` int32, the clients in order, where the rows are all clients'."""
        return jnp.arange(len(jax.tree.leaves(self.rows)[0]), dtype=jnp.int32)

    def total(self, ids: Array, counted: Array, wanted: Array | None = None) -> Any:
        """The overview's sums over the rows of ``ids [n]`` that count ``[n]``; zeros where nobody wants them."""
        assert self.overview is not None  # else nobody asks
        sums = lambda: self.overview.sums(self.rows, ids, counted)  # noqa: E731
        wanted = self.overview.wanted(self.rows) if wanted is None else wanted
        shapes = jax.eval_shape(sums)
        return jax.lax.cond(wanted, sums, lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))

    def completed(self, total: Any = None) -> Personal:
        """With all of ``shared``: by the sums over all rows, which are taken here where the rows are all clients'."""
        if self.overview is None:
            return self
        if total is None:
            total = self.total(self.ids, jnp.ones(self.ids.shape, bool))
        return dataclasses.replace(self, shared=self.overview.complete(total, self.shared), overview=None)

    def stacked(self, ids: Array | None = None) -> Params:
        """All of them at once, leaves ``[C, ...]``; ``ids [n]`` say whose rows there are, if not all clients'."""
        whole = self.completed()
        build = lambda row, ident: whole.build(row, whole.shared, ident)  # noqa: E731
        return jax.vmap(build)(whole.rows, whole.ids if ids is None else ids)
