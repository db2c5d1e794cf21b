"""Augmentation of images on the device by jitted functions, with a random key for each image.

Example::

    recipe = Compose((Crop(4, "reflect"), Flip(), Rotation(15)))
    changed = recipe(jax.random.key(0), images)  # [B, H, W, C] floats, before they are normalised

An augmentation is a frozen dataclass, hence static where a jitted function closes over it;
``models.task(..., augment=recipe)`` applies one to training batches only. Named recipes are in
``AUGMENTATIONS``; ``--augmentation NAME`` picks one on the command line.

================  ===============================================================
``base``          :class:`Augmentation`, :class:`Compose`
``placement``     :class:`Flip`, :class:`Crop`, :class:`Cutout`
``geometry``      :class:`Rotation`, :class:`Affine`, :class:`Perspective`
``colour``        :class:`ColourJitter`, :class:`BrightnessContrast`
================  ===============================================================

This package imports JAX; ``fedjax_layers.data`` itself does not import it.
"""

from __future__ import annotations

from fedjax_layers.data.augmentation.base import Augmentation, Compose
from fedjax_layers.data.augmentation.colour import BrightnessContrast, ColourJitter
from fedjax_layers.data.augmentation.geometry import Affine, Perspective, Rotation
from fedjax_layers.data.augmentation.placement import Crop, Cutout, Flip

__all__ = [
    "AUGMENTATIONS",
    "Affine",
    "Augmentation",
    "BrightnessContrast",
    "ColourJitter",
    "Compose",
    "Crop",
    "Cutout",
    "Flip",
    "Perspective",
    "Rotation",
]

_MOVE = Affine(translate=(0.1, 0.1), scale=(0.9, 1.1), interpolation="nearest")
_ASLANT = Perspective(0.2, p=0.5)

AUGMENTATIONS: dict[str, Augmentation] = {
    "cifar": Compose(
        (
            Crop(4, "reflect"),
            Flip(),
            Rotation(15, interpolation="nearest"),
            _MOVE,
            ColourJitter(brightness=0.2, contrast=0.2, saturation=0.2),
        )
    ),
    "crop_flip": Compose((Crop(4, "zero"), Flip())),
    "emnist": Compose((Rotation(15, interpolation="nearest"), _MOVE, _ASLANT)),
    "fmnist": Compose((Rotation(10, interpolation="nearest"), _MOVE, _ASLANT)),
    "isic": Compose(
        (
            Affine(scale=(0.93, 1.07), p=0.5, border="reflect"),
            Rotation(50, p=0.5, border="reflect"),
            BrightnessContrast(brightness=0.15, contrast=0.1, p=0.5),
            Flip(0.5, "any"),
            Affine(shear=0.1, p=0.5),
            Crop(12, "reflect"),
            Cutout(16, (1, 8), p=0.5, inside=True),
        )
    ),
}
"""The named recipes.

``cifar``, ``emnist``, ``fmnist`` are those of PLayer-FL (arXiv 2502.08829), in the order and with the defaults of its
published code (rotation and affine map read the nearest pixel, perspective is bilinear). Pixels are not rounded to
whole numbers between the stages.

``isic`` is FLamby's and PLayer-FL's recipe as far as static shapes allow. There it cuts 200 of at least 224 pixels;
here the stored images have their final size, and the window moves by up to 12 pixels into the mirror image. The number
of covered squares is drawn for each image; there, once for all of them. Images need at least 16 pixels a side.

``crop_flip`` is the usual recipe for CIFAR: black padding of 4, then a mirror image half the time.
"""
