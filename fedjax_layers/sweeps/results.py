"""The results of a sweep: a row for each run, the folder that keeps them, the ranking of settings, and joined parts."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from fedjax_layers.engine.evaluation.score_names import LOWER_IS_BETTER, headline
from fedjax_layers.engine.history.history import History
from fedjax_layers.experiment.records.config_hash import HASHES, config_hash, refuse_changed_config
from fedjax_layers.experiment.records.run_directory import RunDirectory, to_json
from fedjax_layers.experiment.records.summary import exchanged_bytes, pooled_scores, scores_of
from fedjax_layers.storage import JsonLines, StorageError, reading, replacing
from fedjax_layers.sweeps.configs import SweptRun
from fedjax_layers.sweeps.request import Shard
from fedjax_layers.types import LayerMap

Row = dict[str, Any]
_SPREAD = ("std", "min", "p10", "n")  # of the personal models on test examples, beside the means
_PROGRAMS = "programs"


def row_of(
    history: History,
    layers: LayerMap,
    sizes: np.ndarray,
    *,
    scored_model: str,
    scored_round: str,
    unseen: np.ndarray | None = None,
    attackers: np.ndarray | None = None,
) -> Row:
    """Flat scores of one run.

    Args:
      history: of the run.
      layers: of its model.
      sizes: ``[C]`` training examples.
      scored_model: which model counts as the personal one.
      scored_round: ``best`` or ``last``.
      unseen: ``[C]`` bool, clients that are left out.
      attackers: ``[C]`` bool, as in :func:`~fedjax_layers.experiment.records.summary.scores_of`.

    Returns:
      ``rounds``, ``num_shared_layers`` (how many, in the last round), ``bytes_up``, ``bytes_down``, ``steps``; and
      ``{personal, team, global}/{val, test}/{metric}``, the mean over clients, ``.../weighted``, by training examples.
    """
    up, down = exchanged_bytes(history, layers)
    row: Row = {
        "rounds": history.rounds_done,
        "num_shared_layers": int((history.rounds["sent"][-1] > 0).sum()),
    }
    row |= {"bytes_up": up, "bytes_down": down, "steps": int(history.rounds["steps"].sum(dtype=np.int64))}
    for kind, when in {"personal": scored_model, "team": "team", "global": "global"}.items():
        for split in ("val", "test"):
            scores = scores_of(history, when, scored_round, sizes, unseen, split, attackers)
            for metric, found in (scores or {}).items():
                name = f"{kind}/{split}/{metric}"
                row |= {name: found["mean"], f"{name}/weighted": found["weighted"]}
                if (kind, split) == ("personal", "test"):
                    row |= {f"{name}/{what}": found[what] for what in _SPREAD}
    for metric, value in (pooled_scores(history, "test", scored_round) or {}).items():
        row[f"pooled/test/{metric}"] = value
    return row


def headline_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """The score that settings are compared by: macro-F1 of classes, perplexity of language."""
    return headline({name.split("/")[2] for row in rows for name in row if name.startswith("personal/val/")})


def by_setting(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> list[list[Mapping[str, Any]]]:
    """Rows with the same values of these names together, in the order of the first of each."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(repr([row.get(name) for name in names]), []).append(row)
    return list(groups.values())


