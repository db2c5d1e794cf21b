import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedjax_layers as fl
from fedjax_layers.models import (
    CNN,
    MODELS,
    TOKEN_MODELS,
    as_stored,
    build_model,
    in_precision,
    kaiming_normal,
)
from fedjax_layers.models.cnn import scaled
from fedjax_layers.types import Batch


def conv(k, i, o):
    return k * k * i * o + o


def dense(i, o):
    return i * o + o


# name, input shape, classes, options, parameters of each layer counted by hand
CASES = [
    ("logistic_regression", (28, 28, 1), 10, {}, [7850]),
    ("logistic_regression", (60,), 10, {}, [610]),
    ("mlp", (28, 28), 10, {}, [157_000, 40_200, 2_010]),
    ("mlp", (10,), 3, {"hidden": (5,)}, [55, 18]),
    ("heart_mlp", (10,), 5, {}, [550, 1020, 420, 105]),
    ("cnn", (8, 8), 10, {}, [conv(3, 1, 16), conv(3, 16, 32), dense(2 * 2 * 32, 64), 650]),
    ("cnn", (8, 8, 1), 10, {"channels": (2,) * 6}, [20, 38, 38, 38, 38, 38, dense(2, 64), 650]),
    (
        "cnn",
        (32, 32, 3),
        10,
        {"channels": (32, 64), "pooling": (False, True), "padding": "VALID", "hidden": (128,)},
        [conv(3, 3, 32), conv(3, 32, 64), dense(14 * 14 * 64, 128), 1290],
    ),
    ("lenet5", (28, 28), 10, {}, [156, 2416, 48_120, 10_164, 850]),
    ("lenet5", (32, 32, 3), 10, {}, [456, 2416, 48_120, 10_164, 850]),
    ("lenet5", (8, 8), 10, {}, [156, 2416, 48_120, 10_164, 850]),
    ("fedavg_cnn", (28, 28, 1), 10, {}, [832, 51_264, 1_606_144, 5_130]),
    ("fedavg_cnn", (28, 28, 1), 62, {}, [832, 51_264, 1_606_144, dense(512, 62)]),
    # each norm's scale, bias, mean and variance count in the layer that it follows
    (
        "bn_cnn",
        (28, 28, 1),
        10,
        {},
        [1_664 + 256, conv(5, 64, 64) + 256, conv(5, 64, 128) + 512, dense(6272, 2048), dense(2048, 512), 5_130],
    ),
    (
        "bn_cnn",
        (32, 32, 3),
        10,
        {"width": 0.125, "dense_norm": True},
        [608 + 32, conv(5, 8, 8) + 32, conv(5, 8, 16) + 64, dense(1024, 256) + 1024, dense(256, 64) + 256, 650],
    ),
    ("player_fmnist_cnn", (28, 28, 1), 10, {}, [1_664, 204_928, 819_456, 25_700, 1_010]),
    ("player_fmnist_cnn", (28, 28, 1), 62, {"width": 0.25}, [416, 12_832, 51_264, 6_500, 6_262]),
    (
        "player_cifar_cnn",
        (32, 32, 3),
        10,
        {},
        [1_792, 73_856, 295_168, 1_180_160, 2_359_808, 51_300, 1_010],
    ),
    (
        "player_isic_cnn",
        (64, 64, 3),
        4,
        {},
        [896, 18_496, 73_856, 295_168, 1_180_160, 131_328, 1_028],
    ),
    ("resnet", (8, 8, 1), 3, {"channels": (4,)}, [36 + 8, 144 + 8, 144 + 8, 15]),
    ("player_text", (7,), 2, {"num_embeddings": 100, "width": 8}, [856, 264, 552, 18]),
    ("embedding_bag", (7,), 2, {"num_embeddings": 100}, [1_600, 34]),
    ("embedding_bag", (7,), 3, {"num_embeddings": 100, "width": None}, [303]),
    (
        "transformer",
        (7,),
        2,
        {"num_embeddings": 100, "length": 8, "width": 16, "layers": 1, "output": "text", "causal": False},
        [1_600, 128, 272 + 32, 272, 272, 272 + 32, 1_088, 1_040, 34 + 32],
    ),
]


@pytest.mark.parametrize(("name", "shape", "classes", "options", "counts"), CASES)
def test_shapes_and_parameter_counts(name, shape, classes, options, counts):
    tokens = {"preprocess": as_stored, "sample_dtype": jnp.int32} if name in TOKEN_MODELS else {}
    task = fl.task(build_model(name, classes, **options), shape, classes, **tokens)
    assert list(task.layers.sizes) == counts
    params = jax.eval_shape(task.init, jax.random.key(0))
    outputs = jax.eval_shape(task.apply, params, jnp.zeros((3, *shape), jnp.uint8), None)
    assert outputs.shape == (3, classes)
    assert outputs.dtype == jnp.float32


@pytest.mark.parametrize(
    ("name", "shape", "classes", "options", "counts"),
    [pytest.param(*case, marks=() if i % 6 == 0 else pytest.mark.slow) for i, case in enumerate(CASES)],
)
def test_parameters_are_float32_in_64_bit_mode_as_well_unless_asked(x64, name, shape, classes, options, counts):
    tokens = {"preprocess": as_stored, "sample_dtype": jnp.int32} if name in TOKEN_MODELS else {}
    task = fl.task(build_model(name, classes, **options), shape, classes, **tokens)
    for made, dtype in ((task, jnp.float32), (in_precision(task, "float64"), jnp.float64)):
        params = jax.eval_shape(made.init, jax.random.key(0))
        assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype(dtype)}
        batch = Batch(jnp.zeros((3, *shape), jnp.uint8), jnp.zeros(3, jnp.int32), jnp.ones(3, bool))
        loss, grads = jax.eval_shape(jax.value_and_grad(made.loss), params, batch, jax.random.key(0))
        assert {x.dtype for x in jax.tree.leaves((loss, grads))} == {jnp.dtype(dtype)}
        assert sum(made.layers.bytes) == sum(counts) * jnp.dtype(dtype).itemsize


