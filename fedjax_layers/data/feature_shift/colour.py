"""Shifts of colour and contrast."""

from __future__ import annotations

import colorsys
import itertools
from typing import Literal

import numpy as np

from fedjax_layers.data.feature_shift.by_client import Change, by_client, check_images, shift_of, white_level

_MODES = ("tint", "permute", "invert")


def colour(
    inputs: np.ndarray,
    client_of: np.ndarray,
    num_clients: int,
    seed: int = 0,
    *,
    shifts: int | None = None,
    colour_mode: Literal["tint", "permute", "invert"] = "tint",
    tint: float = 0.5,
) -> np.ndarray:
    """Change the colours of each client's images.

    Args:
      inputs: ``[N, H, W, C]`` images, RGB but for ``"invert"``.
      client_of: ``[N]`` integers, each image's client, -1 for none.
      num_clients: C, the number of clients.
      seed: seed of the order in which channel permutations are given to clients.
      shifts: number of different shifts.
      colour_mode: ``"tint"`` scales the channels towards one of as many evenly spaced hues; ``"permute"`` reorders
        them (number 0 keeps the order; there are six); ``"invert"`` makes negatives for the odd numbers.
      tint: strength of the tint, 0 (none) to 1 (only that hue is left).

    Returns:
      ``[N, H, W, C]`` in the inputs' dtype.

    Raises:
      ValueError: inputs that are no images, or grey where RGB is needed, or an argument out of range.
    """
    if colour_mode not in _MODES:
        raise ValueError(f"colour_mode: expected one of {', '.join(_MODES)}, got {colour_mode!r}")
    if not 0 <= tint <= 1:
        raise ValueError(f"tint: expected a number from 0 to 1, got {tint}")
    number, total = shift_of(num_clients, shifts)
    check_images(inputs)
    if colour_mode != "invert" and inputs.shape[-1] != 3:
        raise ValueError(f"colour_mode: expected 'invert' for grey images, got {colour_mode!r}")
    white = white_level(inputs)
    others = np.random.default_rng([seed, 1]).permutation(list(itertools.permutations(range(3)))[1:])
    orders = np.concatenate([[[0, 1, 2]], others])

    def changes(client: int) -> Change:
        k = int(number[client])
        if colour_mode == "tint":
            gain = 1 - tint * (1 - np.array(colorsys.hsv_to_rgb(k / total, 1, 1)))
            return lambda images: images * gain.astype(images.dtype)
        if colour_mode == "permute":
            return lambda images: images[..., orders[k % len(orders)]]
        return lambda images: white - images if k % 2 else images

    return by_client(inputs, client_of, num_clients, changes)


def contrast(
    inputs: np.ndarray,
    client_of: np.ndarray,
    num_clients: int,
    seed: int = 0,
    *,
    shifts: int | None = None,
    least_contrast: float = 0.25,
) -> np.ndarray:
    """Reduce the contrast of each client's images, towards the mean of each image.

    Args:
      inputs: ``[N, H, W, C]`` images.
      client_of: ``[N]`` integers, each image's client, -1 for none.
      num_clients: C, the number of clients.
      seed: not used, since nothing is drawn.
      shifts: number of different shifts.
      least_contrast: share of the contrast that the last shift leaves, 0 to 1; the first leaves all.

    Returns:
      ``[N, H, W, C]`` in the inputs' dtype.

    Raises:
      ValueError: inputs that are no images, or an argument out of range.
    """
    del seed
    if not 0 <= least_contrast <= 1:
        raise ValueError(f"least_contrast: expected a number from 0 to 1, got {least_contrast}")
    number, total = shift_of(num_clients, shifts)

    def changes(client: int) -> Change:
        factor = 1 - (1 - least_contrast) * float(number[client]) / max(total - 1, 1)

        def change(images: np.ndarray) -> np.ndarray:
            middle = images.mean(axis=(1, 2, 3), keepdims=True)
            return middle + factor * (images - middle)

        return change

    return by_client(inputs, client_of, num_clients, changes)
