"""One network written in four ways: Linen, NNX, Equinox, plain functions. Names sort against the order of calls."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

WIDTHS = (4, 6, 3)  # inputs and classes of the toy federation, around one hidden layer


class Linen(nn.Module):
    """Compact, so that Flax names the layers."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(WIDTHS[2], name="a_last")(jnp.tanh(nn.Dense(WIDTHS[1], name="z_first")(x)))


class Nnx(nnx.Module):
    """The layers as attributes."""

    def __init__(self, *, rngs):
        self.a_last = nnx.Linear(WIDTHS[1], WIDTHS[2], rngs=rngs)
        self.z_first = nnx.Linear(WIDTHS[0], WIDTHS[1], rngs=rngs)

    def __call__(self, x):
        return self.a_last(jnp.tanh(self.z_first(x)))


class Equinox(eqx.Module):
    """Of one example; its matrices are the others' transposed."""

    a_last: eqx.nn.Linear
    z_first: eqx.nn.Linear

    def __init__(self, key):
        first, last = jax.random.split(key)
        self.a_last = eqx.nn.Linear(WIDTHS[1], WIDTHS[2], key=last)
        self.z_first = eqx.nn.Linear(WIDTHS[0], WIDTHS[1], key=first)

    def __call__(self, x):
        return self.a_last(jnp.tanh(self.z_first(x)))


def init(key):
    """Weights of a dictionary for each layer."""

    def layer(own, inputs, outputs):
        kernel = jax.random.normal(own, (inputs, outputs)) / inputs**0.5
        return {"kernel": kernel, "bias": jnp.zeros(outputs)}

    first, last = jax.random.split(key)
    return {"a_last": layer(last, *WIDTHS[1:]), "z_first": layer(first, *WIDTHS[:2])}


def apply(params, x):
    """As the others do it."""
    hidden = jnp.tanh(x @ params["z_first"]["kernel"] + params["z_first"]["bias"])
    return hidden @ params["a_last"]["kernel"] + params["a_last"]["bias"]


MODELS = {"linen": Linen(), "nnx": Nnx, "equinox": Equinox, "functions": (init, apply)}


def weights_of(kind, params):
    """Linen's weights as those of another kind: all have the same tree, but Equinox its own names and matrices."""
    if kind != "equinox":
        return params
    return {name: {"weight": layer["kernel"].T, "bias": layer["bias"]} for name, layer in params.items()}


def from_kind(kind, params):
    """The inverse of :func:`weights_of`, also of stacked models and of gradients."""
    if kind != "equinox":
        return params
    return {
        name: {"kernel": jnp.swapaxes(layer["weight"], -1, -2), "bias": layer["bias"]} for name, layer in params.items()
    }
