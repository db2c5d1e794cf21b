"""What each layer computes of a batch: the outputs of its modules, whatever the framework; residuals, norms, loops."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedjax_layers as fl
from fedjax_layers import models
from fedjax_layers.models import Functions
from fedjax_layers.models.representations import layer_outputs

eqx = pytest.importorskip("equinox")
from tests.models import four_kinds  # noqa: E402

X = np.random.default_rng(0).normal(size=(5, 10, 10, 1)).astype(np.float32)


def captured(module, params, x):
    """The modules' outputs by name, as Flax itself captures them."""
    options = {"capture_intermediates": True, "mutable": ["intermediates"]}
    return jax.jit(lambda p: module.apply({"params": p}, x, **options)[1]["intermediates"])(params)


def test_four_kinds_compute_the_same():
    x = jnp.asarray(np.random.default_rng(1).normal(size=(6, four_kinds.WIDTHS[0])), jnp.float32)
    tasks = {
        kind: fl.task(model, four_kinds.WIDTHS[:1], four_kinds.WIDTHS[-1]) for kind, model in four_kinds.MODELS.items()
    }
    params = jax.tree.map(lambda w: w + 0.1, tasks["linen"].init(jax.random.key(0)))
    first, last = layer_outputs(tasks["linen"], params, x)
    np.testing.assert_allclose(last, tasks["linen"].apply(params, x, None), rtol=1e-6)
    np.testing.assert_allclose(first, x @ params["z_first"]["kernel"] + params["z_first"]["bias"], rtol=1e-5, atol=1e-6)
    for kind, task in tasks.items():
        for one, other in zip(layer_outputs(task, four_kinds.weights_of(kind, params), x), (first, last), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_network_of_convolutions_gives_the_outputs_of_its_modules():
    module = models.build_model("player_fmnist_cnn", 10, width=0.125)
    task = fl.task(module, X.shape[1:], 10)
    params = jax.jit(task.init)(jax.random.key(0))
    expected = captured(module, params, X)
    found = jax.jit(lambda p, x: layer_outputs(task, p, x))(params, X)
    assert task.layers.names == ("Conv_0", "Conv_1", "Conv_2", "Dense_0", "Dense_1")
    for name, x in zip(task.layers.names, found, strict=True):
        np.testing.assert_allclose(x, expected[name]["__call__"][0].reshape(5, -1), rtol=1e-4, atol=1e-5)
    stacked = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)
    both = jax.jit(jax.vmap(lambda p: layer_outputs(task, p, X)))(stacked)
    np.testing.assert_allclose(both[2][0], found[2], rtol=1e-4, atol=1e-5)


class Blocks(nn.Module):
    """A residual block of convolutions without biases, which norms follow, and a head."""

    @nn.compact
    def __call__(self, x):
        x = x.astype(jnp.float32)
        y = nn.GroupNorm(1, name="norm_0")(nn.Conv(4, (3, 3), use_bias=False, name="first")(x))
        y = nn.Conv(4, (5, 5), use_bias=False, name="second")(nn.relu(y))
        x = nn.relu(y + nn.Conv(4, (1, 1), use_bias=False, name="shortcut")(x))
        return nn.Dense(3, name="head")(x.reshape(x.shape[0], -1))


def test_norms_belong_to_their_layer_and_branches_are_apart():
    module = Blocks()
    task = fl.task(module, X.shape[1:], 3)
    params = jax.jit(task.init)(jax.random.key(0))
    expected = captured(module, params, X)
    found = dict(zip(task.layers.names, jax.jit(lambda p: layer_outputs(task, p, X))(params), strict=True))
    pairs = {"first": "norm_0", "second": "second", "shortcut": "shortcut", "head": "head"}
    assert found.keys() == pairs.keys()
    for name, module_name in pairs.items():
        reference = expected[module_name]["__call__"][0].reshape(5, -1)
        np.testing.assert_allclose(found[name], reference, rtol=1e-4, atol=1e-5)


def recurrent(params, x):
    """A cell over time in a loop, and a head; the state of all steps is one array."""

    def step(h, x_t):
        h = jnp.tanh(x_t @ params["cell"]["w"] + h @ params["cell"]["u"])
        return h, h

    last, _ = jax.lax.scan(step, jnp.zeros((x.shape[0], 4)), jnp.moveaxis(x, 1, 0))
    return last @ params["head"]["w"]


def test_a_loop_is_one_step_of_the_program():
    init = lambda key: {  # noqa: E731
        "cell": {"w": jax.random.normal(key, (2, 4)), "u": jnp.eye(4)},
        "head": {"w": jax.random.normal(key, (4, 3))},
    }
    task = fl.task(Functions(init, recurrent, order=["cell", "head"]), (6, 2), 3)
    params, x = task.init(jax.random.key(0)), jnp.ones((5, 6, 2))
    cell, head = layer_outputs(task, params, x)
    assert cell.shape == (5, 4)
    np.testing.assert_allclose(cell @ params["head"]["w"], head, rtol=1e-5)


def test_what_mixes_the_examples_is_refused():
    apply = lambda p, x: x + (x * p["a"]["w"]).mean(0, keepdims=True) @ p["b"]["w"]  # noqa: E731
    init = lambda key: {"a": {"w": jnp.ones((1, 3))}, "b": {"w": jax.random.normal(key, (3, 3))}}  # noqa: E731
    task = fl.task(Functions(init, apply, order=["a", "b"]), (3,), 3)
    with pytest.raises(ValueError, match=r"layer 'b': expected a layer whose output has a row for each example, found"):
        layer_outputs(task, task.init(jax.random.key(0)), jnp.ones((5, 3)))
