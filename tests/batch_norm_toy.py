"""The toy federation's network with batch normalisation, for the algorithms that need it."""

import flax.linen as nn
import jax
import jax.numpy as jnp

import fedjax_layers as fl
from tests import toy

MOMENTUM = 0.8
EPSILON = 1e-3
NEED_NORMS = ("fedbn",)


class Network(nn.Module):
    """The widths of the toy; a norm and a tanh after each hidden layer."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        for width in toy.WIDTHS[1:-1]:
            x = nn.Dense(width, bias_init=nn.initializers.normal(0.1))(x)
            norm = nn.BatchNorm(not train, momentum=MOMENTUM, epsilon=EPSILON, scale_init=nn.initializers.normal(1.0))
            x = jnp.tanh(norm(x))
        return nn.Dense(toy.WIDTHS[-1])(x)


def make_task(dtype=jnp.float64):
    """The network as a task, in single or double precision."""
    task = fl.task(Network(), toy.WIDTHS[:1], toy.WIDTHS[-1])
    single = task.init
    return task._replace(init=lambda key: jax.tree.map(lambda x: x.astype(dtype), single(key)))
