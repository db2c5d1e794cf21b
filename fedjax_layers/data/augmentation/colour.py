"""Augmentations of brightness and colour."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from fedjax_layers.data.augmentation.base import Augmentation, check_probability, check_range, where_image
from fedjax_layers.types import Array, Key

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow and torchvision


@dataclasses.dataclass(frozen=True)
class ColourJitter(Augmentation):
    """Change brightness, contrast and saturation, each by a random factor and in random order, as torchvision does.

    Each step mixes the image with another one, ``factor * image + (1 - factor) * other``, and clips the result to the
    range from black to white. The other image is black (brightness), the image's mean grey (contrast), or its grey
    version (saturation, which has no effect on grey images).

    Attributes:
      brightness: b; the factor is uniform in ``[max(0, 1 - b), 1 + b]``.
      contrast: as ``brightness``.
      saturation: as ``brightness``.
      white: the largest stored value, 255 of uint8 images.

    Raises:
      ValueError: a negative number.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    white: float = 255.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            value = getattr(self, name)
            check_range(name, value, value, 0)
        _check_white(self.white)

    def apply(self, keys: Array, images: Array) -> Array:
        """See :class:`Augmentation`."""
        spreads = jnp.array([self.brightness, self.contrast, self.saturation], jnp.float32)

        def draw(key: Key) -> tuple[Array, Array]:
            factor_key, order_key = jax.random.split(key)
            low = jnp.maximum(0, 1 - spreads)
            factors = low + (1 + spreads - low) * jax.random.uniform(factor_key, (3,), jnp.float32)
            return factors, jnp.argsort(jax.random.bits(order_key, (3,), jnp.uint32))

        factors, order = jax.vmap(draw)(keys)
        for step in range(3):
            kind = order[:, step]
            factor = jnp.take_along_axis(factors, kind[:, None], 1).astype(images.dtype)[:, :, None, None]
            grey = _grey(images)
            mean = grey.mean((1, 2, 3), keepdims=True)
            kind = kind[:, None, None, None]
            other = jnp.where(kind == 2, grey, jnp.where(kind == 1, mean, 0))
            images = jnp.clip(factor * images + (1 - factor) * other, 0, self.white)
        return images


@dataclasses.dataclass(frozen=True)
class BrightnessContrast(Augmentation):
    """Change an image to ``image * (1 + c) + b * white``, as albumentations' RandomBrightnessContrast.

    Attributes:
      brightness: b is uniform in ``[-brightness, brightness]``.
      contrast: c is uniform in ``[-contrast, contrast]``.
      p: probability of the change.
      white: the largest stored value, 255 for uint8 images; results are clipped to it and to 0.

    Raises:
      ValueError: an attribute out of range.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    p: float = 1.0
    white: float = 255.0

    def __post_init__(self) -> None:
        check_probability(self.p)
        check_range("brightness", self.brightness, self.brightness, 0)
        check_range("contrast", self.contrast, self.contrast, 0)
        _check_white(self.white)

    def apply(self, keys: Array, images: Array) -> Array:
        """See :class:`Augmentation`."""
        draws = jax.vmap(lambda k: jax.random.uniform(k, (3,), jnp.float32))(keys)
        chosen, signed = draws[:, 0] < self.p, (2 * draws[:, 1:] - 1).astype(images.dtype)[:, :, None, None, None]
        changed = images * (1 + self.contrast * signed[:, 0]) + self.white * self.brightness * signed[:, 1]
        return where_image(chosen, jnp.clip(changed, 0, self.white), images)


def _grey(images: Array) -> Array:
    """Compute grey images ``[B, H, W, 1]``."""
    if images.shape[-1] == 1:
        return images
    red, green, blue = (weight * images[..., c : c + 1] for c, weight in enumerate(_LUMA))
    return red + green + blue


def _check_white(white: float) -> None:
    if not (math.isfinite(white) and white > 0):
        raise ValueError(f"white: expected a positive number, got {white}")
