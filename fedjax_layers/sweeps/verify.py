"""Some runs of a sweep, computed again and compared with its rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedjax_layers.engine.announce import Say, say_nothing
from fedjax_layers.experiment.records.run_directory import to_json
from fedjax_layers.experiment.records.same_run import TOLERANCE, other_environment
from fedjax_layers.experiment.verify import Difference, Verdict, differs, run_settings
from fedjax_layers.storage import StorageError
from fedjax_layers.sweeps.config_sweep import run_sweep
from fedjax_layers.sweeps.results import Row, SweepFolder
from fedjax_layers.sweeps.stored import stored_request
from fedjax_layers.sweeps.widths import Programs


def verify_sweep(
    folder: SweepFolder,
    data_dir: str | None = None,
    *,
    runs: int = 1,
    rtol: float | None = None,
    say: Say = say_nothing,
) -> Verdict:
    """Compute the first finished runs of a sweep again, each to its end, and compare their rows; nothing is written.

    They are computed as a resumed sweep would that lacks them: runs that were computed at once are so again.

    Args:
      folder: of the sweep, which need not have ended.
      data_dir: folder of the data files.
      runs: how many runs, at most those that have ended.
      rtol: relative tolerance; 0 compares bit for bit, ``None`` is 0 in the sweep's environment, and
        :data:`~fedjax_layers.experiment.verify.TOLERANCE` in another one.
      say: called with what starts.

    Raises:
      ValueError: no run has ended.
      StorageError: a record cannot be read.
    """
    if folder.damaged:
        told = f"line {folder.damaged[0]} is damaged; sweep --resume computes its run again"
        raise StorageError(f"{folder.path / 'rows.jsonl'}: {told}")
    stored = folder.ordered_rows[:runs]
    if not stored:
        raise ValueError(f"{folder.path}: expected a sweep of which a run has ended, found none")
    manifest = folder.manifest
    with run_settings(manifest), tempfile.TemporaryDirectory(prefix="fedjax_layers-") as place:
        environment = other_environment(manifest) if manifest else []
        rtol = rtol if rtol is not None else TOLERANCE if environment else 0.0
        again = _without(folder, {row["run"] for row in stored}, Path(place))
        say(f"computing {len(stored)} runs")
        asked = stored_request(folder)
        programs = Programs(asked.width, again.programs)
        run_sweep(asked.own, programs, data_dir, stopping=asked.stopping, folder=again)
        inputs = list(_other_data(manifest, again.manifest))
        found = next(_other_rows(stored, again, rtol), None)
    return Verdict(len(stored), rtol, tuple(inputs), tuple(environment), found)


def _without(folder: SweepFolder, numbers: set[int], place: Path) -> SweepFolder:
    """Copy a sweep without some of its rows."""
    copy = SweepFolder.create(place, folder.read("config"))
    copy.note_programs(folder.programs)
    copy.append([row for row in folder.ordered_rows if row["run"] not in numbers])
    return copy


def _other_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for group, hashes in now.get("data", {}).items():
        for name, has in hashes.items():
            had = before.get("data", {}).get(group, hashes).get(name)
            if had != has:
                words = name.removesuffix("_hash")
                yield f"the {words} of the data of run {group} differs: the sweep has {had}, now it is {has}"


def _other_rows(stored: list[Row], again: SweepFolder, rtol: float) -> Iterator[Difference]:
    for row in stored:
        computed = to_json(again.rows[row["run"]])
        for name in dict.fromkeys([*row, *computed]):
            found = Difference(f"run {row['run']}, {name}", row.get(name), computed.get(name))
            if differs(found, rtol):
                yield found
