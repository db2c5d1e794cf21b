"""Evaluation of traced functions operation by operation, some of which are replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax.extend.core import Jaxpr, JaxprEqn, Literal


def evaluate(
    jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any], step: Callable[[JaxprEqn, list[Any]], list[Any]]
) -> list[Any]:
    """Evaluate a jaxpr by ``step``, which gets each operation with its arguments and returns its results."""
    values: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for eqn in jaxpr.eqns:
        values.update(zip(eqn.outvars, step(eqn, [read(atom) for atom in eqn.invars]), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def evaluate_operation(eqn: JaxprEqn, args: Sequence[Any]) -> list[Any]:
    """Evaluate an operation as it is."""
    bound: Any = eqn.primitive.get_bind_params(eqn.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)  # differs between versions of JAX
    with eqn.ctx.manager:
        found = eqn.primitive.bind(*functions, *args, **params)
    return list(found) if eqn.primitive.multiple_results else [found]
