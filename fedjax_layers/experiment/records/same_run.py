"""What has to be the same where a run is continued: the data, and how JAX computes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedjax_layers.data import ClientData
from fedjax_layers.experiment.records.config_hash import refuse_changed_config
from fedjax_layers.experiment.records.environment import environment
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.storage import StorageError

TOLERANCE = 0.01
"""Relative difference of means over clients that is expected where releases or devices are other ones."""


def refuse_another_run(directory: RunDirectory, data: ClientData) -> None:
    """Compare a run's manifest with what would continue it now.

    Other packages or devices change at most the last digits: they are a warning. A directory without a manifest has no
    round to continue.

    Args:
      directory: of the run.
      data: the clients' data as they are now.

    Raises:
      StorageError: the config was changed; or other data, another partition, or other settings of JAX's numbers: the
        first that differs is named.
    """
    if not (directory.path / "manifest.json").is_file():
        return
    before = directory.read_manifest()
    refuse_changed_config(directory.path, directory.read("config"), before)
    for told in other_inputs(before, data):
        raise StorageError(f"{directory.path}: cannot resume, {told}")
    warn_of_environment(directory.path, before)


def warn_of_environment(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Warn of other releases or devices than those that a run's manifest records."""
    other = other_environment(manifest)
    if other:
        told = f"the run was computed with {', '.join(other)}; its last digits may be others from here on"
        warnings.warn(f"{folder}: {told}", stacklevel=3)


def other_inputs(manifest: Mapping[str, Any], data: ClientData) -> list[str]:
    """List what differs from a run's manifest and decides its numbers: the data, and settings of JAX's numbers."""
    must = {
        "the partition": (manifest.get("partition_hash"), data.partition_hash),
        "the content of the data": (manifest.get("content_hash"), data.content_hash),
        **_pairs("JAX's setting ", manifest.get("jax_settings", {}), environment()["jax_settings"]),
    }
    return [f"{name} differs: the run has {had}, now it is {has}" for name, (had, has) in must.items() if had != has]


def other_environment(manifest: Mapping[str, Any]) -> list[str]:
    """List what differs from a run's manifest and decides at most the last digits: releases and devices."""
    now = environment()
    may = {
        **_pairs("", manifest.get("versions", {}), now["versions"]),
        **_pairs("devices, ", manifest.get("devices", {}), now["devices"]),
    }
    return [f"{name} {had} (now {has})" for name, (had, has) in may.items() if had != has]


def _pairs(prefix: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {f"{prefix}{name}": (before.get(name), value) for name, value in now.items()}
