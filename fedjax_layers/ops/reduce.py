"""Weighted sums over the client axis, of many rows at once or as running sums that grow chunk by chunk."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.ops.checks import at_least_float32
from fedjax_layers.types import Array

_BLOCK_ELEMENTS = {"cpu": 1 << 20}  # 4 MB of float32, which stay in the cache between masking and multiplying
_LARGE_BLOCK = 1 << 26


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Term:
    """One client's term in a sum over clients.

    Attributes:
      value: a pytree of arrays ``[...]``.
      weight: ``[]``, the factor of the value, not negative; a client of weight 0 is left out whatever its value is, NaN
        included. ``None`` adds the value as it is, integers in their own dtype.
      segment: ``[]`` integer, the one of several sums to which the client adds; ``None`` where there is one sum.
      segments: static; T, the number of sums; 0 where there is one sum.
    """

    value: Any
    weight: Array | None = None
    segment: Array | None = None
    segments: int = dataclasses.field(default=0, metadata={"static": True})


def is_term(x: Any) -> bool:
    """Return whether this is a :class:`Term`, as ``is_leaf`` for trees of terms."""
    return isinstance(x, Term)


def empty_sums(terms: Any) -> Any:
    """Make zeros for the sums of terms: ``[...]``, or ``[T, ...]``, in the values' precision but at least float32.

    Args:
      terms: a pytree of :class:`Term` whose leaves, or their shapes, are stacked ``[w, ...]``.
    """

    def zeros(term: Term) -> Any:
        front = (term.segments,) if term.segments else ()
        return jax.tree.map(lambda x: jnp.zeros((*front, *x.shape[1:]), _sum_dtype(x, term.weight)), term.value)

    return jax.tree.map(zeros, terms, is_leaf=is_term)


def add_terms(sums: Any, terms: Any, present: Array) -> Any:
    """Add the terms of ``w`` further clients to running sums.

    Args:
      sums: as from :func:`empty_sums`.
      terms: a pytree of :class:`Term` whose leaves are stacked ``[w, ...]``.
      present: ``[w]`` bool; clients where it is False add nothing.
    """

    def add(term: Term, total: Any) -> Any:
        if term.weight is None and not term.segments:
            return jax.tree.map(lambda t, x: t + _of_present(x, present).sum(0, dtype=t.dtype), total, term.value)
        weight = present.astype(jnp.float32) if term.weight is None else jnp.where(present, term.weight, 0)
        if term.segments:
            ids = jnp.where(weight > 0, term.segment, 0)  # type: ignore[arg-type]  # not None, as ``segments`` is given
            return jax.tree.map(lambda t, x: _add_to_segments(t, x, weight, ids), total, term.value)
        return jax.tree.map(lambda t, x: _add(t, x, weight), total, term.value)

    return jax.tree.map(add, terms, sums, is_leaf=is_term)


def settle(sums: Any, some: Array, fallback: Any) -> Any:
    """Turn weighted sums into means in the dtypes of ``fallback``, and take ``fallback`` where no client took part.

    Args:
      sums: leaves ``[...]`` or ``[T, ...]``, sums of values times shares, where the shares add up to 1.
      some: bool ``[]`` or ``[T]``, whether any client took part.
      fallback: leaves like those of ``sums``.
    """

    def one(total: Array, other: Array) -> Array:
        # A cast alone would truncate 2.9999998, a mean of threes, to 2.
        mean = total if jnp.issubdtype(other.dtype, jnp.inexact) else jnp.round(total)
        return jnp.where(some.reshape(some.shape + (1,) * (mean.ndim - some.ndim)), mean.astype(other.dtype), other)

    return jax.tree.map(one, sums, fallback)


def weighted_sum(rows: Array, share: Array) -> Array:
    """Multiply ``share [K]`` by ``rows [K, P]`` in the share's dtype; rows of share 0 are left out, NaN included.

    This is a vector-matrix product per block: XLA's CPU backend runs a fused multiply and sum over the leading axis a
    thousand times slower, and leaving rows out (by ``where``, since 0 * NaN is NaN) must not copy the whole store.
    """
    num, width = rows.shape
    size = max(1, min(num, _BLOCK_ELEMENTS.get(jax.default_backend(), _LARGE_BLOCK) // max(width, 1)))

    def part(share: Array, x: Array) -> Array:
        x = jnp.where((share > 0)[:, None], x.astype(share.dtype), 0)
        return jnp.dot(share, x, precision="highest")

    def block(i: Array, total: Array) -> Array:
        # The last block reaches back over rows that are already summed; those get share 0.
        start = jnp.minimum(i * size, num - size)
        fresh = jnp.arange(size) + start >= i * size
        some = jnp.where(fresh, jax.lax.dynamic_slice_in_dim(share, start, size), 0)
        return total + part(some, jax.lax.dynamic_slice_in_dim(rows, start, size))

    if size == num:
        return part(share, rows)
    return jax.lax.fori_loop(0, -(-num // size), block, jnp.zeros(width, share.dtype))


def segment_sum(rows: Array, ids: Array, sums: Array, weights: Array) -> Array:
    """Add ``weights [K]`` times ``rows [K, P]`` to ``sums [T, P]``; rows of weight 0 are left out, NaN included.

    On a CPU this goes client by client: adding one row to one row runs at the speed of a plain sum, while XLA's scatter
    takes ten times as long.
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
    if len(weight) == 1:  # a product with one row would be compiled to another kind of matrix product
        return total + jnp.where(weight[0] > 0, weight[0] * x[0].astype(total.dtype), 0)
    return total + weighted_sum(x.reshape(len(x), -1), weight).reshape(total.shape)


def _add_to_segments(total: Array, x: Array, weight: Array, ids: Array) -> Array:
    if not x.size:
        return total
    flat = total.reshape(len(total), -1)
    return segment_sum(x.reshape(len(x), -1), ids, flat, weight.astype(total.dtype)).reshape(total.shape)
