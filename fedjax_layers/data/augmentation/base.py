"""The base of augmentations: objects that change a batch of images, each image by a key of its own."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from fedjax_layers.types import Array, Key


@dataclasses.dataclass(frozen=True)
class Augmentation(abc.ABC):
    """A random change of images; it is frozen and hashable, so that a jitted function can close over it.

    Image i of a batch depends only on ``fold_in(key, i)``, not on the number of images or their content, so that
    padding rows change no real image. Shapes are static, dtypes are kept; it works under ``jit``, ``vmap`` and
    ``scan``. Random numbers are drawn in single precision whatever the images have.
    """

    def __call__(self, key: Key, images: Array) -> Array:
        """Change each image.

        Args:
          key: the batch's key.
          images: ``[B, H, W, C]`` floats, grey (C = 1) or RGB (C = 3), in stored units: black is 0.

        Returns:
          ``[B, H, W, C]`` in the images' dtype.

        Raises:
          ValueError: the images have another shape or dtype.
        """
        if images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise ValueError(f"images: expected [B, H, W, 1 or 3], got shape {images.shape}")
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(f"images: expected floats, got {images.dtype}")
        return _augment(self, key, images)

    @abc.abstractmethod
    def apply(self, keys: Array, images: Array) -> Array:
        """Change image i ``[H, W, C]`` of ``images`` by key i of ``keys [B]``."""


@functools.partial(jax.jit, static_argnums=0)
def _augment(augmentation: Augmentation, key: Key, images: Array) -> Array:
    return _apart(augmentation, fold_each(key, len(images)), images)


def fold_each(key: Key, number: int) -> Array:
    """Make keys ``[number]``, of which the i-th is ``fold_in(key, i)``."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(number, dtype=jnp.uint32))


def _apart(stage: Augmentation, keys: Array, images: Array) -> Array:
    """Run one stage as a computation of its own, which XLA does not fuse with others.

    XLA's CPU compiler would fuse the reading of pixels with their making, and make each pixel again whenever it is
    read: three warps then take six times as long. It ignores a barrier between them, but it cannot evaluate a condition
    whose value is behind a barrier. On other backends the condition, which would cost a wait for its value, is a
    constant.
    """
    always = jax.lax.platform_dependent(
        cpu=lambda: jax.lax.optimization_barrier(jnp.bool_(True)), default=lambda: jnp.bool_(True)
    )
    changed = jax.lax.cond(always, stage.apply, lambda _, same: same, keys, images)
    return jax.lax.optimization_barrier(changed)


@dataclasses.dataclass(frozen=True)
class Compose(Augmentation):
    """Several augmentations in order.

    Attributes:
      stages: the augmentations; stage s changes an image by ``fold_in`` of the image's key and s.
    """

    stages: tuple[Augmentation, ...]

    def apply(self, keys: Array, images: Array) -> Array:
        """See :class:`Augmentation`."""
        for number, stage in enumerate(self.stages):
            images = _apart(stage, jax.vmap(jax.random.fold_in, (0, None))(keys, number), images)
        return images


def check_probability(p: float) -> None:
    """Raise ``ValueError`` for a ``p`` outside [0, 1]."""
    if not 0 <= p <= 1:
        raise ValueError(f"p: expected a probability, got {p}")


def check_range(name: str, low: float, high: float, least: float = -math.inf) -> None:
    """Raise ``ValueError`` for a range that is not finite, has ends in the wrong order, or begins below ``least``."""
    if not (math.isfinite(low) and math.isfinite(high) and least <= low <= high):
        bound = "" if math.isinf(least) else f" of at least {least:g}"
        raise ValueError(f"{name}: expected finite numbers{bound}, the lower first, got {low} and {high}")


def where_image(chosen: Array, changed: Array, images: Array) -> Array:
    """Choose images of ``changed`` where ``chosen [B]`` is True, else of ``images``."""
    return jnp.where(chosen[:, None, None, None], changed, images)
