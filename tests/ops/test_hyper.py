"""Hypernetworks: the start, both normalisations by hand, gradients, sharing, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.ops import hypernetwork
from fedjax_layers.ops.hyper import normalised

SMALL = {"embedding": 4, "hidden": (5, 3)}


def test_zero_heads_begin_uniform_and_their_first_gradient_is_theirs_alone():
    net = hypernetwork(6, 2, **SMALL)
    params = net.init(jax.random.key(0))
    np.testing.assert_allclose(net.apply(params, 3), np.full((2, 6), 1 / 6), rtol=1e-6)
    grads = jax.grad(lambda p: net.apply(p, 3)[0, 1])(params)
    assert jnp.abs(grads["heads"]["bias"]).max() > 0
    assert all(not x.any() for x in jax.tree.leaves((grads["embedding"], grads["trunk"])))


def test_the_network_by_hand():
    net = hypernetwork(3, 2, **SMALL, heads="normal")
    params = net.init(jax.random.key(1))
    x = np.asarray(params["embedding"])
    for layer in params["trunk"]:
        x = np.maximum(x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 0)
    z = np.stack([x @ np.asarray(params["heads"]["kernel"][i]) for i in range(2)])
    expected = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    np.testing.assert_allclose(net.apply(params, 0), expected, rtol=1e-5)


def test_self_bias_is_the_clients_own_output():
    net = hypernetwork(4, 1, **SMALL, self_bias=2.0)
    params = net.init(jax.random.key(0))
    expected = np.exp([0, 0, 2.0, 0]) / (3 + np.exp(2.0))
    np.testing.assert_allclose(net.apply(params, 2)[0], expected, rtol=1e-6)


def test_relu_divides_by_the_sum_and_falls_back_to_oneself():
    own = jnp.asarray([False, True, False])
    outputs = jnp.asarray([[1.0, -5.0, 3.0], [-1.0, 0.0, -2.0]])
    np.testing.assert_allclose(normalised(outputs, own, "relu"), [[0.25, 0, 0.75], [0, 1, 0]])
    grads = jax.jacobian(lambda z: normalised(z, own, "relu"))(outputs)
    assert jnp.isfinite(grads).all()
    assert not grads[1].any()


def test_uniform_heads_with_relu_start_nearly_uniform():
    net = hypernetwork(10, 3, normalise="relu", heads="uniform")
    alpha = np.asarray(net.apply(net.init(jax.random.key(2)), 0))
    np.testing.assert_allclose(alpha.sum(-1), 1, rtol=1e-5)
    assert 0.02 < alpha.std() / alpha.mean() < 0.3  # a tenth or so, as the note derives


def test_one_for_each_client_or_one_for_all():
    own = hypernetwork(3, 2, **SMALL, heads="normal")
    stacked = jax.vmap(own.init)(jax.random.split(jax.random.key(0), 3))
    alpha = jax.vmap(own.apply)(stacked, jnp.arange(3))
    assert alpha.shape == (3, 2, 3)
    assert (alpha[0] != alpha[1]).all()
    shared = hypernetwork(3, 2, **SMALL, heads="normal", shared=True)
    params = shared.init(jax.random.key(0))
    assert params["embedding"].shape == (3, 4)
    both = jax.vmap(shared.apply, (None, 0))(params, jnp.arange(3))
    assert (both[0] != both[1]).all()
    grads = jax.grad(lambda p: shared.apply(p, 1)[0, 0])(params)["embedding"]
    assert grads[1].any()
    assert not grads[0].any()


def test_no_trunk_is_a_linear_head():
    net = hypernetwork(3, 1, embedding=2, hidden=(), heads="normal")
    params = net.init(jax.random.key(0))
    assert params["trunk"] == []
    assert params["heads"]["kernel"].shape == (1, 2, 3)


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((0, 2), {}, "num_clients: expected at least 1, got 0"),
        ((3, 0), {}, "num_layers: expected at least 1, got 0"),
        ((3, 2), {"embedding": 0}, "embedding: expected at least 1, got 0"),
        ((3, 2), {"hidden": (3, 0)}, r"hidden: expected widths of at least 1, got \(3, 0\)"),
        ((3, 2), {"normalise": "sum"}, "normalise: expected one of softmax, relu, got 'sum'"),
        ((3, 2), {"heads": "one"}, "heads: expected one of zeros, uniform, normal, got 'one'"),
    ],
)
def test_bad_input(args, options, message):
    with pytest.raises(ValueError, match=message):
        hypernetwork(*args, **options)
