"""The shift by rotation: each client's images are turned by an angle of its own."""

from __future__ import annotations

import itertools
import math

import numpy as np

from fedjax_layers.data.feature_shift.by_client import Change, by_client, shift_of


def rotation(
    inputs: np.ndarray,
    client_of: np.ndarray,
    num_clients: int,
    seed: int = 0,
    *,
    shifts: int | None = None,
    degrees: float = 360.0,
    random_angles: bool = False,
) -> np.ndarray:
    """Turn each client's images by one angle, bilinearly, black beyond the border; multiples of 90 are exact.

    Args:
      inputs: ``[N, H, W, C]`` images.
      client_of: ``[N]`` integers, each image's client, -1 for none.
      num_clients: C, the number of clients.
      seed: seed of random angles.
      shifts: S, number of different angles; 4 with 360 degrees are IFCA's 0, 90, 180 and 270.
      degrees: angle number k is ``k * degrees / S``, counter-clockwise.
      random_angles: draw each of the S angles uniformly from 0 to ``degrees`` instead.

    Returns:
      ``[N, H, W, C]`` in the inputs' dtype.

    Raises:
      ValueError: inputs that are no images, or an argument out of range.
    """
    number, total = shift_of(num_clients, shifts)
    if not math.isfinite(degrees):
        raise ValueError(f"degrees: expected a finite number, got {degrees}")
    angles = np.arange(total) * degrees / total
    if random_angles:
        angles = np.random.default_rng([seed, 0]).uniform(0, degrees, total)

    def changes(client: int) -> Change:
        taps = _taps(inputs.shape[1], inputs.shape[2], angles[number[client]])
        return lambda images: _resample(images, taps)

    return by_client(inputs, client_of, num_clients, changes)


def _taps(height: int, width: int, degrees: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Find for each pixel its up to four source pixels: their numbers in the flat image ``[H * W]``, and weights."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    y, x = np.mgrid[:height, :width].reshape(2, -1) - np.array([[height - 1], [width - 1]]) / 2
    # The source position of each pixel, rounded so that quarter turns hit the grid exactly.
    y, x = np.round([cosine * y + sine * x + (height - 1) / 2, cosine * x - sine * y + (width - 1) / 2], 9)
    inside = (y >= -0.5) & (y <= height - 0.5) & (x >= -0.5) & (x <= width - 0.5)
    taps = []
    for down, right in itertools.product((0, 1), repeat=2):
        row, column = np.floor(y) + down, np.floor(x) + right
        weight = inside * (1 - abs(y - row)) * (1 - abs(x - column))
        place = np.clip(row, 0, height - 1) * width + np.clip(column, 0, width - 1)
        if weight.any():
            taps.append((place.astype(np.int64), weight))
    return taps


def _resample(images: np.ndarray, taps: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    flat = images.reshape(len(images), -1, images.shape[-1])
    parts = (flat.take(place, axis=1) * weight.astype(flat.dtype)[:, None] for place, weight in taps)
    return sum(parts, np.zeros((), flat.dtype)).reshape(images.shape)
