"""How many pairs of clients pull a layer in opposite directions."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fedjax_layers.ops.checks import at_least_float32, client_count, expect_shape, stacked_leaves
from fedjax_layers.types import Array, LayerMap, Params


def layer_products(updates: Params, layers: LayerMap) -> Array:
    """Compute the inner products of all clients' updates in each layer, ``[L, K, K]``, at least float32.

    Args:
      updates: the clients' updates, stacked ``[K, ...]``. NaN stays in the row and the column of its client.
      layers: the layer map.

    Raises:
      ValueError: a tree that differs from the map (the path is named).
    """
    num = client_count(updates, "updates")
    leaves = [jnp.asarray(x) for x in stacked_leaves(updates, layers, num, "updates")]
    dtype = at_least_float32(jnp.result_type(*leaves))
    products = [jnp.zeros((num, num), dtype)] * layers.num_layers
    for layer, leaf in zip(layers.leaf_layers, leaves, strict=True):
        rows = leaf.reshape(num, -1).astype(dtype)
        products[layer] = products[layer] + jnp.matmul(rows, rows.T, precision="highest")
    return jnp.stack(products)


def conflicting_pairs(updates: Params, layers: LayerMap, present: Array, below: float | Array = 0.0) -> Array:
    """Count for each layer the pairs of clients whose updates have a cosine below a threshold.

    Args:
      updates: the clients' updates, stacked ``[K, ...]``.
      layers: the layer map.
      present: ``[K]`` bool; other clients are left out whatever their values are.
      below: the threshold; may be traced.

    Returns:
      ``[L]`` int32. A zero update has no direction, and conflicts with none.

    Raises:
      ValueError: a tree that differs from the map (the path is named), or ``present`` of another length.

    Source: FedLAG (arXiv 2410.02845).
    """
    num = client_count(updates, "updates")
    expect_shape(present, (num,), "present")
    products = layer_products(updates, layers)
    length = jnp.sqrt(jax.vmap(jnp.diagonal)(products))
    bound = jnp.asarray(below, products.dtype) * (length[:, :, None] * length[:, None, :])
    some = (length > 0)[:, :, None] & (length > 0)[:, None, :]
    pair = present[:, None] & present[None] & jnp.triu(jnp.ones((num, num), bool), 1)
    return (some & pair[None] & (products < bound)).sum((1, 2), dtype=jnp.int32)
