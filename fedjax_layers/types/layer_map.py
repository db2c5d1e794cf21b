"""The map that says which layer each parameter belongs to."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class LayerMap:
    """The layer of each leaf of a parameter tree, with layers numbered in the order of the forward pass.

    Static and hashable: it can be closed over, or passed to a jitted function like any other argument.
    Made by :func:`fedjax_layers.ops.layer_map`.

    Attributes:
      treedef: the structure of the parameter tree.
      leaf_paths: slash-separated path of each leaf, in flatten order.
      leaf_layers: layer number of each leaf, in flatten order.
      leaf_shapes: shape of each leaf of one model.
      leaf_bytes: bytes of each leaf in its stored dtype.
      leaf_scored: whether the leaf enters per-layer scores (weights do; biases and norm parameters do not).
      names: name of each layer, ``[L]``.
      blocks: block number of each layer, ``[L]``; without a coarser grouping, each layer is its own block.
      block_names: name of each block.
    """

    treedef: Any
    leaf_paths: tuple[str, ...]
    leaf_layers: tuple[int, ...]
    leaf_shapes: tuple[tuple[int, ...], ...]
    leaf_bytes: tuple[int, ...]
    leaf_scored: tuple[bool, ...]
    names: tuple[str, ...]
    blocks: tuple[int, ...]
    block_names: tuple[str, ...]

    @property
    def num_layers(self) -> int:
        """The number L of layers."""
        return len(self.names)

    @property
    def num_blocks(self) -> int:
        """The number of blocks."""
        return len(self.block_names)

    @property
    def tree(self) -> Any:
        """The layer number of each leaf, as a tree like the params."""
        return jax.tree.unflatten(self.treedef, self.leaf_layers)

    @property
    def leaf_sizes(self) -> tuple[int, ...]:
        """The number of elements of each leaf, in flatten order."""
        return tuple(math.prod(shape) for shape in self.leaf_shapes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of parameters of each layer, ``[L]``."""
        return self._per_layer(self.leaf_sizes)

    @property
    def bytes(self) -> tuple[int, ...]:
        """The bytes of each layer in its stored dtypes, ``[L]``."""
        return self._per_layer(self.leaf_bytes)

    @property
    def scored_sizes(self) -> tuple[int, ...]:
        """The number of scored weights of each layer, ``[L]``: the n_k of a per-layer mean."""
        scored = tuple(n if s else 0 for n, s in zip(self.leaf_sizes, self.leaf_scored, strict=True))
        return self._per_layer(scored)

    def _per_layer(self, leaf_values: tuple[int, ...]) -> tuple[int, ...]:
        totals = [0] * self.num_layers
        for layer, value in zip(self.leaf_layers, leaf_values, strict=True):
            totals[layer] += value
        return tuple(totals)
