import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fedjax_layers.models import client_conv, patches_conv

# (spatial sizes, window, in, out, options); channels-last unless a layout is named
CASES = {
    "same": ((7, 6), (3, 3), 4, 5, {"padding": "SAME"}),
    "same, many channels: one matmul per kernel row": ((7, 6), (5, 3), 24, 5, {"padding": "SAME"}),
    "valid, even window": ((7, 6), (2, 4), 3, 5, {"padding": "VALID"}),
    "same lower, even window": ((7, 6), (2, 4), 3, 5, {"padding": "SAME_LOWER"}),
    "explicit, uneven": ((7, 6), (3, 2), 3, 4, {"padding": ((2, 0), (1, 3))}),
    "negative padding": ((7, 6), (3, 2), 3, 4, {"padding": ((-1, 0), (1, -2))}),
    "stride": ((8, 7), (3, 3), 3, 4, {"padding": "SAME", "window_strides": (2, 3)}),
    "stride past the window": ((9, 8), (2, 1), 3, 4, {"padding": "VALID", "window_strides": (3, 4)}),
    "stride, kernel rows": ((8, 7), (3, 3), 32, 4, {"padding": "SAME", "window_strides": (2, 3)}),
    "kernel dilation": ((9, 9), (3, 2), 3, 4, {"padding": "SAME", "rhs_dilation": (2, 3)}),
    "input dilation": ((4, 5), (3, 3), 3, 4, {"padding": ((1, 2), (0, 1)), "lhs_dilation": (2, 3)}),
    "all at once": (
        (6, 7),
        (3, 2),
        4,
        6,
        {
            "padding": ((1, 0), (2, 1)),
            "window_strides": (2, 1),
            "lhs_dilation": (1, 2),
            "rhs_dilation": (2, 1),
            "feature_group_count": 2,
        },
    ),
    "groups": ((6, 5), (3, 3), 6, 9, {"padding": "SAME", "feature_group_count": 3}),
    "groups, kernel rows": ((6, 5), (3, 3), 48, 4, {"padding": "SAME", "feature_group_count": 2}),
    "depthwise": ((6, 5), (3, 3), 4, 8, {"padding": "SAME", "feature_group_count": 4}),
    "one by one": ((6, 5), (1, 1), 4, 3, {"padding": "SAME"}),
    "1-D": ((11,), (4,), 3, 5, {"padding": "SAME", "window_strides": (2,)}),
    "1-D, wide": ((11,), (4,), 80, 5, {"padding": ((3, 0),), "rhs_dilation": (1,)}),
    "3-D": ((4, 5, 3), (2, 3, 2), 3, 4, {"padding": "SAME", "window_strides": (1, 2, 1)}),
    "3-D, kernel rows": ((4, 5, 3), (2, 3, 2), 12, 4, {"padding": "SAME"}),
    "channels first": (
        (7, 6),
        (3, 3),
        4,
        5,
        {"padding": "SAME", "dimension_numbers": ("NCHW", "OIHW", "NCHW")},
    ),
    "odd layout": ((7, 6), (3, 2), 4, 5, {"padding": "SAME", "dimension_numbers": ("HWNC", "IHWO", "CNWH")}),
}


def operands(case, clients=None):
    spatial, window, inputs, outputs, options = CASES[case]
    options = {"window_strides": (1,) * len(window), **options}
    letters = "DHW"[-len(window) :]
    default = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    lhs_spec, rhs_spec, _ = options.setdefault("dimension_numbers", default)
    sizes = dict(zip(letters, spatial, strict=True)) | {"N": 2, "C": inputs}
    kernel = dict(zip(letters, window, strict=True)) | {
        "I": inputs // options.get("feature_group_count", 1),
        "O": outputs,
    }
    lead = () if clients is None else (clients,)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*lead, *(sizes[c] for c in lhs_spec)))
    w = rng.normal(size=(*lead, *(kernel[c] for c in rhs_spec)))
    return jnp.asarray(x), jnp.asarray(w), options


def value_and_grads(conv, options, clients=None):
    def one(x, w):
        y = conv(x, w, options["window_strides"], options["padding"], **rest)
        return y, (y * jnp.cos(y)).sum()

    rest = {k: v for k, v in options.items() if k not in {"window_strides", "padding"}}

    def run(x, w):
        (_, y), grads = jax.value_and_grad(lambda x, w: one(x, w)[::-1], (0, 1), has_aux=True)(x, w)
        return y, *grads

    return jax.jit(run if clients is None else jax.vmap(run))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("clients", [None, 3])
