"""Weighted sums over the client axis: of many rows at once, and as running sums that grow chunk by chunk."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.ops.checks import at_least_float32
from fedjax_layers.types import Array

_BLOCK_ELEMENTS = {"cpu": 1 << 20}  # 4 MB of float32 stay in the cache between masking and multiplying
_LARGE_BLOCK = 1 << 26


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Term:
    """What one client adds to a sum over clients.

    Attributes:
      value: a pytree of arrays ``[...]``.
      weight: ``[]``, its factor, not negative; a client of weight 0 is left out whatever it holds, NaN included.
        ``None`` adds the value as it is, integers in their own dtype.
      segment: ``[]`` integer, to which of several sums the client adds; ``None`` where there is one.
      segments: static, T, how many there are; 0 for one sum for all.
    """

    value: Any
    weight: Array | None = None
    segment: Array | None = None
    segments: int = dataclasses.field(default=0, metadata={"static": True})


def is_term(x: Any) -> bool:
    """Whether this is a :class:`Term`, where a tree of them is walked."""
    return isinstance(x, Term)


def empty_sums(terms: Any) -> Any:
    """Zeros for the sums of such terms: ``[...]``, or ``[T, ...]``, in float32 or the values' precision.

    Args:
      terms: a pytree of :class:`Term` whose leaves, or their shapes, are stacked ``[w, ...]``.
    """

    def zeros(term: Term) -> Any:
        front = (term.segments,) if term.segments else ()
        return jax.tree.map(lambda x: jnp.zeros((*front, *x.shape[1:]), _sum_dtype(x, term.weight)), term.value)

    return jax.tree.map(zeros, terms, is_leaf=is_term)


def add_terms(sums: Any, terms: Any, present: Array) -> Any:
    """Running sums with what ``w`` further clients add.

    Args:
      sums: as from :func:`empty_sums`.
      terms: a pytree of :class:`Term` whose leaves are stacked ``[w, ...]``.
      present: ``[w]`` bool; the others add nothing.
    """

    def add(term: Term, total: Any) -> Any:
        if term.weight is None and not term.segments:
            return jax.tree.map(lambda t, x: t + _of_present(x, present).sum(0, dtype=t.dtype), total, term.value)
        weight = present.astype(jnp.float32) if term.weight is None else jnp.where(present, term.weight, 0)
        if term.segments:
            ids = jnp.where(weight > 0, term.segment, 0)  # type: ignore[arg-type]  # it is there beside ``segments``
            return jax.tree.map(lambda t, x: _add_to_segments(t, x, weight, ids), total, term.value)
        return jax.tree.map(lambda t, x: _add(t, x, weight), total, term.value)

    return jax.tree.map(add, terms, sums, is_leaf=is_term)


def settle(sums: Any, some: Array, fallback: Any) -> Any:
    """Sums of shares as means in the dtypes of ``fallback``, which stands where nobody was there.

    Args:
      sums: leaves ``[...]`` or ``[T, ...]``, of values times shares that add up to 1.
      some: bool ``[]`` or ``[T]``, whether anybody was.
      fallback: leaves like those of ``sums``.
    """

    def one(total: Array, other: Array) -> Array:
        # A cast alone would cut 2.9999998, the mean of threes, to 2.
        mean = total if jnp.issubdtype(other.dtype, jnp.inexact) else jnp.round(total)
        return jnp.where(some.reshape(some.shape + (1,) * (mean.ndim - some.ndim)), mean.astype(other.dtype), other)

    return jax.tree.map(one, sums, fallback)


def weighted_sum(rows: Array, share: Array) -> Array:
    """``share [K]`` times ``rows [K, P]`` in the share's dtype, rows of share 0 left out whatever they hold.

    Block by block a vector-matrix product: XLA's CPU backend runs a fused multiply and sum over the leading axis a
    thousand times slower, and leaving rows out (``where``: 0 * NaN is NaN) must not copy the whole store.
    """
    num, width = rows.shape
    size = max(1, min(num, _BLOCK_ELEMENTS.get(jax.default_backend(), _LARGE_BLOCK) // max(width, 1)))

    def part(share: Array, x: Array) -> Array:
        x = jnp.where((share > 0)[:, None], x.astype(share.dtype), 0)
        return jnp.dot(share, x, precision="highest")

    def block(i: Array, total: Array) -> Array:
        # The last block reaches back over rows that are summed already; those get share 0.
        start = jnp.minimum(i * size, num - size)
        fresh = jnp.arange(size) + start >= i * size
        some = jnp.where(fresh, jax.lax.dynamic_slice_in_dim(share, start, size), 0)
        return total + part(some, jax.lax.dynamic_slice_in_dim(rows, start, size))

    if size == num:
        return part(share, rows)
    return jax.lax.fori_loop(0, -(-num // size), block, jnp.zeros(width, share.dtype))


def segment_sum(rows: Array, ids: Array, sums: Array, weights: Array) -> Array:
    """``sums [T, P]`` with ``weights [K]`` times ``rows [K, P]`` added, rows of weight 0 left out whatever they hold.

    On a CPU client by client: one row added to one row runs at the speed of a plain sum, where XLA's scatter takes
    ten times as long.
    """
    if jax.default_backend() == "cpu":

        def add(k: Array, sums: Array) -> Array:
            row = jnp.where(weights[k] > 0, rows[k].astype(weights.dtype) * weights[k], jnp.zeros((), weights.dtype))
            return sums.at[ids[k]].add(row, mode="promise_in_bounds")

        return jax.lax.fori_loop(0, rows.shape[0], add, sums)
    counted = jnp.where(
        (weights > 0)[:, None], rows.astype(weights.dtype) * weights[:, None], jnp.zeros((), weights.dtype)
    )
    return sums + jax.ops.segment_sum(counted, ids, sums.shape[0])


def _sum_dtype(x: Array, weight: Array | None) -> Any:
    return x.dtype if weight is None and not jnp.issubdtype(x.dtype, jnp.inexact) else at_least_float32(x.dtype)


def _of_present(x: Array, present: Array) -> Array:
    return jnp.where(present.reshape(-1, *(1,) * (x.ndim - 1)), x, jnp.zeros((), x.dtype))


def _add(total: Array, x: Array, weight: Array) -> Array:
    if not x.size:
        return total
    weight = weight.astype(total.dtype)
    if len(weight) == 1:  # a product with one row would be a matrix product of its own kind
        return total + jnp.where(weight[0] > 0, weight[0] * x[0].astype(total.dtype), 0)
    return total + weighted_sum(x.reshape(len(x), -1), weight).reshape(total.shape)


def _add_to_segments(total: Array, x: Array, weight: Array, ids: Array) -> Array:
    if not x.size:
        return total
    flat = total.reshape(len(total), -1)
    return segment_sum(x.reshape(len(x), -1), ids, flat, weight.astype(total.dtype)).reshape(total.shape)
