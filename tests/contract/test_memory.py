"""A round's memory, as the compiler tells it: it follows the width of the client axis, not cohort or population."""

import itertools

import jax
import jax.numpy as jnp
import optax
import pytest

from fedjax_layers import algorithms, ops
from fedjax_layers.local_training import LocalSolver, Setting
from fedjax_layers.ops import ClientAxis
from fedjax_layers.types import Cohort, Observer, Pool, Ranges, Task
from tests.registry import NEEDED

WIDTH = 2
SIZES = (30, 400, 400, 10)  # a model of 0.7 MB, beside which a cohort's numbers are small


def _init(key):
    del key
    return [{"w": jnp.zeros(shape), "b": jnp.zeros(shape[1])} for shape in itertools.pairwise(SIZES)]


def _apply(params, inputs, key):
    del key
    for layer in params:
        inputs = jnp.tanh(inputs @ layer["w"] + layer["b"])
    return inputs


def _loss(params, batch, key):
    losses = optax.softmax_cross_entropy_with_integer_labels(_apply(params, batch.inputs, key), batch.labels)
    return jnp.where(batch.mask, losses, 0).mean()


def _size_of(params, ident, data):
    del ident, data
    return sum(jnp.square(x).sum() for x in jax.tree.leaves(params))


TASK = Task(
    _init,
    _apply,
    optax.softmax_cross_entropy_with_integer_labels,
    _loss,
    ops.layer_map(jax.eval_shape(_init, jax.random.key(0))),
    SIZES[-1],
)


def temporary_bytes(name, clients, slots):
    """Of a round with an evaluation, beside its arguments and results; nothing is run."""
    trainer = Setting(TASK, clients, 8, axis=ClientAxis(WIDTH)).bind(LocalSolver(optax.sgd(0.1), batch_size=4))
    algorithm = algorithms.registry[name](trainer, **NEEDED.get(name, {}))
    state = jax.eval_shape(lambda key: algorithm.init(key, TASK.init(key)), jax.random.key(0))

    def of(dtype, *shape):
        return jax.ShapeDtypeStruct(shape, dtype)

    ranges = Ranges(of(jnp.int32, slots), of(jnp.int32, slots))
    pool = Pool(of(jnp.float32, 1000, SIZES[0]), of(jnp.int32, 1000))
    cohort = Cohort(of(jnp.int32, slots), of(jnp.float32, slots), ranges, pool, Observer(_size_of))
    lowered = jax.jit(algorithm.round, donate_argnums=1).lower(jax.random.key(0), state, cohort)
    return lowered.compile().memory_analysis().temp_size_in_bytes


LET_GO = ["fedavg", "fedper", "player_fl", "permfl"]
LET_GO += [pytest.param(name, marks=pytest.mark.slow) for name in ("ditto", "apfl", "pfedme", "fedrep", "l2gd", "hsgd")]


@pytest.mark.parametrize("name", LET_GO)
def test_a_larger_cohort_takes_no_more_than_its_numbers(name):
    few, many = (temporary_bytes(name, 1000, slots) for slots in (10, 1000))
    assert many < 1.05 * few


def test_fedavg_grows_by_less_than_a_hundredth_and_holds_few_models():
    few, many = (temporary_bytes("fedavg", 1000, slots) for slots in (10, 1000))
    assert few < many < 1.01 * few + 1
    assert few < (2 + 3 * WIDTH) * sum(TASK.layers.bytes)


def test_a_rule_that_needs_all_models_holds_them():
    few, many = (temporary_bytes("demlearn", 40, slots) for slots in (10, 40))
    assert many - few > 30 * sum(TASK.layers.bytes)
