"""The run directory, with a run's config, environment and results.

``config.json``, ``manifest.json``, ``rounds.jsonl``, ``clients.npz`` and ``summary.json`` hold JSON or plain
arrays, nothing pickled. Files are replaced as a whole, so that a killed run leaves the old one or the new one; only
``rounds.jsonl`` grows line by line, see :class:`fedjax_layers.storage.JsonLines`. ``history/`` grows by whole files,
see :mod:`fedjax_layers.engine.history.files`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Self
from zipfile import ZIP_DEFLATED, ZipFile

import jax
import numpy as np
import numpy.typing as npt

from fedjax_layers.experiment.config.asked import as_asked
from fedjax_layers.experiment.records.config_hash import HASHES, config_hash
from fedjax_layers.experiment.records.environment import environment
from fedjax_layers.storage import JsonLines, StorageError, locked, read_json, reading, replacing, storing

_HELP = {
    "config": "without it the run cannot go on; begin it again in another folder",
    "manifest": "delete it to go on without comparing data and settings, with a client width chosen anew",
    "programs": "delete it to go on with widths that are chosen anew",
}  # what to do about a damaged file


class RunDirectory:
    """The folder of one run. In a job of several processes, only one of them may hold it.

    Attributes:
      path: the folder.
      checkpoints: the folder for the run's checkpoints, which is not made here.
      history: the folder for the records of its rounds and evaluations, which is not made here.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open an existing run directory.

        Raises:
          ValueError: the folder holds no ``config.json``.
        """
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.history = self.path / "history"
        self._rounds = JsonLines(self.path / "rounds.jsonl")
        self._last_round: float | None = None  # number in the file's last line; None until it is read
        if not (self.path / "config.json").is_file():
            raise ValueError(f"{self.path}: not a run directory, it holds no config.json")

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], config: Any, *, resume: bool = False, free: Collection[str] = ()
    ) -> Self:
        """Make a run directory and write its ``config.json``, or open one to continue its run.

        Args:
          path: the folder; made, with its parents, if it is not there.
          config: everything that defines the run: a mapping or a dataclass.
          resume: whether a run of the same config is continued; where there is none yet, one starts.
          free: fields that may differ from those of a continued run, which keeps its own.

        Raises:
          ValueError: the path is a file; or the folder is not empty, and ``resume`` is False, it holds no run, or its
            run has another config, whose first differing field is named.
        """
        cls.check(path, config, resume=resume, free=free)
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        if _is_empty(folder):
            _write_json(folder / "config.json", config)
        return cls(folder)

    @classmethod
    def check(
        cls, path: str | os.PathLike[str], config: Any = None, *, resume: bool = False, free: Collection[str] = ()
    ) -> None:
        """Raise the errors of :meth:`create` without writing anything, before work that takes time.

        Args:
          path: see :meth:`create`.
          config: see :meth:`create`; ``None`` compares none.
          resume: see :meth:`create`.
          free: see :meth:`create`.

        Raises:
          ValueError: as :meth:`create`; or the folder, or the one in which it would be made, cannot be written.
          StorageError: another process runs in the folder.
        """
        folder = Path(path)
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder}: expected a folder, found a file")
        there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        if not there.is_dir():
            raise ValueError(f"{folder}: expected a folder, found that {there} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            raise ValueError(f"{folder}: expected a folder that can be written, found that {there} cannot")
        if not folder.exists() or _is_empty(folder):
            return
        if not resume:
            raise ValueError(f"{folder}: the folder is not empty; resume its run (--resume), or choose another folder")
        if config is None:
            return
        content = cls(folder).read("config")
        with reading(folder / "config.json"):
            before = as_asked(content)
        now = as_asked(to_json(config))
        field = first_difference({**before, **{name: now[name] for name in free}}, now)
        if field is not None:
            raise ValueError(f"{folder}: cannot resume, {field}")
        with locked(folder):  # said before work that takes time; the run takes it again
            pass

    def read(self, name: str) -> dict[str, Any]:
        """Read ``config``, ``manifest`` or ``summary``; NaN and infinite numbers become ``None``.

        Raises:
          StorageError: the file is not there, or damaged.
        """
        return read_json(self.path / f"{name}.json", _HELP.get(name, ""))

    def read_manifest(self) -> dict[str, Any]:
        """Read ``manifest.json``.

        Raises:
          StorageError: the file is not there, damaged, or lacks what :meth:`write_manifest` writes.
        """
        manifest = self.read("manifest")
        axis, parts = manifest.get("client_axis"), [manifest.get(part) for part in ("versions", "devices")]
        sound = isinstance(axis, dict) and axis.keys() >= {"width", "devices", "chosen"}
        if not sound or not all(isinstance(part, dict) for part in [*parts, manifest.get("jax_settings", {})]):
            told = f"expected a client axis, versions and devices, found others; {_HELP['manifest']}"
            raise StorageError(f"{self.path / 'manifest.json'}: {told}")
        return manifest

    def write_manifest(
        self, client_axis: Any, partition_hash: str | None, *, config: Any = None, **more: Any
    ) -> dict[str, Any]:
        """Write ``manifest.json`` and return its content: :func:`environment` and the given entries.

        ``client_axis`` says how the client axis was computed, ``partition_hash`` which examples each client holds. A
        resumed run keeps the manifests of its earlier starts under ``earlier``, oldest first. A ``config`` takes the
        place of the one in ``config.json``, and the manifest gets the hashes of both.
        """
        if config is not None:
            more[HASHES] = [config_hash(one) for one in (self.read("config"), to_json(config))]
        manifest = {**environment(), "client_axis": client_axis, "partition_hash": partition_hash, **more}
        if (self.path / "manifest.json").exists():
            before = self.read("manifest")
            manifest["earlier"] = [*before.pop("earlier", []), before]
        _write_json(self.path / "manifest.json", manifest)
        if config is not None:  # last: a process killed before it has left a config whose hash the manifest knows
            self.write("config", config)
        return self.read("manifest")

    def write_summary(self, summary: Any) -> None:
        """Write ``summary.json``."""
        self.write("summary", summary)

    def write(self, name: str, content: Any) -> None:
        """Write or replace ``{name}.json``."""
        _write_json(self.path / f"{name}.json", content)

    def set_summary_aside(self) -> None:
        """Rename the summary of a run that is to be extended to ``summary-{rounds}.json``."""
        if (self.path / "summary.json").exists():
            rounds = self.read("summary")["rounds"]
            with storing(self.path):
                (self.path / "summary.json").replace(self.path / f"summary-{rounds}.json")

    def append_round(self, record: Mapping[str, Any]) -> None:
        """Append one evaluated round to ``rounds.jsonl``: its number ``round``, and any measurements.

        Raises:
          ValueError: ``round`` is missing, no integer, or not above that of the last line.
        """
        line = to_json(record)
        number = line.get("round")
        if not isinstance(number, int) or isinstance(number, bool):
            raise ValueError(f"round: expected an integer in every record, got {number!r}")
        if self._last_round is None:
            self._last_round = max((there["round"] for there in self.read_rounds()), default=-math.inf)
        if number <= self._last_round:
            raise ValueError(f"round: {number} does not follow {self._last_round} in {self.path / 'rounds.jsonl'}")
        self._rounds.append([line])
        self._last_round = number

    def read_rounds(self) -> list[dict[str, Any]]:
        """Read all lines of ``rounds.jsonl`` except a truncated last one; none if there is no file.

        Raises:
          StorageError: the file cannot be read, or a complete line is no JSON object with a round's number.
        """
        found = self._rounds.read()
        for number, record in enumerate(found, 1):
            if not isinstance(record.get("round"), int):
                raise StorageError(f"{self.path / 'rounds.jsonl'}: expected a round's number in line {number}")
        return found

    def restore_rounds(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Rewrite ``rounds.jsonl`` unless it holds these records, which the stored history gives, and no others."""
        lines = [to_json(record) for record in records]
        with reading(self.path / "rounds.jsonl"):
            found, damaged = self._rounds.read_whole()
        if damaged or found != lines:
            self._rounds.rewrite(lines)
        self._last_round = None

    def write_clients(self, arrays: Mapping[str, npt.ArrayLike]) -> None:
        """Write ``clients.npz``: arrays by name, with a client axis ``[..., C]`` or ``[C, ...]``.

        Raises:
          ValueError: an array is not of numbers, truth values or text, so that NumPy would pickle it.
        """
        with replacing(self.path / "clients.npz") as file, ZipFile(file, "w", ZIP_DEFLATED) as box:
            for name, values in arrays.items():
                array = np.asarray(values)
                if array.dtype.kind not in "biufcU":
                    raise ValueError(f"{name}: expected numbers, truth values or text, got {array.dtype}")
                with box.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)

    def read_clients(self, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, npt.NDArray[Any]]:
        """Read the ``wanted`` arrays of ``clients.npz`` into memory.

        Raises:
          StorageError: the file is not there, or damaged.
        """
        path = self.path / "clients.npz"
        with reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as box:
            return {name: box[name] for name in box.files if wanted(name)}


