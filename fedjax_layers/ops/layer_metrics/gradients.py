"""What gradients say of a layer: their spread within the layer, and how far clients agree on them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fedjax_layers.ops.checks import client_count, expect_shape, model_leaves
from fedjax_layers.ops.layer_metrics.rows import layer_rows, over, shrunk
from fedjax_layers.types import Array, LayerMap, Params


def gradient_variance(grads: Params, layers: LayerMap, *, unbiased: bool = False) -> Array:
    """Compute the variance over the entries of each layer's gradient, ``1/n_l sum_j (g_j - mean g)^2``.

    Args:
      grads: the gradient of one model. For many clients, map this function over them with ``jax.vmap``.
      layers: the layer map; a layer's entries are those of all its leaves together.
      unbiased: whether the sum is divided by ``n_l - 1``, as in PLayer-FL's published code, in place of ``n_l``, as in
        its text.

    Returns:
      ``[L]``, at least float32; 0 for a layer of one entry, or of none.

    Raises:
      ValueError: a tree that differs from the map (the path is named).

    Source: PLayer-FL (arXiv 2502.08829), metrics of layers.
    """
    model_leaves(grads, layers, "grads")
    rows = layer_rows(jax.tree.map(lambda x: jnp.asarray(x)[None], grads), layers, 1, "grads")
    squares = [jnp.sum(jnp.square(x - x.sum() / max(x.size, 1))) for x in rows]
    return jnp.stack([s / max(x.size - unbiased, 1) for s, x in zip(squares, rows, strict=True)])


def signal_to_noise(updates: Params, layers: LayerMap, weights: Array | None = None) -> Array:
    """Compute each layer's signal-to-noise ratio across clients, ``||mean_k u_k||^2 / mean_k ||u_k - mean u||^2``.

    The ratio does not change with the common length or the sign of the updates. For K independent updates of zero mean
    it is about ``1 / (K - 1)``, so that a layer on which clients agree is one far above that.

    Args:
      updates: the clients' gradients or updates, stacked ``[K, ...]``.
      layers: the layer map.
      weights: ``[K]``, not negative; a client of weight 0 is left out whatever its values are. ``None`` weighs all
        alike.

    Returns:
      ``[L]``, at least float32: 0 where the mean is 0; infinite, or huge by rounding, where all clients agree.

    Raises:
      ValueError: a tree that differs from the map (the path is named), or weights of another length.
    """
    num, weights = _weights(updates, weights)
    ratios = []
    for x in layer_rows(updates, layers, num, "updates"):
        w = weights.astype(x.dtype)
        share = w / jnp.where(w.sum() > 0, w.sum(), 1)
        x = shrunk(jnp.where(w[:, None] > 0, x, 0))  # noqa: PLW2901
        mean = jnp.matmul(share, x, precision="highest")
        noise = share @ jnp.where(w > 0, jnp.sum(jnp.square(x - mean[None]), axis=1), 0)
        ratios.append(over(jnp.sum(jnp.square(mean)), noise))
    return jnp.stack(ratios)


def update_cosine(updates: Params, layers: LayerMap, weights: Array | None = None) -> Array:
    """Compute each layer's mean cosine between the updates of two clients, over all pairs of clients.

    Args:
      updates: the clients' gradients or updates, stacked ``[K, ...]``.
      layers: the layer map.
      weights: ``[K]``, not negative; a pair weighs as the product of its two. A client of weight 0 is left out whatever
        its values are. ``None`` weighs all alike.

    Returns:
      ``[L]`` from -1 to 1, at least float32. A zero update has the cosine 0 with all others; NaN where there is no
      pair.

    Raises:
      ValueError: a tree that differs from the map (the path is named), or weights of another length.
    """
    num, weights = _weights(updates, weights)
    cosines = []
    for x in layer_rows(updates, layers, num, "updates"):
        w = weights.astype(x.dtype)
        x = shrunk(jnp.where(w[:, None] > 0, x, 0), axis=1)  # noqa: PLW2901
        length = jnp.sqrt(jnp.sum(jnp.square(x), axis=1, keepdims=True))
        unit = x / jnp.where(length > 0, length, 1)
        gram = jnp.matmul(unit, unit.T, precision="highest")
        pairs = (w[:, None] * w[None, :]) * (1 - jnp.eye(num, dtype=x.dtype))
        total = pairs.sum()
        mean = jnp.sum(pairs * gram) / jnp.where(total > 0, total, 1)
        cosines.append(jnp.where(total > 0, jnp.clip(mean, -1, 1), jnp.nan))
    return jnp.stack(cosines)


def _weights(updates: Params, weights: Array | None) -> tuple[int, Array]:
    """Return K, and the clients' weights ``[K]``."""
    num = client_count(updates, "updates")
    if weights is None:
        return num, jnp.ones(num)
    weights = jnp.asarray(weights)
    expect_shape(weights, (num,), "weights")
    return num, weights
