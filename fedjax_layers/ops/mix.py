"""Layer-wise mixing: each layer of a client is a weighted sum of all clients' layers; and the gradient of that."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from fedjax_layers.ops.checks import (
    at_least_float32,
    client_count,
    expect_shape,
    stacked_leaves,
)
from fedjax_layers.ops.clients import ClientAxis
from fedjax_layers.types import Array, LayerMap, Params

_CHUNK_ELEMENTS = 1 << 25  # at most 128 MB of float32 are converted or shifted at once


class SparseWeights(NamedTuple):
    """Mixing weights of only the m models of largest weight.

    Attributes:
      indices: ``[K, L, m]`` int32, rows of the stored models.
      weights: ``[K, L, m]``, which sum to 1 over m.
    """

    indices: Array
    weights: Array


def mix_layers(
    stacked: Params, alpha: Array | SparseWeights, layers: LayerMap, axis: ClientAxis = ClientAxis()
) -> Params:
    """Mix models: layer l of result k is ``sum_c alpha[k, l, c] * layer l of model c``; one contraction per leaf.

    Args:
      stacked: the stored models, params stacked ``[C, ...]``. Rows of weight 0 are multiplied too, so that their NaN
        is NaN in the result.
      alpha: ``[K, L, C]``, not negative, which sum to 1 over C; ``[L, C]`` for one result; or :class:`SparseWeights`,
        for which only m models are read per layer.
      layers: the layer map; for weights per tensor, block or model, that of :func:`fedjax_layers.ops.regroup`.
      axis: only its mesh is used: each device sums over its own rows of the stored models, and only sums travel.

    Returns:
      Params stacked ``[K, ...]`` (those of one model for ``[L, C]``), in the leaves' dtypes.

    Raises:
      ValueError: the weights have another shape, or the stored models differ from the map (the path is named); and
        where the arrays are concrete, a weight is negative, weights do not sum to 1, or a model is not finite.

    Source: pFedLA (arXiv 2205.03993), equation 5.
    """
    num = client_count(stacked, "stacked")
    leaves = stacked_leaves(stacked, layers, num, "stacked")
    _check_finite(leaves)
    if isinstance(alpha, SparseWeights):
        _check_sparse(alpha, layers, num)
        mixed = [
            _gathered_sum(alpha.indices[:, i], alpha.weights[:, i], x.reshape(num, -1)).reshape(-1, *shape)
            for i, shape, x in zip(layers.leaf_layers, layers.leaf_shapes, leaves, strict=True)
        ]
        return jax.tree.unflatten(layers.treedef, mixed)
    alpha = jnp.asarray(alpha)
    one = alpha.ndim == 2
    alpha = alpha[None] if one else alpha
    expect_shape(alpha, (None, layers.num_layers, num), "alpha")
    _check_weights(alpha)
    mixed = [
        _contract(alpha[:, i], x.reshape(num, -1), axis).reshape(-1, *shape)
        for i, shape, x in zip(layers.leaf_layers, layers.leaf_shapes, leaves, strict=True)
    ]
    return jax.tree.unflatten(layers.treedef, [x[0] for x in mixed] if one else mixed)


def mix_pullback(
    stacked: Params,
    cotangent: Params,
    layers: LayerMap,
    axis: ClientAxis = ClientAxis(),
    *,
    relative: bool = False,
) -> Array:
    """Compute the gradient of :func:`mix_layers` with respect to its weights.

    Entry ``[k, l, c]`` is the inner product of layer l of model c with layer l of cotangent k, which is the derivative
    of ``<mix, cotangent>`` by ``alpha[k, l, c]``: C inner products per layer instead of a backward pass.

    Args:
      stacked: the stored models that were mixed, ``[C, ...]``.
      cotangent: params stacked ``[K, ...]``: gradients at the mixed models, or what stands for them.
      layers: the layer map.
      axis: only its mesh is used: each device has its own rows of the stored models.
      relative: whether the first model is subtracted from all, which adds a constant to each ``[k, l]``. Gradients of a
        normalised alpha (sums of 1) stay the same; differences of nearly equal models keep their digits, and equal
        models give exactly 0.

    Returns:
      ``[K, L, C]`` in the leaves' dtype, at least float32.

    Raises:
      ValueError: trees that differ from the map (the path is named).

    Source: pFedLA (arXiv 2205.03993), equations 10 and 11 up to the hypernetwork.
    """
    num, targets = client_count(stacked, "stacked"), client_count(cotangent, "cotangent")
    totals: list[Array | None] = [None] * layers.num_layers
    for i, x, g in zip(
        layers.leaf_layers,
        stacked_leaves(stacked, layers, num, "stacked"),
        stacked_leaves(cotangent, layers, targets, "cotangent"),
        strict=True,
    ):
        part = _products(x.reshape(num, -1), g.reshape(targets, -1), axis, relative)
        before = totals[i]
        totals[i] = part if before is None else before + part
    return jnp.stack([total for total in totals if total is not None], axis=1)


def top_weights(alpha: Array, m: int) -> SparseWeights:
    """Keep the m largest weights per client and layer, renormalised to sum to 1.

    Args:
      alpha: ``[K, L, C]``, not negative.
      m: number of models to keep, 1 to C; static.

    Returns:
      The sparse weights; where all kept weights are 0, the first kept model gets weight 1.

    Raises:
      ValueError: ``alpha`` has another rank, or ``m`` is out of range.
    """
    expect_shape(alpha, (None, None, None), "alpha")
    if not 1 <= m <= alpha.shape[-1]:
        raise ValueError(f"m: expected 1 to {alpha.shape[-1]}, the stored models, got {m}")
    weights, indices = jax.lax.top_k(alpha, m)
    total = weights.sum(-1, keepdims=True)
    alone = jnp.zeros_like(weights).at[..., 0].set(1)
    weights = jnp.where(total > 0, weights / jnp.where(total > 0, total, jnp.ones_like(total)), alone)
    return SparseWeights(indices.astype(jnp.int32), weights)


def _contract(alpha: Array, rows: Array, axis: ClientAxis) -> Array:
    """Multiply ``alpha [K, C]`` by ``rows [C, P]``, in the rows' dtype."""
    dtype = at_least_float32(rows.dtype)
    alpha = alpha.astype(dtype)
    if axis.mesh is None:
        total = _chunked_dot(alpha, rows)
    else:
        (targets, num), devices = alpha.shape, axis.num_devices
        alpha = jnp.pad(alpha, ((0, -targets % devices), (0, -num % devices)))
        rows = jnp.pad(rows, ((0, -num % devices), (0, 0)))
        total = jax.shard_map(
            lambda a, x: jax.lax.psum_scatter(_chunked_dot(a, x), axis.name, scatter_dimension=0, tiled=True),
            mesh=axis.mesh,
            in_specs=(P(None, axis.name), P(axis.name)),
            out_specs=P(axis.name),
            check_vma=False,
        )(alpha, rows)[:targets]
    return _as_stored(total, rows.dtype)


