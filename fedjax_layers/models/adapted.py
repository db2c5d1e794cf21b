"""Kernels with a low-rank product beside them, and where in a model kernels are that could have one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from fedjax_layers.models.kernels import Kernel, Product, evaluated
from fedjax_layers.types import Array, Task

Axes = tuple[int, ...]


@struct.dataclass
class Adapted(Kernel):
    """The kernel ``W = W_0 + s B A``, whose products are taken with ``W_0``, A and B in turn: W itself never exists.

    Attributes:
      base: ``W_0``, whose axes are inputs and outputs in any order.
      a: ``A [r, inputs]``, the inputs' axes as one.
      b: ``B [outputs, r]``, the outputs' axes as one.
      inputs: the axes of ``base`` that A reads, in A's order.
      outputs: the other axes, in B's order.
      scale: s.
    """

    base: Array
    a: Array
    b: Array
    inputs: Axes = struct.field(pytree_node=False)
    outputs: Axes = struct.field(pytree_node=False)
    scale: float = struct.field(pytree_node=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The kernel's shape."""
        return tuple(self.base.shape)

    @property
    def dtype(self) -> Any:
        """The kernel's dtype."""
        return self.base.dtype

    def _sizes(self, axes: Axes) -> tuple[int, ...]:
        return tuple(self.base.shape[axis] for axis in axes)

    def whole(self) -> Array:
        """Return W."""
        product = jnp.matmul(self.b, self.a, precision=jax.lax.Precision.HIGHEST)
        product = product.reshape(self._sizes(self.outputs) + self._sizes(self.inputs))
        places = self.outputs + self.inputs  # of the product's axes in W
        return self.base + self.scale * product.transpose([places.index(axis) for axis in range(len(places))])

    def cast(self, dtype: Any) -> Adapted:
        """Return the kernel in another dtype."""
        return dataclasses.replace(self, **{name: getattr(self, name).astype(dtype) for name in ("base", "a", "b")})

    def transposed(self, axes: Sequence[int]) -> Adapted:
        """Return the kernel with its axes in another order."""
        inputs, outputs = (tuple(map(list(axes).index, places)) for places in (self.inputs, self.outputs))
        return dataclasses.replace(self, base=self.base.transpose(axes), inputs=inputs, outputs=outputs)

    def applied(self, x: Array, over: Sequence[tuple[int, int]], product: Product) -> Array | None:
        """Return ``x W_0 + s (x A) B`` where the product is over the inputs; ``None`` where it is over other axes."""
        if {axis for _, axis in over} != set(self.inputs):
            return None
        a = self.a.reshape(-1, *self._sizes(self.inputs))
        b = self.b.reshape(*self._sizes(self.outputs), -1)
        thin = product(x, a, [(place, 1 + self.inputs.index(axis)) for place, axis in over])
        wide = product(thin, b, [(thin.ndim - 1, b.ndim - 1)])
        first = x.ndim - len(over)  # the number of free axes of x, after which B's order becomes the kernel's
        order = [first + self.outputs.index(axis) for axis in sorted(self.outputs)]
        return product(x, self.base, over) + self.scale * wide.transpose((*range(first), *order))


class Sides(NamedTuple):
    """Which axes of a kernel are summed over in its product with activations, and which are left."""

    inputs: Axes
    outputs: Axes

    def widths(self, shape: Sequence[int]) -> tuple[int, int]:
        """Return the numbers of inputs and outputs."""
        return math.prod(shape[axis] for axis in self.inputs), math.prod(shape[axis] for axis in self.outputs)


class _Seen:
    """What was found out about one leaf; equal to itself alone, as a static field of a pytree has to be."""

    def __init__(self) -> None:
        self.inputs: set[Axes] = set()
        self.otherwise = False


@struct.dataclass
class _Watched(Kernel):
    """A leaf that takes note of its uses; ``axes`` are those of the leaf in their present order."""

    value: Array
    axes: Axes = struct.field(pytree_node=False)
    seen: _Seen = struct.field(pytree_node=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    def whole(self) -> Array:
        self.seen.otherwise = True
        return self.value

    def cast(self, dtype: Any) -> _Watched:
        return dataclasses.replace(self, value=self.value.astype(dtype))

    def transposed(self, axes: Sequence[int]) -> _Watched:
        return dataclasses.replace(self, value=self.value.transpose(axes), axes=tuple(self.axes[axis] for axis in axes))

    def applied(self, x: Array, over: Sequence[tuple[int, int]], product: Product) -> Array:
        self.seen.inputs.add(tuple(sorted(self.axes[axis] for _, axis in over)))
        return product(x, self.value, over)


def kernels_of(task: Task, example: jax.ShapeDtypeStruct) -> dict[int, Sides]:
    """Find the kernels of a task's dense and attention layers, by the place of the leaf in flatten order.

    They are the leaves of two and more axes that the forward pass uses in nothing but products with activations, always
    over the same axes. Filters of convolutions and tables of embeddings are none; nor is a table that is the head too.

    Args:
      task: the task.
      example: shape and dtype of one stored example.
    """
    layers, seen = task.layers, [_Seen() for _ in task.layers.leaf_shapes]

    def forward(params: Any, inputs: Array) -> Any:
        leaves = [
            _Watched(x, tuple(range(x.ndim)), own) if x.ndim > 1 else x
            for x, own in zip(jax.tree.leaves(params), seen, strict=True)
        ]
        return evaluated(lambda p, x: task.apply(p, x, None), leaves, layers.treedef, inputs)

    shapes = jax.eval_shape(task.init, jax.random.key(0))
    jax.eval_shape(forward, shapes, jax.ShapeDtypeStruct((2, *example.shape), example.dtype))
    found = {}
    for place, (own, shape) in enumerate(zip(seen, layers.leaf_shapes, strict=True)):
        if len(own.inputs) == 1 and not own.otherwise and len(min(own.inputs)) < len(shape):
            (inputs,) = own.inputs
            found[place] = Sides(inputs, tuple(axis for axis in range(len(shape)) if axis not in inputs))
    return found
