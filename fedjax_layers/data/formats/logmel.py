"""Log-mel energies of sounds, which models of images can read."""

from __future__ import annotations

import numpy as np

WINDOW = 0.025  # seconds
HOP = 0.010  # seconds
_FLOOR = 1e-6  # added to the energies, so that silence has a logarithm
_SOUNDS_AT_ONCE = 64  # bounds the spectra held at a time


def log_mel(waves: np.ndarray, rate: int, bands: int) -> np.ndarray:
    """Compute the logarithm of the energy in bands of equal width on the mel scale.

    It takes Hann windows of 25 ms every 10 ms, the power spectrum of each, and triangular filters whose corners are
    equally spaced between 0 and half the rate on the mel scale ``2595 log10(1 + f / 700)`` (The HTK Book, Young et al.,
    section 5.6).

    Args:
      waves: ``[N, T]`` samples, T no shorter than a window.
      rate: samples per second.
      bands: B, number of filters.

    Returns:
      ``[N, F, B]`` float32, ``F = 1 + (T - window) // hop``, natural logarithms.

    Raises:
      ValueError: the sounds are shorter than a window, or there are so many bands that one contains no frequency.
    """
    size, hop = round(WINDOW * rate), round(HOP * rate)
    if waves.shape[1] < size:
        raise ValueError(f"waves: expected at least {size} samples, got {waves.shape[1]}")
    points = 1 << (size - 1).bit_length()
    filters = mel_filters(rate, points, bands)
    # The periodic Hann window, as used for spectra: without the second of its two zeros.
    window = np.hanning(size + 1)[:size].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(waves, size, axis=1)[:, ::hop]
    energies = np.empty((len(waves), frames.shape[1], bands), np.float32)
    for first in range(0, len(waves), _SOUNDS_AT_ONCE):
        block = slice(first, first + _SOUNDS_AT_ONCE)
        spectrum = np.fft.rfft(frames[block] * window, points)
        energies[block] = np.log((spectrum.real**2 + spectrum.imag**2) @ filters + _FLOOR)
    return energies


def mel_filters(rate: int, points: int, bands: int) -> np.ndarray:
    """Compute the weight of each frequency in each band, ``[points // 2 + 1, bands]``; a filter's peak is 1.

    Raises:
      ValueError: some band lies between two frequencies of the spectrum.
    """
    top = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(points, 1 / rate)[:, None]
    rising = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling))
    if not filters.any(axis=0).all():
        raise ValueError(f"bands: expected fewer for a spectrum of {points} points, got {bands}, some of them empty")
    return filters
