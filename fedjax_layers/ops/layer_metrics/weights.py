"""How far the clients' weights are from a common model, layer by layer."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fedjax_layers.ops.checks import client_count, model_leaves
from fedjax_layers.ops.layer_metrics.rows import layer_rows, over
from fedjax_layers.types import Array, LayerMap, Params


def weight_divergence(stacked: Params, layers: LayerMap, reference: Params | None = None) -> Array:
    """Compute the distance of each client's layer from a common model's, ``||w_k - r|| / ||r||``.

    Args:
      stacked: the clients' models, ``[K, ...]``.
      layers: the layer map.
      reference: the common model r, such as the server's; ``None`` takes the unweighted mean of the clients.

    Returns:
      ``[K, L]``, at least float32: 0 where the two are equal, infinite where the reference's layer alone is 0.

    Raises:
      ValueError: trees that differ from the map (the path is named).
    """
    num = client_count(stacked, "stacked")
    rows = layer_rows(stacked, layers, num, "stacked")
    if reference is None:
        common = [x.mean(0, keepdims=True) for x in rows]
    else:
        model_leaves(reference, layers, "reference")
        one = jax.tree.map(lambda x: jnp.asarray(x)[None], reference)
        common = layer_rows(one, layers, 1, "reference")
    found = []
    for x, other in zip(rows, common, strict=True):
        peak = jnp.maximum(jnp.max(jnp.abs(x), initial=0), jnp.max(jnp.abs(other), initial=0).astype(x.dtype))
        scale = jnp.where(peak > 0, peak, 1)  # so that no square overflows or vanishes
        r = other.astype(x.dtype) / scale
        apart = jnp.sqrt(jnp.sum(jnp.square(x / scale - r), axis=1))
        found.append(over(apart, jnp.broadcast_to(jnp.sqrt(jnp.sum(jnp.square(r))), apart.shape)))
    return jnp.stack(found, axis=1)
