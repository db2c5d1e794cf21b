"""Brightness, contrast and saturation against their definitions and Pillow's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from PIL import Image, ImageEnhance

from fedjax_layers.data.augmentation import BrightnessContrast, ColourJitter

KEY = jax.random.key(0)
LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture
def copies():
    """A function that repeats one picture without extreme pixels, so that nothing is cut off."""

    def make(n, channels=3):
        picture = np.random.default_rng(0).integers(90, 160, (6, 5, channels)).astype(np.float32)
        return picture, jnp.broadcast_to(picture, (n, *picture.shape))

    return make


def uniform(values, low, high):
    return scipy.stats.kstest(values, scipy.stats.uniform(low, high - low).cdf).pvalue > 1e-4


def others(picture):
    """What brightness, contrast and saturation mix a picture with."""
    grey = (picture * LUMA).sum(-1, keepdims=True) if picture.shape[-1] == 3 else picture
    return {"brightness": 0 * grey, "contrast": grey.mean() + 0 * grey, "saturation": grey}


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_each_step_mixes_with_its_other_picture_by_a_uniform_factor(copies, name):
    picture, images = copies(2000)
    changed = np.asarray(ColourJitter(**{name: 0.2})(KEY, images), np.float64)
    other = others(picture)[name]
    factors = ((changed - other) * (picture - other)).sum((1, 2, 3)) / ((picture - other) ** 2).sum()
    expected = factors[:, None, None, None] * (picture - other) + other
    np.testing.assert_allclose(changed, expected, atol=1e-2)
    assert uniform(factors, 0.8, 1.2)


def test_the_steps_together_have_independent_factors(copies):
    """Where nothing is cut off the order does not matter: the result is a x + b grey(x) + c."""
    picture, images = copies(1500)
    changed = np.asarray(ColourJitter(0.2, 0.3, 0.4)(KEY, images), np.float64).reshape(1500, -1)
    grey = np.broadcast_to(others(picture)["saturation"], picture.shape)
    columns = np.column_stack([picture.ravel(), grey.ravel(), np.ones(picture.size)])
    (a, b, c), rest, *_ = np.linalg.lstsq(columns, changed.T, rcond=None)
    assert rest.max() < 1e-2
    mean = grey.mean()
    saturation = a / (a + b)
    brightness = (a + b) + c / mean
    contrast = (a + b) / brightness
    assert uniform(brightness, 0.8, 1.2)
    assert uniform(contrast, 0.7, 1.3)
    assert uniform(saturation, 0.6, 1.4)
    assert abs(np.corrcoef([brightness, contrast, saturation]) - np.eye(3)).max() < 0.1


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_pillow_agrees_up_to_its_rounding(name):
    picture = np.random.default_rng(1).integers(0, 256, (9, 8, 3)).astype(np.uint8)
    images = jnp.asarray(picture[None], jnp.float32)
    changed = np.asarray(ColourJitter(**{name: 0.9})(KEY, images))[0]
    enhance = {
        "brightness": ImageEnhance.Brightness,
        "contrast": ImageEnhance.Contrast,
        "saturation": ImageEnhance.Color,
    }[name](Image.fromarray(picture))
    errors = [abs(np.asarray(enhance.enhance(f), float) - changed).max() for f in np.linspace(0.1, 1.9, 1801)]
    assert min(errors) < 2.0


def test_order_is_drawn_where_values_are_cut_off():
    """White turned up and then greyed is not white greyed and then turned up."""
    picture = np.zeros((2, 2, 3), np.float32)
    picture[0] = [250, 100, 0]
    picture[1] = [0, 0, 250]
    images = jnp.broadcast_to(picture, (64, 2, 2, 3))
    changed = np.asarray(ColourJitter(brightness=0.9, contrast=0.9)(KEY, images), np.float64)

    def mix(x, factor, other):
        return np.clip(factor * x + (1 - factor) * other, 0, 255)

    def best(order):
        """Smallest error over a grid of factors, for each image."""
        errors = np.full(64, np.inf)
        for b in np.linspace(0.1, 1.9, 91):
            for c in np.linspace(0.1, 1.9, 91):
                x = picture.astype(np.float64)
                for step in order:
                    x = mix(x, b, 0) if step == "brightness" else mix(x, c, (x * LUMA).sum(-1).mean())
                errors = np.minimum(errors, abs(changed - x).max((1, 2, 3)))
        return errors

    brightness_first, contrast_first = best(("brightness", "contrast")), best(("contrast", "brightness"))
    assert np.minimum(brightness_first, contrast_first).max() < 10  # the grid's step
    assert (brightness_first - contrast_first > 10).any()
    assert (contrast_first - brightness_first > 10).any()


def test_grey_images_have_no_saturation_and_nothing_leaves_the_range(copies):
    _, grey = copies(50, 1)
    np.testing.assert_allclose(ColourJitter(saturation=0.9)(KEY, grey), grey, rtol=1e-5)
    bright = jnp.full((50, 4, 4, 3), 14.0)
    changed = ColourJitter(brightness=1.0, white=16.0)(KEY, bright)
    assert changed.max() == 16
    assert changed.min() >= 0


def test_brightness_and_contrast_add_and_multiply(copies):
    picture, images = copies(2000)
    changed = np.asarray(BrightnessContrast(0.15, 0.1)(KEY, images), np.float64).reshape(2000, -1)
    columns = np.column_stack([picture.ravel(), np.ones(picture.size)])
    (slope, offset), rest, *_ = np.linalg.lstsq(columns, changed.T, rcond=None)
    assert rest.max() < 1e-2
    assert uniform(slope, 0.9, 1.1)
    assert uniform(offset / 255, -0.15, 0.15)
    assert BrightnessContrast(1.0, white=16.0)(KEY, images / 16).max() == 16
