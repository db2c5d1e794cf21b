"""The axes of a chart: where values lie, which of them are written beside the axis, and how."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

_STEPS = (1, 2, 2.5, 5, 10)
_LONG = 6  # characters from which only every second text is written


class Axis(NamedTuple):
    """An axis from ``low`` to ``high``, with the values that are written beside it, and their texts."""

    low: float
    high: float
    ticks: list[float]
    texts: list[str]


def axis_of(arrays: Iterable[np.ndarray], most: int = 5, *, whole: bool = False, padded: bool = True) -> Axis | None:
    """Make an axis that holds all finite values.

    Args:
      arrays: the values.
      most: about how many of them are written.
      whole: whether only whole numbers are written, as for rounds.
      padded: whether the axis goes on to the next written value at both ends.

    Returns:
      The axis; ``None`` without any finite value.
    """
    every = [x[np.isfinite(x)] for x in arrays]
    finite = np.concatenate(every) if every else np.zeros(0)
    if not finite.size:
        return None
    low, high = float(finite.min()), float(finite.max())
    if not high - low > 1e-9 * max(abs(low), abs(high)):
        room = abs(low) / 10 or 0.5
        low, high = low - room, high + room
    if whole:
        low, high = min(low, math.floor(finite.min())), max(high, math.ceil(finite.max()))
    step = _step((high - low) / most)
    step = max(1.0, step) if whole else step
    if whole:
        step = float(math.ceil(step))
    if padded:
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = [i * step for i in range(first, last + 1)]
    texts = [_text(x, step) for x in ticks]
    apart = 2 if max(map(len, texts)) > _LONG and len(ticks) > 4 else 1  # else they would touch
    return Axis(low, high, ticks[::apart], texts[::apart])


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * (1 - 1e-9))


def _text(value: float, step: float) -> str:
    """Write a value with as many decimals as its axis needs; very large and small ones in powers of ten."""
    if value == 0:
        return "0"
    if max(abs(value), step) >= 1e6 or step < 1e-5:
        return f"{value:.2e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
        decimals += 1
    return f"{value:,.{decimals}f}"


def byte_unit(most: float) -> tuple[float, str]:
    """Choose the unit in which bytes up to ``most`` are written: how many bytes it has, and its name."""
    return next((size, unit) for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if most >= size or size == 1e3)
