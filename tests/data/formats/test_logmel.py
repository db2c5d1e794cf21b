"""Log-mel energies against the definition, and against what tones and silence must give."""

import numpy as np
import pytest

from fedjax_layers.data.formats.logmel import log_mel, mel_filters

RATE = 8000


def mel_centre(band, bands):
    """Centre of a band in Hz: equal steps on 2595 log10(1 + f / 700)."""
    step = 2595 * np.log10(1 + RATE / 2 / 700) / (bands + 1)
    return 700 * (10 ** ((band + 1) * step / 2595) - 1)


def tone(frequency, length=RATE):
    return np.sin(2 * np.pi * frequency * np.arange(length) / RATE)[None]


def test_one_frame_by_the_definition():
    wave = np.random.default_rng(0).normal(size=(1, 200))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(200) / 200)
    frequencies = np.arange(129)
    transform = np.exp(-2j * np.pi * frequencies[:, None] * np.arange(200) / 256) @ (window * wave[0])
    expected = np.log(np.abs(transform) ** 2 @ mel_filters(RATE, 256, 20) + 1e-6)
    np.testing.assert_allclose(log_mel(wave, RATE, 20)[0, 0], expected, rtol=1e-4)


def test_filters_share_out_every_frequency_between_the_first_and_the_last_centre():
    filters = mel_filters(RATE, 256, 40)
    assert filters.shape == (129, 40)
    assert filters.min() == 0
    assert filters.max() <= 1
    frequencies = np.arange(129) * RATE / 256
    inner = (frequencies >= mel_centre(0, 40)) & (frequencies <= mel_centre(39, 40))
    np.testing.assert_allclose(filters[inner].sum(axis=1), 1, rtol=1e-9)


@pytest.mark.parametrize("band", [4, 10, 15, 19])
def test_a_tone_is_loudest_in_its_band(band):
    energies = log_mel(tone(mel_centre(band, 20)), RATE, 20)
    assert energies.shape == (1, 1 + (8000 - 200) // 80, 20)
    assert (energies[0].argmax(axis=1) == band).all()


def test_silence_and_loudness():
    silent = log_mel(np.zeros((2, 400)), RATE, 10)
    np.testing.assert_allclose(silent, np.log(1e-6), rtol=1e-6)
    once, twice = (log_mel(gain * tone(1000), RATE, 10).max(axis=2) for gain in (1, 2))
    np.testing.assert_allclose(twice - once, np.log(4), rtol=1e-3)


def test_sounds_do_not_see_each_other():
    waves = np.random.default_rng(1).normal(size=(130, 400))  # three blocks
    np.testing.assert_allclose(log_mel(waves, RATE, 10)[100:101], log_mel(waves[100:101], RATE, 10), rtol=1e-6)


@pytest.mark.parametrize(
    ("length", "bands", "message"),
    [
        (199, 20, "waves: expected at least 200 samples, got 199"),
        (200, 100, "bands: expected fewer for a spectrum of 256 points, got 100"),
    ],
)
def test_errors(length, bands, message):
    with pytest.raises(ValueError, match=message):
        log_mel(np.zeros((1, length)), RATE, bands)
