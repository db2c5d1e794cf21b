"""Covariate shift: known pixels, known variances, every other thing left alone."""

import numpy as np
import pytest
import scipy.ndimage

from fedjax_layers.data.feature_shift import FEATURE_SHIFTS, blur, by_client, colour, contrast, noise, rotation

CLIENTS = 6
TURNED = {"shifts": 4}


@pytest.fixture
def make_images():
    """A function that makes random images of one dtype, and an owner for each, -1 among them."""

    def make(n=60, height=9, width=9, channels=3, dtype=np.uint8, seed=0):
        rng = np.random.default_rng(seed)
        images = rng.integers(0, 256, (n, height, width, channels)).astype(dtype)
        images.ravel()[0] = 255  # white is there
        owner = rng.permutation(np.arange(n) % (CLIENTS + 1) - 1).astype(np.int32)
        return images, owner

    return make


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("name", FEATURE_SHIFTS)
def test_dtype_shape_inputs_and_nobodys_images_stay(make_images, name, dtype):
    images, owner = make_images(dtype=dtype)
    images.flags.writeable = False
    before = images.copy()
    seen = FEATURE_SHIFTS[name](images, owner, CLIENTS, 3)
    assert (seen.dtype, seen.shape) == (images.dtype, images.shape)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(seen[owner == -1], images[owner == -1])
    last = owner == CLIENTS - 1
    assert (seen[last] != images[last]).any()
    if dtype in (np.uint8, np.int16):
        assert 0 <= seen.min() <= seen.max() <= 255


@pytest.mark.parametrize("name", FEATURE_SHIFTS)
def test_a_client_sees_the_same_whoever_else_is_there_and_however_it_is_cut(make_images, name, monkeypatch):
    images, owner = make_images()
    seen = FEATURE_SHIFTS[name](images, owner, CLIENTS, 3)
    mine = owner == 4
    alone = FEATURE_SHIFTS[name](images, np.where(mine, 4, -1), CLIENTS, 3)
    np.testing.assert_array_equal(alone[mine], seen[mine])
    monkeypatch.setattr(by_client, "_CHUNK", 1)  # one image at a time
    np.testing.assert_array_equal(FEATURE_SHIFTS[name](images, owner, CLIENTS, 3), seen)


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_quarter_turns_are_exact(make_images, size, dtype):
    images, owner = make_images(height=size, width=size, dtype=dtype)
    seen = rotation(images, owner, CLIENTS, **TURNED)
    for client, turns in enumerate([0, 0, 1, 2, 2, 3]):  # client * 4 // 6
        mine = owner == client
        np.testing.assert_array_equal(seen[mine], np.rot90(images[mine], turns, axes=(1, 2)))


def test_other_angles_are_bilinear(make_images):
    images, owner = make_images(height=11, width=14, dtype=np.float64)
    seen = rotation(images, owner, CLIENTS, degrees=120.0)  # 0, 20, 40, ...
    y, x = np.mgrid[:11, :14]
    middle = (np.hypot(y - 5, x - 6.5) < 4.5).nonzero()  # what stays within the frame at any angle
    for client in range(CLIENTS):
        mine = owner == client
        expected = scipy.ndimage.rotate(images[mine], 20 * client, axes=(1, 2), reshape=False, order=1)
        np.testing.assert_allclose(seen[mine][:, *middle], expected[:, *middle], rtol=1e-6)


def test_corners_that_leave_the_frame_are_black():
    images = np.full((1, 20, 20, 1), 255, np.uint8)
    seen = rotation(images, np.array([1]), 2, degrees=90.0)[0, ..., 0]  # 45 degrees
    assert (seen[:3, :3] == 0).all()  # |x| + |y| > 10 * sqrt(2) from the middle
    assert (seen[7:13, 7:13] == 255).all()


def test_random_angles_follow_the_seed(make_images):
    images, owner = make_images()
    first, again, other = (rotation(images, owner, CLIENTS, seed, random_angles=True) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[owner == 0] != images[owner == 0]).any()  # evenly spaced, client 0 would not be turned


@pytest.mark.parametrize("published", [False, True])
def test_noise_has_niid_benchs_variance(published):
    images = np.full((4000, 5, 5, 1), 0.5, np.float32)
    images[0] = 1.0  # white
    owner = np.arange(4000) % 4
    seen = noise(images, owner, 4, 0, sigma=0.2, published_noise=published)
    change = seen - images
    assert abs(change.mean()) < 0.01
    variances = [change[owner == c].var() for c in range(4)]
    # Paper: variance 0.2 * i / 4 for i = 1 .. 4; code: standard deviation 0.2 * (i - 1) / 3.
    expected = [(0.2 * c / 3) ** 2 for c in range(4)] if published else [0.05, 0.1, 0.15, 0.2]
    np.testing.assert_allclose(variances, expected, rtol=0.05, atol=1e-12)  # 25,000 draws: 0.9 % is one sigma


