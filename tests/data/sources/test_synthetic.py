"""Synthetic(α, β) against its definition."""

import numpy as np
import pytest

from fedjax_layers.data import load_dataset
from fedjax_layers.data.sources import synthetic


def test_synthetic_matches_its_definition():
    data = load_dataset("synthetic", alpha=0.0, beta=0.0, clients=400, min_samples=50, max_samples=50, seed=1)
    assert data.inputs.shape == (20_000, 60)
    assert data.inputs.dtype == np.float32
    np.testing.assert_array_equal(data.clients, np.repeat(np.arange(400), 50))
    by_client = data.inputs.reshape(400, 50, 60).astype(np.float64)
    within = by_client.var(axis=1, ddof=1).mean(axis=0)
    np.testing.assert_allclose(within, np.arange(1, 61) ** -1.2, rtol=0.05)  # 7 standard errors
    centres = by_client.mean(axis=1)
    assert abs(centres.mean()) < 0.03  # 4.5 standard errors: v_k ~ N(0, 1), 24,000 of them
    assert centres.var() == pytest.approx(1 + (np.arange(1, 61) ** -1.2).mean() / 50, rel=0.04)


def test_synthetic_beta_moves_the_inputs_of_whole_clients():
    data = load_dataset("synthetic", alpha=0.0, beta=3.0, clients=400, min_samples=20, max_samples=20)
    offset = data.inputs.reshape(400, 20, 60).mean(axis=(1, 2))
    # B_k ~ N(0, 3) as a standard deviation, and the mean of 60 entries of v_k around it
    assert offset.std() == pytest.approx(np.sqrt(9 + 1 / 60), rel=0.15)


def test_synthetic_labels_are_the_argmax_of_one_linear_model_per_client():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 60)).astype(np.float32)
    owner = np.sort(rng.integers(0, 4, 50))
    weight, bias = rng.normal(size=(4, 60, 10)), rng.normal(size=(4, 10))
    expected = [np.argmax(x[i] @ weight[k] + bias[k]) for i, k in enumerate(owner)]
    np.testing.assert_array_equal(synthetic._argmax(x, owner, weight, bias), expected)


def test_synthetic_sizes_are_lognormal_and_capped():
    sizes = np.bincount(load_dataset("synthetic", clients=1000, max_samples=500).clients)
    assert (sizes.min(), sizes.max()) == (50, 500)
    assert np.median(sizes) == pytest.approx(50 + np.exp(4), rel=0.2)
    five = np.bincount(load_dataset("synthetic", clients=200, max_samples=2500, size_factor=5).clients)
    assert five.min() == 250
    assert (five % 5 == 0).all()


def test_synthetic_is_reproducible_across_blocks():
    one, two = (load_dataset("synthetic", clients=1500, min_samples=2, max_samples=3, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.inputs, two.inputs)
    np.testing.assert_array_equal(one.labels, two.labels)
    assert not np.array_equal(one.inputs[:9], load_dataset("synthetic", clients=9, seed=5).inputs[:9])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1}, "alpha: expected a finite number of at least 0, got -1"),
        ({"beta": float("nan")}, "beta: .* got nan"),
        ({"clients": 0}, "clients: expected at least 1, got 0"),
        ({"max_samples": 10}, "max_samples: expected at least min_samples=50, got 10"),
    ],
)
def test_synthetic_errors(options, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("synthetic", **options)