def _chunked_dot(alpha: Array, rows: Array) -> Array:
    """Compute ``alpha @ rows`` in alpha's dtype; rows of another dtype are converted a chunk at a time."""
    num, width = rows.shape
    size = max(1, min(num, _CHUNK_ELEMENTS // max(width, 1)))
    if rows.dtype == alpha.dtype or size == num:
        return jnp.dot(alpha, rows.astype(alpha.dtype), precision="highest")

    def add(i: Array, total: Array) -> Array:
        # The last chunk reaches back over rows that are already summed; those get weight 0.
        start = jnp.minimum(i * size, num - size)
        fresh = jnp.arange(size) + start >= i * size
        part = jnp.where(fresh[None], jax.lax.dynamic_slice_in_dim(alpha, start, size, 1), jnp.zeros((), alpha.dtype))
        x = jax.lax.dynamic_slice_in_dim(rows, start, size).astype(alpha.dtype)
        return total + jnp.dot(part, x, precision="highest")

    return jax.lax.fori_loop(0, -(-num // size), add, jnp.zeros((alpha.shape[0], width), alpha.dtype))


def _products(rows: Array, cotangent: Array, axis: ClientAxis, relative: bool) -> Array:
    """Compute inner products ``[K, C]`` of ``cotangent [K, P]`` with ``rows [C, P]``."""
    cotangent = cotangent.astype(at_least_float32(rows.dtype))
    if axis.mesh is None:
        return _chunked_products(rows, rows[:1], cotangent, relative)
    num = rows.shape[0]

    def local(rows: Array, cotangent: Array) -> Array:
        # Row 0 lies on the first device; if it is sliced outside, XLA's partitioner loses its shape (JAX 0.10).
        first = jnp.where(jax.lax.axis_index(axis.name) == 0, rows[:1], jnp.zeros_like(rows[:1]))
        return _chunked_products(rows, jax.lax.psum(first, axis.name), cotangent, relative)

    return jax.shard_map(
        local, mesh=axis.mesh, in_specs=(P(axis.name), P()), out_specs=P(None, axis.name), check_vma=False
    )(jnp.pad(rows, ((0, -num % axis.num_devices), (0, 0))), cotangent)[:, :num]


def _chunked_products(rows: Array, first: Array, cotangent: Array, relative: bool) -> Array:
    num, width = rows.shape
    size = max(1, min(num, _CHUNK_ELEMENTS // max(width, 1)))

    def of(x: Array) -> Array:
        x = x.astype(cotangent.dtype)
        x = x - first.astype(cotangent.dtype) if relative else x
        return jnp.dot(cotangent, x.T, precision="highest")

    if size == num or (rows.dtype == cotangent.dtype and not relative):
        return of(rows)

    def fill(i: Array, found: Array) -> Array:
        start = jnp.minimum(i * size, num - size)  # the last chunk computes a few columns again
        part = of(jax.lax.dynamic_slice_in_dim(rows, start, size))
        return jax.lax.dynamic_update_slice_in_dim(found, part, start, 1)

    return jax.lax.fori_loop(0, -(-num // size), fill, jnp.zeros((cotangent.shape[0], num), cotangent.dtype))


def _gathered_sum(indices: Array, weights: Array, rows: Array) -> Array:
    """Compute ``sum_j weights[k, j] * rows[indices[k, j]]``, ``[K, P]``, with one gather of K rows at a time."""
    dtype = at_least_float32(rows.dtype)

    def add(j: Array, total: Array) -> Array:
        return total + weights[:, j, None].astype(dtype) * rows[indices[:, j]].astype(dtype)

    shape = (indices.shape[0], rows.shape[1])
    return _as_stored(jax.lax.fori_loop(0, indices.shape[1], add, jnp.zeros(shape, dtype)), rows.dtype)


def _as_stored(total: Array, dtype: jnp.dtype) -> Array:
    if not jnp.issubdtype(dtype, jnp.inexact):
        total = jnp.round(total)  # a cast alone would truncate 2.9999998, a mix of threes, to 2
    return total.astype(dtype)


def _check_sparse(alpha: SparseWeights, layers: LayerMap, num: int) -> None:
    expect_shape(alpha.indices, (None, layers.num_layers, None), "alpha.indices")
    expect_shape(alpha.weights, tuple(alpha.indices.shape), "alpha.weights")
    if not isinstance(alpha.indices, jax.core.Tracer):
        wrong = np.flatnonzero((np.asarray(alpha.indices) < 0) | (np.asarray(alpha.indices) >= num))
        if len(wrong):
            found = np.asarray(alpha.indices).ravel()[wrong[0]]
            raise ValueError(f"alpha.indices: expected rows 0 to {num - 1} of the stored models, got {found}")
    _check_weights(alpha.weights)


def _check_weights(alpha: Array) -> None:
    """Check that concrete weights are not negative and sum to 1 over the last axis."""
    if isinstance(alpha, jax.core.Tracer):
        return
    values = np.asarray(alpha, np.float64)
    sums = values.sum(-1)
    wrong = np.argwhere(~(np.abs(sums - 1) < 1e-3) | (values < 0).any(-1))
    if len(wrong):
        k, layer = wrong[0]
        found = f"{sums[k, layer]:.6g} with least {values[k, layer].min():.3g}"
        raise ValueError(f"alpha: expected weights >= 0 that sum to 1, got {found} for client {k}, layer {layer}")


def _check_finite(leaves: list[Array]) -> None:
    """Check that concrete models are finite."""
    for x in leaves:
        if isinstance(x, jax.core.Tracer) or not jnp.issubdtype(x.dtype, jnp.inexact):
            continue
        with jax.ensure_compile_time_eval():  # models that a traced function closes over are concrete, too
            finite = np.asarray(jnp.isfinite(x).reshape(x.shape[0], -1).all(-1))
        if not finite.all():
            raise ValueError(f"stacked: expected finite models, got one that is not in row {int(finite.argmin())}")
