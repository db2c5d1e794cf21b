"""Helpers of all shifts: the shift of each client, and changes of each client's images in the stored dtype."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Change = Callable[[np.ndarray], np.ndarray]
"""A function from float images ``[n, H, W, C]`` of one client to the changed ones."""

_CHUNK = 2**22  # numbers that are converted to floats at once


def by_client(
    inputs: np.ndarray, client_of: np.ndarray, num_clients: int, changes: Callable[[int], Change]
) -> np.ndarray:
    """Change each client's images, piece by piece, and round them to the stored dtype.

    Args:
      inputs: ``[N, H, W, C]`` images.
      client_of: ``[N]`` integers, each image's client, -1 for none.
      num_clients: C, the number of clients.
      changes: called once for each client; the function that it returns gets the client's images in their order.

    Returns:
      A new array like ``inputs``; integers are rounded and kept between black and white.

    Raises:
      ValueError: inputs that are no images, or owners that are not one client number for each.
    """
    check_images(inputs)
    client_of = np.asarray(client_of)
    if client_of.shape != inputs.shape[:1] or not np.issubdtype(client_of.dtype, np.integer):
        found = f"shape {client_of.shape} of {client_of.dtype}"
        raise ValueError(f"client_of: expected {len(inputs)} integers, got {found}")
    if len(client_of) and client_of.max() >= num_clients:
        raise ValueError(f"client_of: expected ids below {num_clients}, got {client_of.max()}")
    whole = np.issubdtype(inputs.dtype, np.integer)
    white = white_level(inputs)
    kind = np.float64 if inputs.dtype.itemsize > 4 else np.float32
    order = np.argsort(client_of, kind="stable")
    bounds = np.searchsorted(client_of[order], np.arange(num_clients + 1))
    step = max(1, _CHUNK // max(1, math.prod(inputs.shape[1:])))
    out = np.array(inputs)  # a copy, so that a memory-mapped cache is not changed
    for client in range(num_clients):
        change = changes(client)
        for start in range(bounds[client], bounds[client + 1], step):
            rows = order[start : min(start + step, bounds[client + 1])]
            seen = change(inputs[rows].astype(kind))
            out[rows] = np.clip(np.rint(seen), 0, white) if whole else seen
    return out


def shift_of(num_clients: int, shifts: int | None) -> tuple[np.ndarray, int]:
    """Return the number of each client's shift ``[C]``, and the number of different shifts."""
    total = num_clients if shifts is None else shifts
    if not 1 <= total <= num_clients:
        raise ValueError(f"shifts: expected 1 to {num_clients}, the number of clients, got {total}")
    return np.arange(num_clients) * total // num_clients, total


def white_level(inputs: np.ndarray) -> float:
    """Return the largest value, which is white: 255 for most stored images, 16 for the digits."""
    return float(inputs.max(initial=0))


def check_images(inputs: np.ndarray) -> None:
    """Raise ``ValueError`` unless ``inputs`` are images ``[N, H, W, C]``, grey or RGB."""
    if inputs.ndim != 4 or inputs.shape[-1] not in (1, 3):
        raise ValueError(f"feature shift: expected images [N, H, W, 1 or 3], got inputs of shape {inputs.shape}")
