"""Steps of client-level differential privacy: clip each client's update, add noise to the sum, adapt the bound."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fedjax_layers.ops.checks import at_least_float32, model_leaves
from fedjax_layers.types import Array, Key, LayerMap, Params


def clip_update(
    update: Params, layers: LayerMap, bound: float | Array, *, per_layer: bool = False
) -> tuple[Params, Array]:
    """Shorten one client's update to a norm of at most ``bound``.

    Args:
      update: the update, one params-shaped tree.
      layers: the layer map.
      bound: the largest norm S; may be traced.
      per_layer: clip each of the L layers to ``bound / sqrt(L)`` by its own norm, so that the whole is at most
        ``bound`` long; otherwise the whole update is scaled by one factor.

    Returns:
      The clipped update, and ``[]`` bool, whether the norm of the whole update was at most ``bound``.

    Raises:
      ValueError: a tree that differs from the map (the path is named).

    Source: McMahan, Ramage, Talwar and Zhang 2018, arXiv 1710.06963: flat clipping and per-layer clipping.
    """
    leaves = model_leaves(update, layers, "update")
    squares = [jnp.zeros(())] * layers.num_layers
    for layer, leaf in zip(layers.leaf_layers, leaves, strict=True):
        squares[layer] = squares[layer] + jnp.sum(leaf.astype(at_least_float32(leaf.dtype)) ** 2)
    each = jnp.stack([s.astype(jnp.result_type(*squares)) for s in squares])
    whole = jnp.sqrt(each.sum())
    limit = jnp.asarray(bound, whole.dtype)
    norms = jnp.sqrt(each) if per_layer else jnp.full(each.shape, whole)
    most = limit / layers.num_layers**0.5 if per_layer else limit
    factor = jnp.minimum(1, most / jnp.where(norms > 0, norms, 1))
    clipped = [leaf * factor[layer].astype(leaf.dtype) for layer, leaf in zip(layers.leaf_layers, leaves, strict=True)]
    return jax.tree.unflatten(layers.treedef, clipped), whole <= limit


def add_noise(key: Key, tree: Params, deviation: float | Array) -> Params:
    """Add independent normal numbers of this standard deviation to every entry of a tree.

    Args:
      key: the key of the noise.
      tree: any pytree of floating-point arrays.
      deviation: the standard deviation; may be traced.
    """
    leaves, treedef = jax.tree.flatten(tree)
    noisy = [
        x + jnp.asarray(deviation, x.dtype) * jax.random.normal(jax.random.fold_in(key, i), x.shape, x.dtype)
        for i, x in enumerate(leaves)
    ]
    return jax.tree.unflatten(treedef, noisy)


def adapted_bound(
    bound: float | Array, share_within: float | Array, quantile: float | Array, rate: float | Array
) -> Array:
    """Move a clipping bound towards a quantile of norms: ``bound * exp(-rate * (share_within - quantile))``.

    Args:
      bound: the present bound.
      share_within: the share of clients whose norm is at most the bound, with noise.
      quantile: the share that there should be, from 0 to 1.
      rate: step size of the bound's logarithm.

    Source: Andrew, Thakkar, McMahan and Ramaswamy 2021, arXiv 1905.03871, Algorithm 1.
    """
    gap = jnp.asarray(share_within, float) - quantile
    return bound * jnp.exp(-rate * gap)
