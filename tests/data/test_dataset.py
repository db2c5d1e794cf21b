import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.data import Preprocess, load_dataset


def test_preprocess_is_scale_then_mean_then_std():
    raw = np.array([[0, 255], [51, 102]], np.uint8)
    pre = Preprocess(scale=1 / 255, mean=(0.5, 0.25), std=(0.5, 2.0))
    expected = [[-1.0, 0.375], [-0.6, 0.075]]
    np.testing.assert_allclose(pre(raw), expected, rtol=1e-6)
    on_device = jax.jit(pre)(jnp.asarray(raw))
    assert on_device.dtype == jnp.float32
    np.testing.assert_allclose(on_device, expected, rtol=1e-6)


def test_preprocess_is_hashable():
    assert len({Preprocess(std=(1.0, 2.0)), Preprocess(std=(1.0, 2.0)), Preprocess()}) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"std": 0.0}, "std: expected positive, finite numbers, got 0.0"),
        ({"std": (1.0, -1.0)}, "std: expected positive, finite"),
        ({"mean": float("nan")}, "mean: expected finite numbers, got nan"),
        ({"mean": (0.0, 0.0), "std": (1.0, 1.0, 1.0)}, r"mean, std: .* got lengths \[2, 3\]"),
    ],
)
def test_preprocess_errors(fields, message):
    with pytest.raises(ValueError, match=message):
        Preprocess(**fields)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("labels", np.zeros(3, np.int32), r"labels: expected 40 integers, got shape \(3,\)"),
        ("labels", np.full(40, 4, np.int32), r"labels: expected 0\.\.3 for toy, got 4\.\.4"),
        ("labels", np.full(40, -1, np.int32), r"labels: expected 0\.\.3 for toy, got -1\.\.-1"),
        ("example_ids", np.zeros(40), "example_ids: expected 40 integers, got .* float64"),
        ("clients", np.full(40, 2, np.int32), "clients: expected ids below 2 for toy, got 2"),
    ],
)
def test_dataset_errors(make_dataset, field, value, message):
    dataset = make_dataset(client_names=("a", "b"))
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(dataset, **{field: value})


def test_num_classes_is_the_number_of_names(make_dataset):
    assert make_dataset(classes=3).num_classes == 3
    assert len(make_dataset(n=12)) == 12


def test_unknown_data_set_and_option_suggest_the_nearest():
    with pytest.raises(
        ValueError, match=r"data set: expected one of .* got 'fashion_mnst'; did you mean 'fashion_mnist'"
    ):
        load_dataset("fashion_mnst")
    with pytest.raises(ValueError, match=r"data set 'mnist': expected one of limit, split, got 'limt'; .* 'limit'"):
        load_dataset("mnist", limt=5)
    with pytest.raises(ValueError, match=r"data set 'digits': expected one of nothing, got 'zzz'$"):
        load_dataset("digits", zzz=5)
