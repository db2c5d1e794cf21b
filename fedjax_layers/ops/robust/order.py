"""Rules that look at each coordinate alone: the median, and the mean without the extremes."""

from __future__ import annotations

import jax.numpy as jnp

from fedjax_layers.ops.checks import at_least_float32
from fedjax_layers.ops.robust.rows import Rows, count_within, flat_rows
from fedjax_layers.types import Array, Params


def coordinate_median(rows: Params, weight: Array) -> Params:
    """Compute the median of each coordinate over the present slots; of an even number, the mean of the middle two.

    All present slots count alike, whatever the size of their weights. Fewer than half of the slots cannot move a
    coordinate out of the range of the others.

    Args:
      rows: any pytree with leaves ``[K, ...]``.
      weight: ``[K]``, not negative; a slot of weight 0 is absent.

    Returns:
      The same tree without the leading axis, in the leaves' dtypes.

    Raises:
      ValueError: leaves of unequal length, or a weight of another length.

    Source: Yin et al. 2018, arXiv 1803.01498, Definition 1.
    """
    found = flat_rows(rows, weight)
    return found.build(middle_means(found, found.present[None], (found.number[None] - 1) // 2))


def trimmed_mean(rows: Params, weight: Array, trim: int | Array) -> Params:
    """Compute each coordinate's mean over the present slots without its ``trim`` smallest and ``trim`` largest values.

    All present slots count alike, whatever the size of their weights. At most ``trim`` bad slots cannot move a
    coordinate out of the range of the others.

    Args:
      rows: any pytree with leaves ``[K, ...]``.
      weight: ``[K]``, not negative; a slot of weight 0 is absent.
      trim: number b of values that are left out at each end; may be traced. The paper's condition is 2b < n; where the
        n present slots are too few, the largest b that they allow is taken, which gives the median.

    Returns:
      The same tree without the leading axis, in the leaves' dtypes.

    Raises:
      ValueError: leaves of unequal length, a weight of another length, or a known ``trim`` that K slots cannot allow.

    Source: Yin et al. 2018, arXiv 1803.01498, Definition 2.
    """
    found = flat_rows(rows, weight)
    slots = len(found.weight)
    cut = count_within("trim", trim, 0, (found.number - 1) // 2, (slots - 1) // 2, f"2 * trim < {slots} slots")
    return found.build(middle_means(found, found.present[None], cut[None]))


def middle_means(found: Rows, there: Array, cut: Array) -> list[Array]:
    """Compute means of the slots in ``there [G, K]`` without ``cut [G]`` values at each end, ``[P]`` for each leaf."""
    return [_middle_mean(x, there[g], cut[g]) for g, x in zip(found.groups, found.leaves, strict=True)]


def _middle_mean(x: Array, there: Array, cut: Array) -> Array:
    x = x.astype(at_least_float32(x.dtype))
    ordered = jnp.sort(jnp.where(there[:, None], x, jnp.inf), axis=0)
    place, number = jnp.arange(len(x), dtype=jnp.int32), there.sum(dtype=jnp.int32)
    inside = (place >= cut) & (place < number - cut)
    left = jnp.maximum(inside.sum(), 1).astype(x.dtype)
    return jnp.where(inside[:, None], ordered, 0).sum(0) / left
