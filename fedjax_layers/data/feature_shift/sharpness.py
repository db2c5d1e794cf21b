"""Shifts of noise and blur."""

from __future__ import annotations

import math

import numpy as np

from fedjax_layers.data.feature_shift.by_client import Change, by_client, check_images, shift_of, white_level


def noise(
    inputs: np.ndarray,
    client_of: np.ndarray,
    num_clients: int,
    seed: int = 0,
    *,
    sigma: float = 0.1,
    published_noise: bool = False,
) -> np.ndarray:
    """Add Gaussian noise that grows from client to client, NIID-Bench's noise-based feature imbalance.

    Client i of ``1 .. C`` gets noise of variance ``sigma * i / C`` on pixels in [0, 1]. It is drawn once for each
    image, not afresh in each epoch as there, and integer images are rounded and kept between black and white.

    Args:
      inputs: ``[N, H, W, C]`` images.
      client_of: ``[N]`` integers, each image's client, -1 for none.
      num_clients: C, the number of clients.
      seed: seed of the noise, of which each client has its own stream.
      sigma: variance for the last client.
      published_noise: use the published code's standard deviation, ``sigma * (i - 1) / (C - 1)``.

    Returns:
      ``[N, H, W, C]`` in the inputs' dtype.

    Raises:
      ValueError: inputs that are no images, or a negative ``sigma``.
    """
    if not (math.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"sigma: expected a number of at least 0, got {sigma}")
    check_images(inputs)
    white = white_level(inputs)

    def changes(client: int) -> Change:
        variance = sigma * (client + 1) / num_clients
        spread = sigma * client / max(num_clients - 1, 1) if published_noise else math.sqrt(variance)
        rng = np.random.default_rng([seed, 2, client])
        return lambda images: images + white * spread * rng.standard_normal(images.shape, np.float32)

    return by_client(inputs, client_of, num_clients, changes)


def blur(
    inputs: np.ndarray,
    client_of: np.ndarray,
    num_clients: int,
    seed: int = 0,
    *,
    shifts: int | None = None,
    most_blur: float = 1.5,
) -> np.ndarray:
    """Blur each client's images by a Gaussian.

    Args:
      inputs: ``[N, H, W, C]`` images.
      client_of: ``[N]`` integers, each image's client, -1 for none.
      num_clients: C, the number of clients.
      seed: not used, since nothing is drawn.
      shifts: number of different shifts.
      most_blur: standard deviation of the last shift's Gaussian in pixels; the first shift has no blur.

    Returns:
      ``[N, H, W, C]`` in the inputs' dtype.

    Raises:
      ValueError: inputs that are no images, or an argument out of range.
    """
    del seed
    from scipy.ndimage import gaussian_filter  # noqa: PLC0415  (needed by this shift only)

    if not (math.isfinite(most_blur) and most_blur >= 0):
        raise ValueError(f"most_blur: expected a number of at least 0, got {most_blur}")
    number, total = shift_of(num_clients, shifts)

    def changes(client: int) -> Change:
        width = most_blur * number[client] / max(total - 1, 1)
        return lambda images: gaussian_filter(images, (0, width, width, 0), mode="nearest") if width else images

    return by_client(inputs, client_of, num_clients, changes)
