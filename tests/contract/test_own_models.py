"""The same network of each kind of model, with the same weights: the same rounds of five algorithms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedjax_layers as fl
from fedjax_layers import algorithms
from tests import toy
from tests.registry import NEEDED

pytest.importorskip("equinox")
from tests.models.four_kinds import MODELS, WIDTHS, from_kind, weights_of

METHODS = ("fedavg", "player_fl", "permfl", "fedtlu", "pfedla")
POOL = toy.make_pool(dtype=np.float32)


@functools.cache
def task_of(kind):
    return fl.task(MODELS[kind], WIDTHS[:1], WIDTHS[-1])


@functools.cache
def start():
    return jax.jit(task_of("linen").init)(jax.random.key(1))


@functools.cache
def a_round(method, kind):
    """The models of the clients after a round of everybody, and the losses of their training."""
    trainer = toy.make_trainer(task_of(kind))
    algorithm = algorithms.registry[method](trainer, **NEEDED.get(method, {}))
    cohort = toy.make_cohort(range(toy.CLIENTS), POOL)

    @jax.jit
    def run(params):
        state, info = algorithm.round(jax.random.key(3), algorithm.init(jax.random.key(2), params), cohort)
        return info.loss, info.extra, (None if algorithm.global_model is None else algorithm.global_model(state))

    loss, extra, server = run(weights_of(kind, start()))
    return loss, extra, None if server is None else from_kind(kind, server)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "linen"])
def test_a_round_is_the_same_whatever_the_model_is_written_in(kind, method):
    expected, found = a_round(method, "linen"), a_round(method, kind)
    assert np.isfinite(found[0]).all()
    for one, other in zip(*map(jax.tree.leaves, (expected, found)), strict=True):
        np.testing.assert_allclose(jnp.asarray(other, float), jnp.asarray(one, float), rtol=2e-5, atol=2e-6)
