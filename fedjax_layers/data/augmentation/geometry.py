"""Augmentations of shape and position: rotation, affine maps, perspective."""

from __future__ import annotations

import abc
import dataclasses

import jax
import jax.numpy as jnp

from fedjax_layers.data.augmentation.base import Augmentation, check_probability, check_range
from fedjax_layers.data.augmentation.resample import Border, Interpolation, resample
from fedjax_layers.types import Array, Key


@dataclasses.dataclass(frozen=True)
class _Warp(Augmentation):
    p: float = dataclasses.field(default=1.0, kw_only=True)
    interpolation: Interpolation = dataclasses.field(default="bilinear", kw_only=True)
    border: Border = dataclasses.field(default="black", kw_only=True)

    def __post_init__(self) -> None:
        check_probability(self.p)
        if self.interpolation not in ("bilinear", "nearest"):
            raise ValueError(f"interpolation: expected bilinear or nearest, got {self.interpolation!r}")
        if self.border not in ("black", "reflect"):
            raise ValueError(f"border: expected black or reflect, got {self.border!r}")

    @abc.abstractmethod
    def draw_map(self, key: Key, height: int, width: int) -> Array:
        """Draw a random map ``[3, 3]``; see :func:`resample`."""

    def apply(self, keys: Array, images: Array) -> Array:
        """See :class:`Augmentation`."""
        height, width = images.shape[1:3]

        def draw(key: Key) -> Array:
            chance_key, map_key = jax.random.split(key)
            chosen = jax.random.uniform(chance_key, (), jnp.float32) < self.p
            # The identity map returns images unchanged.
            return jnp.where(chosen, self.draw_map(map_key, height, width), jnp.eye(3, dtype=jnp.float32))

        return resample(images, jax.vmap(draw)(keys), self.interpolation, self.border)


@dataclasses.dataclass(frozen=True)
class Affine(_Warp):
    """Turn, shift, scale and shear an image about its middle, as torchvision's RandomAffine.

    Attributes:
      degrees: d for an angle uniform in ``[-d, d]``, or its lower and upper end; counter-clockwise.
      translate: largest shift as a share of the width and of the height; shifts are whole pixels, uniform up to
        rounding.
      scale: lower and upper end of the factor.
      shear: s for a horizontal shear by an angle uniform in ``[-s, s]`` degrees.
      p: probability.
      interpolation: ``"bilinear"`` or ``"nearest"`` (torchvision's default).
      border: beyond the image lies ``"black"``, or its mirror image (``"reflect"``).

    Raises:
      ValueError: an attribute out of range.
    """

    degrees: float | tuple[float, float] = 0.0
    translate: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("degrees", *_range(self.degrees))
        check_range("scale", *self.scale, 1e-3)
        check_range("shear", self.shear, self.shear, 0)
        for share in self.translate:
            check_range("translate", share, share, 0)

    def draw_map(self, key: Key, height: int, width: int) -> Array:
        """See :class:`_Warp`."""
        angle, x, y, scale, shear = jax.random.uniform(key, (5,), jnp.float32)
        x_most, y_most = self.translate[0] * width, self.translate[1] * height
        return affine_map(
            _within(angle, *_range(self.degrees)),
            (jnp.round(_within(x, -x_most, x_most)), jnp.round(_within(y, -y_most, y_most))),
            _within(scale, *self.scale),
            _within(shear, -self.shear, self.shear),
            (height, width),
        )


@dataclasses.dataclass(frozen=True)
class Rotation(_Warp):
    """Turn an image about its middle, as torchvision's RandomRotation.

    Attributes:
      degrees: see :class:`Affine`.
      p: probability.
      interpolation: ``"bilinear"`` or ``"nearest"`` (torchvision's default).
      border: beyond the image lies ``"black"``, or its mirror image (``"reflect"``).

    Raises:
      ValueError: an attribute out of range.
    """

    degrees: float | tuple[float, float]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("degrees", *_range(self.degrees))

    def draw_map(self, key: Key, height: int, width: int) -> Array:
        """See :class:`_Warp`."""
        angle = _within(jax.random.uniform(key, (), jnp.float32), *_range(self.degrees))
        one, zero = jnp.float32(1), jnp.float32(0)
        return affine_map(angle, (zero, zero), one, zero, (height, width))


