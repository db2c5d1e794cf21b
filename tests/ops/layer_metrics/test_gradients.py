"""Variance within a layer's gradient, signal-to-noise and cosines across clients, and divergence, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import ops

K = 4
SHAPES = {"a": {"b": (3,), "w": (5, 3)}, "z": {"w": (2, 2, 3)}}


@pytest.fixture
def clients(x64):
    rng = np.random.default_rng(0)
    shift = rng.normal(size=(K, 1))
    return {
        name: {leaf: rng.normal(size=(K, *shape)) + shift.reshape(K, *(1,) * len(shape)) for leaf, shape in of.items()}
        for name, of in SHAPES.items()
    }


def layers_of(stacked):
    return ops.layer_map(jax.tree.map(lambda x: x[0], stacked), order=["z", "a"])


def flat(stacked):
    """Matrices ``[K, n_l]`` in the order of the layers."""
    rows = {name: np.concatenate([x.reshape(K, -1) for x in of.values()], 1) for name, of in stacked.items()}
    return [rows["z"], rows["a"]]


def test_variance_within_a_gradient_maps_over_clients(clients):
    layers = layers_of(clients)
    found = jax.vmap(lambda g: ops.gradient_variance(g, layers))(clients)
    np.testing.assert_allclose(found, np.stack([x.var(1) for x in flat(clients)], 1), rtol=1e-12)
    unbiased = ops.gradient_variance(jax.tree.map(lambda x: x[1], clients), layers, unbiased=True)
    np.testing.assert_allclose(unbiased, [x[1].var(ddof=1) for x in flat(clients)], rtol=1e-12)


def test_signal_to_noise_is_a_ratio_of_squared_lengths(clients):
    weights = np.array([2.0, 0.0, 1.0, 3.0])
    expected = []
    for x in flat(clients):
        mean = np.average(x, axis=0, weights=weights)
        expected.append((mean**2).sum() / np.average(((x - mean) ** 2).sum(1), weights=weights))
    spoilt = jax.tree.map(lambda x: jnp.asarray(x).at[1].set(jnp.nan), clients)
    np.testing.assert_allclose(ops.signal_to_noise(spoilt, layers_of(clients), weights), expected, rtol=1e-12)


def test_signal_to_noise_by_hand(x64):
    """Updates (3, 0) and (1, 0): mean 2 squared over a variance of 1. Opposite ones have no signal, equal no noise."""
    layers = ops.layer_map({"w": jnp.zeros(2)})
    pairs = ([[3.0, 0.0], [1.0, 0.0]], [[1.0, 2.0], [-1.0, -2.0]], [[1.0, 2.0], [1.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]])
    found = [float(ops.signal_to_noise({"w": jnp.asarray(x)}, layers)[0]) for x in pairs]
    np.testing.assert_allclose(found, [4, 0, np.inf, 0], rtol=1e-12)


def test_cosine_is_the_mean_over_pairs(clients):
    expected = []
    for x in flat(clients):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        expected.append(np.mean([unit[i] @ unit[j] for i in range(K) for j in range(i)]))
    np.testing.assert_allclose(ops.update_cosine(clients, layers_of(clients)), expected, rtol=1e-12)


def test_cosine_by_hand(x64):
    """Right angle, opposite, and 45 degrees; a pair weighs as the product of its clients."""
    layers = ops.layer_map({"w": jnp.zeros(2)})
    updates = {"w": jnp.asarray([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])}
    np.testing.assert_allclose(ops.update_cosine(updates, layers), [-1 / 3], rtol=1e-12)
    np.testing.assert_allclose(ops.update_cosine(updates, layers, jnp.asarray([2.0, 1.0, 1.0])), [-2 / 5], rtol=1e-12)
    tilted = {"w": jnp.asarray([[1.0, 0.0], [1e-30, 1e-30], [np.nan, 0.0]])}
    weights = jnp.asarray([1.0, 1.0, 0.0])
    np.testing.assert_allclose(ops.update_cosine(tilted, layers, weights), [np.sqrt(0.5)], rtol=1e-12)
    assert np.isnan(ops.update_cosine(tilted, layers, jnp.asarray([1.0, 0.0, 0.0])))
    assert float(ops.update_cosine({"w": jnp.zeros((2, 2))}, layers)[0]) == 0


def test_divergence_from_the_mean_and_from_a_reference(clients):
    layers = layers_of(clients)
    server = jax.tree.map(lambda x: x[2], clients)
    for reference, rows in ((None, [x.mean(0) for x in flat(clients)]), (server, [x[2] for x in flat(clients)])):
        expected = [np.linalg.norm(x - r, axis=1) / np.linalg.norm(r) for x, r in zip(flat(clients), rows, strict=True)]
        found = ops.weight_divergence(clients, layers, reference)
        np.testing.assert_allclose(found, np.stack(expected, 1), rtol=1e-12)
    zero = jax.tree.map(jnp.zeros_like, server)
    assert np.isinf(ops.weight_divergence(clients, layers, zero)).all()
    assert not ops.weight_divergence(jax.tree.map(jnp.zeros_like, clients), layers, zero).any()


def test_what_is_wrong_is_named(clients):
    layers = layers_of(clients)
    one = jax.tree.map(lambda x: x[0], clients)
    with pytest.raises(ValueError, match="grads: expected a leaf at 'z/w', found none there"):
        ops.gradient_variance({"a": one["a"]}, layers)
    with pytest.raises(ValueError, match=r"weights: expected shape \(4\), found \(3,\)"):
        ops.update_cosine(clients, layers, jnp.ones(3))
    with pytest.raises(ValueError, match="updates at 'a/b': expected shape"):
        ops.signal_to_noise(jax.tree.map(lambda x: x[..., :2], clients), layers)
    with pytest.raises(ValueError, match="reference: expected a leaf"):
        ops.weight_divergence(clients, layers, {"a": one["a"]})
