"""Rules that weight clients by their distance to a centre: the geometric median, and two ways of clipping."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fedjax_layers.ops.robust.order import coordinate_median
from fedjax_layers.ops.robust.rows import Rows, flat_rows
from fedjax_layers.types import Array, LayerMap, Params


def geometric_median(
    rows: Params,
    weight: Array,
    *,
    steps: int | Array = 5,
    smoothing: float | Array = 1e-6,
    start: Params | None = None,
    layers: LayerMap | None = None,
) -> Params:
    """Take steps towards the point of least weighted sum of distances ``sum_i w_i ||z - x_i||`` (smoothed Weiszfeld).

    A step computes ``b_i = w_i / max(smoothing, ||z - x_i||)``, always from the given weights, and
    ``z <- sum_i b_i x_i / sum_i b_i``. Bad slots of less than half of the weight cannot move its end point far.

    Args:
      rows: any pytree with leaves ``[K, ...]``.
      weight: ``[K]``, not negative, in any unit; a slot of weight 0 is absent.
      steps: number of steps; may be traced.
      smoothing: the distance nu below which rows count alike; positive; may be traced.
      start: the model at which z begins. ``None`` means the coordinates' median, which bad slots cannot move far
        either: from the mean, which the paper's experiments take, a huge row would need many steps to be left behind.
      layers: ``None`` measures distances between whole models, as the paper does. A layer map makes another rule, the
        *layer-wise geometric median*: each layer has weights b by its own distances.

    Returns:
      The same tree without the leading axis, in the leaves' dtypes.

    Raises:
      ValueError: leaves of unequal length, a weight of another length, a leaf of no layer, or a start that differs (the
        path is named).

    Source: Pillutla, Kakade and Harchaoui 2019, arXiv 1912.13445, Algorithm 2.
    """
    found = flat_rows(rows, weight, layers)
    least = jnp.asarray(smoothing, found.dtype)
    begin = found.flat(coordinate_median(rows, weight) if start is None else start, "start")

    def step(_: Array, z: list[Array]) -> list[Array]:
        factor = found.weight.astype(found.dtype)[None] / jnp.maximum(least, found.distances(z))
        return found.sums(_over_sum(factor))

    return found.build(jax.lax.fori_loop(0, steps, step, begin))


def norm_clipping(
    rows: Params, weight: Array, centre: Params, bound: float | Array, layers: LayerMap | None = None
) -> Params:
    """Compute the weighted mean of the rows, each ``x_i - centre`` shortened to a norm of at most ``bound``.

    Each slot moves the result by at most ``bound`` times its share of the weight. No noise is added.

    Args:
      rows: any pytree with leaves ``[K, ...]``.
      weight: ``[K]``, not negative; a slot of weight 0 is absent.
      centre: one model, the one from which all began.
      bound: the largest norm M; may be traced.
      layers: ``None`` measures norms of whole models, as the paper does. A layer map makes another rule, *layer-wise
        norm clipping*: each layer is clipped to ``bound`` by its own norm.

    Returns:
      The same tree without the leading axis, in the leaves' dtypes.

    Raises:
      ValueError: leaves of unequal length, a weight of another length, a leaf of no layer, or a centre that differs
        (the path is named).

    Source: Sun et al. 2019, arXiv 1911.07963.
    """
    return centred_clipping(rows, weight, centre, bound, steps=1, layers=layers)


def centred_clipping(
    rows: Params,
    weight: Array,
    centre: Params,
    bound: float | Array,
    *,
    steps: int | Array = 5,
    layers: LayerMap | None = None,
) -> Params:
    """Take steps ``v <- v + sum_i p_i (x_i - v) min(1, bound / ||x_i - v||)`` from a centre.

    The p are shares of the weight, so that each slot moves v by at most ``bound`` times its share in a step. In the
    paper clients send momenta, v is the result of the round before, and all shares are 1/n; for models, the one that
    was sent to the clients is that result.

    Args:
      rows: any pytree with leaves ``[K, ...]``.
      weight: ``[K]``, not negative; a slot of weight 0 is absent.
      centre: one model, at which v begins.
      bound: the largest norm, the paper's tau; may be traced.
      steps: number of steps; may be traced. With 1 it is :func:`norm_clipping`.
      layers: as in :func:`norm_clipping`; a layer map makes it *layer-wise centred clipping*.

    Returns:
      The same tree without the leading axis, in the leaves' dtypes.

    Raises:
      ValueError: as in :func:`norm_clipping`.

    Source: Karimireddy, He and Jaggi 2021, arXiv 2012.10333.
    """
    found = flat_rows(rows, weight, layers)
    share = _over_sum(found.weight.astype(found.dtype)[None])
    largest = jnp.asarray(bound, found.dtype)

    def step(_: Array, v: list[Array]) -> list[Array]:
        return _moved(found, v, share * _shortening(found.distances(v), largest))

    return found.build(jax.lax.fori_loop(0, steps, step, found.flat(centre, "centre")))


def _moved(found: Rows, v: list[Array], factor: Array) -> list[Array]:
    """Compute ``v + sum_i factor_i (x_i - v)`` without holding the differences of all rows."""
    rest = 1 - factor.sum(1)
    return [s + rest[g].astype(s.dtype) * x for g, s, x in zip(found.groups, found.sums(factor), v, strict=True)]


def _shortening(distance: Array, bound: Array) -> Array:
    """Compute ``min(1, bound / distance)``; 1 at distance 0."""
    return jnp.where(distance > bound, bound / jnp.where(distance > 0, distance, 1), 1)


def _over_sum(factor: Array) -> Array:
    total = factor.sum(1, keepdims=True)
    return factor / jnp.where(total > 0, total, 1)
