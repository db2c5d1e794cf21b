"""The folder of a sweep: what is to be run, each finished run at once, and the table at the end.

``config.json`` (every run's setting, seed and full config), ``rows.jsonl`` (a line per run, as they end),
``programs.json`` (how many runs were computed at once, and why), and at the end ``results.csv``,
``results.parquet`` and ``summary.json``. Nothing in the table depends on the clock.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import csv, parquet

from fedjax_layers.experiment.records.run_directory import RunDirectory, to_json
from fedjax_layers.storage import replacing, storing
from fedjax_layers.sweeps.settings import SweptRun

_PROGRAMS = "programs"


class Shard(NamedTuple):
    """Part ``part`` (from 0) of ``parts`` of a sweep; runs of one part follow each other in the grid."""

    part: int = 0
    parts: int = 1

    def own(self, runs: Sequence[SweptRun]) -> list[SweptRun]:
        """The runs of this part."""
        low, high = (len(runs) * i // self.parts for i in (self.part, self.part + 1))
        return list(runs[low:high])


_WHOLE = Shard()


class SweepStore:
    """A sweep's folder.

    Attributes:
      path: the folder.
      rows: the finished runs' rows, by number.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self.path = directory.path
        self._lines = directory.path / "rows.jsonl"
        found = [json.loads(line) for line in self._whole_lines()]
        self.rows: dict[int, dict[str, Any]] = {row["run"]: row for row in found}

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        runs: Sequence[SweptRun],
        options: Mapping[str, Any],
        shard: Shard = _WHOLE,
        *,
        resume: bool = False,
    ) -> SweepStore:
        """Make a folder for a sweep, or open that of the same sweep to go on.

        Args:
          path: the folder.
          runs: all of the sweep, those of other shards too.
          options: what else decides the rows.
          shard: which part is computed here.
          resume: as in :meth:`RunDirectory.create`.

        Raises:
          ValueError: the folder holds something else, or another sweep; the first difference is named.
        """
        return cls(RunDirectory.create(path, _content(runs, options, shard), resume=resume))

    @classmethod
    def check(
        cls,
        path: str | os.PathLike[str],
        runs: Sequence[SweptRun],
        options: Mapping[str, Any],
        shard: Shard = _WHOLE,
        *,
        resume: bool = False,
    ) -> None:
        """Raise what :meth:`create` would, and write nothing."""
        RunDirectory.check(path, _content(runs, options, shard), resume=resume)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SweepStore:
        """An existing sweep's folder.

        Raises:
          ValueError: it holds no sweep.
        """
        store = cls(RunDirectory(path))
        if "runs" not in store.config:
            raise ValueError(f"{path}: expected the folder of a sweep, found another run")
        return store

    @property
    def config(self) -> dict[str, Any]:
        """The content of ``config.json``."""
        return self._directory.read("config")

    @property
    def programs(self) -> dict[str, Any]:
        """What earlier starts recorded of how the runs are computed."""
        there = (self.path / f"{_PROGRAMS}.json").exists()
        return self._directory.read(_PROGRAMS) if there else {}

    def note_programs(self, record: Mapping[str, Any]) -> None:
        """Record how runs are computed: before their rows, whose last bits depend on it."""
        self._directory.write(_PROGRAMS, self.programs | dict(record))

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store finished runs, at once; those that are there already are left as they are."""
        new = [to_json(row) for row in rows if row["run"] not in self.rows]
        if not new:
            return
        with storing(self._lines), self._lines.open("ab") as file:
            file.write("".join(json.dumps(row, allow_nan=False) + "\n" for row in new).encode())
            file.flush()
            os.fsync(file.fileno())
        self.rows |= {row["run"]: row for row in new}

    def finish(self, summary: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Write the table and the summary; returns the rows in the order of the grid."""
        ordered = [self.rows[number] for number in sorted(self.rows)]
        names = list(dict.fromkeys(name for row in ordered for name in row))
        table = pa.table({name: _column([row.get(name) for row in ordered]) for name in names})
        for name, write in {"results.csv": csv.write_csv, "results.parquet": parquet.write_table}.items():
            with replacing(self.path / name) as file:
                write(table, file)
        self._directory.write_summary(summary)
        return ordered

    def _whole_lines(self) -> list[bytes]:
        """Lines of the file; one that a crash cut short is taken away."""
        if not self._lines.exists():
            return []
        data = self._lines.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with self._lines.open("r+b") as file:
                file.truncate(len(whole))
        return whole.splitlines()


def _content(runs: Sequence[SweptRun], options: Mapping[str, Any], shard: Shard) -> dict[str, Any]:
    listed = [{"setting": run.setting, "seed": run.seed, "config": run.config} for run in runs]
    return {"options": options, "shard": list(shard), "size": len(runs), "runs": dict(enumerate(listed))}


def merge(parts: Sequence[str | os.PathLike[str]], path: str | os.PathLike[str]) -> SweepStore:
    """Join the parts of a sweep in a new folder.

    Args:
      parts: folders of finished shards.
      path: the new folder.

    Raises:
      ValueError: no parts, parts of different sweeps, or runs that none of them holds.
    """
    RunDirectory.check(path)
    stores = [SweepStore.open(part) for part in parts]
    if not stores:
        raise ValueError("parts: expected at least one folder, got none")
    first = stores[0].config | {"shard": list(_WHOLE)}
    for store in stores[1:]:
        if store.config | {"shard": list(_WHOLE)} != first:
            raise ValueError(f"{store.path}: expected a part of the sweep in {stores[0].path}, found another sweep")
    rows = {number: row for store in stores for number, row in store.rows.items()}
    missing = [number for number in range(first["size"]) if number not in rows]
    if missing:
        raise ValueError(
            f"parts: expected all {first['size']} runs, {len(missing)} are missing, the first {missing[0]}"
        )
    whole = SweepStore(RunDirectory.create(path, first))
    for store in stores:
        whole.note_programs({f"part {store.config['shard'][0]}": store.programs})
    whole.append([rows[number] for number in sorted(rows)])
    return whole


def _column(values: list[Any]) -> pa.Array:
    """Numbers of one type; whatever is mixed or a list is text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float}:
        return pa.array(values, pa.float64() if float in kinds else pa.int64())
    if len(kinds) == 1 and kinds <= {str, bool}:
        return pa.array(values)
    return pa.array([None if value is None else json.dumps(value) for value in values], pa.string())
