"""The residual network: its parameters, its blocks, and norms that look at one example alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import models
from fedjax_layers.models.resnet import ResNet

KEY = jax.random.key(0)


def test_resnet_20_has_the_parameters_of_the_paper():
    params = jax.eval_shape(ResNet(10, depth=3).init, KEY, jnp.zeros((1, 32, 32, 3)))["params"]
    # He et al., table 6: 0.27 million; their shortcuts have no parameters, ours two 1x1 convolutions with norms.
    assert sum(x.size for x in jax.tree.leaves(params)) == 272_474
    assert set(params) == {"stem", "head", *(f"block_{i}" for i in range(9))}


def test_blocks_of_the_task_are_the_residual_blocks():
    task = models.task(ResNet(10, channels=(4, 8), depth=2), (8, 8, 1), 10, blocks=1)
    assert task.layers.block_names == ("stem", "block_0", "block_1", "block_2", "block_3", "head")
    sizes = np.bincount(task.layers.blocks, weights=task.layers.sizes).astype(int)
    assert sizes[1] == sizes[2] == 2 * 9 * 4 * 4 + 2 * 2 * 4
    assert sizes[3] == 9 * 4 * 8 + 9 * 8 * 8 + 4 * 8 + 3 * 2 * 8, "it changes the shape: a 1x1 convolution and its norm"
    assert sizes[4] == 2 * 9 * 8 * 8 + 2 * 2 * 8


def test_an_example_does_not_see_the_others():
    module = ResNet(3, channels=(4, 6), depth=1)
    x = jax.random.normal(KEY, (5, 8, 8))
    variables = jax.jit(module.init)(KEY, x)
    together, alone = jax.jit(module.apply)(variables, x), jax.jit(module.apply)(variables, x[2:3])
    np.testing.assert_allclose(together[2:3], alone, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("shape", [(9, 7, 3), (4, 4, 1)])
def test_any_image_size_works(shape):
    module = ResNet(4, channels=(5, 10, 12))
    assert jax.eval_shape(module.init_with_output, KEY, jnp.zeros((2, *shape)))[0].shape == (2, 4)
