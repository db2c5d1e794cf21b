"""``fedjax-layers sweep ALGORITHM --vary NAME=SPEC``: many settings and seeds, as few programs as they need."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from fedjax_layers.cli.arguments import config_of
from fedjax_layers.cli.given import effect_lines, refuse_given, refuse_unused, refuse_varied, without_effect
from fedjax_layers.cli.interrupt import graceful_interrupt
from fedjax_layers.cli.progress import SweepProgress
from fedjax_layers.cli.report import add_report
from fedjax_layers.cli.resume import is_resumed
from fedjax_layers.cli.run import out_folder, stopped, usage_errors
from fedjax_layers.cli.status import Status, print_table
from fedjax_layers.cli.usage import UsageError
from fedjax_layers.cli.vary import Varied, varied
from fedjax_layers.experiment.config.checks import check_width
from fedjax_layers.experiment.config.run_config import RunConfig, config_options
from fedjax_layers.experiment.records.config_hash import refuse_changed_config
from fedjax_layers.experiment.records.run_directory import first_other_field, to_json
from fedjax_layers.experiment.setup.early import check_early
from fedjax_layers.options import flag_of
from fedjax_layers.report.sweep_picture import PICTURE, save_sweep_picture
from fedjax_layers.report.tables import ranking_table
from fedjax_layers.sweeps.branches import StoppedError
from fedjax_layers.sweeps.config_sweep import check_runs, run_sweep
from fedjax_layers.sweeps.configs import SweptRun, is_traced, swept_runs
from fedjax_layers.sweeps.request import Shard, Stopping, SweepRequest, check_number_of_runs
from fedjax_layers.sweeps.results import SweepFolder, headline_of, sweep_config
from fedjax_layers.sweeps.stored import StoredRequest, stored_request
from fedjax_layers.sweeps.widths import Programs

_BESIDE = {"out", "report", "resume", "data_dir", "compilation_cache", "command", "quiet", "json"}
"""Flags that decide nothing of a sweep."""
_SHOWN = 10  # settings of the printed ranking


def command(options: argparse.Namespace) -> int:
    """Run a sweep; returns the exit code."""
    status: Status = options.status
    console = status.console
    refuse_given(options, ("on_host", "store", "track"), "sweep")
    with usage_errors():
        path, asked = _asked(options)
        runs, first = asked.runs, asked.runs[0].config
        SweepFolder.check(path, asked.content, resume=options.resume)
        for run in runs:
            check_early(run.config, options.data_dir)
        status.say("checking that every run fits its data and model")
        check_runs(runs, asked.stopping, options.data_dir)
        folder = SweepFolder.create(path, asked.content, resume=options.resume)
    own = asked.own
    left = sum(run.number not in folder.rows for run in own)
    console.print(f"{len(own)} runs, {left} to be computed; {first.rounds} rounds", soft_wrap=True)

    def say(kind: str, record: dict[str, Any]) -> None:
        folder.note_programs({kind: record})
        console.print(f"{kind}: {_how(record)}", soft_wrap=True)

    with graceful_interrupt(console) as interrupt:
        progress = SweepProgress(status, left, first.rounds, interrupt)
        shown = functools.partial(run_sweep, tick=progress.tick, on_rows=progress.finished)
        try:
            with usage_errors():
                programs = Programs(asked.width, folder.programs, say)
                shown(own, programs, options.data_dir, stopping=asked.stopping, folder=folder)
        except StoppedError:
            if not all(run.number in folder.rows for run in own):
                return stopped(status, path, interrupt.code)
        interrupt.grace = 1  # a table and a picture take less than starting again
        report(options, folder)
    return 0


def _asked(options: argparse.Namespace) -> tuple[Path, StoredRequest]:
    """Return the folder and what is asked for: by the flags, or by the folder where ``--resume`` has no other flags."""
    if is_resumed(options) and not options.given - _BESIDE and not options.unknown:
        return Path(options.out), stored_request(SweepFolder(options.out))
    asked = varied(options)
    request = _request(options, asked)
    runs = _runs(options, asked, request)
    for line in effect_lines(without_effect(options, [run.config for run in runs], request.names)):
        options.status.console.print(line, soft_wrap=True)
    first = runs[0].config
    path = out_folder(options, f"sweep-{first.algorithm}-{first.dataset}")
    rule = {"stopping": request.stopping, "width": options.run_width, "log": asked.ranges}
    content = sweep_config(runs, rule, request.shard)
    if is_resumed(options):
        _refuse_another(path, content)
    return path, StoredRequest(runs, request.stopping, options.run_width, request.shard, content)


def _refuse_another(folder: Path, content: Mapping[str, Any]) -> None:
    """Raise ``UsageError`` that names the first flag by which a command differs from the sweep that it continues."""
    before = SweepFolder(folder)
    refuse_changed_config(folder, before.read("config"), before.manifest)
    found = first_other_field(before.read("config"), to_json(content))
    if found is None:
        return
    path, has, wants = found
    part, *inner = path
    run = f" run {inner[0]} of" if part == "runs" else ""
    if part == "size" or (part == "runs" and len(inner) < 2):
        name = "number of runs"
    elif part == "runs" and inner[1] == "setting":
        name = f"--vary {'.'.join(inner[2:])}"
    elif part == "options" and inner[0] in ("width", "log"):
        name = {"width": "--run-width", "log": "--vary"}[inner[0]]
    else:
        name = path[-1] if path[-1] == "algorithm" else flag_of(path[-1])
    raise UsageError(f"{name}: expected none, or {has} as{run} the sweep in {folder} has it, got {wants}")


def report(options: argparse.Namespace, folder: SweepFolder) -> None:
    """Write the table and the picture, print the best settings."""
    status: Status = options.status
    status.say("ranking the settings")
    console = status.console
    config = folder.read("config")
    names = folder.names
    ranking, rows = folder.finish(names), folder.ordered_rows
    seeds = len({row["seed"] for row in rows})
    title = f"{len(ranking)} settings, {seeds} seed{'s' if seeds > 1 else ''}; best by validation, {headline_of(rows)}"
    status.stop()
    print_table(console, ranking_table(ranking, names, title, console.width, _SHOWN))
    files = ["results.csv", "results.parquet", "summary.json"]
    try:
        save_sweep_picture(rows, names, folder.path / PICTURE, log=config["options"].get("log"))
        files.append(PICTURE)
    except ImportError:
        console.print("No sweep.png: it takes matplotlib, pip install 'fedjax-layers[plot]'")
    console.print(f"In {folder.path}: {', '.join(files)}", soft_wrap=True)
    add_report(options, folder.path, len(rows))
    status.print_result(folder.read("summary"), folder.path)


def _request(options: argparse.Namespace, asked: Varied) -> SweepRequest:
    """The flags as a request."""
    if options.seeds < 1:
        raise UsageError(f"--seeds: expected at least 1, got {options.seeds}")
    check_number_of_runs(len(asked.settings), options.seeds)
    seeds = range(options.seed, options.seed + options.seeds)
    shard = _shard(options.shard, len(asked.settings) * options.seeds)
    stopping = Stopping(tuple(options.rungs), options.keep)
    return SweepRequest(asked.settings, seeds, options.seeds_vary, _width(options.run_width), stopping, shard)


def _runs(options: argparse.Namespace, asked: Varied, request: SweepRequest) -> list[SweptRun]:
    """The request's runs; flags that change nothing in any of them are refused."""
    algorithms = dict.fromkeys(setting.get("algorithm", options.algorithm) for setting in asked.settings)

    def make(setting: Mapping[str, Any]) -> RunConfig:
        return config_of(options, options.algorithm, beside=algorithms, setting=setting)

    sometimes = ("attack_strength", "aggregate_")  # numbers that are traced beside an attack, or a rule
    fields = [name for name in asked.ranges if name in config_options() and not name.startswith(sometimes)]
    _check_ranges(fields, RunConfig())  # before configs: whole numbers refuse a range's
    runs = swept_runs(request, make)
    _check_ranges(asked.ranges, runs[0].config)
    refuse_varied(options, asked.settings)
    needs = {"keep": ("--rungs", options.rungs), "seeds_vary": ("--seeds above 1", options.seeds > 1)}
    needs["zip"] = ("no --random", options.random is None)
    for name, (what, there) in needs.items():
        if name in options.given and not there:
            raise UsageError(f"{flag_of(name)}: it changes nothing here, it needs {what}")
    refuse_unused(options, [run.config for run in runs], request.names)
    return runs


