"""What has to be the same where a run is continued: the data, and how JAX computes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from fedjax_layers.data import ClientData
from fedjax_layers.experiment.records.environment import environment
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.storage import StorageError


def refuse_another_run(directory: RunDirectory, data: ClientData) -> None:
    """Compare a run's manifest with what would continue it now.

    Other packages or devices change at most the last digits: they are a warning. A directory without a manifest has no
    round to continue.

    Args:
      directory: of the run.
      data: the clients' data as they are now.

    Raises:
      StorageError: other data, another partition, or other settings of JAX's numbers; the first that differs is named.
    """
    if not (directory.path / "manifest.json").is_file():
        return
    before, now = directory.read("manifest"), environment()
    must = {
        "the partition": (before.get("partition_hash"), data.partition_hash),
        "the content of the data": (before.get("content_hash"), data.content_hash),
        **_pairs("JAX's setting ", before.get("jax_settings", {}), now["jax_settings"]),
    }
    for name, (had, has) in must.items():
        if had != has:
            raise StorageError(f"{directory.path}: cannot resume, {name} differs: the run has {had}, now it is {has}")
    may = {
        **_pairs("", before.get("versions", {}), now["versions"]),
        **_pairs("devices, ", before.get("devices", {}), now["devices"]),
    }
    other = [f"{name} {had} (now {has})" for name, (had, has) in may.items() if had != has]
    if other:
        told = f"the run was computed with {', '.join(other)}; its last digits may be others from here on"
        warnings.warn(f"{directory.path}: {told}", stacklevel=2)


def _pairs(prefix: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {f"{prefix}{name}": (before.get(name), value) for name, value in now.items()}
