"""Trace and largest eigenvalue of each layer's block against the dense Hessian of a small network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from fedjax_layers import ops

ORDER = ["one", "two", "head"]


def network(params, x):
    for name in ("one", "two"):
        x = jnp.tanh(x @ params[name]["w"] + params[name]["b"][None])
    return x @ params["head"]["w"]


@pytest.fixture
def problem(x64):
    """Loss, params of two clients, the layer map, and each client's blocks of the dense Hessian."""
    rng = np.random.default_rng(3)
    shapes = {"one": {"b": (3,), "w": (2, 3)}, "two": {"b": (4,), "w": (3, 4)}, "head": {"w": (4, 2)}}
    leaf = lambda x: isinstance(x, tuple)  # noqa: E731
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=(2, *s))), shapes, is_leaf=leaf)
    x, y = jnp.asarray(rng.normal(size=(9, 2))), jnp.asarray(rng.integers(0, 2, 9))

    def loss(p):
        return -jnp.take_along_axis(jax.nn.log_softmax(network(p, x)), y[:, None], 1).mean()

    def block(client, name):
        own = jax.tree.map(lambda z: z[client], params)
        flat, unravel = ravel_pytree(own[name])
        return np.asarray(jax.hessian(lambda v: loss({**own, name: unravel(v)}))(flat))

    blocks = [[block(client, name) for name in ORDER] for client in range(2)]
    return loss, params, ops.layer_map(jax.tree.map(lambda z: z[0], params), order=ORDER), blocks


def test_the_largest_eigenvalue_is_that_of_the_dense_block(problem):
    loss, params, layers, blocks = problem
    keys = jax.random.split(jax.random.key(0), 2)
    expected = [[np.linalg.eigvalsh(b)[-1] for b in client] for client in blocks]
    find = jax.jit(jax.vmap(lambda p, k: ops.top_eigenvalue(loss, p, layers, k, iterations=40)))
    np.testing.assert_allclose(find(params, keys), expected, rtol=1e-8)
    few = jax.vmap(lambda p, k: ops.top_eigenvalue(loss, p, layers, k, iterations=6))(params, keys)
    np.testing.assert_allclose(few, expected, rtol=2e-2)
    assert (np.asarray(few) <= np.asarray(expected) + 1e-12).all(), "Lanczos comes from below"


def test_the_trace_is_that_of_the_dense_block(problem):
    """The estimate is within five of its standard errors, which the off-diagonal entries give."""
    loss, params, layers, blocks = problem
    samples = 400
    keys = jax.random.split(jax.random.key(1), 2)
    find = jax.jit(jax.vmap(lambda p, k: ops.hessian_trace(loss, p, layers, k, samples=samples)))
    found = np.asarray(find(params, keys))
    for client in range(2):
        for layer, block in enumerate(blocks[client]):
            off = block - np.diag(np.diag(block))
            assert abs(found[client, layer] - np.trace(block)) < 5 * np.sqrt(2 * (off**2).sum() / samples)
            assert abs(found[client, layer] - np.trace(block)) < 0.3 * abs(np.linalg.eigvalsh(block)).sum()


def test_a_diagonal_is_found_exactly_and_the_largest_has_a_sign(x64):
    diagonal = {"a": jnp.asarray([1.0, -7.0, 3.0]), "b": jnp.asarray([-2.0, -5.0])}
    layers = ops.layer_map(diagonal, order=["a", "b"])

    def loss(p):
        return 0.5 * sum(jnp.sum(diagonal[name] * p[name] ** 2) for name in diagonal) + p["a"][0] * p["b"][0]

    params = jax.tree.map(jnp.ones_like, diagonal)
    key = jax.random.key(2)
    np.testing.assert_allclose(ops.hessian_trace(loss, params, layers, key, samples=1), [-3, -7], rtol=1e-12)
    np.testing.assert_allclose(ops.top_eigenvalue(loss, params, layers, key), [3, -2], rtol=1e-12)
    flat = lambda p: sum(jnp.sum(x) for x in p.values())  # noqa: E731
    assert not ops.top_eigenvalue(flat, params, layers, key).any()
    assert not ops.hessian_trace(flat, params, layers, key).any()


def test_what_is_wrong_is_named():
    params = {"w": jnp.ones(3)}
    layers, key = ops.layer_map(params), jax.random.key(0)
    good = lambda p: jnp.sum(p["w"] ** 2)  # noqa: E731
    with pytest.raises(ValueError, match="samples: expected at least 1, got 0"):
        ops.hessian_trace(good, params, layers, key, samples=0)
    with pytest.raises(ValueError, match="iterations: expected at least 1, got 0"):
        ops.top_eigenvalue(good, params, layers, key, iterations=0)
    with pytest.raises(ValueError, match="loss: expected a function from params to one real number"):
        ops.top_eigenvalue(lambda p: p["w"], params, layers, key)
    with pytest.raises(ValueError, match="params: expected a leaf at 'w'"):
        ops.hessian_trace(good, {"v": jnp.ones(3)}, layers, key)