def test_noise_is_scaled_by_white_and_each_client_has_its_own_stream():
    images = np.full((2000, 8, 8, 1), 8, np.int16)
    images[0] = 16
    owner = np.arange(2000) % 2
    seen = noise(images, owner, 2, 0, sigma=0.01)
    spread = (seen - images)[owner == 1].std()
    assert spread == pytest.approx(16 * 0.1, rel=0.05)  # and a twelfth of a grey step squared, by rounding
    alike = noise(np.ones((2, 8, 8, 1)), np.array([0, 1]), 2, 0, published_noise=False)
    assert not np.allclose((alike[0] - 1) * np.sqrt(2), alike[1] - 1)
    np.testing.assert_array_equal(noise(images, owner, 2, 5), noise(images, owner, 2, 5))
    assert (noise(images, owner, 2, 5) != noise(images, owner, 2, 6)).any()


def test_a_tint_scales_the_channels_towards_its_hue():
    images = np.full((3, 2, 2, 3), 200, np.uint8)
    seen = colour(images, np.arange(3), 3, tint=0.25)  # red, green, blue
    np.testing.assert_array_equal(seen[:, 0, 0], [[200, 150, 150], [150, 200, 150], [150, 150, 200]])


def test_permuted_channels_are_six_different_orders_the_first_unchanged():
    images = np.zeros((12, 2, 2, 3), np.uint8) + np.array([10, 20, 30], np.uint8)
    seen = colour(images, np.arange(12), 12, colour_mode="permute")[:, 1, 1]
    assert seen[0].tolist() == [10, 20, 30]
    assert {tuple(sorted(p)) for p in seen.tolist()} == {(10, 20, 30)}
    assert len({tuple(p) for p in seen[:6].tolist()}) == 6
    np.testing.assert_array_equal(seen[6:], seen[:6])
    orders = {colour(images, np.arange(12), 12, s, colour_mode="permute").tobytes() for s in range(5)}
    assert len(orders) > 1


@pytest.mark.parametrize("channels", [1, 3])
def test_odd_shifts_are_inverted_at_the_datas_own_white(make_images, channels):
    images, owner = make_images(channels=channels)
    images //= 16  # the digits' range
    seen = colour(images, owner, CLIENTS, shifts=2, colour_mode="invert")
    odd = owner >= 3
    np.testing.assert_array_equal(seen[odd], 15 - images[odd])
    np.testing.assert_array_equal(seen[~odd], images[~odd])


def test_blur_is_a_gaussian_from_none_to_the_most(make_images):
    images, owner = make_images(dtype=np.float64)
    seen = blur(images, owner, CLIENTS, most_blur=2.0)
    np.testing.assert_array_equal(seen[owner == 0], images[owner == 0])
    expected = scipy.ndimage.gaussian_filter(images[owner == 5][0, ..., 1], 2.0, mode="nearest")
    np.testing.assert_allclose(seen[owner == 5][0, ..., 1], expected, rtol=1e-12)
    deviations = [seen[owner == c].std() for c in range(CLIENTS)]
    assert deviations == sorted(deviations, reverse=True)


def test_contrast_shrinks_each_images_deviations(make_images):
    images, owner = make_images(dtype=np.float64)
    seen = contrast(images, owner, CLIENTS, least_contrast=0.5)
    for client, factor in enumerate([1.0, 0.9, 0.8, 0.7, 0.6, 0.5]):
        mine = owner == client
        np.testing.assert_allclose(seen[mine].std((1, 2, 3)), factor * images[mine].std((1, 2, 3)), rtol=1e-9)
        np.testing.assert_allclose(seen[mine].mean((1, 2, 3)), images[mine].mean((1, 2, 3)), rtol=1e-9)


@pytest.mark.parametrize("name", FEATURE_SHIFTS)
def test_what_is_no_image_is_refused_in_one_line(name):
    with pytest.raises(ValueError, match=r"expected images \[N, H, W, 1 or 3\], got inputs of shape \(5, 13\)"):
        FEATURE_SHIFTS[name](np.zeros((5, 13)), np.zeros(5, int), 2, 0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rotation", {"shifts": 0}, "shifts: expected 1 to 6, the number of clients, got 0"),
        ("rotation", {"shifts": 7}, "got 7"),
        ("rotation", {"degrees": np.nan}, "degrees: expected a finite number, got nan"),
        ("noise", {"sigma": -0.1}, "sigma: expected a number of at least 0, got -0.1"),
        ("colour", {"tint": 1.5}, "tint: expected a number from 0 to 1, got 1.5"),
        ("colour", {"colour_mode": "tnt"}, "colour_mode: expected one of tint, permute, invert, got 'tnt'"),
        ("blur", {"most_blur": np.inf}, "most_blur: expected a number of at least 0, got inf"),
        ("contrast", {"least_contrast": 2}, "least_contrast: expected a number from 0 to 1, got 2"),
    ],
)
def test_options_out_of_range_are_refused(make_images, name, options, message):
    images, owner = make_images()
    with pytest.raises(ValueError, match=message):
        FEATURE_SHIFTS[name](images, owner, CLIENTS, 0, **options)


def test_grey_images_have_no_hue_and_owners_must_fit(make_images):
    images, owner = make_images(channels=1)
    with pytest.raises(ValueError, match="colour_mode: expected 'invert' for grey images, got 'tint'"):
        colour(images, owner, CLIENTS)
    with pytest.raises(ValueError, match=r"client_of: expected 60 integers, got shape \(5,\)"):
        blur(images, owner[:5], CLIENTS)
    with pytest.raises(ValueError, match="client_of: expected ids below 3, got 5"):
        blur(images, owner, 3)
