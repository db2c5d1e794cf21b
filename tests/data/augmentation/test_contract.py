"""What every augmentation keeps to, whatever it does to pixels."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.data.augmentation import (
    AUGMENTATIONS,
    Affine,
    BrightnessContrast,
    ColourJitter,
    Compose,
    Crop,
    Cutout,
    Flip,
    Perspective,
    Rotation,
    base,
)

PIECES = {
    "affine": Affine(20, (0.2, 0.1), (0.8, 1.3), 10),
    "brightness": BrightnessContrast(0.3, 0.3),
    "colour": ColourJitter(0.4, 0.4, 0.4),
    "crop": Crop(3),
    "cutout": Cutout(5, (1, 3)),
    "flip": Flip(),
    "perspective": Perspective(0.5),
    "rotation": Rotation(40, interpolation="nearest", border="reflect"),
}
SEVERAL = PIECES | {"cifar": AUGMENTATIONS["cifar"]}
KEY = jax.random.key(3)


QUICK = ("affine", "colour", "crop", "cifar")


@pytest.fixture(params=[pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in SEVERAL])
def augmentation(request):
    return SEVERAL[request.param]


@pytest.mark.parametrize(
    ("channels", "dtype"), [pytest.param(1, jnp.bfloat16, marks=pytest.mark.slow), (3, jnp.float32)]
)
@pytest.mark.parametrize("name", PIECES | AUGMENTATIONS)
def test_shape_dtype_and_range_stay_and_something_happens(name, make_images, channels, dtype):
    augmentation = (PIECES | AUGMENTATIONS)[name]
    images = make_images(8, 18, 20, channels, dtype)
    changed = augmentation(KEY, images)
    assert (changed.shape, changed.dtype) == (images.shape, dtype)
    assert jnp.isfinite(changed).all()
    assert changed.min() >= 0
    assert changed.max() <= 256  # bfloat16 rounds
    assert (changed != images).any()
    np.testing.assert_array_equal(changed, augmentation(KEY, images))
    assert (changed != augmentation(jax.random.key(4), images)).any()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["colour", "cutout", "flip", "perspective"])
def test_double_precision_draws_the_same_numbers(name, make_images):
    augmentation = PIECES[name]
    images = make_images(dtype=jnp.float64)
    changed = augmentation(KEY, images)
    assert changed.dtype == jnp.float64
    np.testing.assert_allclose(changed, augmentation(KEY, images.astype(jnp.float32)), atol=1e-2)


def test_an_image_depends_on_its_place_alone_not_on_the_others(augmentation, make_images):
    """So padding rows change no real one, whatever they hold and however many there are."""
    images = make_images(20)
    changed = augmentation(KEY, images)
    others = images.at[3:].set(jnp.nan)
    np.testing.assert_array_equal(augmentation(KEY, others)[:3], changed[:3])
    # Another number of images is another program, whose sums may round otherwise.
    np.testing.assert_allclose(augmentation(KEY, images[:3]), changed[:3], atol=1e-3)
    same = augmentation(KEY, jnp.broadcast_to(images[:1], images.shape))
    assert len({np.asarray(image).tobytes() for image in same}) > 1


def test_vmapped_over_clients_and_scanned_over_steps_equal_a_loop(augmentation, make_images):
    clients = make_images(12).reshape(3, 4, 18, 18, 3)
    keys = jax.random.split(KEY, 3)
    sequential = jnp.stack([augmentation(k, x) for k, x in zip(keys, clients, strict=True)])
    vmapped = jax.jit(jax.vmap(augmentation))(keys, clients)
    np.testing.assert_allclose(vmapped, sequential, atol=1e-3)
    _, scanned = jax.lax.scan(lambda carry, row: (carry, augmentation(*row)), 0, (keys, clients))
    np.testing.assert_allclose(scanned, sequential, atol=1e-3)


def test_other_keys_and_equal_values_compile_nothing(make_images):
    images = make_images(2)
    base._augment.clear_cache()
    for seed in range(3):
        Compose((Flip(0.25), Crop(2)))(jax.random.key(seed), images)
    assert base._augment._cache_size() == 1
    Compose((Flip(0.75), Crop(2)))(KEY, images)
    assert base._augment._cache_size() == 2


def test_it_is_a_value(augmentation):
    assert hash(augmentation) == hash(dataclasses.replace(augmentation))
    assert augmentation == dataclasses.replace(augmentation)
    assert len(set(SEVERAL.values())) == len(SEVERAL)


def test_compose_is_its_stages_in_order_each_with_a_key_of_its_own(make_images):
    images = make_images(4)
    keys = base.fold_each(KEY, 4)
    stages = (Crop(3), Flip(), Crop(3))
    expected = images
    for number, stage in enumerate(stages):
        expected = stage.apply(jax.vmap(lambda k, s=number: jax.random.fold_in(k, s))(keys), expected)
    np.testing.assert_array_equal(Compose(stages)(KEY, images), expected)
    assert (Compose((Crop(3), Crop(3)))(KEY, images) != Compose((Crop(3),))(KEY, images)).any()
    np.testing.assert_array_equal(Compose(())(KEY, images), images)


@pytest.mark.parametrize("name", [n for n, a in PIECES.items() if hasattr(a, "p")])
def test_p_is_the_probability_of_a_change(name, make_images):
    images = jnp.broadcast_to(make_images(1), (2000, 18, 18, 3))
    never, often = (dataclasses.replace(PIECES[name], p=p) for p in (0.0, 0.25))
    np.testing.assert_array_equal(never(KEY, images), images)
    changed = (often(KEY, images) != images).any((1, 2, 3)).sum()
    assert abs(changed - 500) < 5 * np.sqrt(2000 * 0.25 * 0.75)  # five sigma; a change that changes nothing is rare


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (jnp.zeros((4, 8, 8)), r"images: expected \[B, H, W, 1 or 3\], got shape \(4, 8, 8\)"),
        (jnp.zeros((4, 13)), r"got shape \(4, 13\)"),
        (jnp.zeros((4, 3, 8, 8)), r"got shape \(4, 3, 8, 8\)"),
        (jnp.zeros((4, 8, 8, 3), jnp.uint8), "images: expected floats, got uint8"),
    ],
)
def test_what_is_no_float_image_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        Flip()(KEY, images)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flip(1.5), "p: expected a probability, got 1.5"),
        (lambda: Flip(direction="up"), "direction: expected horizontal, vertical or any, got 'up'"),
        (lambda: Crop(-1), "padding: expected at least 0, got -1"),
        (lambda: Crop(mode="edge"), "mode: expected reflect or zero, got 'edge'"),
        (lambda: Cutout(0), "size: expected at least 1, got 0"),
        (lambda: Cutout(4, (3, 2)), r"holes: expected the fewest and the most, got \(3, 2\)"),
        (lambda: Rotation((5, -5)), "degrees: expected finite numbers, the lower first, got 5 and -5"),
        (lambda: Rotation(float("nan")), "degrees: expected finite numbers"),
        (lambda: Rotation(5, interpolation="cubic"), "interpolation: expected bilinear or nearest, got 'cubic'"),
        (lambda: Rotation(5, border="white"), "border: expected black or reflect, got 'white'"),
        (lambda: Affine(scale=(0.0, 1.0)), "scale: expected finite numbers of at least 0.001"),
        (lambda: Affine(translate=(-0.1, 0.0)), "translate: expected finite numbers of at least 0"),
        (lambda: Perspective(1.0), "distortion: expected a number from 0 to below 1, got 1.0"),
        (lambda: ColourJitter(brightness=-0.1), "brightness: expected finite numbers of at least 0"),
        (lambda: ColourJitter(white=0), "white: expected a positive number, got 0"),
        (lambda: BrightnessContrast(contrast=float("inf")), "contrast: expected finite numbers"),
    ],
)
def test_bad_attributes_are_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_the_data_room_imports_neither_this_nor_jax():
    code = "import sys, fedjax_layers.data; print({'jax', 'fedjax_layers.data.augmentation'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
