"""The features of a model: what its last layer gets, found in the traced program of its forward pass."""

from __future__ import annotations

from typing import Any

import jax

from fedjax_layers.models.jaxprs import evaluate_operation
from fedjax_layers.models.representations import Constant, Program, dependent, rows_of, trace
from fedjax_layers.types import Array, Key, Params, Task


def with_features(task: Task) -> Task:
    """Give a task its ``features``, ``(params, inputs [B, ...], key | None) -> [B, F]``; ``None`` if none are found."""
    if task.example is None:
        return task

    def features(params: Params, inputs: Array, key: Key | None) -> Array:
        found = last_input(task, params, inputs, key)
        if found is None:
            raise ValueError("task: expected a model whose last layer gets one value with a row for each example")
        return found

    shapes = jax.eval_shape(task.init, jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((2, *task.example.shape), task.example.dtype)
    some = []
    jax.eval_shape(lambda own, x: some.append(last_input(task, own, x, None) is not None), shapes, inputs)
    return task._replace(features=features) if some[0] else task


def last_input(task: Task, params: Params, inputs: Array, key: Key | None) -> Array | None:
    """Compute what a model's last layer gets, ``[B, F]``; ``None`` if it is no single value with rows of examples.

    Rules of differentiation of a model's own (``custom_jvp``) stay as they are, so that gradients are the model's.
    """
    leaves = jax.tree.leaves(params)
    batch = inputs.shape[0]
    program = trace(task, leaves, inputs, key, inlined=False)
    place = _entry(program, task)
    if place is None:
        return None
    more = jax.ShapeDtypeStruct((batch + 1, *inputs.shape[1:]), inputs.dtype)
    longer = trace(task, leaves, more, key, inlined=False)
    values: dict[int, Any] = dict(enumerate([*leaves, inputs]))
    for step in program.steps:
        if place in values:
            break
        bound = [x.value if isinstance(x, Constant) else values[x] for x in step.inputs]
        values.update(zip(step.outputs, evaluate_operation(step.eqn, bound), strict=True))
    return rows_of(values[place], longer.shapes[place], batch)


def _entry(program: Program, task: Task) -> int | None:
    """Return the number of the value that first meets a parameter of the last layer, or what is made of one."""
    last = task.layers.num_layers - 1
    made = {i for i, layer in enumerate(task.layers.leaf_layers) if layer == last}
    depends = dependent(program, len(task.layers.leaf_layers))
    for step in program.steps:
        given = {x for x in step.inputs if isinstance(x, int)}
        if given & made:
            met = given & depends
            if met:
                return met.pop() if len(met) == 1 else None
            made.update(step.outputs)
    return None
