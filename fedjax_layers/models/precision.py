"""The precision of parameters: float32 as all models draw them, or what is asked for."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.types import Key, Params, Task


def in_precision(task: Task, dtype: Any) -> Task:
    """The task with all parameters in one floating dtype.

    The package's models draw float32 whether or not JAX's 64-bit mode is on, so that a run does not change with a
    switch; a model of one's own draws what it says.

    Args:
      task: any.
      dtype: of the parameters, and so of gradients, optimiser states and losses; float64 needs JAX's 64-bit mode.

    Raises:
      ValueError: a dtype that is no floating one, or that JAX does not have without its 64-bit mode.
    """
    wanted = jnp.dtype(dtype)
    if not jnp.issubdtype(wanted, jnp.floating) or jax.dtypes.canonicalize_dtype(wanted) != wanted:
        raise ValueError(f"dtype: expected a floating one that JAX has (float64 needs jax_enable_x64), got {wanted}")

    def cast(params: Params) -> Params:
        return jax.tree.map(lambda x: x.astype(wanted) if jnp.issubdtype(x.dtype, jnp.floating) else x, params)

    def init(key: Key) -> Params:
        return cast(task.init(key))

    leaves = jax.tree.leaves(jax.eval_shape(init, jax.random.key(0)))
    sizes = tuple(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    return task._replace(init=init, layers=dataclasses.replace(task.layers, leaf_bytes=sizes))
