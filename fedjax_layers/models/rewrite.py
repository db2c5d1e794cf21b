"""Replacement of a model's convolutions and pools by forms that stay fast on a CPU.

A user's own ``nn.Conv`` and ``nn.max_pool`` become the primitives that XLA's CPU backend runs slowly inside a loop over
clients, and even more slowly vectorised over them. The function is traced, and evaluated with other operations in their
place; values and derivatives agree up to rounding.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Jaxpr, JaxprEqn
from jax.extend.core.primitives import scan_p

from fedjax_layers.models.conv import NATIVE, patches_conv
from fedjax_layers.models.jaxprs import evaluate, evaluate_operation
from fedjax_layers.models.pooling import first_larger
from fedjax_layers.types import Array

P = ParamSpec("P")
R = TypeVar("R")

_CONVOLUTION = (
    "window_strides",
    "padding",
    "lhs_dilation",
    "rhs_dilation",
    "dimension_numbers",
    "feature_group_count",
    "batch_group_count",
    "precision",
    "preferred_element_type",
)
_MOST_MEMBERS = 25  # largest size of a pool's window, each of whose members takes one slice


def for_clients(fn: Callable[P, R]) -> Callable[P, R]:
    """Return a function whose convolutions and pools are fast where clients have weights of their own.

    This applies on a CPU, by JAX's default backend at the time of tracing; elsewhere the function stays as it is.
    Convolutions are replaced by :func:`~fedjax_layers.models.patches_conv`, and maxima and sums over windows by chains
    over the window's members, also inside ``jit``, ``scan`` and ``checkpoint``. Convolutions of
    ``client_conv("native")`` stay.

    Args:
      fn: a pure function of positional arguments, which are pytrees of arrays.
    """

    @functools.wraps(fn)
    def replaced(*args: P.args, **kwargs: P.kwargs) -> R:
        if jax.default_backend() != "cpu":
            return fn(*args, **kwargs)
        closed, shape = jax.make_jaxpr(fn, return_shape=True)(*args, **kwargs)
        outputs = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves((args, kwargs)))
        return cast(R, jax.tree.unflatten(jax.tree.structure(shape), outputs))

    return replaced


def _evaluate(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    return evaluate(jaxpr, consts, args, _replace)


def _replace(eqn: JaxprEqn, args: list[Any]) -> list[Any]:
    """Evaluate an operation, by its replacement where there is one."""
    rule = _RULES.get(eqn.primitive.name)
    found = None if rule is None else rule(eqn.params, args)
    if found is None:
        return evaluate_operation(eqn, args)
    return list(found) if eqn.primitive.multiple_results else [found]


def _slow(jaxpr: Jaxpr) -> bool:
    """Return whether a jaxpr, or one that it calls, contains an operation to replace."""
    return any(
        eqn.primitive.name in _SLOW
        or any(_slow(inner) for inner in _inner(eqn.params) if eqn.params.get("name") != NATIVE)
        for eqn in jaxpr.eqns
    )


def _inner(params: dict[str, Any]) -> list[Jaxpr]:
    found = params.get("jaxpr")
    return [] if found is None else [getattr(found, "jaxpr", found)]


def _convolution(params: dict[str, Any], args: list[Any]) -> Array | None:
    if any(value is not None for name, value in params.items() if name not in _CONVOLUTION):
        return None  # a kind of convolution that has no replacement
    return patches_conv(*args, **{name: params[name] for name in _CONVOLUTION})


def _window(params: dict[str, Any], x: Array, padding: float) -> list[Array] | None:
    """Slice the members of each window, in row-major order; ``None`` for windows that are not replaced."""
    size, strides = params["window_dimensions"], params["window_strides"]
    dilated = any(d != 1 for name in ("base_dilation", "window_dilation") for d in params[name] or ())
    members = math.prod(size)
    if dilated or members > _MOST_MEMBERS:
        return None
    if any(low or high for low, high in params["padding"]):
        x = lax.pad(x, jnp.asarray(padding, x.dtype), [(low, high, 0) for low, high in params["padding"]])
    counts = [(n - k) // s + 1 for n, k, s in zip(x.shape, size, strides, strict=True)]
    if all(k == s or (k == 1 and s == 1) for k, s in zip(size, strides, strict=True)):
        return _tiles(x, size, counts)
    taken = []
    for place in itertools.product(*(range(k) for k in size)):
        ends = [p + (n - 1) * s + 1 for p, n, s in zip(place, counts, strides, strict=True)]
        taken.append(lax.slice(x, place, ends, strides))
    return taken


def _tiles(x: Array, size: Sequence[int], counts: Sequence[int]) -> list[Array]:
    """Slice the members of adjacent windows."""
    x = lax.slice(x, [0] * x.ndim, [n * k for n, k in zip(counts, size, strict=True)])
    x = x.reshape([part for n, k in zip(counts, size, strict=True) for part in (n, k)])
    places = itertools.product(*(range(k) for k in size))
    return [x[tuple(part for p in place for part in (slice(None), p))] for place in places]


def _maximum(params: dict[str, Any], args: list[Any]) -> Array | None:
    members = _window(params, args[0], -float("inf")) if jnp.issubdtype(args[0].dtype, jnp.floating) else None
    return None if members is None else functools.reduce(first_larger, members)


def _sum(params: dict[str, Any], args: list[Any]) -> Array | None:
    members = _window(params, args[0], 0)
    return None if members is None else functools.reduce(lax.add, members)


def _call(params: dict[str, Any], args: list[Any]) -> list[Any] | None:
    inner = params["jaxpr"]
    return None if params["name"] == NATIVE or not _slow(inner.jaxpr) else _evaluate(inner.jaxpr, inner.consts, args)


def _scan(params: dict[str, Any], args: list[Any]) -> list[Any] | None:
    inner = params["jaxpr"]
    if not _slow(inner.jaxpr):
        return None
    fast = jax.make_jaxpr(lambda *xs: _evaluate(inner.jaxpr, inner.consts, xs))(*inner.in_avals)
    return cast(list[Any], scan_p.bind(*args, **params | {"jaxpr": fast}))


def _checkpoint(params: dict[str, Any], args: list[Any]) -> list[Any] | None:
    if not _slow(params["jaxpr"]):
        return None
    again = jax.checkpoint(
        lambda *xs: _evaluate(params["jaxpr"], (), xs), prevent_cse=params["prevent_cse"], policy=params["policy"]
    )
    return cast(list[Any], again(*args))


_SLOW: dict[str, Callable[[dict[str, Any], list[Any]], Any]] = {
    "conv_general_dilated": _convolution,
    "reduce_window_max": _maximum,
    "reduce_window_sum": _sum,
}
_RULES = _SLOW | {"jit": _call, "pjit": _call, "scan": _scan, "checkpoint": _checkpoint, "remat2": _checkpoint}
