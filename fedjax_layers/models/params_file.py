"""Parameters of one model, or of many stacked, in a safetensors file, named by their paths in the tree."""

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
    """Write a model, or many stacked; the file appears as a whole or not at all.

    Args:
      path: path of the file.
      params: one model, leaves ``[...]``; or one per client or team, leaves ``[C, ...]``.
      layers: the layer map of one model, whose leaf paths name the tensors.

    Raises:
      OSError: the file cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    leaves = [np.ascontiguousarray(x) for x in jax.tree.leaves(params)]
    with beside(target) as unfinished:
        unfinished.touch()  # sets the user's usual permissions: safetensors would make the file unreadable for others
        mode = unfinished.stat().st_mode
        save_file(dict(zip(layers.leaf_paths, leaves, strict=True)), unfinished)
        unfinished.chmod(mode)


def load_params(path: str | os.PathLike[str], layers: LayerMap) -> Params:
    """Read a model that :func:`save_params` wrote.

    Args:
      path: of the file.
      layers: the layer map of the model that the parameters are for.

    Returns:
      One model, leaves ``[...]`` of NumPy arrays in the dtypes of the file.

    Raises:
      ValueError: the file is no complete safetensors file, or its tree differs from the map; the first such path is
        named.
      FileNotFoundError: there is no file.
    """
    return _in_tree(read_tensors(path), layers, path, ())


def load_stacked_params(path: str | os.PathLike[str], layers: LayerMap, row: int | None = None) -> Params:
    """Read from a file of :func:`save_params` the models of all clients or teams, or one of them.

    Args:
      path: path of the file, a run's ``personal.safetensors`` say.
      layers: the layer map of one model.
      row: number of the client or team; ``None`` reads all.

    Returns:
      The models, leaves ``[C, ...]``, or the one, leaves ``[...]``, of NumPy arrays in the dtypes of the file.

    Raises:
      ValueError: as :func:`load_params`; or leaves differ in length, or there is no such row.
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
    """Read all tensors of a safetensors file, by name.

    Raises:
      ValueError: the file is no safetensors file, or truncated.
      FileNotFoundError: there is no file.
    """
    if not Path(path).is_file():  # the library would wait for a pipe
        raise FileNotFoundError(f"{path}: expected a safetensors file, found none")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a whole safetensors file, got {str(error).splitlines()[0]}") from None


def check_tensor(
    tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], path: str | os.PathLike[str]
) -> np.ndarray:
    """Return the tensor of this name, whose shape must be ``shape``.

    Raises:
      ValueError: it is missing, or has another shape.
    """
    if name not in tensors:
        raise ValueError(f"{path}: expected a tensor {name!r} of shape {shape}, found none")
    if tensors[name].shape != shape:
        raise ValueError(f"{path}: expected {name!r} of shape {shape}, got {tensors[name].shape}")
    return tensors[name]
