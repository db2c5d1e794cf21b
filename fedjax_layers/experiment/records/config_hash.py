"""The hash of a run's config in its manifest, by which a later change of ``config.json`` is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedjax_layers.storage import StorageError

HASHES = "config_hashes"
"""The manifest's entry: the hashes of the config that a start of the run found, and of the one that it wrote."""


def config_hash(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a config's values, which spaces and the order of its fields do not change."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def refuse_changed_config(folder: Path, config: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Compare a config with the hashes in the manifest; a manifest without any is not compared.

    Args:
      folder: the run directory, or the folder of a sweep.
      config: the content of its ``config.json``.
      manifest: the content of its ``manifest.json``; empty where there is none.

    Raises:
      StorageError: the config is another one.
    """
    known = manifest.get(HASHES)
    if known and config_hash(config) not in known:
        told = "expected the config that the run was begun with, found that a value was changed since"
        raise StorageError(f"{folder / 'config.json'}: {told}; put the old value back, or begin another run")