def test_a_precision_that_jax_does_not_have_is_refused():
    task = fl.task(build_model("logistic_regression", 3), (4,), 3)
    for dtype in ("float64", "int32"):
        with pytest.raises(ValueError, match=f"dtype: expected a floating one that JAX has .* got {dtype}"):
            in_precision(task, dtype)


def test_every_model_is_covered():
    assert {case[0] for case in CASES} == set(MODELS)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"got 'lenet'; did you mean 'lenet5'\?"):
        build_model("lenet", 10)
    with pytest.raises(ValueError, match=r"expected one of bn_cnn, cnn, embedding_bag, .*, got 'qqq'$"):
        build_model("qqq", 10)


def test_initial_weights_are_untruncated_kaiming_normal_and_biases_zero():
    params = CNN(10, channels=(64, 128), hidden=(512,)).init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))["params"]
    for layer in params.values():
        np.testing.assert_array_equal(layer["bias"], 0)
    kernels = {"Conv_1": 9 * 64, "Dense_0": 2 * 2 * 128}
    for name, fan_in in kernels.items():
        scaled_kernel = params[name]["kernel"] / np.sqrt(2 / fan_in)
        assert abs(scaled_kernel.std() - 1) < 0.01
        assert abs(scaled_kernel.mean()) < 0.01
        assert jnp.abs(scaled_kernel).max() > 3.5  # a normal truncated at 2 would end at 2.3


def test_kaiming_fan_in_counts_the_window():
    w = kaiming_normal(jax.random.key(0), (5, 5, 16, 400))
    assert abs(float(w.std()) * np.sqrt(400 / 2) - 1) < 0.01


@pytest.mark.parametrize("name", ["cnn", "lenet5", "fedavg_cnn", "player_fmnist_cnn"])
def test_images_with_and_without_channel_axis_and_both_convolutions_agree(name):
    x = jax.random.normal(jax.random.key(1), (2, 12, 12))
    option = {"width": 0.1} if "player" in name else {}
    patches, native = (build_model(name, 4, conv=c, **option) for c in ("patches", "native"))
    params = jax.jit(patches.init)(jax.random.key(0), x)
    expected = jax.jit(native.apply)(params, x[..., None])
    np.testing.assert_allclose(jax.jit(patches.apply)(params, x), expected, rtol=1e-4, atol=1e-4)


def test_player_fmnist_is_the_papers_network():
    """Layer by layer by hand: conv, ReLU, pool three times, average over positions, two dense layers."""
    module = build_model("player_fmnist_cnn", 5, width=0.05, conv="native")
    x = jax.random.normal(jax.random.key(2), (2, 28, 28, 1))
    params = jax.jit(module.init)(jax.random.key(0), x)["params"]
    y = x
    for i in range(3):
        y = jax.lax.conv_general_dilated(
            y,
            params[f"Conv_{i}"]["kernel"],
            (1, 1),
            ((2, 2), (2, 2)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        y = jnp.maximum(y, 0)
        n = y.shape[1] // 2
        y = y[:, : 2 * n, : 2 * n].reshape(2, n, 2, n, 2, -1).max((2, 4))
    y = y.mean((1, 2))
    y = jnp.maximum(y @ params["Dense_0"]["kernel"], 0) @ params["Dense_1"]["kernel"]
    np.testing.assert_allclose(module.apply({"params": params}, x), y, rtol=1e-4, atol=1e-5)


def test_an_embedding_bag_is_the_mean_of_the_real_tokens_whatever_their_order():
    texts = jnp.array([[3, 1, 3, 0, 0], [0, 3, 3, 0, 1], [0, 0, 0, 0, 0]])
    module = build_model("embedding_bag", 2, num_embeddings=5, width=4)
    params = module.init(jax.random.key(0), texts)["params"]
    vectors, dense = params["Embed_0"]["embedding"], params["Dense_0"]
    mean = (2 * vectors[3] + vectors[1]) / 3
    logits = module.apply({"params": params}, texts)
    np.testing.assert_allclose(logits[0], mean @ dense["kernel"] + dense["bias"], rtol=1e-5)
    np.testing.assert_allclose(logits[1], logits[0], rtol=1e-5)
    np.testing.assert_array_equal(logits[2], dense["bias"])
    linear = build_model("embedding_bag", 2, num_embeddings=5, width=None)
    weights = {"embedding": jnp.arange(10.0).reshape(5, 2), "bias": jnp.array([1.0, -1.0])}
    np.testing.assert_allclose(linear.apply({"params": weights}, texts)[0], [1 + 14 / 3, -1 + 17 / 3], rtol=1e-6)


def test_refusals():
    with pytest.raises(ValueError, match="pooling: expected 2 entries, one per convolution"):
        build_model("cnn", 3, pooling=(True,)).init(jax.random.key(0), jnp.ones((1, 8, 8)))
    with pytest.raises(ValueError, match=r"x: expected images .*, got shape \(1, 8\)"):
        build_model("cnn", 3).init(jax.random.key(0), jnp.ones((1, 8)))
    with pytest.raises(ValueError, match="width: expected a positive factor, got 0"):
        build_model("player_cifar_cnn", 3, width=0)
    assert scaled((1, 10), 0.01) == (1, 1)
