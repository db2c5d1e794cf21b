"""Preprocessing of stored inputs for models, applied on the device; its statistics are computed on the host."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

_CHUNK = 2**21  # numbers that are converted to float64 at once


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """The map from stored inputs to a model's inputs, ``(raw * scale - mean) / std``.

    It is hashable, so that a jitted function can close over it. ``mean`` and ``std`` are scalars, or one number for
    each entry of the inputs' last axis (channels of an image, columns of a table).

    Attributes:
      scale: factor on the raw value, e.g. 1/255 for uint8 pixels.
      mean: subtracted after scaling, in scaled units.
      std: divisor, in scaled units.
      missing: value of a NaN input, in units of ``std`` from ``mean``, where 0 is the mean. ``None`` leaves NaN, and
        costs nothing.

    Raises:
      ValueError: a number is not finite, ``std`` is not positive, or tuples differ in length.
    """

    scale: float = 1.0
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    missing: float | None = None

    def __post_init__(self) -> None:
        lengths = set()
        for name in ("scale", "mean", "std", "missing"):
            value = getattr(self, name)
            if value is None:
                continue
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

        It is computed as one factor and one offset, since a division per pixel is a quarter of a logistic regression's
        step.
        """
        factor = np.asarray(np.divide(self.scale, self.std), dtype)
        offset = np.asarray(np.divide(self.mean, self.std), dtype)
        seen = raw.astype(dtype) * factor - offset
        if self.missing is None or not np.issubdtype(raw.dtype, np.inexact):  # integers have no NaN
            return seen
        if isinstance(raw, np.ndarray):
            return np.where(np.isnan(raw), np.asarray(self.missing, dtype), seen)
        import jax.numpy as jnp  # noqa: PLC0415  (the rest of this room needs no JAX)

        return jnp.where(jnp.isnan(raw), jnp.asarray(self.missing, dtype), seen)


def standardise(inputs: np.ndarray, rows: np.ndarray | None = None) -> Preprocess:
    """Make the preprocessing that gives each entry of the last axis mean 0 and deviation 1 over ``inputs``.

    Call it with training examples only: statistics of validation or test examples would leak into training.
    NaN stands for a missing value: it does not count, and becomes the mean (``missing`` 0). An entry that is always the
    same, or always missing, gets ``std`` 1, so that a constant becomes 0.

    Args:
      inputs: ``[N, ..., D]`` numbers, possibly memory-mapped; read once, in pieces, and summed in float64.
      rows: ``[n]`` row numbers of the examples to use; ``None`` takes all.

    Returns:
      Preprocessing with ``D`` means and (population) standard deviations in the inputs' own units; ``missing`` is
      ``None`` for integers, which have no NaN.

    Raises:
      ValueError: there are fewer than two axes or no examples, or inputs are no numbers or infinite (the column is
        named).
    """
    inputs = np.asanyarray(inputs)
    if inputs.ndim < 2 or not len(inputs if rows is None else rows):
        raise ValueError(f"inputs: expected [n, ..., D] with n of at least 1, got shape {inputs.shape}")
    if not (np.issubdtype(inputs.dtype, np.integer) or np.issubdtype(inputs.dtype, np.floating)):
        raise ValueError(f"inputs: expected numbers, got {inputs.dtype}")
    mean, std = _mean_and_std(inputs, rows)
    missing = 0.0 if np.issubdtype(inputs.dtype, np.floating) else None
    return Preprocess(mean=tuple(mean.tolist()), std=tuple(std.tolist()), missing=missing)


def _mean_and_std(inputs: np.ndarray, chosen: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and deviation of each entry of the last axis, ``[D]`` float64 each, without NaN."""
    width = inputs.shape[-1]
    count, mean, squares = (np.zeros(width) for _ in range(3))  # squares: of the deviations from the mean
    least, most = np.full(width, np.inf), np.full(width, -np.inf)
    step = max(1, _CHUNK // max(1, inputs[0].size))
    for start in range(0, len(inputs if chosen is None else chosen), step):
        part = slice(start, start + step)
        rows = inputs[part if chosen is None else chosen[part]].reshape(-1, width).astype(np.float64)
        known = ~np.isnan(rows)
        least = np.minimum(least, np.where(known, rows, np.inf).min(0))
        most = np.maximum(most, np.where(known, rows, -np.inf).max(0))
        _check_finite(rows)
        # Means and sums of squares of two parts are merged (T. Chan, G. Golub, R. LeVeque, 1979).
        more = known.sum(0)
        total = np.maximum(count + more, 1)
        own = np.where(known, rows, 0).sum(0) / np.maximum(more, 1)
        apart = np.where(known, rows - own, 0)
        gap = np.where(more > 0, own - mean, 0)
        squares += (apart * apart).sum(0) + gap * gap * count * more / total
        mean += gap * more / total
        count += more
    varied = most > least  # not squares > 0, where rounding of the mean would give a deviation of 1e-17
    std = np.sqrt(squares / np.maximum(count, 1))
    constant = np.where(count > 0, least, 0)
    return np.where(varied, mean, constant), np.where(varied & (std > 0), std, 1)


def _check_finite(rows: np.ndarray) -> None:
    if np.isinf(rows).any():
        column = int(np.flatnonzero(np.isinf(rows).any(0))[0])
        raise ValueError(f"inputs: expected finite numbers or NaN, got an infinite one in column {column}")
