"""Resampling of images at positions between their pixels."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from fedjax_layers.types import Array

Interpolation = Literal["bilinear", "nearest"]
Border = Literal["black", "reflect"]


def resample(images: Array, maps: Array, interpolation: Interpolation = "bilinear", border: Border = "black") -> Array:
    """Read each pixel of the result at the position that its image's map gives.

    Args:
      images: ``[B, H, W, C]`` floats.
      maps: ``[B, 3, 3]``, homogeneous matrices from ``(x, y, 1)`` of the result to that of the image, in pixels, the
        centre of the first pixel at (0, 0).
      interpolation: ``"bilinear"`` or ``"nearest"``.
      border: values beyond the image: ``"black"`` (0), or its mirror image without a repeated edge (``"reflect"``).

    Returns:
      ``[B, H, W, C]`` in the images' dtype.
    """
    height, width = images.shape[1:3]
    y, x = jnp.meshgrid(jnp.arange(height, dtype=jnp.float32), jnp.arange(width, dtype=jnp.float32), indexing="ij")
    rows = [m[0] * x + m[1] * y + m[2] for m in jnp.moveaxis(maps, 0, -1)[..., None, None]]  # 3 of [B, H, W]
    ahead = rows[2] > 0  # False behind the horizon of a perspective
    depth = jnp.where(ahead, rows[2], 1)
    x, y = rows[0] / depth, rows[1] / depth
    if interpolation == "nearest":
        result = _read(images, jnp.floor(y + 0.5), jnp.floor(x + 0.5), border)
    else:
        result = _bilinear(images, y, x, border)
    if border == "reflect":
        return result
    # The border is that of the pixels' squares, half a pixel beyond their centres. It counts as inside, so that
    # rounding does not blacken an edge that is turned onto an edge.
    inside = ahead & (y >= -0.5) & (y <= height - 0.5) & (x >= -0.5) & (x <= width - 0.5)
    return jnp.where(inside[..., None], result, 0)


def _bilinear(images: Array, y: Array, x: Array, border: Border) -> Array:
    top, left = jnp.floor(y), jnp.floor(x)
    down, right = (d.astype(images.dtype)[..., None] for d in (y - top, x - left))
    upper = _read(images, top, left, border) * (1 - right) + _read(images, top, left + 1, border) * right
    lower = _read(images, top + 1, left, border) * (1 - right) + _read(images, top + 1, left + 1, border) * right
    return upper * (1 - down) + lower * down


def _read(images: Array, y: Array, x: Array, border: Border) -> Array:
    """Read pixels at whole positions ``[B, H, W]``; beyond the border the nearest one, or a mirrored one."""
    height, width = images.shape[1:3]
    fold = _mirror if border == "reflect" else _clamp
    place = fold(y, height) * width + fold(x, width)
    flat = images.reshape(len(images), height * width, -1)
    return jax.vmap(lambda image, i: image.at[i].get(mode="promise_in_bounds"))(flat, place)


def _clamp(place: Array, size: int) -> Array:
    return jnp.clip(place, 0, size - 1).astype(jnp.int32)


def _mirror(place: Array, size: int) -> Array:
    period = max(2 * (size - 1), 1)
    within = jnp.mod(place, period)
    return _clamp(jnp.minimum(within, period - within), size)
