"""Flips, crops and cutout against NumPy, and their probabilities."""

import jax
import numpy as np
import pytest
import scipy.stats

from fedjax_layers.data.augmentation import Crop, Cutout, Flip

KEY = jax.random.key(0)


def kinds(changed, candidates):
    """How many of the images ``changed`` are each of the ``candidates``; all must be one of them."""
    counts = [int((changed == c).all((1, 2, 3)).sum()) for c in candidates]
    assert sum(counts) == len(changed)
    return counts


@pytest.mark.parametrize(("direction", "axis"), [("horizontal", 1), ("vertical", 0)])
@pytest.mark.parametrize("p", [0.2, 0.5, 1.0])
def test_flip_mirrors_with_probability_p(numbered, direction, axis, p):
    images = np.asarray(numbered(3000, 4, 5))
    _, flipped = kinds(np.asarray(Flip(p, direction)(KEY, images)), [images[0], np.flip(images[0], axis)])
    assert scipy.stats.binomtest(flipped, 3000, p).pvalue > 1e-4


def test_any_direction_is_one_of_three_alike(numbered):
    images = np.asarray(numbered(3000, 4, 5))
    one = images[0]
    counts = kinds(np.asarray(Flip(0.6, "any")(KEY, images)), [one, one[::-1], one[:, ::-1], one[::-1, ::-1]])
    assert scipy.stats.chisquare(counts, [1200, 600, 600, 600]).pvalue > 1e-4


@pytest.mark.parametrize(("mode", "numpy_mode"), [("reflect", "reflect"), ("zero", "constant")])
def test_every_window_of_the_padded_image_is_equally_likely(numbered, mode, numpy_mode):
    images = np.asarray(numbered(5000, 6, 7))
    padded = np.pad(images[0], ((2, 2), (2, 2), (0, 0)), mode=numpy_mode)
    windows = [padded[y : y + 6, x : x + 7] for y in range(5) for x in range(5)]
    counts = kinds(np.asarray(Crop(2, mode)(KEY, images)), windows)
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def test_padding_may_come_up_to_the_images_size(numbered):
    images = np.asarray(numbered(2000, 4, 4))
    padded = np.pad(images[0], ((3, 3), (3, 3), (0, 0)), mode="reflect")
    windows = {padded[y : y + 4, x : x + 4].tobytes() for y in range(7) for x in range(7)}
    assert len(windows) == 36  # the mirror image of 4 pixels repeats after 6: the first window is the last
    assert {np.asarray(image).tobytes() for image in Crop(3)(KEY, images)} == windows
    np.testing.assert_array_equal(Crop(0)(KEY, images), images)
    with pytest.raises(ValueError, match=r"padding: expected less than the image's \(4, 4\), got 4"):
        Crop(4)(KEY, images)
    assert (Crop(4, "zero")(KEY, images) == 0).any()


def test_a_hole_inside_is_a_whole_square_anywhere(numbered):
    images = np.asarray(numbered(3000, 5, 6))
    candidates = []
    for y in range(4):
        for x in range(5):
            covered = images[0].copy()
            covered[y : y + 2, x : x + 2] = -7
            candidates.append(covered)
    counts = kinds(np.asarray(Cutout(2, inside=True, fill=-7)(KEY, images)), candidates)
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def test_a_hole_about_any_pixel_is_cut_by_the_frame(numbered):
    images = np.asarray(numbered(3000, 5, 6))
    candidates = []
    for y in range(5):
        for x in range(6):
            covered = images[0].copy()
            covered[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = 0
            candidates.append(covered)
    counts = kinds(np.asarray(Cutout(3)(KEY, images)), candidates)
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def test_the_number_of_holes_is_drawn(numbered):
    images = numbered(3000, 20, 20)  # on 400 pixels, holes of one seldom meet
    covered = np.asarray((Cutout(1, (1, 4))(KEY, images) == 0).sum((1, 2, 3)))
    assert set(covered) == {1, 2, 3, 4}
    assert abs((covered == 1).mean() - 0.25) < 0.05
    assert not (Cutout(1, (0, 0))(KEY, images) == 0).any()


def test_holes_that_cannot_lie_inside_are_refused(numbered):
    with pytest.raises(ValueError, match=r"size: expected at most the image's \(8, 8\), got 9"):
        Cutout(9, inside=True)(KEY, numbered(1, 8, 8))
