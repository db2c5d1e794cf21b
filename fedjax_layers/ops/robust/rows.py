"""The clients' models as flat rows of each leaf, grouped by what a rule judges as one vector."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.ops.checks import at_least_float32, client_count, expect_shape, leaf_path, same_tree
from fedjax_layers.ops.reduce import weighted_sum
from fedjax_layers.types import Array, LayerMap, Params


@dataclasses.dataclass(frozen=True)
class Rows:
    """Stacked models whose leaves are matrices ``[K, P]``, in one group, or in one for each of G layers.

    Attributes:
      leaves: ``[K, P]`` each, in the leaf's own dtype; rows of absent slots may hold anything.
      groups: the group of each leaf.
      num_groups: G.
      weight: ``[K]``, not negative.
      like: the shape and dtype of each leaf of the result.
      paths: the name of each leaf.
      treedef: the structure of the tree.
    """

    leaves: list[Array]
    groups: tuple[int, ...]
    num_groups: int
    weight: Array
    like: list[jax.ShapeDtypeStruct]
    paths: tuple[str, ...]
    treedef: Any

    @property
    def present(self) -> Array:
        """Which slots are present, ``[K]`` bool."""
        return self.weight > 0

    @property
    def number(self) -> Array:
        """The number of present slots, ``[]`` int32."""
        return self.present.sum(dtype=jnp.int32)

    @property
    def dtype(self) -> Any:
        """The precision in which leaves are added up to norms: that of the most precise leaf, at least float32."""
        with jax.numpy_dtype_promotion("standard"):
            return jnp.result_type(*(at_least_float32(x.dtype) for x in self.leaves))

    def flat(self, tree: Params, name: str) -> list[Array]:
        """Return the leaves of one model as vectors ``[P]`` in the precision of computing.

        Raises:
          ValueError: the tree or a shape differs from that of the rows (the path is named).
        """
        leaves = same_tree(tree, self.treedef, self.paths, name)
        for path, like, leaf in zip(self.paths, self.like, leaves, strict=True):
            expect_shape(leaf, like.shape, f"{name} at {path!r}")
        return [jnp.ravel(x).astype(at_least_float32(x.dtype)) for x in map(jnp.asarray, leaves)]

    def build(self, flat: list[Array]) -> Params:
        """Make one model, in the rows' dtypes, of the vectors ``[P]`` of its leaves."""

        def shaped(x: Array, like: jax.ShapeDtypeStruct) -> Array:
            # A cast alone would truncate 2.9999998, a mean of threes, to 2.
            x = x if jnp.issubdtype(like.dtype, jnp.inexact) else jnp.round(x)
            return x.reshape(like.shape).astype(like.dtype)

        return jax.tree.unflatten(self.treedef, [shaped(x, s) for x, s in zip(flat, self.like, strict=True)])

    def sums(self, factor: Array) -> list[Array]:
        """Sum the rows times ``factor [G, K]`` over the slots, ``[P]`` for each leaf; rows of factor 0 are left out."""
        return [self._sum(x, factor[g]) for g, x in zip(self.groups, self.leaves, strict=True)]

    def _sum(self, x: Array, factor: Array) -> Array:
        dtype = at_least_float32(x.dtype)
        return weighted_sum(x, factor.astype(dtype)) if x.size else jnp.zeros(x.shape[1:], dtype)

    def distances(self, centre: list[Array]) -> Array:
        """Compute each row's Euclidean distance to a centre, ``[G, K]``; 0 for absent slots.

        Entries are divided by the row's largest before they are squared: the square of 1e20 is no float32.

        Args:
          centre: vectors ``[P]`` of the leaves, as from :meth:`flat`.
        """
        num = len(self.weight)
        gaps = [x.astype(c.dtype) - c[None] for x, c in zip(self.leaves, centre, strict=True)]
        largest = jnp.zeros((self.num_groups, num), self.dtype)
        for g, gap in zip(self.groups, gaps, strict=True):
            largest = largest.at[g].max(jnp.abs(gap).max(1, initial=0).astype(self.dtype))
        limits = jnp.finfo(self.dtype)  # between them a number and one divided by it are both normal
        unit = jnp.clip(largest, 1 / limits.max * 16, limits.max / 16)
        squares = jnp.zeros_like(largest)
        for g, gap in zip(self.groups, gaps, strict=True):
            squares = squares.at[g].add(jnp.square(gap.astype(self.dtype) / unit[g][:, None]).sum(1))
        return jnp.where(self.present[None], unit * jnp.sqrt(squares), 0)


def flat_rows(rows: Params, weight: Array, layers: LayerMap | None = None) -> Rows:
    """Check and flatten stacked models.

    Args:
      rows: any pytree with leaves ``[K, ...]``.
      weight: ``[K]``, not negative; slots of weight 0 are absent.
      layers: the layers that are judged one by one, to which every leaf must belong by its path; the tree may lack some
        leaves. ``None`` judges all leaves as one vector.

    Raises:
      ValueError: leaves of unequal length, a weight of another length, or a leaf that belongs to no layer.
    """
    num = client_count(rows, "rows")
    weight = jnp.asarray(weight)
    expect_shape(weight, (num,), "weight")
    flat, treedef = jax.tree_util.tree_flatten_with_path(rows)
    paths = tuple(leaf_path(p) for p, _ in flat)
    groups = (0,) * len(paths)
    if layers is not None:
        layer_of = dict(zip(layers.leaf_paths, layers.leaf_layers, strict=True))
        unknown = [path for path in paths if path not in layer_of]
        if unknown:
            raise ValueError(f"rows: expected leaves of the layer map, found {unknown[0]!r}")
        groups = tuple(layer_of[path] for path in paths)
    leaves = [jnp.asarray(x) for _, x in flat]
    return Rows(
        leaves=[x.reshape(num, math.prod(x.shape[1:])) for x in leaves],
        groups=groups,
        num_groups=1 if layers is None else layers.num_layers,
        weight=weight,
        like=[jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in leaves],
        paths=paths,
        treedef=treedef,
    )


def count_within(name: str, count: int | Array, low: int, most: Array, slots: int, needs: str) -> Array:
    """Return a count as ``[]`` int32, brought into what the present slots allow.

    Args:
      name: the argument, for the message.
      count: the count that was asked for; may be traced.
      low: the smallest count.
      most: ``[]``, the largest count that the present slots allow.
      slots: the largest count that all K slots would allow.
      needs: the rule's condition, for the message.

    Raises:
      ValueError: a count that is known and that not even all K slots would allow.
    """
    if isinstance(count, int | np.integer) and not low <= count <= max(slots, low):
        raise ValueError(f"{name}: expected {low} to {max(slots, low)} ({needs}), got {count}")
    return jnp.clip(jnp.asarray(count).astype(jnp.int32), low, jnp.maximum(most, low))
