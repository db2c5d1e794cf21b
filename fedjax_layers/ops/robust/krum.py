"""Rules that choose clients by their distances to their nearest neighbours: Krum, multi-Krum and Bulyan."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fedjax_layers.ops.checks import at_least_float32
from fedjax_layers.ops.robust.order import middle_means
from fedjax_layers.ops.robust.rows import Rows, count_within, flat_rows
from fedjax_layers.types import Array, LayerMap, Params


def krum(rows: Params, weight: Array, bad: int | Array, layers: LayerMap | None = None) -> Params:
    """Choose the row with the smallest sum of squared distances to its ``n - bad - 2`` nearest neighbours.

    All n present slots count alike, whatever the size of their weights. A row always has at least one
    neighbour, where there is another. Two rows that are each other's nearest neighbours may have equal scores; then the
    next neighbour decides, and after that the earlier slot.

    Args:
      rows: any pytree with leaves ``[K, ...]``.
      weight: ``[K]``, not negative; a slot of weight 0 is absent.
      bad: number f of slots that may be bad; may be traced. The paper's condition is n >= 2f + 3; where the present
        slots are too few, the largest f that they allow is taken.
      layers: ``None`` measures distances between whole models, as the paper does. A layer map makes another rule,
        *layer-wise Krum*: each layer is chosen by its own distances, so that the result may mix several clients.

    Returns:
      The same tree without the leading axis, in the leaves' dtypes.

    Raises:
      ValueError: leaves of unequal length, a weight of another length, a leaf of no layer, or a known ``bad`` that K
        slots cannot allow.

    Source: Blanchard et al. 2017, arXiv 1703.02757.
    """
    return multi_krum(rows, weight, bad, 1, layers)


def multi_krum(
    rows: Params, weight: Array, bad: int | Array, keep: int | Array | None = None, layers: LayerMap | None = None
) -> Params:
    """Compute the mean of the ``keep`` rows with the lowest scores of :func:`krum`, each scored once, among all.

    All n present slots count alike, whatever the size of their weights.

    Args:
      rows: any pytree with leaves ``[K, ...]``.
      weight: ``[K]``, not negative; a slot of weight 0 is absent.
      bad: as in :func:`krum`.
      keep: number m of rows in the mean; may be traced. 1 is Krum, n is the mean, which withstands nothing. ``None`` is
        n - f - 2, up to which the paper's claim holds. Where fewer than m slots are present, all of them are taken.
      layers: as in :func:`krum`; a layer map makes it *layer-wise multi-Krum*.

    Returns:
      The same tree without the leading axis, in the leaves' dtypes.

    Raises:
      ValueError: as in :func:`krum`, or a known ``keep`` below 1 or above K.

    Source: Blanchard et al. 2017, arXiv 1703.02757.
    """
    found = flat_rows(rows, weight, layers)
    number, slots = found.number, len(found.weight)
    bad = count_within("bad", bad, 0, (number - 3) // 2, (slots - 3) // 2, f"2 * bad + 3 <= {slots} slots")
    keep = count_within("keep", number - bad - 2 if keep is None else keep, 1, number, slots, f"{slots} slots")

    def best(distances: Array) -> Array:
        order = _by_score(distances, found.present, number - bad - 2)
        place = jnp.zeros(slots, jnp.int32).at[order].set(jnp.arange(slots, dtype=jnp.int32))
        return found.present & (place < keep)

    chosen = jax.vmap(best)(pair_distances(found)).astype(found.dtype)
    return found.build(found.sums(chosen / jnp.maximum(chosen.sum(1, keepdims=True), 1)))


def bulyan(rows: Params, weight: Array, bad: int | Array, layers: LayerMap | None = None) -> Params:
    """Choose ``t = n - 2 bad`` rows by repeated Krum; average each coordinate's ``t - 2 bad`` nearest to its median.

    All n present slots count alike, whatever the size of their weights. Each Krum chooses among the rows that are left,
    by their ``left - bad - 2`` nearest neighbours, or one where that is less. Of two equally near values the smaller is
    taken. With ``bad`` 0 it is the mean.

    Args:
      rows: any pytree with leaves ``[K, ...]``.
      weight: ``[K]``, not negative; a slot of weight 0 is absent.
      bad: number f of slots that may be bad; may be traced. The paper's condition is n >= 4f + 3; where the present
        slots are too few, the largest f that they allow is taken.
      layers: as in :func:`krum`; a layer map makes it *layer-wise Bulyan*, which chooses each layer's rows by that
        layer alone.

    Returns:
      The same tree without the leading axis, in the leaves' dtypes.

    Raises:
      ValueError: leaves of unequal length, a weight of another length, a leaf of no layer, or a known ``bad`` that K
        slots cannot allow.

    Source: El Mhamdi, Guerraoui and Rouault 2018, arXiv 1802.07927.
    """
    found = flat_rows(rows, weight, layers)
    number, slots = found.number, len(found.weight)
    bad = count_within("bad", bad, 0, (number - 3) // 4, (slots - 3) // 4, f"4 * bad + 3 <= {slots} slots")

    def chosen(distances: Array) -> Array:
        def choose(i: Array, left: Array) -> Array:
            best = _by_score(distances, left, left.sum(dtype=jnp.int32) - bad - 2)[0]
            return left & ((jnp.arange(slots) != best) | (i >= number - 2 * bad))

        return found.present & ~jax.lax.fori_loop(0, slots, choose, found.present)

    there = jax.vmap(chosen)(pair_distances(found))
    half = (there.sum(1, dtype=jnp.int32) - 1) // 2
    medians = middle_means(found, there, half)
    near = number - 4 * bad
    return found.build(
        [_mean_of_nearest(x, there[g], m, near) for g, x, m in zip(found.groups, found.leaves, medians, strict=True)]
    )


def pair_distances(found: Rows) -> Array:
    """Compute squared distances between the slots' rows, ``[G, K, K]``; those of absent slots mean nothing.

    They are sums of squared differences, row by row, and no Gram matrix: beside one huge row, the difference of two
    large squared norms would leave no digit of the distance between two others.
    """

    def from_row(k: Array) -> Array:
        squares = jnp.zeros((found.num_groups, len(found.weight)), found.dtype)
        for g, x in zip(found.groups, found.leaves, strict=True):
            gap = x.astype(found.dtype) - x[k].astype(found.dtype)[None]
            squares = squares.at[g].add(jnp.square(gap).sum(1))
        return squares

    return jnp.moveaxis(jax.lax.map(from_row, jnp.arange(len(found.weight))), 0, 1)


def _by_score(distances: Array, there: Array, neighbours: Array) -> Array:
    """Return the slots ``[K]`` from the lowest score among ``there`` to the highest; the others come last."""
    num = len(there)
    neighbours = jnp.clip(neighbours, 1, jnp.maximum(there.sum(dtype=jnp.int32) - 1, 1))
    others = there[None] & ~jnp.eye(num, dtype=bool)
    nearest = jnp.sort(jnp.where(others, distances, jnp.inf), axis=1)
    counted = jnp.arange(num, dtype=jnp.int32) < neighbours
    score = jnp.where(counted[None], nearest, 0).sum(1)
    return jnp.lexsort((nearest[:, neighbours], score, ~there))


def _mean_of_nearest(x: Array, there: Array, median: Array, number: Array) -> Array:
    """Compute each coordinate's mean ``[P]`` of the ``number []`` values that are nearest to its ``median [P]``."""
    x = x.astype(at_least_float32(x.dtype))
    gap = jnp.minimum(jnp.abs(x - median[None]), jnp.finfo(x.dtype).max)  # below that of an absent slot
    _, nearest = jax.lax.sort((jnp.where(there[:, None], gap, jnp.inf), x), dimension=0, num_keys=2)
    counted = jnp.arange(len(x), dtype=jnp.int32) < number
    return jnp.where(counted[:, None], nearest, 0).sum(0) / jnp.maximum(number, 1).astype(x.dtype)
