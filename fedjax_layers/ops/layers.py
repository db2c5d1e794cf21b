"""Functions on the layers of a parameter tree: number them in call order, select among them, sum over each."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.ops.checks import at_least_float32, layer_mask, leaf_path, model_leaves
from fedjax_layers.types import Array, LayerMap, Params

Patterns = str | Sequence[str]


def layer_map(params: Params, order: Sequence[Patterns] | None = None, blocks: Sequence[Any] | None = None) -> LayerMap:
    """Number the layers of one model in the order of its forward pass.

    A layer is a unit of the forward pass: the kernel and the bias of one module belong together. Paths in sorted
    order are not call order (``Dense_10`` sorts before ``Dense_2``), so the order must be given wherever the tree
    itself does not carry one.

    Args:
      params: one model's parameters (arrays or ``ShapeDtypeStruct``), any pytree.
      order: one entry per layer, in call order: a regular expression, or several. An expression matches a leaf if
        it matches the whole of the leaf's slash-separated path, or of a path above it (``"Conv_0"`` matches
        ``Conv_0/kernel``, never ``Conv_01/kernel``). For a Flax module take
        :func:`fedjax_layers.models.call_order`. ``None`` takes the tree's own order where it has one: positions in
        lists and tuples, fields of dataclasses, and dictionary keys that differ in one number alone.
      blocks: a coarser grouping: one block number per layer (``0, 0, 1, ...``), or expressions as in ``order``
        matched against layer names. ``None`` makes each layer its own block.

    Returns:
      The map. Leaves of two or more axes enter per-layer scores, vectors (biases, norm scales) do not; a layer of
      vectors alone is scored on all of its leaves.

    Raises:
      ValueError: a leaf that no expression matches, or that two match (the leaf is named); an expression that
        matches no leaf; a tree that has no order of its own; block numbers that do not count up from 0.
    """
    flat, treedef = jax.tree_util.tree_flatten_with_path(params)
    if not flat:
        raise ValueError("params: expected at least one leaf, found none")
    paths = tuple(leaf_path(p) for p, _ in flat)
    if order is None:
        names, numbers = _own_order([p for p, _ in flat])
    else:
        names, numbers = _match(paths, order, "order")
    leaves = [jax.eval_shape(lambda x: x, x) for _, x in flat]
    block_names, block_numbers = _blocks(names, blocks)
    return LayerMap(
        treedef=treedef,
        leaf_paths=paths,
        leaf_layers=numbers,
        leaf_shapes=tuple(tuple(x.shape) for x in leaves),
        leaf_bytes=tuple(int(x.size) * np.dtype(x.dtype).itemsize for x in leaves),
        leaf_scored=_scored(numbers, [x.ndim for x in leaves]),
        names=names,
        blocks=block_numbers,
        block_names=block_names,
    )


def regroup(layers: LayerMap, by: Literal["tensor", "layer", "block", "model"]) -> LayerMap:
    """Renumber the same parameters more finely or coarsely, for ops that work per layer.

    Args:
      layers: the layer map.
      by: ``"tensor"`` makes each leaf a layer (in call order of its layer), ``"block"`` each block, ``"model"`` the
        whole model; ``"layer"`` returns the map itself.

    Returns:
      A map whose layers and blocks are those groups. Which leaves are scored follows from the new layers, as in
      :func:`layer_map`: the matrices of a group, or all leaves of a group without a matrix, as each bias is by
      ``"tensor"``.

    Raises:
      ValueError: an unknown grouping.
    """
    if by == "layer":
        return layers
    if by == "tensor":
        order = sorted(range(len(layers.leaf_layers)), key=lambda leaf: layers.leaf_layers[leaf])
        place = {leaf: i for i, leaf in enumerate(order)}
        numbers = tuple(place[leaf] for leaf in range(len(order)))
        names = tuple(layers.leaf_paths[leaf] for leaf in order)
    elif by == "block":
        numbers, names = tuple(layers.blocks[i] for i in layers.leaf_layers), layers.block_names
    elif by == "model":
        numbers, names = (0,) * len(layers.leaf_layers), ("model",)
    else:
        raise ValueError(f"by: expected tensor, layer, block or model, got {by!r}")
    groups = tuple(range(len(names)))
    scored = _scored(numbers, [len(shape) for shape in layers.leaf_shapes])
    return dataclasses.replace(
        layers, leaf_layers=numbers, leaf_scored=scored, names=names, blocks=groups, block_names=names
    )


def select(mask: Array | np.ndarray, layers: LayerMap, on: Params, off: Params) -> Params:
    """Take the layers where ``mask`` is True from ``on``, the others from ``off``.

    Args:
      mask: bool ``[L]`` for all clients alike, or ``[K, L]`` with a row for each client.
      layers: the layer map.
      on: params, or stacked ``[K, ...]``.
      off: params, or stacked ``[K, ...]``; broadcast against ``on``.

    Returns:
      Params; stacked if ``mask`` or either tree is.

    Raises:
      ValueError: a mask of another length, or trees that differ from the map (the path is named).
    """
    mask = layer_mask(mask, layers)
    chosen = [
        jnp.where(_beside(mask[..., i], shape), a, b)
        for i, shape, a, b in zip(
            layers.leaf_layers,
            layers.leaf_shapes,
            model_leaves(on, layers, "on"),
            model_leaves(off, layers, "off"),
            strict=True,
        )
    ]
    return jax.tree.unflatten(layers.treedef, chosen)


def part(tree: Params, layers: LayerMap, mask: np.ndarray) -> Any:
    """Return the layers that a static mask selects; ``None``, which JAX counts as no leaf, replaces the other leaves.

    Args:
      tree: params, or stacked ``[K, ...]``.
      layers: the layer map.
      mask: bool ``[L]``, a NumPy array: its values must be known before tracing.

    Raises:
      ValueError: a mask of another length, or a tree that differs from the map (the path is named).
    """
    flags = np.asarray(layer_mask(np.asarray(mask), layers))
    leaves = model_leaves(tree, layers, "tree")
    kept = [leaf if flags[i] else None for i, leaf in zip(layers.leaf_layers, leaves, strict=True)]
    return jax.tree.unflatten(layers.treedef, kept)


def fill(some: Any, whole: Params) -> Params:
    """Fill each ``None`` in the result of :func:`part` with the leaf of another model.

    Args:
      some: a tree with ``None`` in place of some leaves.
      whole: params, or stacked ``[K, ...]`` like ``some``.
    """
    return jax.tree.map(lambda own, other: other if own is None else own, some, whole, is_leaf=lambda x: x is None)


def layer_sums(tree: Params, layers: LayerMap) -> Array:
    """Sum all elements of each layer.

    Args:
      tree: one params-shaped tree.
      layers: the layer map.

    Returns:
      ``[L]``, in the leaves' dtype, at least float32.

    Raises:
      ValueError: a tree that differs from the map (the path is named).
    """
    totals: list[Any] = [0] * layers.num_layers
    for layer, leaf in zip(layers.leaf_layers, model_leaves(tree, layers, "tree"), strict=True):
        totals[layer] = totals[layer] + jnp.sum(leaf, dtype=at_least_float32(leaf.dtype))
    return jnp.stack(totals)


def _beside(values: Array, shape: tuple[int, ...]) -> Array:
    """Reshape ``[K]`` to ``[K, 1, ...]``, to broadcast with leaves ``[K, *shape]``; return a scalar as it is."""
    return values.reshape(values.shape + (1,) * len(shape)) if values.ndim else values


def _match(paths: Sequence[str], order: Sequence[Patterns], name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Find the one entry of ``order`` that matches each path; return the entries' names and each path's entry."""
    entries = [(e,) if isinstance(e, str) else tuple(e) for e in order]
    try:
        compiled = [[re.compile(p) for p in entry] for entry in entries]
    except re.error as error:
        raise ValueError(f"{name}: expected regular expressions, got {error.pattern!r} ({error})") from error

    def hits(path: str) -> list[int]:
        parts = path.split("/")
        above = ["/".join(parts[: i + 1]) for i in range(len(parts))]
        return [i for i, entry in enumerate(compiled) if any(p.fullmatch(a) for p in entry for a in above)]

    numbers = []
    for path in paths:
        found = hits(path)
        if len(found) != 1:
            what = "none" if not found else " and ".join(repr(" | ".join(entries[i])) for i in found)
            raise ValueError(f"{name}: expected exactly one entry to match {path!r}, found {what}")
        numbers.append(found[0])
    for i, entry in enumerate(entries):
        if i not in numbers:
            raise ValueError(f"{name}: expected entry {' | '.join(entry)!r} to match something, found nothing")
    # An entry is named after its first expression, without the backslashes that re.escape puts in.
    return tuple(re.sub(r"\\(.)", r"\1", entry[0]) for entry in entries), tuple(numbers)


