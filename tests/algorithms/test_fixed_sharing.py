"""Layers by name, by block and as a mask."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from fedjax_layers.algorithms.sharing.fixed_sharing import shared_mask
from tests import toy

LAYERS = dataclasses.replace(
    toy.make_task(jnp.float32).layers,
    names=("Dense_0", "Dense_1", "head"),
    blocks=(0, 0, 1),
    block_names=("body", "head"),
)


@pytest.mark.parametrize(
    ("shared", "flags"),
    [
        (("Dense_1",), [False, True, False]),
        ("Dense_1", [False, True, False]),
        (["head", "Dense_0"], [True, False, True]),
        (("body",), [True, True, False]),
        (("body", "Dense_1"), [True, True, False]),
        (jnp.zeros(3, bool), [False, False, False]),
        (jnp.array([True, False, True]), [True, False, True]),
        ((True, False, True), [True, False, True]),
    ],
)
def test_names_blocks_and_masks(shared, flags):
    assert np.asarray(shared_mask(shared, LAYERS)).tolist() == flags


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"shared: expected one of Dense_0, .*, got 'Dense_2'; did you mean 'Dense_1'"):
        shared_mask(("Dense_2",), LAYERS)


def test_no_name_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="shared: expected names of layers, of Dense_0, Dense_1, head, got none"):
        shared_mask((), LAYERS)


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(ValueError, match="shared: expected shape"):
        shared_mask((True, False), LAYERS)


def test_a_name_and_its_mask_are_one_run_bit_for_bit():
    task, pool = toy.make_task(jnp.float32), toy.make_pool(dtype=np.float32)
    states = []
    for shared in (("1",), jnp.array([False, True, False])):
        algorithm = algorithms.fixed_sharing(toy.make_trainer(task), shared=shared)
        state = algorithm.init(jax.random.key(2), task.init(jax.random.key(1)))
        states.append(jax.jit(algorithm.round)(jax.random.key(3), state, toy.make_cohort([0, 2, 4], pool)))
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert states[0][1].sent.tolist() == [0, 3, 0]
