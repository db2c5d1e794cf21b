"""Convolutions and pools of a user's own model: other operations on a CPU, the same values and gradients."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedjax_layers as fl
from fedjax_layers.models import client_conv, for_clients

SLOW = ("conv_general_dilated", "reduce_window", "select_and_scatter")


def pool(kind, window, strides, padding):
    return functools.partial(kind, window_shape=window, strides=strides, padding=padding)


LAYERS = {
    "convolution": nn.Conv(3, (3, 3)),
    "strided": nn.Conv(3, (3, 3), strides=2, padding="VALID"),
    "dilated and grouped": nn.Conv(4, (3, 3), kernel_dilation=2, feature_group_count=2),
    "transposed": nn.ConvTranspose(3, (3, 3), strides=(2, 2)),
    "maximum": pool(nn.max_pool, (2, 2), (2, 2), "VALID"),
    "maximum of what is left over": pool(nn.max_pool, (3, 2), (3, 2), "VALID"),
    "maximum with overlaps": pool(nn.max_pool, (3, 3), (2, 2), "SAME"),
    "mean": pool(nn.avg_pool, (2, 2), (2, 2), "VALID"),
    "mean with overlaps": pool(nn.avg_pool, (3, 3), (1, 1), "SAME"),
}


class Net(nn.Module):
    layer: Callable

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), conv_general_dilated=client_conv("patches"))(x))
        x = self.layer(x)
        return nn.Dense(3)(x.reshape(x.shape[0], -1))


def in_jit(fn):
    return jax.jit(fn)


def in_scan(fn):
    return lambda params, x: jax.lax.scan(lambda carry, one: (carry, fn(params, one[None])[0]), 0, x)[1]


def in_checkpoint(fn):
    return jax.checkpoint(fn)


def slow_in(fn, *args):
    text = str(jax.make_jaxpr(fn)(*args))
    return [name for name in SLOW if name in text]


def pictures(shape=(2, 8, 7, 2)):
    # Whole numbers, so that many members of a window are equal: the first receives the gradient.
    return jnp.asarray(np.random.default_rng(0).integers(0, 3, shape), jnp.float32)


def squares(fn, params, x):
    return (fn(params, x) ** 2).sum()


@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients_stay_and_nothing_slow_is_left(name):
    net, x = Net(LAYERS[name]), pictures()
    params = net.init(jax.random.key(0), x)
    loss, fast = functools.partial(squares, net.apply), functools.partial(squares, for_clients(net.apply))
    expected, found = (jax.jit(jax.value_and_grad(fn, argnums=(0, 1)))(params, x) for fn in (loss, fast))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), found, expected)
    assert slow_in(jax.grad(loss), params, x)
    assert not slow_in(jax.grad(fast), params, x)


@pytest.mark.parametrize("around", [in_jit, in_scan, in_checkpoint])
def test_what_lies_within_a_loop_or_a_call_is_found(around):
    net, x = Net(nn.Conv(3, (3, 3))), pictures()
    params = net.init(jax.random.key(0), x)
    expected = net.apply(params, x)
    fn = for_clients(around(net.apply))
    np.testing.assert_allclose(jax.jit(fn)(params, x), expected, rtol=1e-5, atol=1e-5)
    assert not slow_in(jax.grad(functools.partial(squares, fn)), params, x)


def test_clients_with_kernels_of_their_own_are_vectorised():
    net, x = Net(LAYERS["maximum"]), pictures((3, 2, 8, 8, 2))
    params = jax.vmap(lambda key: net.init(key, x[0]))(jax.random.split(jax.random.key(0), 3))
    losses = (functools.partial(squares, fn) for fn in (net.apply, for_clients(net.apply)))
    expected, found = (jax.vmap(jax.grad(loss))(params, x) for loss in losses)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), found, expected)


def test_a_native_convolution_that_was_asked_for_stays():
    net, x = Net(nn.Conv(3, (3, 3), conv_general_dilated=client_conv("native"))), pictures()
    params = net.init(jax.random.key(0), x)
    assert slow_in(for_clients(net.apply), params, x) == ["conv_general_dilated"]


def test_a_task_of_a_users_own_module_has_nothing_slow_in_it():
    class Own(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.max_pool(nn.Conv(4, (3, 3))(x), (2, 2), (2, 2))
            return nn.Dense(3)(nn.avg_pool(x, (2, 2), (2, 2)).reshape(x.shape[0], -1))

    task = fl.task(Own(), (8, 8, 1), 3)
    params, x = task.init(jax.random.key(0)), pictures((2, 8, 8, 1))
    assert not slow_in(jax.grad(lambda p: task.apply(p, x, None).sum()), params)
    np.testing.assert_allclose(task.apply(params, x, None), Own().apply({"params": params}, x), rtol=1e-5, atol=1e-5)
