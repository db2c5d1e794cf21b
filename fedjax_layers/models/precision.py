"""Conversion of a task's parameters to another floating dtype."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.types import Key, Params, Task


def in_precision(task: Task, dtype: Any) -> Task:
    """Return the task with all parameters in one floating dtype.

    The package's models have float32 parameters whether or not JAX's 64-bit mode is on, so that a run does not change
    with that switch; a user's own model has the dtypes that it declares.

    Args:
      task: any task.
      dtype: dtype of the parameters, and so of gradients, optimiser states and losses; float64 needs JAX's 64-bit mode.

    Raises:
      ValueError: the dtype is not a floating one, or needs JAX's 64-bit mode, which is off.
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
