"""Agglomerative clustering of stacked models in pure JAX, by average linkage, cut by number or by depth."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers.ops.average import weighted_mean
from fedjax_layers.ops.checks import at_least_float32, client_count, expect_shape
from fedjax_layers.types import Array, Params


class Dendrogram(NamedTuple):
    """The merges of a clustering in the order of their heights; a cluster is named after its lowest slot.

    With fewer than K slots present, the last rows are empty: slots K, height infinite, depth -1.

    Attributes:
      survivor: ``[K-1]`` int32, the name of the merged cluster, which is the lower of the two names.
      absorbed: ``[K-1]`` int32, the name of the cluster that is merged into it.
      height: ``[K-1]``, the distance between the two.
      depth: ``[K-1]`` int32, the number of merges above this one: 0 for the last merge, which makes the root.
    """

    survivor: Array
    absorbed: Array
    height: Array
    depth: Array


def pairwise_distances(stacked: Params, present: Array) -> Array:
    """Compute Euclidean distances between flattened models, ``[K, K]``; infinite from and to absent slots.

    They come from inner products of the models minus their mean. The shift leaves distances unchanged; without it the
    squares of models that lie close together would cancel.

    Args:
      stacked: any pytree with leaves ``[K, ...]``; absent slots may hold anything, NaN included.
      present: ``[K]`` bool.

    Raises:
      ValueError: leaves of unequal length, or ``present`` of another.
    """
    num = client_count(stacked, "stacked")
    expect_shape(present, (num,), "present")
    dtype = at_least_float32(jnp.result_type(*jax.tree.leaves(stacked)))
    mean = weighted_mean(stacked, present.astype(jnp.float32), jax.tree.map(lambda x: jnp.zeros_like(x[0]), stacked))

    def products(x: Array, centre: Array) -> Array:
        rows = (x - centre[None]).reshape(num, -1).astype(dtype)
        rows = jnp.where(present[:, None], rows, jnp.zeros((), dtype))
        return jnp.dot(rows, rows.T, precision="highest")

    gram: Any = sum(jax.tree.leaves(jax.tree.map(products, stacked, mean)))
    square = jnp.diagonal(gram)[:, None] + jnp.diagonal(gram)[None] - 2 * gram
    both = present[:, None] & present[None]
    return jnp.where(both, jnp.sqrt(jnp.maximum(square, 0)), jnp.inf)


def dendrogram(distances: Array, present: Array | None = None) -> Dendrogram:
    """Merge the two nearest clusters until one is left, by the mean distance over pairs of members (UPGMA).

    This takes K - 1 passes over the matrix, O(K^3) in all, each a vectorised minimum: it is meant for K up to about a
    thousand. Among equal distances the lower slots are merged first, so that the result is a function of the matrix
    alone.

    Args:
      distances: ``[K, K]``, symmetric up to rounding; the diagonal is not read.
      present: ``[K]`` bool, the slots to cluster; ``None`` takes all.

    Raises:
      ValueError: the matrix is not square, or ``present`` has another length.
    """
    num = distances.shape[0]
    expect_shape(distances, (num, num), "distances")
    present = jnp.ones(num, bool) if present is None else present
    expect_shape(present, (num,), "present")
    last = num - 1
    nobody = jnp.full(last, num, jnp.int32)
    empty = Dendrogram(nobody, nobody, jnp.full(last, jnp.inf, distances.dtype), jnp.full(last, -1, jnp.int32))
    if last == 0:
        return empty
    pairs = present[:, None] & present[None] & ~jnp.eye(num, dtype=bool)
    table = jnp.where(pairs, (distances + distances.T) / 2, jnp.inf)

    def merge(t: Array, carry: tuple[Array, Array, Dendrogram]) -> tuple[Array, Array, Dendrogram]:
        table, size, tree = carry
        nearest = table.min(1)
        found = jnp.isfinite(nearest.min())
        # The first row that holds the minimum, and in it the first column: the row is the lower one by symmetry.
        row = jnp.argmin(nearest).astype(jnp.int32)
        column = jnp.argmin(table[row]).astype(jnp.int32)
        height, n, m = nearest[row], size[row], size[column]
        joined = ((n * table[row] + m * table[column]) / (n + m)).at[row].set(jnp.inf)
        row, column = jnp.where(found, row, num), jnp.where(found, column, num)  # past the end nothing is written
        table = table.at[row].set(joined, mode="drop").at[:, row].set(joined, mode="drop")
        table = table.at[column].set(jnp.inf, mode="drop").at[:, column].set(jnp.inf, mode="drop")
        size = size.at[row].add(m, mode="drop")
        tree = tree._replace(
            survivor=tree.survivor.at[t].set(row),
            absorbed=tree.absorbed.at[t].set(column),
            height=tree.height.at[t].set(height),
        )
        return table, size, tree

    tree = jax.lax.fori_loop(0, last, merge, (table, jnp.ones(num, table.dtype), empty))[2]
    return tree._replace(depth=_depths(tree, num))


def clusters_at_depth(tree: Dendrogram, depth: int | Array, present: Array) -> Array:
    """Find the clusters after ``depth`` splits from the root along every path: at most ``2**depth``.

    Args:
      tree: the dendrogram of K slots.
      depth: number of splits; 0 is one cluster of all; may be traced.
      present: ``[K]`` bool, as given to :func:`dendrogram`.

    Returns:
      ``[K]`` int32, the lowest slot of each slot's cluster; -1 where absent.
    """
    return _join(tree, tree.depth >= jnp.asarray(depth, jnp.int32), present)


def agglomerate(distances: Array, num_clusters: int | Array, present: Array | None = None) -> Array:
    """Merge by average linkage until ``num_clusters`` are left.

    Args:
      distances: ``[K, K]``, as in :func:`dendrogram`, which also gives the cost.
      num_clusters: at least 1; may be traced. If fewer slots are present, each is a cluster.
      present: ``[K]`` bool, the slots to cluster; ``None`` takes all.

    Returns:
      ``[K]`` int32, the lowest slot of each slot's cluster; -1 where absent.

    Raises:
      ValueError: the matrix is not square, ``present`` has another length, or a concrete number is below 1.
    """
    if isinstance(num_clusters, int) and num_clusters < 1:
        raise ValueError(f"num_clusters: expected at least 1, got {num_clusters}")
    tree = dendrogram(distances, present)
    present = jnp.ones(distances.shape[0], bool) if present is None else present
    merges = present.sum(dtype=jnp.int32) - jnp.asarray(num_clusters, jnp.int32)
    return _join(tree, jnp.arange(tree.survivor.shape[0], dtype=jnp.int32) < merges, present)


def _depths(tree: Dendrogram, num: int) -> Array:
    """Find the depth of each merge, from the last one down: both halves of a merge are one deeper than it."""
    last = tree.survivor.shape[0]

    def undo(t: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        of_cluster, depth = carry
        merge = last - 1 - t
        survivor, absorbed = tree.survivor[merge], tree.absorbed[merge]
        here = jnp.where(survivor < num, of_cluster.at[survivor].get(mode="fill", fill_value=-1), -1)
        below = of_cluster.at[survivor].set(here + 1, mode="drop").at[absorbed].set(here + 1, mode="drop")
        return below, depth.at[merge].set(here)

    start = (jnp.zeros(num, jnp.int32), jnp.full(last, -1, jnp.int32))
    return jax.lax.fori_loop(0, last, undo, start)[1]


def _join(tree: Dendrogram, applied: Array, present: Array) -> Array:
    """Label slots ``[K]`` after the merges that ``applied [K-1]`` marks; if it marks a merge, also those below it."""
    num = present.shape[0]

    def step(t: Array, labels: Array) -> Array:
        return jnp.where(applied[t] & (labels == tree.absorbed[t]), tree.survivor[t], labels)

    alone = jnp.where(present, jnp.arange(num, dtype=jnp.int32), -1)
    if num == 1:  # the tree has no rows
        return alone
    return jax.lax.fori_loop(0, tree.survivor.shape[0], step, alone)
