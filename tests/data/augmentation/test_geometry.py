"""Warps against NumPy, SciPy and Pillow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from fedjax_layers.data.augmentation import Affine, Perspective, Rotation
from fedjax_layers.data.augmentation.geometry import affine_map, perspective_map
from fedjax_layers.data.augmentation.resample import resample

KEY = jax.random.key(0)
PILLOW = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}


def exactly(degrees):
    return (float(degrees), float(degrees))


@pytest.mark.parametrize(
    ("size", "border"),
    [(7, "black"), (8, "reflect")]
    + [
        pytest.param(size, border, marks=pytest.mark.slow)
        for size, border in ((7, "reflect"), (8, "black"), (32, "black"), (32, "reflect"))
    ],
)
def test_quarter_turns_are_exact(make_images, size, border):
    images = make_images(3, size, size)
    for turns in (-1, 1, 2, 4):
        expected = np.rot90(images, turns, axes=(1, 2))
        nearest = Rotation(exactly(90 * turns), interpolation="nearest", border=border)(KEY, images)
        np.testing.assert_array_equal(nearest, expected)
        bilinear = Rotation(exactly(90 * turns), border=border)(KEY, images)
        np.testing.assert_allclose(bilinear, expected, atol=5e-3)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("degrees", [-50.0, -7.3, 15.0])
def test_rotation_equals_pillows(make_images, interpolation, degrees):
    images = make_images(2, 21, 32, 1)
    turned = np.asarray(Rotation(exactly(degrees), interpolation=interpolation)(KEY, images))[..., 0]
    for image, found in zip(np.asarray(images)[..., 0], turned, strict=True):
        expected = np.asarray(Image.fromarray(image).rotate(degrees, PILLOW[interpolation]))
        # A pixel whose origin lies on a border, within rounding, may fall to either side.
        assert (abs(found - expected) < 0.05).mean() > 0.99


def test_affine_maps_equal_pillows(make_images):
    image = np.asarray(make_images(1, 25, 31, 1))[0, ..., 0]
    degrees, shift, scale, shear = 25.0, (3.0, -2.0), 1.2, 10.0
    # Forwards, as torchvision documents it: shear, turn and scale about the middle, then shift; y points down.
    middle = np.array([[1, 0, 15], [0, 1, 12], [0, 0, 1.0]])
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]])
    slant = np.array([[1, -np.tan(np.deg2rad(shear)), 0], [0, 1, 0], [0, 0, 1]])
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
    forwards = move @ middle @ turn @ np.diag([scale, scale, 1]) @ slant @ np.linalg.inv(middle)
    found = affine_map(degrees, shift, scale, shear, image.shape)
    np.testing.assert_allclose(found, np.linalg.inv(forwards), atol=1e-5)

    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # Pillow puts the first pixel's centre at (0.5, 0.5)
    pillow = (half @ np.linalg.inv(forwards) @ np.linalg.inv(half))[:2].ravel()
    expected = Image.fromarray(image).transform(image.shape[::-1], Image.Transform.AFFINE, pillow, PILLOW["bilinear"])
    warped = resample(jnp.asarray(image)[None, ..., None], found[None])[0, ..., 0]
    assert (abs(warped - np.asarray(expected)) < 0.05).mean() > 0.99


@pytest.mark.parametrize(("border", "scipys"), [("reflect", "mirror"), ("black", "nearest")])
def test_bilinear_reading_equals_scipys(make_images, border, scipys):
    images = make_images(1, 9, 12, 3)
    matrix = np.array([[0.9, 0.3, -1.7], [-0.2, 1.3, -2.1], [0, 0, 1]])
    found = np.asarray(resample(images, jnp.asarray(matrix, jnp.float32)[None], "bilinear", border))[0]
    y, x = np.mgrid[:9, :12]
    from_x, from_y, _ = np.einsum("ij,jhw->ihw", matrix, np.stack([x, y, np.ones_like(x)]))
    for c in range(3):
        expected = scipy.ndimage.map_coordinates(np.asarray(images)[0, ..., c], [from_y, from_x], order=1, mode=scipys)
        if border == "black":
            inside = (from_x >= -0.5) & (from_x <= 11.5) & (from_y >= -0.5) & (from_y <= 8.5)
            assert 20 < inside.sum() < 90
            expected = np.where(inside, expected, 0)
        np.testing.assert_allclose(found[..., c], expected, atol=1e-2)


def test_perspective_puts_the_corners_where_they_were_drawn():
    corners = np.array([[2.0, 1.0], [25.0, 3.0], [27.0, 19.0], [1.0, 16.0]])
    back = np.asarray(perspective_map(jnp.asarray(corners, jnp.float32), (20, 28)), np.float64)
    homogeneous = np.column_stack([corners, np.ones(4)]) @ back.T
    expected = np.array([[0, 0], [27, 0], [27, 19], [0, 19]])
    np.testing.assert_allclose(homogeneous[:, :2] / homogeneous[:, 2:], expected, atol=1e-3)
    assert (homogeneous[:, 2] > 0).all()


def test_perspective_equals_pillows(make_images):
    image = np.asarray(make_images(1, 20, 28, 1))[0, ..., 0]
    ends = np.array([[0, 0], [27, 0], [27, 19], [0, 19.0]])
    corners = np.array([[2, 1], [25, 3], [27, 19], [1, 16.0]])
    # Eight equations for the eight coefficients, in Pillow's coordinates.
    rows, values = [], []
    for (x, y), (u, v) in zip(corners + 0.5, ends + 0.5, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    coefficients = np.linalg.solve(np.array(rows), np.array(values))
    expected = Image.fromarray(image).transform((28, 20), Image.Transform.PERSPECTIVE, coefficients, PILLOW["bilinear"])
    matrix = perspective_map(jnp.asarray(corners, jnp.float32), (20, 28))
    found = resample(jnp.asarray(image)[None, ..., None], matrix[None])[0, ..., 0]
    assert (abs(found - np.asarray(expected)) < 0.1).mean() > 0.98


def drawn(warp, number=4000, height=20, width=30):
    return np.asarray(jax.jit(jax.vmap(lambda k: warp.draw_map(k, height, width)))(jax.random.split(KEY, number)))


def test_angles_scales_and_shears_are_uniform_in_their_ranges():
    maps = drawn(Rotation(30))
    angles = np.rad2deg(np.arctan2(maps[:, 1, 0], maps[:, 1, 1]))
    assert scipy.stats.kstest(angles, scipy.stats.uniform(-30, 60).cdf).pvalue > 1e-4
    angles = np.rad2deg(np.arctan2(*drawn(Affine((10, 40)))[:, 1, :].T[:2]))
    assert scipy.stats.kstest(angles, scipy.stats.uniform(10, 30).cdf).pvalue > 1e-4
    scales = 1 / drawn(Affine(scale=(0.5, 2.0)))[:, 0, 0]
    assert scipy.stats.kstest(scales, scipy.stats.uniform(0.5, 1.5).cdf).pvalue > 1e-4
    shears = np.rad2deg(np.arctan(drawn(Affine(shear=20))[:, 0, 1]))
    assert scipy.stats.kstest(shears, scipy.stats.uniform(-20, 40).cdf).pvalue > 1e-4


def test_shifts_are_whole_pixels_up_to_the_share():
    maps = drawn(Affine(translate=(0.1, 0.2)))  # 3 of 30 across, 4 of 20 down
    np.testing.assert_allclose(maps[:, :2, 2], np.round(maps[:, :2, 2]), atol=1e-5)
    assert {int(v) for v in np.round(maps[:, 0, 2])} == set(range(-3, 4))
    assert {int(v) for v in np.round(maps[:, 1, 2])} == set(range(-4, 5))


def test_corners_move_inwards_by_every_whole_number_of_pixels_up_to_the_most():
    maps = drawn(Perspective(0.2), 500)  # 0.2 * 15 = 3 across, 0.2 * 10 = 2 down
    ends = np.array([[0, 0, 1], [29, 0, 1], [29, 19, 1], [0, 19, 1.0]])
    forwards = np.einsum("nij,kj->nki", np.linalg.inv(maps.astype(np.float64)), ends)
    moved = abs(forwards[..., :2] / forwards[..., 2:] - ends[:, :2])
    for corner in range(4):
        for axis, most in ((0, 3), (1, 2)):
            np.testing.assert_allclose(moved[:, corner, axis], np.round(moved[:, corner, axis]), atol=1e-2)
            assert {int(v) for v in np.round(moved[:, corner, axis])} == set(range(most + 1))
