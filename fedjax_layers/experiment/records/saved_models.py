"""The files of a run's models: the global one, one per client, one per team."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError

from fedjax_layers.models.params_file import save_params
from fedjax_layers.storage import storing
from fedjax_layers.types import LayerMap, Models, Params

MODEL_FILE = "model.safetensors"
PERSONAL_FILE = "personal.safetensors"
TEAM_FILE = "teams.safetensors"


def save_models(folder: Path, models: Models, finished: Params | None, layers: LayerMap) -> None:
    """Write the models that the algorithm has.

    Args:
      folder: the run's folder.
      models: the models after the last round.
      finished: each client's model after the last local phase ``[C, ...]``, which replaces the personal one; ``None``
        for an algorithm without such a phase.
      layers: the layer map.

    Raises:
      StorageError: a file cannot be written.
    """
    personal = models.personal if finished is None else finished
    files = {MODEL_FILE: models.global_model, PERSONAL_FILE: personal, TEAM_FILE: models.team}
    for name, params in files.items():
        if params is not None:
            with storing(folder / name, (OSError, SafetensorError)):
                save_params(folder / name, params, layers)
