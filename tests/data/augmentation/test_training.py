"""Augmentation where it is used: in training and nowhere else, and in runs that are cut in two."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedjax_layers as fl
from fedjax_layers.data import Preprocess
from fedjax_layers.data.augmentation import AUGMENTATIONS, Flip
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import prepare
from fedjax_layers.models import build_model
from fedjax_layers.types import Batch
from tests.cli.command import cli

KEY = jax.random.key(5)


class Dropping(nn.Module):
    """One dense layer behind dropout, so that the output tells which pixels were dropped."""

    @nn.compact
    def __call__(self, x, deterministic: bool = True):
        x = x.reshape(len(x), -1)
        return nn.Dense(4)(nn.Dropout(0.5, deterministic=deterministic)(x))


@pytest.fixture
def make_task():
    """A function that makes a task on 8x8 images of uint8."""

    def make(augment=None, **options):
        preprocess = Preprocess(scale=1 / 255, mean=0.5, std=0.25)
        return fl.task(Dropping(), (8, 8, 1), 4, preprocess=preprocess, augment=augment, **options)

    return make


@pytest.fixture
def images():
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1)), jnp.uint8)


def test_without_a_key_nothing_is_changed_and_with_one_training_images_are(make_task, images):
    plain, augmented = make_task(), make_task(Flip(1.0))
    params = plain.init(jax.random.key(0))
    np.testing.assert_array_equal(augmented.apply(params, images, None), plain.apply(params, images, None))
    # Dropout gets the second half of the key, the images are flipped as they are stored.
    expected = plain.apply(params, images[:, :, ::-1], jax.random.split(KEY)[1])
    np.testing.assert_allclose(augmented.apply(params, images, KEY), expected, rtol=1e-5, atol=1e-5)
    assert (augmented.apply(params, images, KEY) != plain.apply(params, images, KEY)).any()


def test_without_augmentation_dropout_gets_the_key_itself(make_task, images):
    """Runs from before there was augmentation are repeated bit for bit."""
    task = make_task()
    params = task.init(jax.random.key(0))
    x = (images.astype(jnp.float32) * np.float32(4 / 255)) - 2
    expected = Dropping().apply({"params": params}, x, deterministic=False, rngs={"dropout": KEY})
    np.testing.assert_allclose(task.apply(params, images, KEY), expected, rtol=1e-6)


def test_augmentation_sees_the_stored_pixels_as_floats(make_task, images):
    seen = []

    def spy(key, x):
        jax.debug.callback(lambda *values: seen.append(values), jax.random.key_data(key), x)
        return x

    task = make_task(spy)
    task.apply(task.init(jax.random.key(0)), images, KEY)
    jax.effects_barrier()
    ((key, x),) = seen
    np.testing.assert_array_equal(x, images)
    assert x.dtype == jnp.float32
    np.testing.assert_array_equal(key, jax.random.key_data(jax.random.split(KEY)[0]))


@pytest.mark.parametrize("name", ["cifar", "fmnist"])
def test_padding_rows_change_neither_loss_nor_gradient(make_task, images, name):
    task = make_task(AUGMENTATIONS[name])
    params = task.init(jax.random.key(0))
    gradient = jax.jit(jax.value_and_grad(task.loss))
    labels, mask = jnp.arange(12) % 4, jnp.arange(12) % 3 != 0
    floats = images.astype(jnp.float32)
    dirty = jnp.where(mask[:, None, None, None], floats, jnp.nan)
    clean = gradient(params, Batch(floats, labels, mask), KEY)
    for got, expected in zip(
        jax.tree.leaves(gradient(params, Batch(dirty, labels, mask), KEY)), jax.tree.leaves(clean), strict=True
    ):
        assert jnp.isfinite(expected).all()
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("shape", "augment", "message"),
    [
        ((10,), Flip(), r"augment: expected images \[H, W, C\], got examples of shape \(10,\)"),
        ((8, 8), Flip(), r"augment: expected images \[H, W, C\], got examples of shape \(8, 8\)"),
        ((8, 8, 1), lambda _, x: x[:, 2:], r"augment: expected images of shape \(8, 8, 1\) again, got \(6, 8, 1\)"),
        ((8, 8, 1), AUGMENTATIONS["isic"], r"padding: expected less than the image's \(8, 8\), got 12"),
    ],
)
def test_a_task_refuses_what_it_cannot_augment(shape, augment, message):
    with pytest.raises(ValueError, match=message):
        fl.task(build_model("mlp", 3), shape, 3, augment=augment)


def config_of(**changes):
    values = {"algorithm": "fedavg", "dataset": "digits", "clients": 3, "rounds": 3, "client_width": "all"}
    return RunConfig(**(values | {"model": "mlp", "model_options": {"hidden": (8,)}, "batch_size": 64} | changes))


@pytest.mark.parametrize(
    ("changes", "message"), [({"augmentation": "cifr"}, "did you mean 'cifar'"), ({"augmentation": 3}, "text or none")]
)
def test_a_config_names_a_recipe(changes, message):
    with pytest.raises(ValueError, match=message):
        config_of(**changes)
    with pytest.raises(ValueError, match=r"augment: expected images \[H, W, C\], got examples of shape \(10,\)"):
        prepare(config_of(dataset="heart", clients=None, model=None, model_options={}, augmentation="cifar"))


@pytest.mark.slow
def test_an_interrupted_augmented_run_ends_as_an_uninterrupted_one(tmp_path):
    config = config_of(augmentation="fmnist")

    def run_into(name, **options):
        folder = RunDirectory.create(tmp_path / name, config, resume=options.get("resume", False))
        execute(prepare(config), folder, **options)
        return folder

    whole = run_into("whole")
    run_into("parts", stop=lambda done: done == 2)
    parts = run_into("parts", resume=True)
    assert whole.read_rounds() == parts.read_rounds()
    assert whole.read("summary")["personal"] == parts.read("summary")["personal"]
    for name, values in whole.read_clients().items():
        np.testing.assert_array_equal(values, parts.read_clients()[name], name)


def test_the_flag_reaches_training_and_the_record(tmp_path):
    small = "--dataset digits --clients 3 --rounds 1 --model mlp --hidden 8 --batch-size 64 --client-width all"
    flags = small.split()
    for name, more in (("plain", []), ("changed", ["--augmentation", "crop_flip"])):
        assert cli("run", "fedavg", *flags, *more, "--out", tmp_path / name).code == 0
    plain, changed = RunDirectory(tmp_path / "plain"), RunDirectory(tmp_path / "changed")
    assert changed.read("config")["augmentation"] == "crop_flip"
    assert plain.read("config")["augmentation"] is None
    # The clients' start is one, what they learn from is not.
    assert plain.read_rounds()[0] != changed.read_rounds()[0]
    assert cli("run", "fedavg", *flags, "--augmentation", "crop_flp").err.count("did you mean 'crop_flip'") == 1
