"""The layers of any model in the order in which a forward pass uses their parameters, found in its traced program.

A parameter is *used* where it first meets something that depends on the inputs: casting, transposing or normalising
all parameters beforehand does not count. The program lists its operations in the order of the model's Python code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from fedjax_layers.models.layer_groups import Path, Unit, group_layers
from fedjax_layers.ops.checks import leaf_path
from fedjax_layers.types import Array, Key, Params


class Owners(NamedTuple):
    """What a parameter tree does not say of its model.

    Attributes:
      modules: paths of the units whose own leaves belong together; a leaf belongs to the innermost on its path.
      norms: those of them that normalise.
    """

    modules: frozenset[Path]
    norms: frozenset[Path]


def order_of_use(
    apply: Callable[[Params, Array, Key | None], Array], params: Params, sample: jax.ShapeDtypeStruct, owners: Owners
) -> tuple[tuple[str, ...], ...]:
    """List the layers of a model in the order of its forward pass, for :func:`fedjax_layers.ops.layer_map`.

    The forward pass is traced, never run. The leaves of one module are a layer, which stands where the first of them is
    used; norms and parameters that a module with children owns itself are treated as in
    :func:`fedjax_layers.models.call_order`.

    Args:
      apply: ``(params, inputs [B, ...], key | None) -> outputs``.
      params: shapes of the parameters, any pytree.
      sample: shape and dtype of one batch of inputs.
      owners: which leaves belong together.

    Returns:
      One entry per layer: regular expressions, as of ``call_order``.

    Raises:
      ValueError: the forward pass never uses a parameter (it is named), or there are no parameters.
    """
    flat, treedef = jax.tree_util.tree_flatten_with_path(params)
    if not flat:
        raise ValueError("model: expected parameters, found none")
    paths = [tuple(leaf_path(path).split("/")) for path, _ in flat]
    traced = jax.make_jaxpr(lambda leaves, x: apply(jax.tree.unflatten(treedef, leaves), x, None))
    used = uses(traced([leaf for _, leaf in flat], sample).jaxpr, len(flat))
    for number, path in enumerate(paths):
        if number not in used:
            name = "/".join(path)
            raise ValueError(f"model: expected every parameter to be used, found that {name!r} never is")
    return group_layers(_units([paths[number] for number in used], owners))


def uses(jaxpr: Jaxpr, count: int) -> list[int]:
    """Return which of the first ``count`` inputs of a program meet the others, in the order in which they first do."""
    met: dict[int, None] = {}
    ins = [_Value(frozenset({i}), False) if i < count else _Value(frozenset(), True) for i in range(len(jaxpr.invars))]
    for out in _walk(jaxpr, ins, met):
        met |= dict.fromkeys(sorted(out.of))
    return list(met)


class _Value(NamedTuple):
    """What a value of a program is made of: parameters that have met no input yet, and whether inputs are in it."""

    of: frozenset[int]
    met: bool


_CONSTANT = _Value(frozenset(), False)


def _walk(jaxpr: Jaxpr, ins: Sequence[_Value], met: dict[int, None]) -> list[_Value]:
    """Follow a program; add to ``met``, in order, the parameters that meet the inputs, and return its outputs."""
    values: dict[Any, _Value] = dict(zip(jaxpr.invars, ins, strict=True))

    def read(atom: Any) -> _Value:
        return _CONSTANT if isinstance(atom, Literal) else values.get(atom, _CONSTANT)

    for eqn in jaxpr.eqns:
        values.update(zip(eqn.outvars, _follow(eqn, [read(atom) for atom in eqn.invars], met), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _follow(eqn: JaxprEqn, ins: Sequence[_Value], met: dict[int, None]) -> list[_Value]:
    name, params = eqn.primitive.name, eqn.params
    if name == "scan":
        consts, carry = params["num_consts"], params["num_carry"]
        return _loop(params["jaxpr"].jaxpr, ins, range(consts, consts + carry), met)
    if name == "while":
        first = params["cond_nconsts"]
        consts = params["body_nconsts"]
        return _loop(params["body_jaxpr"].jaxpr, ins[first:], range(consts, len(ins) - first), met)
    if name == "cond":
        several = [_walk(branch.jaxpr, ins[1:], met) for branch in params["branches"]]
        return [_joined(outs) if not ins[0].met else _meet(outs, met) for outs in zip(*several, strict=True)]
    inner = next(_programs(params), None)
    if inner is not None and len(inner.invars) == len(ins):
        return _walk(inner, ins, met)
    out = _meet(ins, met) if any(value.met for value in ins) else _joined(ins)
    return [out] * len(eqn.outvars)


def _loop(body: Jaxpr, ins: Sequence[_Value], carried: range, met: dict[int, None]) -> list[_Value]:
    """Follow the body of a loop as it is in a later turn, when what it carries has met all that it ever will."""
    ins = list(ins)
    while True:
        outs = _walk(body, ins, {})
        later = [_joined([ins[place], out]) for place, out in zip(carried, outs, strict=False)]
        if later == [ins[place] for place in carried]:
            return _walk(body, ins, met)
        ins[carried.start : carried.stop] = later


def _joined(values: Sequence[_Value]) -> _Value:
    return _Value(frozenset().union(*(value.of for value in values)), any(value.met for value in values))


def _meet(values: Sequence[_Value], met: dict[int, None]) -> _Value:
    """Add the parameters in these values to ``met``; what is made of them depends on the inputs."""
    for value in values:
        met |= dict.fromkeys(sorted(value.of))
    return _Value(frozenset(), True)


def _programs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """Yield the programs that an operation calls."""
    for value in params.values():
        inner = getattr(value, "jaxpr", value)
        if isinstance(inner, Jaxpr):
            yield inner


def _units(used: Sequence[Path], owners: Owners) -> list[Unit]:
    """Group leaves, which come in the order of their use, by the modules that own them."""
    found: dict[Path, Unit] = {}
    for leaf in used:
        above = [leaf[:n] for n in range(len(leaf)) if leaf[:n] in owners.modules]
        path = max(above, key=len, default=())
        unit = found.setdefault(path, Unit(path, [], path in owners.norms, False))
        unit.leaves.append(leaf)
    units = list(found.values())
    for unit in list(units):  # a norm of weights is a part of the layer that it wraps, which it therefore stands before
        inside = [u for u in units if len(u.path) > len(unit.path) and u.path[: len(unit.path)] == unit.path]
        if unit.norm and inside:
            units.remove(unit)
            units.insert(units.index(inside[0]), dataclasses.replace(unit, wraps=True))
    return units
