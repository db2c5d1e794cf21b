"""A cache of tables as memory-mapped NumPy files, which are decoded once and read many times.

An entry is a folder ``<cache>/<name>/<key>/`` with one ``.npy`` file per array and an ``index.json`` that gives
each array's SHA-256. It appears under its final name only when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.data.tables.columns import Ragged, Tables
from fedjax_layers.data.tables.files import sha256_of
from fedjax_layers.storage import beside

CACHE_VARIABLE = "FEDJAX_LAYERS_CACHE"
_INDEX = "index.json"


def cache_dir() -> Path:
    """Return the cache folder: ``$FEDJAX_LAYERS_CACHE``, else ``fedjax_layers`` in the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fedjax_layers"


def cache_key(**parts: Any) -> str:
    """Make the name of the entry for tables that depend only on ``parts`` (JSON-able)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def cached_tables(name: str, key: str, make: Callable[[], tuple[Tables, str]]) -> tuple[Tables, str]:
    """Read the tables of a key from the cache, or make them and store them there.

    A damaged entry is deleted with a warning and made again. Where nothing can be written (a read-only home), a warning
    says so, and the tables are returned as they were made.

    Args:
      name: the data set's name.
      key: the result of :func:`cache_key`.
      make: function that returns the tables and a line on their source.

    Returns:
      The tables, their arrays memory-mapped and read-only, and that line.
    """
    entry = cache_dir() / name / key
    try:
        if entry.is_dir():
            return _read(entry)
    except (OSError, ValueError) as error:
        warnings.warn(f"cache: {error}; making the entry again", stacklevel=2)
        shutil.rmtree(entry, ignore_errors=True)
    tables, provenance = make()
    try:
        _write(entry, tables, provenance)
        return _read(entry)
    except (OSError, ValueError) as error:
        warnings.warn(f"cache: expected to write {entry}, could not ({error}); going on without it", stacklevel=2)
        return tables, provenance


def _read(entry: Path) -> tuple[Tables, str]:
    index = json.loads((entry / _INDEX).read_text(encoding="utf-8"))
    try:
        tables = {
            split: {column: _load(entry, arrays) for column, arrays in columns.items()}
            for split, columns in index["tables"].items()
        }
        return tables, index["provenance"]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"expected {entry / _INDEX} to list arrays by split and column, found {error!r}") from error


def _load(entry: Path, arrays: Mapping[str, Mapping[str, str]]) -> np.ndarray | Ragged:
    loaded = {}
    for part, stored in arrays.items():
        path = entry / stored["file"]
        if not path.is_file() or sha256_of(path) != stored["sha256"]:
            raise ValueError(f"expected {path} with SHA-256 {stored['sha256']}, found another content or no file")
        loaded[part] = np.load(path, mmap_mode="r", allow_pickle=False)
    return loaded["array"] if "array" in loaded else Ragged(**loaded)


def _write(entry: Path, tables: Tables, provenance: str) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    try:
        with beside(entry) as unfinished:
            unfinished.mkdir()
            stored = {
                split: {column: _store(unfinished, f"{split}.{column}", entries) for column, entries in table.items()}
                for split, table in tables.items()
            }
            index = json.dumps({"provenance": provenance, "tables": stored}, indent=1)
            (unfinished / _INDEX).write_text(index, encoding="utf-8")
    except OSError:
        if not (entry / _INDEX).is_file():  # if it exists, another process has written it
            raise


def _store(folder: Path, stem: str, entries: np.ndarray | Ragged) -> dict[str, dict[str, str]]:
    parts = {"array": entries}
    if isinstance(entries, Ragged):
        parts = {"values": entries.values, "offsets": entries.offsets}
    stored = {}
    for part, array in parts.items():
        name = f"{stem}.{part}.npy"
        np.save(folder / name, np.ascontiguousarray(array), allow_pickle=False)
        stored[part] = {"file": name, "sha256": sha256_of(folder / name)}
    return stored
