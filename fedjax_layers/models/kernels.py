"""Evaluation of a function whose kernels are stand-ins, which know what to do in a matrix product with activations.

The function is traced and evaluated operation by operation. A stand-in that is cast or transposed stays one; in a
product it makes the result itself; any other operation gets the whole array.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import Jaxpr, JaxprEqn

from fedjax_layers.models.jaxprs import evaluate, evaluate_operation
from fedjax_layers.types import Array, Params

Product = Callable[[Array, Array, Sequence[tuple[int, int]]], Array]


class Kernel(abc.ABC):
    """A stand-in for a kernel, a pytree."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""

    @property
    @abc.abstractmethod
    def dtype(self) -> Any:
        """The array's dtype."""

    @abc.abstractmethod
    def whole(self) -> Array:
        """Return the array."""

    @abc.abstractmethod
    def cast(self, dtype: Any) -> Kernel:
        """Return the stand-in for the array in another dtype."""

    @abc.abstractmethod
    def transposed(self, axes: Sequence[int]) -> Kernel:
        """Return the stand-in for the array with its axes in another order."""

    @abc.abstractmethod
    def applied(self, x: Array, over: Sequence[tuple[int, int]], product: Product) -> Array | None:
        """Return the product ``[free axes of x, free axes of the kernel]``; ``None`` leaves it to the whole array.

        Args:
          x: the activations.
          over: pairs of an axis of ``x`` and an axis of the kernel, which are summed over.
          product: ``(x, y, pairs of axes) -> [free axes of x, free axes of y]``, the product as the function has it.
        """


def evaluated(fn: Callable[..., Any], leaves: Sequence[Any], treedef: Any, *args: Any) -> Any:
    """Return ``fn(params, *args)``, where some leaves of ``params`` are stand-ins.

    Args:
      fn: a pure function of params and further pytrees of arrays.
      leaves: the leaves of ``params``, arrays or :class:`Kernel`.
      treedef: the structure of ``params``.
      args: the other arguments.
    """
    like: Params = jax.tree.unflatten(treedef, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves])
    closed, shape = jax.make_jaxpr(fn, return_shape=True)(like, *args)
    outputs = _walk(closed.jaxpr, closed.consts, [*leaves, *jax.tree.leaves(args)])
    return jax.tree.unflatten(jax.tree.structure(shape), [_whole(x) for x in outputs])


def _walk(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    return evaluate(jaxpr, consts, args, _step)


def _step(eqn: JaxprEqn, args: list[Any]) -> list[Any]:
    rule = _RULES.get(eqn.primitive.name) if any(isinstance(x, Kernel) for x in args) else None
    found = None if rule is None else rule(eqn.params, args)
    if found is None:
        return evaluate_operation(eqn, [_whole(x) for x in args])
    return found if eqn.primitive.multiple_results else [found]


def _whole(x: Any) -> Any:
    return x.whole() if isinstance(x, Kernel) else x


def _cast(params: dict[str, Any], args: list[Any]) -> Kernel:
    kernel: Kernel = args[0]
    return kernel.cast(params["new_dtype"])


def _transpose(params: dict[str, Any], args: list[Any]) -> Kernel:
    kernel: Kernel = args[0]
    return kernel.transposed(params["permutation"])


def _product(params: dict[str, Any], args: list[Any]) -> Array | None:
    """Let the kernel make the product, as the right factor; one with a batch axis, or of two kernels, it cannot."""
    left, right = args
    (of_left, of_right), batch = params["dimension_numbers"]
    if any(batch) or (isinstance(left, Kernel) and isinstance(right, Kernel)):
        return None
    like = {name: value for name, value in params.items() if name != "dimension_numbers"}

    def product(x: Array, y: Array, over: Sequence[tuple[int, int]]) -> Array:
        axes: Any = tuple(zip(*over, strict=True))
        return jax.lax.dot_general(x, y, (axes, ((), ())), **like)

    if isinstance(right, Kernel):
        return right.applied(left, list(zip(of_left, of_right, strict=True)), product)
    found = left.applied(right, list(zip(of_right, of_left, strict=True)), product)
    if found is None:
        return None
    first = right.ndim - len(of_right)  # the free axes of the activations come first in it, and last in the original
    return jax.numpy.transpose(found, (*range(first, found.ndim), *range(first)))


def _call(params: dict[str, Any], args: list[Any]) -> list[Any]:
    return _walk(params["jaxpr"].jaxpr, params["jaxpr"].consts, args)


def _checkpoint(params: dict[str, Any], args: list[Any]) -> list[Any]:
    again = jax.checkpoint(
        lambda *xs: [_whole(x) for x in _walk(params["jaxpr"], (), xs)],
        prevent_cse=params["prevent_cse"],
        policy=params["policy"],
    )
    return list(again(*args))


_RULES: dict[str, Callable[[dict[str, Any], list[Any]], Any]] = {
    "convert_element_type": _cast,
    "transpose": _transpose,
    "dot_general": _product,
    "jit": _call,
    "pjit": _call,
    "checkpoint": _checkpoint,
    "remat2": _checkpoint,
}
