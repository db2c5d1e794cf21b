"""Clipping, noise and the adapted bound, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import ops
from tests import toy


@pytest.fixture
def update(x64):
    params = toy.make_task().init(jax.random.key(0))
    return params, ops.layer_map(params)


def norm(tree):
    return np.sqrt(sum((np.asarray(x) ** 2).sum() for x in jax.tree.leaves(tree)))


@pytest.mark.parametrize("bound", [0.3, 1.0, 1e3])
def test_a_whole_update_is_scaled_by_one_factor(update, bound):
    tree, layers = update
    clipped, within = jax.jit(lambda b: ops.clip_update(tree, layers, b))(bound)
    factor = min(1, bound / norm(tree))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, factor * np.asarray(y), rtol=1e-12), clipped, tree)
    assert bool(within) == (norm(tree) <= bound)


def test_each_layer_may_be_clipped_by_its_own_norm(update):
    tree, layers = update
    limit = 0.9 / np.sqrt(3)
    clipped, _ = ops.clip_update(tree, layers, 0.9, per_layer=True)
    for found, own in zip(clipped, tree, strict=True):
        factor = min(1, limit / norm(own))
        jax.tree.map(lambda x, y, f=factor: np.testing.assert_allclose(x, f * np.asarray(y), rtol=1e-12), found, own)
    assert norm(clipped) <= 0.9 * (1 + 1e-12)


def test_an_update_of_zeros_stays(update):
    zeros = jax.tree.map(jnp.zeros_like, update[0])
    clipped, within = ops.clip_update(zeros, update[1], 0.5)
    assert norm(clipped) == 0
    assert within


def test_noise_has_its_deviation_and_other_leaves_get_other_noise():
    tree = {"a": jnp.zeros(20_000), "b": jnp.zeros(20_000)}
    found = ops.add_noise(jax.random.key(1), tree, 3.0)
    assert abs(np.std(found["a"]) - 3) < 0.1
    assert abs(np.corrcoef(found["a"], found["b"])[0, 1]) < 0.03


def test_the_bound_comes_to_the_quantile_of_the_norms():
    norms, bound = np.linspace(0.1, 10, 100), 1.0
    for _ in range(200):
        bound = float(ops.adapted_bound(bound, (norms <= bound).mean(), 0.7, 0.2))
    assert abs(bound - np.quantile(norms, 0.7)) < 0.2