@pytest.mark.usefixtures("x64")
def test_patches_equal_native_in_values_and_gradients(case, clients):
    x, w, options = operands(case, clients)
    ours = value_and_grads(patches_conv, options, clients)(x, w)
    native = value_and_grads(lax.conv_general_dilated, options, clients)(x, w)
    for got, expected in zip(ours, native, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.usefixtures("x64")
def test_forward_mode_and_second_derivatives_work():
    x, w, _ = operands("same")

    def total(conv):
        return lambda w: jnp.sin(conv(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))).sum()

    direction = jnp.cos(w)
    products = [
        jax.jvp(jax.grad(total(conv)), (w,), (direction,))[1] for conv in (patches_conv, lax.conv_general_dilated)
    ]
    np.testing.assert_allclose(*products, rtol=1e-11, atol=1e-11)


def test_layouts_of_jax_itself_are_the_default():
    x, w = jnp.ones((2, 3, 6, 5)), jnp.ones((4, 3, 3, 3))
    assert patches_conv(x, w, (1, 1), "VALID").shape == (2, 4, 4, 3)


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR", "REFLECT", 1])
def test_flax_conv_takes_it(padding):
    x = jax.random.normal(jax.random.key(0), (2, 7, 6, 3))
    plain, ours = (
        nn.Conv(4, (3, 3), strides=2, padding=padding, conv_general_dilated=f) for f in (None, client_conv("patches"))
    )
    params = plain.init(jax.random.key(1), x)
    np.testing.assert_allclose(ours.apply(params, x), plain.apply(params, x), rtol=1e-5, atol=1e-5)


def test_causal_flax_conv_takes_it():
    x = jax.random.normal(jax.random.key(0), (2, 7, 3))
    plain, ours = (nn.Conv(4, (3,), padding="CAUSAL", conv_general_dilated=f) for f in (None, patches_conv))
    params = plain.init(jax.random.key(1), x)
    np.testing.assert_allclose(ours.apply(params, x), plain.apply(params, x), rtol=1e-5, atol=1e-5)


def test_no_convolution_is_left_and_clients_add_none():
    x, w = jnp.ones((3, 2, 6, 6, 4)), jnp.ones((3, 3, 3, 4, 5))
    conv = jax.vmap(lambda x, w: nn_call(client_conv("patches"), x, w))
    assert "conv_general_dilated" not in str(jax.make_jaxpr(conv)(x, w))
    native = jax.vmap(lambda x, w: nn_call(client_conv("native"), x, w))
    assert "conv_general_dilated" in str(jax.make_jaxpr(native)(x, w))


def nn_call(conv, x, w):
    return conv(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize(("backend", "left"), [("cpu", False), ("gpu", True), ("tpu", True)])
def test_auto_goes_by_backend(monkeypatch, backend, left):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    jaxpr = jax.make_jaxpr(lambda x, w: nn_call(client_conv(), x, w))(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)))
    assert ("conv_general_dilated" in str(jaxpr)) is left


def test_the_same_function_each_time():
    assert client_conv() is client_conv("auto")
    assert hash(nn.Conv(1, (3,), conv_general_dilated=client_conv())) is not None


def test_refusals():
    with pytest.raises(ValueError, match=r"method: expected one of .*'patches'.*, got 'patch'"):
        client_conv("patch")
    with pytest.raises(ValueError, match="feature dimension"):
        nn_call(patches_conv, jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 3, 1)))


def test_empty_output_as_native():
    out = patches_conv(jnp.ones((1, 1, 2, 2)), jnp.ones((1, 1, 3, 3)), (1, 1), "VALID")
    assert out.shape == (1, 1, 0, 0)


def test_batch_groups_go_to_native():
    x, w = jnp.ones((4, 3, 5, 5)), jnp.ones((2, 3, 3, 3))
    options = {"window_strides": (1, 1), "padding": "SAME", "batch_group_count": 2}
    np.testing.assert_array_equal(patches_conv(x, w, **options), lax.conv_general_dilated(x, w, **options))
