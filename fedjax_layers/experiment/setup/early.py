"""Checks of a config alone, before anything is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from fedjax_layers import data
from fedjax_layers.data.changes.drift import parse_changes
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.setup.initial import check_disjoint, start_file
from fedjax_layers.options import unknown_name


def check_early(config: RunConfig, data_dir: str | None = None) -> None:
    """Raise ``ValueError``, or ``FileNotFoundError``, for a config that is invalid whatever the data are.

    Args:
      config: the run's config.
      data_dir: the folder of the data files; ``None`` if none is named.
    """
    for argument, name, known in (
        ("data set", config.dataset, data.DATASETS),
        ("partition", config.partition, data.PARTITIONS),
        ("feature_shift", config.data_options.get("feature_shift"), data.FEATURE_SHIFTS),
    ):
        if name is not None and name not in known:
            raise unknown_name(argument, name, known)
    for argument, path in (("data_dir", data_dir), ("partition_file", config.data_options.get("partition_file"))):
        if path is not None and not Path(path).exists():
            raise FileNotFoundError(f"{argument}: expected something at {path}, found nothing")
    if config.store is not None:
        _check_store(Path(config.store))
    changes = parse_changes(config.drift)
    if changes and changes[-1].at >= config.rounds:
        raise ValueError(f"drift: expected rounds below the run's {config.rounds}, got {config.drift[-1]!r}")
    if config.init_from is not None:
        start_file(config.init_from)
    check_disjoint(config)


def _check_store(folder: Path) -> None:
    """Raise ``ValueError`` for a folder that cannot be made or written, without making anything."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"store: expected a folder, or room for one, at {folder}, but {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"store: expected a folder that can be written at {folder}, but {there} cannot be")
