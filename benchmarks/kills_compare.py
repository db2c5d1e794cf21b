"""The comparison of two folders of results, one of which was killed and resumed: everything but times must be equal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

_TIMES = ("second", "compil", "memory")  # parts of the names of what may differ
_BYTES = ("rounds.jsonl", "model.safetensors", "personal.safetensors", "results.csv", "results.parquet", "config.json")


def differences(one: Path, other: Path) -> Iterator[str]:
    """Yield the results in which two folders differ."""
    places = sorted(
        {path.parent.relative_to(folder) for folder in (one, other) for path in folder.rglob("config.json")}
    )
    for place in places:
        yield from (f"{place}/{told}" for told in _differences(one / place, other / place))


def _differences(one: Path, other: Path) -> Iterator[str]:
    for name in _BYTES:
        contents = [(f / name).read_bytes() if (f / name).is_file() else None for f in (one, other)]
        if contents[0] != contents[1]:
            yield name
    for name, read in (("summary.json", _summary), ("clients.npz", _arrays), ("rows.jsonl", _rows)):
        found = [read(folder / name) if (folder / name).is_file() else None for folder in (one, other)]
        if found[0] != found[1]:
            yield name
    for table in ("rounds", "evaluations", "clients"):
        if _table(one / "history" / table) != _table(other / "history" / table):
            yield f"history/{table}"


def _summary(path: Path) -> Any:
    return _timeless(json.loads(path.read_text()))


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if not any(part in k for part in _TIMES)}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _rows(path: Path) -> list[str]:
    """Read a sweep's rows, which may have been computed in another order."""
    return sorted(json.dumps(_timeless(json.loads(line)), sort_keys=True) for line in path.read_text().splitlines())


def _arrays(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    with np.load(path, allow_pickle=False) as box:
        return {name: (str(box[name].dtype), box[name].shape, box[name].tobytes()) for name in box.files}


def _table(folder: Path) -> dict[str, str]:
    """Read all files of a table, which may be cut at other rows; NaN is written as it is, so that it equals itself."""
    columns: dict[str, list[Any]] = {}
    for path in sorted(folder.glob("*.parquet")):
        for name, values in parquet.read_table(path).to_pydict().items():
            columns.setdefault(name, []).extend(values)
    return {name: repr(values) for name, values in columns.items()}
