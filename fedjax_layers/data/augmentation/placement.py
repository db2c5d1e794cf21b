"""Augmentations that move or cover whole pixels: flips, crops, cutout."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from fedjax_layers.data.augmentation.base import Augmentation, check_probability, where_image
from fedjax_layers.types import Array, Key


@dataclasses.dataclass(frozen=True)
class Flip(Augmentation):
    """Mirror an image.

    Attributes:
      p: probability.
      direction: ``"horizontal"`` swaps left and right, ``"vertical"`` top and bottom; ``"any"`` does one, the other or
        both, a third each.

    Raises:
      ValueError: an attribute out of range.
    """

    p: float = 0.5
    direction: Literal["horizontal", "vertical", "any"] = "horizontal"

    def __post_init__(self) -> None:
        check_probability(self.p)
        if self.direction not in ("horizontal", "vertical", "any"):
            raise ValueError(f"direction: expected horizontal, vertical or any, got {self.direction!r}")

    def apply(self, keys: Array, images: Array) -> Array:
        """See :class:`Augmentation`."""
        chance = jax.vmap(lambda k: jax.random.uniform(k, (2,), jnp.float32))(keys)
        chosen, third = chance[:, 0] < self.p, jnp.floor(3 * chance[:, 1])
        if self.direction != "vertical":
            images = where_image(chosen & ((third != 0) | (self.direction != "any")), images[:, :, ::-1], images)
        if self.direction != "horizontal":
            images = where_image(chosen & ((third != 1) | (self.direction != "any")), images[:, ::-1], images)
        return images


@dataclasses.dataclass(frozen=True)
class Crop(Augmentation):
    """Pad on all four sides, then cut out a window of the original size at a random place.

    Attributes:
      padding: pixels added on each side; each of the ``(2 * padding + 1) ** 2`` windows is equally likely.
      mode: ``"reflect"`` pads with the mirror image without repeating the edge, ``"zero"`` with black.

    Raises:
      ValueError: an attribute out of range; when applied, mirrored padding that is not smaller than the image.
    """

    padding: int = 4
    mode: Literal["reflect", "zero"] = "reflect"

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise ValueError(f"padding: expected at least 0, got {self.padding}")
        if self.mode not in ("reflect", "zero"):
            raise ValueError(f"mode: expected reflect or zero, got {self.mode!r}")

    def apply(self, keys: Array, images: Array) -> Array:
        """See :class:`Augmentation`."""
        if self.mode == "reflect" and self.padding >= min(images.shape[1:3]):
            raise ValueError(f"padding: expected less than the image's {images.shape[1:3]}, got {self.padding}")

        def crop(key: Key, image: Array) -> Array:
            offset = jax.random.randint(key, (2,), -self.padding, self.padding + 1, jnp.int32)
            for axis in (0, 1):
                size = image.shape[axis]
                place = jnp.arange(size, dtype=jnp.int32) + offset[axis]
                inside = (place >= 0) & (place < size)
                # For "zero", positions outside may read any pixel, since it is replaced.
                mirrored = (size - 1) - jnp.abs((size - 1) - jnp.abs(place))
                image = jnp.take(image, jnp.clip(mirrored, 0, size - 1), axis, mode="clip")
                if self.mode == "zero":
                    image = jnp.where(jnp.expand_dims(inside, (1 - axis, 2)), image, 0)
            return image

        return jax.vmap(crop)(keys, images)


@dataclasses.dataclass(frozen=True)
class Cutout(Augmentation):
    """Cover squares of an image (T. DeVries, G. Taylor, arXiv 1708.04552).

    Attributes:
      size: side of a square in pixels.
      holes: fewest and most squares; each number in between is equally likely.
      p: probability that an image gets any.
      inside: whether squares lie wholly inside the image; False draws their centres, so that the border may cut them,
        as in the paper.
      fill: value of covered pixels.

    Raises:
      ValueError: an attribute out of range; when applied, squares ``inside`` that are larger than the image.
    """

    size: int
    holes: tuple[int, int] = (1, 1)
    p: float = 1.0
    inside: bool = False
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_probability(self.p)
        if self.size < 1:
            raise ValueError(f"size: expected at least 1, got {self.size}")
        if not 0 <= self.holes[0] <= self.holes[1]:
            raise ValueError(f"holes: expected the fewest and the most, got {self.holes}")

    def apply(self, keys: Array, images: Array) -> Array:
        """See :class:`Augmentation`."""
        height, width = images.shape[1:3]
        if self.inside and self.size > min(height, width):
            raise ValueError(f"size: expected at most the image's {(height, width)}, got {self.size}")
        fewest, most = self.holes

        def covered(key: Key) -> Array:
            chance_key, number_key, row_key, column_key = jax.random.split(key, 4)
            number = jax.random.randint(number_key, (), fewest, most + 1, jnp.int32)
            number = jnp.where(jax.random.uniform(chance_key, (), jnp.float32) < self.p, number, 0)
            rows = self._stretch(row_key, height)
            columns = self._stretch(column_key, width)
            real = jnp.arange(most, dtype=jnp.int32) < number
            return (real[:, None, None] & rows[:, :, None] & columns[:, None, :]).any(0)

        return jnp.where(jax.vmap(covered)(keys)[..., None], jnp.asarray(self.fill, images.dtype), images)

    def _stretch(self, key: Key, extent: int) -> Array:
        """Draw the pixels that each hole covers along one axis, ``[holes, extent]`` bool."""
        places = extent - self.size + 1 if self.inside else extent
        start = jax.random.randint(key, (self.holes[1], 1), 0, places, jnp.int32)
        start = start if self.inside else start - self.size // 2
        pixel = jnp.arange(extent, dtype=jnp.int32)
        return (pixel >= start) & (pixel < start + self.size)
