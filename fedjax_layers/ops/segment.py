"""Means over groups of clients (teams, clusters), which may differ in size and may be empty."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from fedjax_layers.ops.checks import at_least_float32, client_count, expect_shape, leaf_path, same_tree
from fedjax_layers.ops.clients import ClientAxis
from fedjax_layers.ops.reduce import segment_sum
from fedjax_layers.types import Array, Params


def segment_mean(
    stacked: Params,
    segment_ids: Array,
    num_segments: int,
    weights: Array | None = None,
    fallback: Params | None = None,
    axis: ClientAxis = ClientAxis(),
) -> Params:
    """Compute each segment's mean, ``sum_k w_k x_k / sum_k w_k`` over the clients k with ``segment_ids[k] == t``.

    Args:
      stacked: any pytree with leaves ``[K, ...]``.
      segment_ids: ``[K]`` integers; a client with an id outside ``0 .. T-1`` belongs to no segment.
      num_segments: T, static.
      weights: ``[K]``, not negative; ``None`` weights all alike. A client of weight 0 is left out whatever its values
        are, NaN included.
      fallback: the same tree with leaves ``[T, ...]``, the result for a segment whose weights are all 0. ``None`` gives
        NaN there (0 for integer leaves).
      axis: the devices of the clients: each adds up its own clients, and only sums ``[T, ...]`` travel.

    Returns:
      The same tree with leaves ``[T, ...]``, in the leaves' dtypes.

    Raises:
      ValueError: leaves, ids or weights of unequal length, ids that are no integers, ``num_segments`` below 1, or a
        fallback that differs (the path is named).
    """
    num = client_count(stacked, "stacked")
    ids = jnp.asarray(segment_ids)
    expect_shape(ids, (num,), "segment_ids")
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(f"segment_ids: expected integers, found {ids.dtype}")
    if num_segments < 1:
        raise ValueError(f"num_segments: expected at least 1, got {num_segments}")
    share = jnp.ones(num, jnp.float32) if weights is None else jnp.asarray(weights)
    expect_shape(share, (num,), "weights")
    share = jnp.where((ids >= 0) & (ids < num_segments), share, jnp.zeros((), share.dtype))
    flat, treedef = jax.tree_util.tree_flatten_with_path(stacked)
    paths = tuple(leaf_path(path) for path, _ in flat)
    others: list[Any] = [None] * len(flat)
    if fallback is not None:
        others = same_tree(fallback, treedef, paths, "fallback")
        for path, (_, x), other in zip(paths, flat, others, strict=True):
            expect_shape(other, (num_segments, *x.shape[1:]), f"fallback at {path!r}")
    sums, totals = _sums([x for _, x in flat], ids, num_segments, share, axis)
    means = [_mean(s, t, x, other) for s, t, (_, x), other in zip(sums, totals, flat, others, strict=True)]
    return jax.tree.unflatten(treedef, means)


def _sums(
    leaves: list[Array], ids: Array, num: int, weights: Array, axis: ClientAxis
) -> tuple[list[Array], list[Array]]:
    """Compute weighted sums ``[T, P]`` and total weights ``[T]`` of each leaf, in its accumulation dtype."""
    rows = [x.reshape(x.shape[0], -1) for x in leaves]
    safe = jnp.where(weights > 0, ids, 0).astype(jnp.int32)

    def local(rows: list[Array], ids: Array, weights: Array) -> tuple[list[Array], list[Array]]:
        sums, totals = [], []
        for x in rows:
            w = weights.astype(at_least_float32(x.dtype))
            sums.append(segment_sum(x, ids, jnp.zeros((num, x.shape[1]), w.dtype), w))
            totals.append(jnp.zeros(num, w.dtype).at[ids].add(w))
        return sums, totals

    if axis.mesh is None:
        return local(rows, safe, weights)
    extra = -weights.shape[0] % axis.num_devices
    rows, safe, weights = jax.tree.map(
        lambda x: jnp.pad(x, ((0, extra), *((0, 0),) * (x.ndim - 1))), (rows, safe, weights)
    )
    return jax.shard_map(
        lambda *args: jax.lax.psum(local(*args), axis.name),
        mesh=axis.mesh,
        in_specs=P(axis.name),
        out_specs=P(),
        check_vma=False,
    )(rows, safe, weights)


def _mean(sums: Array, total: Array, x: Array, fallback: Array | None) -> Array:
    """Compute one leaf's means ``[T, ...]`` in the dtype of ``x [K, ...]``; the fallback where no client counts."""
    num = len(total)
    mean = (sums / jnp.where(total > 0, total, jnp.ones((), total.dtype))[:, None]).reshape(num, *x.shape[1:])
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        mean = jnp.round(mean)  # a cast alone would truncate 2.9999998, a mean of threes, to 2
    if fallback is None:
        fallback = jnp.full(mean.shape, jnp.nan if jnp.issubdtype(x.dtype, jnp.inexact) else 0, x.dtype)
    some = (total > 0).reshape(num, *(1,) * (x.ndim - 1))
    return jnp.where(jnp.broadcast_to(some, mean.shape), mean.astype(x.dtype), fallback)
