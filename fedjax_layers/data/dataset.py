"""A data set before it is federated: all examples on the host, and how a model is to read them."""

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


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled examples on the host, not yet given to clients.

    Attributes:
      name: registry name.
      inputs: ``[N, ...]`` in stored dtype (uint8 images stay uint8).
      labels: ``[N]`` int32, ``0 .. num_classes - 1``.
      class_names: one name per class.
      clients: ``[N]`` int32 natural client of each example, or ``None`` where the data have none.
      client_names: names of the natural clients; empty where they are only numbered.
      preprocess: how a model reads the inputs.
      source: where the bytes came from.
      licence: terms of the data.
      example_ids: ``[N]`` int64, row of each example in the source; ``None`` stands for ``0 .. N-1``.

    Raises:
      ValueError: arrays of unequal length, a label outside the classes, or a client outside ``client_names``.
    """

    name: str
    inputs: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    clients: np.ndarray | None
    client_names: tuple[str, ...]
    preprocess: Preprocess
    source: str
    licence: str
    example_ids: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.inputs)
        for field in ("labels", "clients", "example_ids"):
            array = getattr(self, field)
            if array is None:
                continue
            if array.shape != (n,) or not np.issubdtype(array.dtype, np.integer):
                raise ValueError(f"{field}: expected {n} integers, got shape {array.shape} of {array.dtype}")
        if n and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.num_classes:
            found = f"{self.labels.min()}..{self.labels.max()}"
            raise ValueError(f"labels: expected 0..{self.num_classes - 1} for {self.name}, got {found}")
        last = -1 if self.clients is None else int(self.clients.max(initial=-1))
        if self.client_names and last >= len(self.client_names):
            raise ValueError(f"clients: expected ids below {len(self.client_names)} for {self.name}, got {last}")

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)
