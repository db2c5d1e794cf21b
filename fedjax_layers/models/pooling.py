"""Max pooling with a gradient that XLA's CPU backend computes fast."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import jax.numpy as jnp

from fedjax_layers.types import Array


def max_pool(x: Array, window: Sequence[int] = (2, 2)) -> Array:
    """Compute the maximum over adjacent windows; rows and columns left over at the end are dropped.

    Values and gradients are those of ``nn.max_pool(x, window, strides=window)``: among equal maxima the first
    in row-major order of its window receives the whole gradient. That function's gradient, a
    select-and-scatter, is slow on CPU; here it is a chain of comparisons.

    Args:
      x: ``[..., *spatial, C]``.
      window: size of the window along each spatial axis.

    Returns:
      ``[..., *(spatial // window), C]``; a window with a NaN in it gives NaN.

    Raises:
      ValueError: ``x`` has fewer axes than the window needs, or is smaller than one window.
    """
    window = tuple(window)
    rank = len(window)
    spatial = x.shape[-1 - rank : -1]
    if x.ndim < rank + 1 or any(s < k for s, k in zip(spatial, window, strict=False)):
        raise ValueError(f"x: expected [..., *spatial, C] with spatial axes of at least {window}, got {x.shape}")
    if all(k == 1 for k in window):
        return x
    lead = x.ndim - rank - 1
    whole = tuple(slice(0, s // k * k) for s, k in zip(spatial, window, strict=True))
    split = [n for s, k in zip(spatial, window, strict=True) for n in (s // k, k)]
    tiles = x[(slice(None),) * lead + (*whole, slice(None))].reshape(*x.shape[:lead], *split, x.shape[-1])
    members = []
    for position in itertools.product(*(range(k) for k in window)):
        index = [i for p in position for i in (slice(None), p)]
        members.append(tiles[(slice(None),) * lead + tuple(index)])
    return functools.reduce(first_larger, members)


def shrink(x: Array) -> Array:
    """Pool ``[B, H, W, C]`` by 2×2 maxima, except along an axis of one pixel, so that no size drops below 1."""
    return max_pool(x, tuple(min(2, n) for n in x.shape[1:3]))


def first_larger(a: Array, b: Array) -> Array:
    """Return the larger of two; among equals the first gets the whole gradient; NaN where either is NaN."""
    # Not jnp.maximum: it would share the gradient among equals. The second test keeps NaN once it is there.
    return jnp.where((a >= b) | jnp.isnan(a), a, b)
