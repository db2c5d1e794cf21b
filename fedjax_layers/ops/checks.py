"""Checks of the public ops' arguments. They look at shapes and structure only, so they cost nothing once traced."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from fedjax_layers.types import Array, LayerMap


def at_least_float32(dtype: Any) -> Any:
    """Promote ``dtype`` to at least float32, in which sums are accumulated; works under strict promotion too."""
    with jax.numpy_dtype_promotion("standard"):
        return jax.numpy.promote_types(dtype, jax.numpy.float32)


def leaf_path(path: Any) -> str:
    """Return the slash-separated name of a leaf from its key path in JAX."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def same_tree(tree: Any, treedef: Any, paths: tuple[str, ...], name: str) -> list[Any]:
    """Return the leaves of ``tree``, which must have the structure ``treedef``.

    Raises:
      ValueError: the structures differ; the message names the first path found in one and not in the other.
    """
    if jax.tree.structure(tree) == treedef:
        return jax.tree.leaves(tree)
    found = [leaf_path(p) for p, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    missing = [p for p in paths if p not in found]
    extra = [p for p in found if p not in paths]
    if missing:
        raise ValueError(f"{name}: expected a leaf at {missing[0]!r}, found none there")
    if extra:
        raise ValueError(f"{name}: expected no leaf at {extra[0]!r}, found one there")
    raise ValueError(f"{name}: expected the containers {treedef}, found {jax.tree.structure(tree)}")


def model_leaves(tree: Any, layers: LayerMap, name: str) -> list[Any]:
    """Return the leaves of a params-shaped tree, checked against the layer map's structure."""
    return same_tree(tree, layers.treedef, layers.leaf_paths, name)


def stacked_leaves(tree: Any, layers: LayerMap, num: int, name: str) -> list[Any]:
    """Return the leaves of a stacked tree, each of which must be ``[num, *shape of one model's leaf]``."""
    leaves = model_leaves(tree, layers, name)
    for path, shape, leaf in zip(layers.leaf_paths, layers.leaf_shapes, leaves, strict=True):
        expect_shape(leaf, (num, *shape), f"{name} at {path!r}")
    return leaves


def expect_shape(x: Array, shape: tuple[int | None, ...], name: str) -> None:
    """Raise ``ValueError`` unless ``x`` has this shape (``None`` matches any length)."""
    found = jax.numpy.shape(x)
    if len(found) != len(shape) or any(n not in (None, m) for n, m in zip(shape, found, strict=True)):
        wanted = ", ".join("K" if n is None else str(n) for n in shape)
        raise ValueError(f"{name}: expected shape ({wanted}), found {found}")


def layer_mask(mask: Array | np.ndarray, layers: LayerMap, name: str = "mask") -> Array:
    """Return a mask ``[L]`` or ``[K, L]`` as an array; raise ``ValueError`` for any other shape."""
    mask = mask if isinstance(mask, np.ndarray) else jax.numpy.asarray(mask)
    if mask.ndim not in (1, 2) or mask.shape[-1] != layers.num_layers:
        raise ValueError(
            f"{name}: expected shape [L] or [K, L] with L = {layers.num_layers} layers, found {mask.shape}"
        )
    return mask  # type: ignore[return-value]  # a NumPy mask is kept as it is, since it is known to be static


def client_count(stacked: Any, name: str) -> int:
    """Return the common length K of all leaves along axis 0; ``ValueError`` names the first leaf that differs."""
    flat = jax.tree_util.tree_flatten_with_path(stacked)[0]
    if not flat:
        raise ValueError(f"{name}: expected at least one leaf, found none")
    if jax.numpy.ndim(flat[0][1]) == 0:
        raise ValueError(f"{name}: expected leaves [K, ...], found a scalar at {leaf_path(flat[0][0])!r}")
    num = flat[0][1].shape[0]
    for path, leaf in flat:
        if jax.numpy.ndim(leaf) == 0 or leaf.shape[0] != num:
            raise ValueError(
                f"{name}: expected leaves of one length K along axis 0, found {num} at {leaf_path(flat[0][0])!r} "
                f"and shape {jax.numpy.shape(leaf)} at {leaf_path(path)!r}"
            )
    return num
