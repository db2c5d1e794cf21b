"""Starts of a run other than random numbers: a model of another run, or GPT-2's published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.data import load
from fedjax_layers.engine.intervals import start_params
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.records.saved_models import MODEL_FILE, PERSONAL_FILE
from fedjax_layers.models.gpt2 import CONFIG, WEIGHTS, gpt2_options, load_gpt2
from fedjax_layers.models.params_file import load_params
from fedjax_layers.ops.checks import leaf_path
from fedjax_layers.options import defaults_of
from fedjax_layers.types import LayerMap, Params, Task

_OWN_CONFIG = "manifest.json"  # beside a run directory's config.json
_SPLIT = {name: defaults_of(load)[name] for name in ("reserve", "reserved", "split_seed")}


def is_gpt2(path: str | None) -> bool:
    """Return whether this is a folder of GPT-2's files, and not a run directory."""
    folder = Path(path) if path else None
    return folder is not None and all((folder / f).is_file() for f in (CONFIG, WEIGHTS)) and not _is_run(folder)


def model_options_of(path: str | None) -> dict[str, Any]:
    """Return the model options that the weights decide: GPT-2's sizes, or none."""
    return gpt2_options(str(path)) if is_gpt2(path) else {}


def start_file(path: str) -> Path:
    """Find the file with the start's weights: in a run directory or GPT-2's folder, or the path itself.

    Raises:
      ValueError: the run has only its clients' models.
      FileNotFoundError: there is no such file.
    """
    where = Path(path)
    if is_gpt2(path):
        return where / WEIGHTS
    file = where / MODEL_FILE if where.is_dir() else where
    if not file.exists():
        if (where / PERSONAL_FILE).exists():
            raise ValueError(f"{path}: expected a run with a global model, found only its clients' in {PERSONAL_FILE}")
        raise FileNotFoundError(f"init_from: expected a model's file or a run that saved one, found none at {file}")
    return file


def load_start(path: str, layers: LayerMap) -> Params:
    """Load the parameters from which every model starts.

    Args:
      path: a safetensors file of :func:`fedjax_layers.models.params_file.save_params`, a run directory that holds
        one, or a folder of GPT-2's files.
      layers: the layer map of the model.

    Returns:
      One model, leaves ``[...]`` float32.

    Raises:
      ValueError: it is no such file or folder, or its tree differs from the model's (the first path is named).
      FileNotFoundError: there is no such file.
    """
    where = Path(path)
    if is_gpt2(path):
        params = load_gpt2(where)
        _check_tree(params, layers, path)
    else:
        params = load_params(start_file(path), layers)
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x, np.float32)), params)


def make_start(config: RunConfig, task: Task) -> Params | None:
    """Make the params from which every model of the config's run starts; ``None`` for a draw with the run's seed.

    Adapters are drawn, as ``init_from`` is the base beside which they are trained.
    """
    if config.init_from is not None and config.low_rank is None:
        return load_start(config.init_from, task.layers)
    return None if config.start_seed is None else start_params(task, jax.random.key(config.start_seed))


def check_disjoint(config: RunConfig) -> None:
    """Raise ``ValueError`` if the start was trained on reserved examples that this run's clients may hold."""
    folder = Path(config.init_from) if config.init_from else None
    if folder is not None and folder.name == MODEL_FILE:
        folder = folder.parent
    if folder is None or not _is_run(folder):
        return
    before = RunDirectory(folder).read("config")
    if "dataset" not in before or not isinstance(before.get("data_options"), dict):
        raise ValueError(
            f"{folder}: expected a run's config with dataset and data_options, found another or a damaged one"
        )
    theirs, ours = ({**_SPLIT, **options} for options in (before["data_options"], config.data_options))
    if before["dataset"] != config.dataset or not theirs["reserved"]:
        return
    for name in ("reserve", "split_seed"):
        if ours[name] != theirs[name]:
            expected = f"{theirs[name]}, for the reserve that {config.init_from} was trained on"
            raise ValueError(f"option {name}: expected {expected}, got {ours[name]}")


def _is_run(folder: Path) -> bool:
    return (folder / _OWN_CONFIG).is_file()


def _check_tree(params: Params, layers: LayerMap, path: str) -> None:
    found = {leaf_path(p): x.shape for p, x in jax.tree_util.tree_flatten_with_path(params)[0]}
    for name, shape in zip(layers.leaf_paths, layers.leaf_shapes, strict=True):
        if found.get(name) != shape:
            has = f"one of shape {found[name]}" if name in found else "none"
            raise ValueError(f"{path}: expected a leaf {name!r} of shape {shape} for this model, got {has}")
    more = sorted(found.keys() - set(layers.leaf_paths))
    if more:
        raise ValueError(f"{path}: expected the model's {len(layers.leaf_paths)} leaves, got {more[0]!r} as well")
