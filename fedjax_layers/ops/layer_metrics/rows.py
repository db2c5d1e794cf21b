"""Stacked trees as one matrix for each layer, with a row for each client."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fedjax_layers.ops.checks import at_least_float32, stacked_leaves
from fedjax_layers.types import Array, LayerMap, Params


def layer_rows(stacked: Params, layers: LayerMap, num: int, name: str) -> list[Array]:
    """Return a matrix ``[K, n_l]`` for each layer: all entries of the layer, a row for each client.

    Args:
      stacked: params stacked ``[K, ...]``.
      layers: the layer map.
      num: K.
      name: the argument to be named in errors.

    Returns:
      L matrices, in the leaves' dtype, at least float32.

    Raises:
      ValueError: a tree that differs from the map (the path is named), or leaves of another length than K.
    """
    leaves = [jnp.asarray(x) for x in stacked_leaves(stacked, layers, num, name)]
    parts: list[list[Array]] = [[] for _ in layers.names]
    for layer, leaf in zip(layers.leaf_layers, leaves, strict=True):
        parts[layer].append(leaf.reshape(num, -1).astype(at_least_float32(leaf.dtype)))
    with jax.numpy_dtype_promotion("standard"):
        return [jnp.concatenate(part, axis=1) for part in parts]


def shrunk(x: Array, axis: int | None = None) -> Array:
    """Divide by the largest entry along an axis (or of all), so that no square overflows or vanishes; 0 stays 0."""
    peak = jnp.max(jnp.abs(x), axis=axis, keepdims=True, initial=0)
    return x / jnp.where(peak > 0, peak, 1)


def over(a: Array, b: Array) -> Array:
    """Return ``a / b`` of numbers that are not negative: 0 where ``a`` is 0, infinite where only ``b`` is."""
    return jnp.where(a > 0, a / jnp.where(b > 0, b, 1) + jnp.where(b > 0, 0.0, jnp.inf).astype(a.dtype), 0)
