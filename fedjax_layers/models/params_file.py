"""Parameters as a safetensors file, named by their paths in the tree: of one model, or of many stacked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fedjax_layers.storage import beside
from fedjax_layers.types import LayerMap, Params


def save_params(path: str | os.PathLike[str], params: Params, layers: LayerMap) -> None:
    """Write a model, or many; the file is there as a whole or not at all.

    Args:
      path: of the file.
      params: one model, leaves ``[...]``; or one per client or team, leaves ``[C, ...]``.
      layers: the layer map of one of them, whose leaf paths name the tensors.

    Raises:
      OSError: the file cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    leaves = [np.ascontiguousarray(x) for x in jax.tree.leaves(params)]
    with beside(target) as unfinished:
        unfinished.touch()  # as this user makes files: safetensors would let nobody else read it
        mode = unfinished.stat().st_mode
        save_file(dict(zip(layers.leaf_paths, leaves, strict=True)), unfinished)
        unfinished.chmod(mode)


def load_params(path: str | os.PathLike[str], layers: LayerMap) -> Params:
    """Read a model that :func:`save_params` wrote.

    Args:
      path: of the file.
      layers: the layer map of the model that is to take the parameters.

    Returns:
      One model, leaves ``[...]`` of NumPy arrays in the dtypes of the file.

    Raises:
      ValueError: no whole safetensors file, or a tree that differs; the first path that differs is named.
      FileNotFoundError: there is no file.
    """
    return _in_tree(read_tensors(path), layers, path, ())


def load_stacked_params(path: str | os.PathLike[str], layers: LayerMap, row: int | None = None) -> Params:
    """Read the models of all clients or teams that :func:`save_params` wrote, or one of them.

    Args:
      path: of the file, a run's ``personal.safetensors`` say.
      layers: the layer map of one model.
      row: number of the client or team; ``None`` is all.

    Returns:
      The models, leaves ``[C, ...]``, or the one, leaves ``[...]``, of NumPy arrays in the dtypes of the file.

    Raises:
      ValueError: as :func:`load_params`; leaves of different lengths, or a row that there is not.
      FileNotFoundError: there is no file.
    """
    tensors = read_tensors(path)
    lengths = {tensors[leaf].shape[:1] for leaf in layers.leaf_paths if leaf in tensors}
    if len(lengths) > 1 or () in lengths:
        raise ValueError(f"{path}: expected models stacked along one axis, got {sorted(lengths)} as first axes")
    rows = next(iter(lengths), (0,))
    params = _in_tree(tensors, layers, path, rows)
    if row is None:
        return params
    if not 0 <= row < rows[0]:
        raise ValueError(f"row: expected one of the {rows[0]} models in {path}, 0 to {rows[0] - 1}, got {row}")
    return jax.tree.map(lambda x: x[row], params)


def _in_tree(
    tensors: Mapping[str, np.ndarray], layers: LayerMap, path: str | os.PathLike[str], rows: tuple[int, ...]
) -> Params:
    for leaf, shape in zip(layers.leaf_paths, layers.leaf_shapes, strict=True):
        check_tensor(tensors, leaf, (*rows, *shape), path)
    more = sorted(tensors.keys() - set(layers.leaf_paths))
    if more:
        raise ValueError(f"{path}: expected the model's {len(layers.leaf_paths)} tensors, got {more[0]!r} as well")
    return jax.tree.unflatten(layers.treedef, [tensors[leaf] for leaf in layers.leaf_paths])


def read_tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All tensors of a safetensors file, by name.

    Raises:
      ValueError: the file is no safetensors file, or truncated.
      FileNotFoundError: there is no file.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a whole safetensors file, got {str(error).splitlines()[0]}") from None


def check_tensor(
    tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], path: str | os.PathLike[str]
) -> np.ndarray:
    """The tensor of this name and shape.

    Raises:
      ValueError: it is missing, or has another shape.
    """
    if name not in tensors:
        raise ValueError(f"{path}: expected a tensor {name!r} of shape {shape}, found none")
    if tensors[name].shape != shape:
        raise ValueError(f"{path}: expected {name!r} of shape {shape}, got {tensors[name].shape}")
    return tensors[name]