def _own_order(key_paths: Sequence[tuple[Any, ...]]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Number layers in the order of the containers themselves: one layer per innermost container of leaves."""
    owners = [path[:-1] for path in key_paths]
    inner = {path[:depth] for path in owners for depth in range(len(path))}
    if all(not owner for owner in owners):  # bare leaves in one container: each is a layer of its own
        inner.add(())
    # A bare leaf beside modules is a layer of its own, too.
    owners = [path if owner in inner else owner for path, owner in zip(key_paths, owners, strict=True)]
    unique = list(dict.fromkeys(owners))
    _refuse_unordered(unique)
    first: dict[tuple[Any, ...], int] = {}  # where each container comes first in flatten order
    for n, path in enumerate(unique):
        for depth in range(len(path)):
            first.setdefault(path[: depth + 1], n)
    ranked = sorted(unique, key=lambda path: [_rank(k, first[path[: d + 1]]) for d, k in enumerate(path)])
    number = {path: i for i, path in enumerate(ranked)}
    return tuple(leaf_path(p) or "params" for p in ranked), tuple(number[o] for o in owners)


def _refuse_unordered(paths: Sequence[tuple[Any, ...]]) -> None:
    siblings: dict[tuple[Any, ...], list[Any]] = {}
    for path in paths:
        for depth, key in enumerate(path):
            if isinstance(key, jax.tree_util.DictKey):
                siblings.setdefault(path[:depth], []).append(key.key)
    for keys in siblings.values():
        stems = {re.sub(r"\d+", "#", str(k), count=1) if len(set(keys)) > 1 else "" for k in keys}
        if len(stems) > 1:
            found = ", ".join(repr(k) for k in list(dict.fromkeys(keys))[:4])
            raise ValueError(f"order: expected the layers' call order for keys without one, found None with {found}")


def _rank(key: Any, place: int) -> tuple[int, ...]:
    """Return the sort key of one path element: a position, a key's number, or a field's place in flatten order."""
    if isinstance(key, jax.tree_util.SequenceKey):
        return (key.idx,)
    if isinstance(key, jax.tree_util.DictKey):
        return tuple(int(n) for n in re.findall(r"\d+", str(key.key))[:1])
    return (place,)


def _scored(numbers: Sequence[int], ranks: Sequence[int]) -> tuple[bool, ...]:
    """Flag the leaves of two or more axes, and all leaves of a layer that has none, so that every layer is scored."""
    has_matrix = {n for n, rank in zip(numbers, ranks, strict=True) if rank >= 2}
    return tuple(rank >= 2 or n not in has_matrix for n, rank in zip(numbers, ranks, strict=True))


def _blocks(names: tuple[str, ...], blocks: Sequence[Any] | None) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if blocks is None:
        return names, tuple(range(len(names)))
    if all(isinstance(b, int | np.integer) for b in blocks):
        numbers = tuple(int(b) for b in blocks)
        if len(numbers) != len(names) or sorted(set(numbers)) != list(range(len(set(numbers)))):
            raise ValueError(
                f"blocks: expected {len(names)} numbers, one per layer, that count up from 0, found {numbers}"
            )
        return tuple(f"block_{i}" for i in range(max(numbers) + 1)), numbers
    return _match(names, blocks, "blocks")