def _check_ranges(ranges: Collection[str], config: RunConfig) -> None:
    for name in sorted(ranges):
        if not is_traced(config, name):
            raise ValueError(
                f"--vary {name}: expected values separated by commas, got a range; "
                "a range is for numbers that need no new compilation"
            )


def _shard(text: str, number: int) -> Shard:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count) <= number):
        raise ValueError(f"--shard: expected I/N, part I from 0 of N, N at most {number} runs, got {text!r}")
    return Shard(int(index), int(count))


def _width(text: str) -> int | None:
    if text == "auto":
        return None
    check_width("--run-width: expected auto", text)
    return int(text)


def _how(record: Mapping[str, Any]) -> str:
    """A line on how runs are computed."""
    at_once = record["runs_at_once"]
    one_by_one = f"one run after another, client axis: {record['client_axis']['chosen']}"
    seconds = record.get("seconds_per_run", {})
    measured = ", ".join(f"{1000 * float(s):.3g} ms at {width}" for width, s in seconds.items())
    usable = f" of {decimal(record['usable_bytes'])}" if record["usable_bytes"] else ""
    memory = f"a device needs {decimal(record['memory_bytes'])}{usable}"
    how = f"{record['how']}{': per run ' + measured if len(seconds) > 1 else ''}"
    return f"{f'{at_once} runs at once' if at_once > 1 else one_by_one} ({how}); {memory}"
