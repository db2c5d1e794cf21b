"""Augmentation of images on the device: jitted functions, a key for each image.

Example::

    recipe = Compose((Crop(4, "reflect"), Flip(), Rotation(15)))
    changed = recipe(jax.random.key(0), images)  # [B, H, W, C] floats, before they are normalised

An augmentation is a frozen dataclass, hence static where a jitted function closes over it;
``models.classification_task(..., augment=recipe)`` applies one to training batches alone. Named recipes are in
``AUGMENTATIONS``; ``--augmentation NAME`` picks one on the command line.

================  ===============================================================
``base``          :class:`Augmentation`, :class:`Compose`
``placement``     :class:`Flip`, :class:`Crop`, :class:`Cutout`
``geometry``      :class:`Rotation`, :class:`Affine`, :class:`Perspective`
``colour``        :class:`ColourJitter`, :class:`BrightnessContrast`
``recipes``       ``AUGMENTATIONS``
================  ===============================================================

This package imports JAX; ``fedjax_layers.data`` itself does not import it.
"""

from __future__ import annotations

from fedjax_layers.data.augmentation.base import Augmentation, Compose
from fedjax_layers.data.augmentation.colour import BrightnessContrast, ColourJitter
from fedjax_layers.data.augmentation.geometry import Affine, Perspective, Rotation
from fedjax_layers.data.augmentation.placement import Crop, Cutout, Flip
from fedjax_layers.data.augmentation.recipes import AUGMENTATIONS

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
