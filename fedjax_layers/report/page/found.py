"""What is in the folders of a report: runs, comparisons and sweeps, whether they have ended or not."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fedjax_layers.experiment.comparison import folder_of, listed_runs
from fedjax_layers.experiment.config.command_line import compare_command, run_command, sweep_command
from fedjax_layers.experiment.finished.measured import MeasuredRun, measured_run
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.report.tables import results_columns
from fedjax_layers.report.wording import report_lines, soundness_lines, team_lines
from fedjax_layers.storage import StorageError, reading
from fedjax_layers.sweeps.results import SweepFolder, rank


class Found(NamedTuple):
    """What a report shows.

    Attributes:
      runs: single runs, and those of comparisons.
      sweeps: sweeps.
      commands: the folders, each with the command that repeats it.
      notes: sentences on what is missing or could not be read.
    """

    runs: list[MeasuredRun]
    sweeps: list[SweepFolder]
    commands: list[tuple[str, str]]
    notes: list[str]


def find(folders: Sequence[str | os.PathLike[str]]) -> Found:
    """Read folders; one that cannot be read is left out, with a note.

    Raises:
      StorageError: none of them can be read; the message is that of the first.
      ValueError: a folder is not there, or none is given.
    """
    if not folders:
        raise ValueError("folders: expected at least one run directory, got none")
    found = Found([], [], [], [])
    for folder in dict.fromkeys(map(Path, folders)):
        if not folder.is_dir():
            raise ValueError(f"folder: expected a run directory, found none at {folder}")
        try:
            _add(found, folder)
        except (StorageError, ValueError) as error:
            found.notes.append(str(error))
    if not found.runs and not found.sweeps:
        raise StorageError(
            found.notes[0] if found.notes else f"{folders[0]}: expected a run that has begun, found none"
        )
    return found


def _add(found: Found, folder: Path) -> None:
    config = RunDirectory(folder).read("config")
    if "shard" in config:
        _add_sweep(found, folder)
    elif "runs" in config:
        _add_comparison(found, folder)
    else:
        found.runs.append(_sound(folder, found.notes))
        with reading(folder / "config.json"):
            found.commands.append((str(folder), run_command(config)))


def _add_comparison(found: Found, folder: Path) -> None:
    listed = listed_runs(folder)
    missing = 0
    for run in listed:
        own = folder_of(folder, run)
        if not (own / "config.json").is_file():
            missing += 1
            continue
        try:
            found.runs.append(_sound(own, found.notes))
        except (StorageError, ValueError) as error:
            found.notes.append(str(error))
    if missing:
        found.notes.append(f"{folder}: {missing} of {len(listed)} runs have not begun.")
    with reading(folder / "config.json"):
        found.commands.append((str(folder), compare_command(listed)))


def _add_sweep(found: Found, folder: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        sweep = SweepFolder(folder)
    found.notes.extend(f"{one.message}." for one in told)
    with reading(folder / "config.json"):
        content = sweep.read("config")
        runs = [content["runs"][str(number)] for number in range(content["size"])]
        settings = list({repr(run["setting"]): run["setting"] for run in runs}.values())
        seeds = list(dict.fromkeys(run["seed"] for run in runs))
        command = sweep_command([run["config"] for run in runs], settings, seeds)
        left = content["size"] - len(sweep.rows)
        if sweep.rows:
            rank(sweep.ordered_rows, list(settings[0]))
    if left:
        found.notes.append(f"{folder}: {left} of {content['size']} runs are missing.")
    found.sweeps.append(sweep)
    if command is not None:
        found.commands.append((str(folder), command))


def _sound(folder: Path, notes: list[str]) -> MeasuredRun:
    """Read a run whose summary can be shown, and note where it has not ended."""
    run = measured_run(folder)
    if run.summary is None:
        done = run.curves["round"][-1] if "round" in run.curves else 0
        notes.append(f"{run.algorithm}, seed {run.seed}: not finished, {done} of {run.config.get('rounds')} rounds.")
        return run
    with reading(folder / "summary.json"):
        results_columns([run.summary])
        notes += [f"{run.algorithm}, seed {run.seed}: {line}" for line in soundness_lines(run.summary)]
        team_lines(run.summary)
        report_lines(run.summary)
    return run
