"""Large arrays that a traced function closed over, handed to its program as arguments.

Otherwise the compiler would get them as constants: a program would hold a copy of each, and another array in its place
would be another program. The frozen base of low-rank adapters is such an array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

LARGEST_CONSTANT = 1 << 10  # bytes


def large_constants(traced: Any) -> list[Any]:
    """Return the large arrays that a traced function closed over."""
    return [x for x in traced.jaxpr.consts if _is_large(x)]


def as_arguments(traced: Any) -> Callable[..., Any]:
    """Return the function ``(large constants, *arguments)`` of a traced one without its static arguments."""
    closed, out = traced.jaxpr, jax.tree.structure(traced.out_info)

    def fn(given: Sequence[Any], *args: Any) -> Any:
        left = iter(given)
        constants = [next(left) if _is_large(x) else x for x in closed.consts]
        return jax.tree.unflatten(out, jax.core.eval_jaxpr(closed.jaxpr, constants, *jax.tree.leaves(args)))

    return fn


def placed_beside(constants: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Put constants on all devices of a program's arguments."""
    meshes = [x.sharding.mesh for x in args if isinstance(getattr(x, "sharding", None), NamedSharding)]
    return jax.device_put(list(constants), NamedSharding(meshes[0], PartitionSpec()) if meshes else None)


def _is_large(x: Any) -> bool:
    return x.size * x.dtype.itemsize >= LARGEST_CONSTANT and not jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended)