@dataclasses.dataclass(frozen=True)
class Perspective(_Warp):
    """Look at an image aslant: its corners move inwards, as torchvision's RandomPerspective.

    Attributes:
      distortion: each corner moves by whole pixels, uniformly, at most this share of half the image.
      p: probability.
      interpolation: ``"bilinear"`` (torchvision's default) or ``"nearest"``.
      border: beyond the image lies ``"black"``, or its mirror image (``"reflect"``).

    Raises:
      ValueError: an attribute out of range.
    """

    distortion: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.distortion < 1:
            raise ValueError(f"distortion: expected a number from 0 to below 1, got {self.distortion}")

    def draw_map(self, key: Key, height: int, width: int) -> Array:
        """See :class:`_Warp`."""
        most = jnp.array([int(self.distortion * (width // 2)), int(self.distortion * (height // 2))], jnp.int32)
        inwards = jax.random.randint(key, (4, 2), 0, most + 1, jnp.int32).astype(jnp.float32)
        corners = jnp.array([[0, 0], [1, 0], [1, 1], [0, 1]], jnp.float32)
        ends = jnp.array([width - 1, height - 1], jnp.float32)
        return perspective_map(corners * ends + (1 - 2 * corners) * inwards, (height, width))


def affine_map(degrees: Array, shift: tuple[Array, Array], scale: Array, shear: Array, size: tuple[int, int]) -> Array:
    """Make the map ``[3, 3]`` (see :func:`resample`) that turns, shears, scales and then shifts about the middle.

    Args:
      degrees: counter-clockwise angle.
      shift: to the right and down, in pixels.
      scale: factor.
      shear: horizontal, in degrees.
      size: height and width of the image.
    """
    middle_x, middle_y = (size[1] - 1) / 2, (size[0] - 1) / 2
    sine, cosine = jnp.sin(jnp.deg2rad(degrees)), jnp.cos(jnp.deg2rad(degrees))
    slant = jnp.tan(jnp.deg2rad(shear))
    # The inverse of the rotation of the sheared image; y points down.
    a, b = (cosine + slant * sine) / scale, (slant * cosine - sine) / scale
    c, d = sine / scale, cosine / scale
    x, y = -middle_x - shift[0], -middle_y - shift[1]
    last = jnp.array([0, 0, 1], jnp.float32)
    return jnp.stack([
        jnp.stack([a, b, a * x + b * y + middle_x]),
        jnp.stack([c, d, c * x + d * y + middle_y]),
        last,
    ])  # fmt: skip


def perspective_map(corners: Array, size: tuple[int, int]) -> Array:
    """Make the map ``[3, 3]`` (see :func:`resample`) that moves an image's corners to four places.

    Args:
      corners: ``[4, 2]`` x and y in pixels: top left, top right, bottom right, bottom left.
      size: height and width of the image.

    Source: P. Heckbert, Fundamentals of Texture Mapping and Image Warping (1989), section 2.2.3: from the unit square
    to a quadrilateral in closed form, and back by the adjugate, which is the inverse up to a factor.
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
    across, down, twist = (x1 - x2, y1 - y2), (x3 - x2, y3 - y2), (x0 - x1 + x2 - x3, y0 - y1 + y2 - y3)
    area = across[0] * down[1] - down[0] * across[1]
    g = (twist[0] * down[1] - down[0] * twist[1]) / area
    h = (across[0] * twist[1] - twist[0] * across[1]) / area
    a, b, c = x1 - x0 + g * x1, x3 - x0 + h * x3, x0
    d, e, f = y1 - y0 + g * y1, y3 - y0 + h * y3, y0
    return jnp.stack([
        jnp.stack([e - f * h, c * h - b, b * f - c * e]) * (size[1] - 1),
        jnp.stack([f * g - d, a - c * g, c * d - a * f]) * (size[0] - 1),
        jnp.stack([d * h - e * g, b * g - a * h, a * e - b * d]),
    ])  # fmt: skip


def _range(degrees: float | tuple[float, float]) -> tuple[float, float]:
    return degrees if isinstance(degrees, tuple) else (-degrees, degrees)


def _within(share: Array, low: float, high: float) -> Array:
    """Return the number at ``share``, in [0, 1), of the way from ``low`` to ``high``."""
    return low + (high - low) * share
