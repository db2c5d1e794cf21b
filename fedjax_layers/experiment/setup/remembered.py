"""A cache of measured client axes in the user's cache folder, so that the same command makes the same choice."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fedjax_layers.data.tables.cache import cache_dir
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.storage import beside
from fedjax_layers.types import Cohort, Task

_FIELDS = (
    *("model", "model_options", "conv", "loss", "augmentation"),
    *("optimizer", "batch_size", "epochs", "steps", "init_from", "low_rank"),
)
_VERSIONS = ("fedjax-layers", "jax", "jaxlib")


def axis_key(config: RunConfig, task: Task, cohort: Cohort) -> str:
    """Make a short key of what a choice depends on: local training, shapes and sizes of the data, and the machine."""
    devices = jax.local_devices()
    sizes = np.asarray(cohort.train.count)
    parts = {
        "training": {name: getattr(config, name) for name in _FIELDS},
        "model": [list(task.layers.leaf_paths), list(task.layers.leaf_shapes)],
        "data": [config.dataset, [[list(x.shape), str(x.dtype)] for x in jax.tree.leaves(cohort.pool)]],
        "clients": hashlib.sha256(sizes.astype("<i8").tobytes()).hexdigest(),
        "versions": [_version(name) for name in _VERSIONS],
        "machine": [platform.machine(), os.cpu_count(), len(devices), sorted({d.device_kind for d in devices})],
        "settings": [str(getattr(jax.config, f"jax_{name}")) for name in ("enable_x64", "default_matmul_precision")],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def recall_axis(key: str, rounds: float) -> dict[str, Any] | None:
    """Read the record of a choice with this key for at least as many rounds; ``None`` without a valid one."""
    try:
        found = json.loads(_path(key).read_text(encoding="utf-8"))
        width, devices, known = found["width"], found["devices"], found["rounds"]
        sound = (width is None or width >= 1) and devices >= 1 and isinstance(found["chosen"], str)
        return found if sound and (known is None or rounds <= known) else None
    except (OSError, ValueError, KeyError, TypeError):  # there is no file, or it was not written by this module
        return None


def remember_axis(key: str, record: dict[str, Any]) -> None:
    """Save a record; if it cannot be written, the next run measures again."""
    path = _path(key)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path) as unfinished:
            unfinished.write_text(json.dumps(record), encoding="utf-8")


def _path(key: str) -> Path:
    return cache_dir() / "client_axis" / f"{key}.json"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
