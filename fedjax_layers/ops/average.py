"""Weighted means over the client axis, of whole models or layer by layer, safe for empty cohorts and NaN in padding."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.ops.checks import (
    at_least_float32,
    client_count,
    expect_shape,
    layer_mask,
    leaf_path,
    model_leaves,
    same_tree,
    stacked_leaves,
)
from fedjax_layers.ops.reduce import weighted_sum
from fedjax_layers.types import Array, LayerMap, Params


def weighted_mean(stacked: Params, weights: Array, fallback: Params | None = None) -> Params:
    """Compute the mean over clients, ``sum_k w_k x_k / sum_k w_k``.

    Args:
      stacked: any pytree with leaves ``[K, ...]``.
      weights: ``[K]``, not negative. A client of weight 0 is left out whatever its values are, NaN included.
      fallback: the result where all weights are 0, the same tree without the leading axis. ``None`` gives NaN there (0
        for integer leaves).

    Returns:
      The same tree without the leading axis, in the leaves' dtypes.

    Raises:
      ValueError: leaves of unequal length, weights of another length, or a fallback that differs (path named).
    """
    num = client_count(stacked, "stacked")
    weights = jnp.asarray(weights)
    expect_shape(weights, (num,), "weights")
    leaves, treedef = jax.tree.flatten(stacked)
    if fallback is None:
        empty: list[Any] = [_nothing(x) for x in leaves]
    else:
        paths = tuple(leaf_path(p) for p, _ in jax.tree_util.tree_flatten_with_path(stacked)[0])
        empty = same_tree(fallback, treedef, paths, "fallback")
        for path, x, other in zip(paths, leaves, empty, strict=True):
            expect_shape(other, x.shape[1:], f"fallback at {path!r}")
    return jax.tree.unflatten(treedef, [_mean(x, weights, e) for x, e in zip(leaves, empty, strict=True)])


def masked_mean(stacked: Params, weights: Array, mask: Array, layers: LayerMap, fallback: Params) -> Params:
    """Compute the mean over clients of the layers that the mask selects; other layers come from ``fallback``.

    With a mask per client, each layer is averaged over the clients that share it, with their weights renormalised; a
    layer that no client shares comes from ``fallback``.

    Args:
      stacked: params stacked ``[K, ...]``.
      weights: ``[K]``, not negative; a client of weight 0 is left out whatever its values are.
      mask: bool ``[L]``, or ``[K, L]`` per client.
      layers: the layer map.
      fallback: params of one model.

    Returns:
      Params of one model.

    Raises:
      ValueError: a mask or weights of another length, or trees that differ from the map (the path is named).
    """
    mask = layer_mask(mask, layers)
    weights = jnp.asarray(weights)
    expect_shape(weights, (None,), "weights")
    num = weights.shape[0]
    if mask.ndim == 2:
        expect_shape(mask, (num, layers.num_layers), "mask")
    means = []
    for i, path, x, other in zip(
        layers.leaf_layers,
        layers.leaf_paths,
        stacked_leaves(stacked, layers, num, "stacked"),
        model_leaves(fallback, layers, "fallback"),
        strict=True,
    ):
        expect_shape(other, x.shape[1:], f"fallback at {path!r}")
        mean = _mean(x, jnp.where(mask[..., i], weights, 0), other)
        means.append(mean)
    return jax.tree.unflatten(layers.treedef, means)


def _nothing(x: Array) -> Array:
    return jnp.full(x.shape[1:], jnp.nan if jnp.issubdtype(x.dtype, jnp.inexact) else 0, x.dtype)


def _mean(x: Array, weights: Array, empty: Array) -> Array:
    # The shares are computed in the leaf's precision: float32 shares would round a float64 mean to 1e-8.
    dtype = at_least_float32(x.dtype)
    weights = weights.astype(dtype)
    total = weights.sum()
    share = weights / jnp.where(total > 0, total, 1)
    mean = weighted_sum(x.reshape(x.shape[0], -1), share).reshape(x.shape[1:]) if x.size else jnp.zeros(x.shape[1:])
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        mean = jnp.round(mean)  # a cast alone would truncate 2.9999998, a mean of threes, to 2
    return jnp.where(total > 0, mean.astype(x.dtype), empty)