def rank(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """One line per setting, best first.

    Args:
      rows: of a sweep.
      names: the names that are varied.

    Returns:
      The setting; ``runs``, how many; ``validation``, the mean over seeds of the personal models' validation score;
      ``test`` and ``test_std``, the same models on test examples, mean and population deviation over seeds; ``n``,
      the clients behind a run's test score, the fewest of any seed; ``why``, how many runs ended how; and ``epsilon``,
      the largest of any seed, in a sweep with differential privacy (``None`` for no privacy). The test score never
      orders. Settings that stopped at a rung come behind all that did not, in their order by rung; those without
      a finite score come last.
    """
    metric = headline_of(rows)
    sign = 1 if metric in LOWER_IS_BETTER else -1
    lines = []
    for some in by_setting(rows, names):
        validation, test = (_numbers(some, f"personal/{split}/{metric}") for split in ("val", "test"))
        ends = [row["why"] for row in some]
        lines.append(
            {name: some[0].get(name) for name in names}
            | {
                "runs": len(some),
                "rounds": max(row["rounds"] for row in some),
                "validation": float(validation.mean()),
                "test": float(test.mean()),
                "test_std": float(test.std()),
                "n": float(_numbers(some, f"personal/test/{metric}/n").min()),
                "why": {why: ends.count(why) for why in dict.fromkeys(ends)},
            }
            | _epsilon(some)
        )

    def order(line: dict[str, Any]) -> tuple[bool, float, float]:
        finite = math.isfinite(line["validation"])
        behind = -line["rounds"] if "stopped" in line["why"] else -math.inf
        return (not finite, behind, sign * line["validation"] if finite else 0.0)

    return sorted(lines, key=order)


def _epsilon(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the epsilon of a setting; empty if none of its runs is private."""
    if not any("epsilon" in row for row in rows):
        return {}
    known = [float(row["epsilon"]) for row in rows if row.get("epsilon") is not None]
    return {"epsilon": max(known) if len(known) == len(rows) else None}


def _numbers(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([math.nan if row.get(name) is None else row[name] for row in rows], float)


def sweep_config(runs: Sequence[SweptRun], options: Mapping[str, Any], shard: Shard = Shard()) -> dict[str, Any]:
    """What defines a sweep's folder: all runs, those of other shards too, and what else decides the rows."""
    listed = [{"setting": run.setting, "seed": run.seed, "config": run.config} for run in runs]
    return {"options": options, "shard": list(shard), "size": len(runs), "runs": dict(enumerate(listed))}


class SweepFolder(RunDirectory):
    """A sweep's folder; nothing in its table depends on the clock.

    ``config.json`` is :func:`sweep_config`, ``rows.jsonl`` gets a line per run as they end, ``programs.json`` tells how
    many runs were computed at once and why. ``results.csv``, ``results.parquet`` and ``summary.json`` come at the end.

    Attributes:
      rows: the finished runs' rows, by number.
      damaged: numbers of lines of ``rows.jsonl`` that hold no row any more.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open an existing sweep's folder.

        Raises:
          ValueError: it holds no sweep.
        """
        super().__init__(path)
        if "shard" not in self.read("config"):
            raise ValueError(f"{path}: expected the folder of a sweep, found another run")
        path = self.path / "rows.jsonl"
        self._lines = JsonLines(path, sync=True, checked=True)
        with reading(path):
            rows, self.damaged = self._lines.read_whole()
            self.rows: dict[int, Row] = {int(row["run"]): row for row in rows}
        for number in self.damaged:
            warnings.warn(f"{path}: line {number} is damaged; its run counts as one that is missing", stacklevel=2)

    @property
    def ordered_rows(self) -> list[Row]:
        """The rows in the order of the grid."""
        return [self.rows[number] for number in sorted(self.rows)]

    @property
    def names(self) -> list[str]:
        """The names of what is varied."""
        runs = self.read("config")["runs"].values()
        return list(dict.fromkeys(name for run in runs for name in run["setting"]))

    @property
    def programs(self) -> dict[str, Any]:
        """What earlier starts recorded of how the runs are computed."""
        path = self.path / f"{_PROGRAMS}.json"
        found = self.read(_PROGRAMS) if path.exists() else {}
        if not all(isinstance(one, dict) for one in found.values()):
            raise StorageError(f"{path}: expected a record for each kind of run; delete it to go on with others")
        return found

    @property
    def manifest(self) -> dict[str, Any]:
        """The environment of the first start, and under ``data`` the hashes of each group's data; empty without one."""
        path = self.path / "manifest.json"
        found = self.read("manifest") if path.exists() else {}
        if found and not isinstance(found.get("data"), dict):
            raise StorageError(f"{path}: expected the hashes of the data; delete it to go on without comparing them")
        return found

    def note_programs(self, record: Mapping[str, Any]) -> None:
        """Record how runs are computed: before their rows, whose last bits depend on it."""
        self.write(_PROGRAMS, self.programs | dict(record))

    def append(self, rows: Sequence[Row]) -> None:
        """Store finished runs, at once; those that are there already are left as they are."""
        new = [to_json(row) for row in rows if row["run"] not in self.rows]
        self.rows |= {row["run"]: row for row in new}
        if self.damaged:
            self._lines.rewrite(self.rows.values())
            self.damaged = []
        elif new:
            self._lines.append(new)

    def finish(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Write the table of all rows and the ranking of the settings; returns the latter, see :func:`rank`."""
        rows = self.ordered_rows
        columns = list(dict.fromkeys(name for row in rows for name in row))
        table = pa.table({name: _column([row.get(name) for row in rows]) for name in columns})
        for name, write in {"results.csv": csv.write_csv, "results.parquet": parquet.write_table}.items():
            with replacing(self.path / name) as file:
                write(table, file)
        ranking = rank(rows, names)
        self.write_summary({"varied": list(names), "ranking": ranking})
        return ranking


def merge(parts: Sequence[str | os.PathLike[str]], path: str | os.PathLike[str]) -> SweepFolder:
    """Join the parts of a sweep in a new folder.

    Args:
      parts: folders of finished shards.
      path: the new folder.

    Raises:
      ValueError: no parts, parts of different sweeps, parts that disagree about a run, or runs that none of them holds.
    """
    SweepFolder.check(path)
    folders = [SweepFolder(part) for part in parts]
    if not folders:
        raise ValueError("parts: expected at least one folder, got none")
    _refuse_twice(folders)
    for folder in folders:
        refuse_changed_config(folder.path, folder.read("config"), folder.manifest)
    whole, *others = [folder.read("config") | {"shard": list(Shard())} for folder in folders]
    for folder, other in zip(folders[1:], others, strict=True):
        if other != whole:
            raise ValueError(f"{folder.path}: expected a part of the sweep in {folders[0].path}, found another sweep")
    rows = _joined_rows(folders)
    missing = [number for number in range(whole["size"]) if number not in rows]
    if missing:
        found = f"{len(missing)} are missing, the first of them is run {missing[0]}"
        raise ValueError(f"parts: expected all {whole['size']} runs, {found}")
    joined = SweepFolder.create(path, whole)
    for folder in folders:
        joined.note_programs({f"part {folder.read('config')['shard'][0]}": folder.programs})
    joined.append([rows[number] for number in sorted(rows)])
    manifests = [folder.manifest for folder in folders if folder.manifest]
    if manifests:
        data = {group: hashes for manifest in manifests for group, hashes in manifest["data"].items()}
        joined.write("manifest", manifests[0] | {"data": data, HASHES: [config_hash(joined.read("config"))]})
    return joined


def _refuse_twice(folders: Sequence[SweepFolder]) -> None:
    """Raise ``ValueError`` for the same folder twice among parts."""
    seen: dict[Any, SweepFolder] = {}
    for folder in folders:
        if seen.setdefault(folder.path.resolve(), folder) is not folder:
            raise ValueError(f"parts: expected each folder once, got {folder.path} twice")


def _joined_rows(folders: Sequence[SweepFolder]) -> dict[int, Row]:
    """Join the rows of parts; ``ValueError`` names the run and the field about which two of them disagree."""
    rows: dict[int, Row] = {}
    holder: dict[int, SweepFolder] = {}
    for folder in folders:
        for number, row in folder.rows.items():
            other = rows.setdefault(number, row)
            first = holder.setdefault(number, folder)
            for name in {**other, **row}:
                if other.get(name) != row.get(name):
                    told = f"{name} is {other.get(name)} in {first.path} and {row.get(name)} in {folder.path}"
                    raise ValueError(f"parts: expected one result of run {number}, found two: {told}")
    return rows


def _column(values: list[Any]) -> pa.Array:
    """Numbers of one type; whatever is mixed or a list is text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float}:
        return pa.array(values, pa.float64() if float in kinds else pa.int64())
    if len(kinds) == 1 and kinds <= {str, bool}:
        return pa.array(values)
    return pa.array([None if value is None else json.dumps(value) for value in values], pa.string())
