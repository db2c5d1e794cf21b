"""What each layer of a model computes of a batch, found in the traced program of its forward pass.

The representation of a layer is the first value of the forward pass that depends on the inputs and through which all
effect of the layer's parameters on the outputs goes: of a dense layer or a convolution its output with the bias, before
the activation function; with a norm that belongs to the layer, the norm's output. Nothing is asked of the framework, so
that models of every kind have representations. What a loop computes (``scan``, ``while``) is one step of the program.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from fedjax_layers.models.jaxprs import evaluate_operation
from fedjax_layers.types import Array, Key, Params, Task

_PLAIN_CALLS = ("jit", "pjit", "closed_call", "core_call", "remat", "checkpoint")
_CALLS = (*_PLAIN_CALLS, "custom_jvp_call", "custom_vjp_call")


class _Step(NamedTuple):
    """One operation of the program: its inputs are numbers of values, or constants; its outputs numbers of values."""

    eqn: JaxprEqn
    inputs: tuple[Any, ...]
    outputs: tuple[int, ...]


class Constant(NamedTuple):
    """A value that the program holds."""

    value: Any


class Program(NamedTuple):
    """A program without calls: the leaves of the params are its first values, the inputs the next one."""

    steps: list[_Step]
    shapes: list[tuple[int, ...]]
    output: Any


def layer_outputs(task: Task, params: Params, inputs: Array) -> list[Array]:
    """Compute what each layer of one model computes of a batch, with dropout off.

    Args:
      task: the task, of a model of any kind.
      params: one model.
      inputs: ``[B, ...]``, B at least 2, as they are stored.

    Returns:
      L arrays ``[B, n_l]``.

    Raises:
      ValueError: a layer's representation has no row for each example; the layer is named.
    """
    leaves = jax.tree.leaves(params)
    program = trace(task, leaves, inputs)
    longer = trace(task, leaves, jax.ShapeDtypeStruct((inputs.shape[0] + 1, *inputs.shape[1:]), inputs.dtype))
    places = _places(program, task)
    values: dict[int, Any] = dict(enumerate([*leaves, inputs]))
    for step in program.steps:
        bound = [x.value if isinstance(x, Constant) else values[x] for x in step.inputs]
        made = evaluate_operation(step.eqn, bound)
        values.update(zip(step.outputs, made, strict=True))
    found = []
    for name, place in zip(task.layers.names, places, strict=True):
        rows = rows_of(values[place], longer.shapes[place], inputs.shape[0])
        if rows is None:
            expected = "a layer whose output has a row for each example"
            raise ValueError(f"layer {name!r}: expected {expected}, found shape {values[place].shape}")
        found.append(rows)
    return found


def trace(task: Task, leaves: Sequence[Any], inputs: Any, key: Key | None = None, *, inlined: bool = True) -> Program:
    """Trace the forward pass, and write it without calls; without those of a rule of differentiation if ``inlined``."""
    closed = jax.make_jaxpr(lambda own, x: task.apply(jax.tree.unflatten(task.layers.treedef, own), x, key))(
        list(leaves), inputs
    )
    program = Program([], [_shape(v) for v in closed.jaxpr.invars], None)
    start: list[Any] = list(range(len(program.shapes)))
    (output,) = _inline(
        closed.jaxpr, [Constant(c) for c in closed.consts], start, program, _CALLS if inlined else _PLAIN_CALLS
    )
    return program._replace(output=output)


def _inline(
    jaxpr: Jaxpr, consts: Sequence[Any], ins: Sequence[Any], program: Program, calls: Sequence[str]
) -> list[Any]:
    """Add the steps of a program, with those of the programs that it calls; return its outputs."""
    names: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *ins), strict=True))

    def read(atom: Any) -> Any:
        return Constant(atom.val) if isinstance(atom, Literal) else names[atom]

    for eqn in jaxpr.eqns:
        given = tuple(read(atom) for atom in eqn.invars)
        inner = _called(eqn, calls)
        if inner is not None and len(inner.jaxpr.invars) == len(given):
            made = _inline(inner.jaxpr, [Constant(c) for c in inner.consts], given, program, calls)
        else:
            made = list(range(len(program.shapes), len(program.shapes) + len(eqn.outvars)))
            program.shapes.extend(map(_shape, eqn.outvars))
            program.steps.append(_Step(eqn, given, tuple(made)))
        names.update(zip(eqn.outvars, made, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.aval.shape)


class _Inner(NamedTuple):
    """A program that an operation calls."""

    jaxpr: Jaxpr
    consts: Sequence[Any]


def _called(eqn: JaxprEqn, calls: Sequence[str]) -> _Inner | None:
    """Return the program that an operation calls once, with its own inputs; ``None`` for any other operation."""
    if eqn.primitive.name.rstrip("0123456789") not in calls:
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = eqn.params.get(name)
        if inner is not None:
            return _Inner(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()))
    return None


def _places(program: Program, task: Task) -> list[int]:
    """Return the number of the value that represents each layer, ``[L]``."""
    count = len(task.layers.leaf_layers)
    depends = dependent(program, count)
    above = _gates(program)
    places = []
    for layer in range(task.layers.num_layers):
        leaves = [i for i, own in enumerate(task.layers.leaf_layers) if own == layer and i in above]
        place = functools.reduce(lambda a, b: _meet(a, b, above), leaves)
        while place not in depends:
            place = above[place][0]
        places.append(place)
    return places


def dependent(program: Program, inputs: int) -> set[int]:
    """Return the numbers of the values that depend on the inputs."""
    found = {inputs}
    for step in program.steps:
        if any(x in found for x in step.inputs if isinstance(x, int)):
            found.update(step.outputs)
    return found


def _gates(program: Program) -> dict[int, tuple[int, int]]:
    """Return, for each value that reaches the output, the first value that all its ways to the output share.

    That value comes with its depth, the number of such gates behind it; the output's own is itself, of depth 0. The
    values are visited from the last to the first, so that the gates of all uses of a value are known.
    """
    uses: dict[int, list[int]] = {}
    for step in program.steps:
        for x in step.inputs:
            if isinstance(x, int):
                uses.setdefault(x, []).extend(step.outputs)
    above: dict[int, tuple[int, int]] = {program.output: (program.output, 0)}
    for value in reversed(range(len(program.shapes))):
        ways = [use for use in uses.get(value, []) if use in above]
        if value != program.output and ways:
            gate = functools.reduce(lambda a, b: _meet(a, b, above), ways)
            above[value] = (gate, above[gate][1] + 1)
    return above


def _meet(a: int, b: int, above: dict[int, tuple[int, int]]) -> int:
    """Return the first value that all ways of two values to the output share."""
    while a != b:
        if above[a][1] < above[b][1]:
            a, b = b, a
        a = above[a][0]
    return a


def rows_of(value: Array, longer: tuple[int, ...], batch: int) -> Array | None:
    """Return a value as ``[B, n]``: the examples are on the axis that grows with the batch; ``None`` without one."""
    grown = [i for i, (n, m) in enumerate(zip(value.shape, longer, strict=True)) if n != m]
    if len(grown) != 1 or value.shape[grown[0]] * (batch + 1) != longer[grown[0]] * batch:
        return None
    return jnp.moveaxis(value, grown[0], 0).reshape(batch, -1)  # merged axes have the examples first
