"""CKA and the Procrustes angle against NumPy and SciPy, and what neither of them sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from fedjax_layers import ops
from fedjax_layers.ops.layer_metrics.similarity import rotated


def cka(x, y):
    """The definition by kernels: centre both Gram matrices."""
    n = len(x)
    centre = np.eye(n) - 1 / n
    k, m = (centre @ (z @ z.T) @ centre for z in (x, y))
    return (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())


def angle(x, y):
    a, b = (z - z.mean(0) for z in (x, y))
    return np.arccos(orthogonal_procrustes(a, b)[1] / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("shape", [(12, 5), (6, 40), (8, 3, 4)])
def test_both_agree_with_a_direct_computation(shape, x64):
    x, y = np.random.default_rng(0).normal(size=(2, *shape))
    y += x
    a, b = (z.reshape(len(z), -1) for z in (x, y))
    np.testing.assert_allclose(ops.linear_cka(x, y), cka(a, b), rtol=1e-10)
    np.testing.assert_allclose(ops.procrustes(x, y), angle(a, b), rtol=1e-10)
    small = [rotated(z) for z in (x, y)]
    assert all(z.shape[1] <= len(x) for z in small)
    np.testing.assert_allclose(ops.linear_cka(*small), cka(a, b), rtol=1e-10)
    np.testing.assert_allclose(ops.procrustes(*small), angle(a, b), rtol=1e-10)


def test_representations_may_differ_in_their_features(x64):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(10, 3)), rng.normal(size=(10, 30))
    np.testing.assert_allclose(ops.linear_cka(x, y), cka(x, y), rtol=1e-10)
    padded = np.pad(x, ((0, 0), (0, 27)))
    np.testing.assert_allclose(ops.procrustes(x, y), angle(padded, y), rtol=1e-10)


def test_rotation_scale_and_offset_are_not_seen(x64):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 9, 4))
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    np.testing.assert_allclose(ops.linear_cka(x, -1e20 * x @ turn + 3), 1, rtol=1e-10)
    np.testing.assert_allclose(ops.procrustes(x, 1e-9 * x @ turn), 0, atol=1e-6)
    for measure in (ops.linear_cka, ops.procrustes):
        np.testing.assert_allclose(measure(x, 5 * y @ turn - 2), measure(x, y), rtol=1e-10)
        np.testing.assert_allclose(measure(y, x), measure(x, y), rtol=1e-10)


def test_maps_over_pairs_of_clients_and_a_constant_is_like_nothing():
    x = np.random.default_rng(3).normal(size=(3, 8, 20)).astype(np.float32)
    table = jax.vmap(jax.vmap(ops.linear_cka, (None, 0)), (0, None))(x, x)
    np.testing.assert_allclose(table, [[cka(a, b) for b in x] for a in x], rtol=1e-4)
    constant = np.full((8, 20), 0.1, np.float32)
    assert float(ops.linear_cka(x[0], constant)) == 0
    assert float(ops.procrustes(x[0], constant)) == pytest.approx(np.pi / 2)
    assert float(ops.procrustes(x[0], x[0])) < 2e-3


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match="y: expected the 3 examples of x, found 4"):
        ops.linear_cka(jnp.ones((3, 2)), jnp.ones((4, 2)))
    with pytest.raises(ValueError, match=r"x: expected shape \[n, ...\], found \(3,\)"):
        ops.procrustes(jnp.ones(3), jnp.ones(3))
