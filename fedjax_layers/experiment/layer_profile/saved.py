"""The models that a layer profile reads from the folder of a run, and the run's task and data."""

from __future__ import annotations

import os
from pathlib import Path

from fedjax_layers.data import ClientData
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.records.saved_models import MODEL_FILE, PERSONAL_FILE
from fedjax_layers.experiment.setup.attack import corrupted
from fedjax_layers.experiment.setup.shared_data import load_clients
from fedjax_layers.experiment.setup.tasks import make_task
from fedjax_layers.experiment.verify import stored_config
from fedjax_layers.models import load_params, load_stacked_params
from fedjax_layers.types import LayerMap, Params, Task


def saved_models(path: str | os.PathLike[str], layers: LayerMap) -> Params:
    """Read the models of a run: the clients' where there are any, or else the global one.

    Args:
      path: a run directory, or one of its files of models.
      layers: the layer map of one model.

    Raises:
      ValueError: there are no models, or they are of another form than the map's.
    """
    file = saved_file(path)
    return load_params(file, layers) if file.name == MODEL_FILE else load_stacked_params(file, layers)


def saved_file(path: str | os.PathLike[str]) -> Path:
    """Return the file of a run's models; see :func:`saved_models`."""
    path = Path(path)
    if path.is_file() and path.name in (MODEL_FILE, PERSONAL_FILE):
        return path
    found = [path / name for name in (PERSONAL_FILE, MODEL_FILE) if (path / name).is_file()]
    if not found:
        expected = f"a run directory with {PERSONAL_FILE} or {MODEL_FILE}, which a run writes with --save-model"
        raise ValueError(f"models: expected {expected}, found none in {path}")
    return found[0]


def task_and_data(folder: str | os.PathLike[str], data_dir: str | None = None) -> tuple[Task, ClientData]:
    """Make the task of a run from its config, and load its data as they were at its start.

    Raises:
      ValueError: the folder is no run directory, or the config does not fit the data.
      StorageError: the config cannot be read.
      FileNotFoundError: data files are missing.
    """
    config = stored_config(RunDirectory(folder))
    clients = corrupted(config, load_clients(config, data_dir))
    return make_task(config, clients), clients
