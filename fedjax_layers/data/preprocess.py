"""From stored inputs to the numbers a model sees, on the device."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """How stored inputs become the numbers a model sees: ``(raw * scale - mean) / std``.

    Hashable, so that a jitted function can close over it. ``mean`` and ``std`` are scalars, or one number for
    each entry of the inputs' last axis (channels of an image, columns of a table).

    Attributes:
      scale: factor on the raw value, e.g. 1/255 for uint8 pixels.
      mean: subtracted after scaling, in scaled units.
      std: divisor, in scaled units.

    Raises:
      ValueError: a number is not finite, ``std`` is not positive, or tuples differ in length.
    """

    scale: float = 1.0
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0

    def __post_init__(self) -> None:
        lengths = set()
        for name in ("scale", "mean", "std"):
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) else (value,)
            if isinstance(value, tuple):
                lengths.add(len(value))
            if not all(math.isfinite(x) for x in numbers) or (name == "std" and min(numbers) <= 0):
                kind = "positive, finite" if name == "std" else "finite"
                raise ValueError(f"{name}: expected {kind} numbers, got {value}")
        if len(lengths) > 1:
            raise ValueError(f"mean, std: expected tuples of one length, got lengths {sorted(lengths)}")

    def __call__(self, raw: Any, dtype: str = "float32") -> Any:
        """Apply to ``raw [B, ...]``, a NumPy or a JAX array, traced or not; the result has ``dtype``.

        Computed as one factor and one offset: a division per pixel is a quarter of a logistic regression's step.
        """
        factor = np.asarray(np.divide(self.scale, self.std), dtype)
        offset = np.asarray(np.divide(self.mean, self.std), dtype)
        return raw.astype(dtype) * factor - offset
