"""The toy federation's network with low-rank adapters, for the algorithms that need them; its head is trained whole."""

import functools

import jax
import jax.numpy as jnp

import fedjax_layers as fl
from tests import toy

RANK, ALPHA, SEED = 2, 3.0, 4
HEAD = ("2",)
NEED_ADAPTERS = ("fedit", "ffa_lora", "fedsa_lora")


@functools.cache
def make_task(dtype=jnp.float64):
    """The adapters of the toy network, in single or double precision."""
    return fl.low_rank(toy.make_task(dtype), RANK, ALPHA, train=HEAD, seed=SEED, example=toy.WIDTHS[:1])


def base(dtype=jnp.float64):
    """The frozen network, as NumPy arrays."""
    return toy.to_numpy(toy.make_task(dtype).init(jax.random.key(SEED)))


ORACLE = {"base": base, "scale": ALPHA / RANK}