def to_json(value: Any) -> Any:
    """Convert dataclasses, mappings, sequences, arrays, numbers and paths to JSON types, in their order.

    NaN and infinities become ``None``, because JSON does not have them.

    Raises:
      TypeError: a value of another type.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, (np.ndarray, np.generic, jax.Array)):
        value = np.asarray(value).tolist()
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):  # includes bool, and enumerations of str or int
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"expected something that JSON holds, got {type(value).__name__}: {value!r}")


def first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Describe in one line the first field in which two configs (of :func:`to_json`) differ; ``None`` if none does."""
    found = first_other_field(before, now)
    if found is None:
        return None
    path, has, wants = found
    return f"field {'.'.join(path)!r} differs: the run has {has}, this config {wants}"


def first_other_field(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], str, str] | None:
    """Find that field: its path, and the two values as they are shown."""
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name, ...), now.get(name, ...)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            deeper = first_other_field(old, new)
            if deeper is not None:
                return [name, *deeper[0]], *deeper[1:]
        elif old != new:
            has, wants = ("nothing" if value is ... else repr(value) for value in (old, new))
            return [name], has, wants
    return None


def _is_empty(folder: Path) -> bool:
    """Return whether a folder holds nothing, or only unfinished files of a killed process, which make no run."""
    return all(entry.name.startswith(".") and entry.suffix == ".tmp" for entry in folder.iterdir())


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(to_json(value), indent=2, allow_nan=False, ensure_ascii=False)
    with replacing(path) as file:
        file.write(f"{text}\n".encode())
