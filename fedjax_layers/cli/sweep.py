"""``fedjax-layers sweep ALGORITHM --vary NAME=SPEC``: many settings and seeds, as few programs as they need."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from fedjax_layers.cli.arguments import config_of
from fedjax_layers.cli.given import refuse_given, refuse_unused
from fedjax_layers.cli.interrupt import graceful_interrupt
from fedjax_layers.cli.progress import SweepProgress
from fedjax_layers.cli.run import out_folder, stopped, usage_errors
from fedjax_layers.cli.status import Status, print_table
from fedjax_layers.cli.usage import UsageError
from fedjax_layers.experiment.config.checks import check_width
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.setup.early import check_early
from fedjax_layers.report.sweep_picture import PICTURE, plot_sweep
from fedjax_layers.report.tables import ranking_table
from fedjax_layers.sweeps.branches import StoppedError
from fedjax_layers.sweeps.computing import Computer, check_runs
from fedjax_layers.sweeps.grid import Values, check_number_of_runs, drawn, parse_ends, parse_values, product, zipped
from fedjax_layers.sweeps.ranking import headline_of
from fedjax_layers.sweeps.runner import finish_sweep, run_sweep
from fedjax_layers.sweeps.settings import SweptRun, is_traced, swept_runs
from fedjax_layers.sweeps.stopping import Stopping
from fedjax_layers.sweeps.store import Shard, SweepStore

_SHOWN = 10  # settings of the printed ranking


def command(options: argparse.Namespace) -> int:
    """Run a sweep; returns the exit code."""
    status: Status = options.status
    console = status.console
    refuse_given(options, ("on_host", "store"), "sweep")
    with usage_errors():
        runs = _runs(options)
        shard, stopping = _shard(options, len(runs)), Stopping(tuple(options.rungs), options.keep)
        width = _width(options.run_width)
        first = runs[0].config
        folder = out_folder(options, f"sweep-{first.algorithm}-{first.dataset}")
        rule = {"stopping": stopping, "width": options.run_width, "log": _log_scales(options)}
        SweepStore.check(folder, runs, rule, shard, resume=options.resume)
        for run in runs:
            check_early(run.config, options.data_dir)
        status.say("checking that every run fits its data and model")
        check_runs(runs, stopping, options.data_dir)
        store = SweepStore.create(folder, runs, rule, shard, resume=options.resume)
    own = shard.own(runs)
    left = sum(run.number not in store.rows for run in own)
    console.print(f"{len(own)} runs, {left} to be computed; {first.rounds} rounds", soft_wrap=True)

    def say(kind: str, record: dict[str, Any]) -> None:
        store.note_programs({kind: record})
        console.print(f"{kind}: {_how(record)}", soft_wrap=True)

    computer = Computer(options.data_dir, width=width, stopping=stopping, remembered=store.programs, say=say)
    with graceful_interrupt(console) as interrupt:
        progress = SweepProgress(status, left, first.rounds, interrupt)
        try:
            with usage_errors():
                run_sweep(own, computer, store=store, stopping=stopping, tick=progress.tick, on_rows=progress.finished)
        except StoppedError:
            return stopped(status, folder)
    report(status, store)
    return 0


def report(status: Status, store: SweepStore) -> None:
    """Write the table and the picture, print the best settings."""
    status.say("ranking the settings")
    console = status.console
    names = list(dict.fromkeys(name for run in store.config["runs"].values() for name in run["setting"]))
    ranking = finish_sweep(store, names)
    rows = [store.rows[number] for number in sorted(store.rows)]
    metric = headline_of(rows)
    seeds = len({row["seed"] for row in rows})
    title = f"{len(ranking)} settings, {seeds} seed{'s' if seeds > 1 else ''}; best by validation, {metric}"
    status.stop()
    print_table(console, ranking_table(ranking, names, title, console.width, _SHOWN))
    files = ["results.csv", "results.parquet", "summary.json"]
    try:
        plot_sweep(rows, names, store.path / PICTURE, log=store.config["options"].get("log"))
        files.append(PICTURE)
    except ImportError:
        console.print("No picture: it takes matplotlib, pip install fedjax-layers[plot]")
    console.print(f"In {store.path}: {', '.join(files)}", soft_wrap=True)


def _runs(options: argparse.Namespace) -> list[SweptRun]:
    specs = _specs(options)
    if isinstance(specs, list):
        settings = specs
    elif options.random is not None:
        settings = drawn(options.random, options.seed, **{name: found.values for name, found in specs.items()})
    else:
        combine = zipped if options.zip else product
        settings = combine(**{name: found.values for name, found in specs.items()}) if specs else []
    if options.seeds < 1:
        raise UsageError(f"--seeds: expected at least 1, got {options.seeds}")
    if not settings or not any(settings):
        raise ValueError("grid: expected --vary NAME=SPEC or a --grid file with at least one setting, got none")
    ranges = {name for name, found in specs.items() if found.is_range} if isinstance(specs, dict) else set()
    make = functools.partial(_config, options, beside=_algorithms(options, settings))
    _check_ranges(ranges & _fields(), make({}))  # as fields first: whole numbers refuse a range's
    check_number_of_runs(len(settings), options.seeds)
    seeds = [options.seed + i for i in range(options.seeds)]
    runs = swept_runs(settings, seeds, make, options.seeds_vary)
    _check_ranges(ranges, runs[0].config)
    _refuse_unused(options)
    refuse_unused(options, [run.config for run in runs], {name for setting in settings for name in setting})
    return runs


def _refuse_unused(options: argparse.Namespace) -> None:
    """Refuse flags of the sweep itself that change nothing beside the others."""
    needs = {"keep": ("--rungs", options.rungs), "seeds_vary": ("--seeds above 1", options.seeds > 1)}
    needs["zip"] = ("no --random", options.random is None)
    for name, (what, there) in needs.items():
        if name in options.given and not there:
            raise UsageError(f"--{name.replace('_', '-')}: it changes nothing here, it needs {what}")


def _log_scales(options: argparse.Namespace) -> dict[str, bool]:
    """Whether a range of values was asked for by equal ratios, by name; lists of values say nothing of it."""
    specs = _specs(options)
    ranges = {name: found for name, found in specs.items() if found.is_range} if isinstance(specs, dict) else {}
    return {name: found.log for name, found in ranges.items()}


def _specs(options: argparse.Namespace) -> dict[str, Values] | list[dict[str, Any]]:
    """What is varied, by name, or the settings themselves."""
    parse = parse_values if options.random is None else parse_ends
    found: Any = {} if options.grid is None else _read_grid(options.grid)
    if isinstance(found, list):
        if options.vary or options.zip or options.random is not None:
            raise ValueError(f"--grid: expected no --vary, --zip or --random beside the settings in {options.grid}")
        return found
    texts = {name: value for name, value in found.items() if isinstance(value, str)}
    specs = {name: Values(value, False) for name, value in found.items() if name not in texts}
    for text in options.vary:
        name, equals, spec = text.partition("=")
        if not equals or not name:
            raise ValueError(f"--vary: expected NAME=SPEC, got {text!r}")
        if _plain_name(name) in specs | texts:
            raise ValueError(f"--vary: expected each name once, got {_plain_name(name)!r} again")
        texts[_plain_name(name)] = spec
    return specs | {name: parse(f"--vary {name}", spec) for name, spec in texts.items()}


def _read_grid(path: str) -> Any:
    """A JSON file's settings, or values by name."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--grid: expected JSON in {path}: {error}") from None
    if isinstance(content, list) and all(isinstance(setting, dict) for setting in content):
        return [{_plain_name(name): value for name, value in setting.items()} for setting in content]
    if not isinstance(content, dict):
        raise ValueError(f"--grid: expected a list of settings, or names with their values, in {path}")
    several = {name: value if isinstance(value, list | str) else [value] for name, value in content.items()}
    return {_plain_name(name): value for name, value in several.items()}


def _plain_name(name: str) -> str:
    return name.replace("-", "_")


def _config(options: argparse.Namespace, setting: Mapping[str, Any], beside: Collection[str]) -> RunConfig:
    """The flags' config with a setting on top."""
    fields = _fields()
    changes = {name: value for name, value in setting.items() if name in fields}
    flags = [f"--{name}={_written(value)}" for name, value in setting.items() if name not in fields]
    own = argparse.Namespace(**{**vars(options), "unknown": [*options.unknown, *flags]})
    return config_of(own, changes.pop("algorithm", options.algorithm), beside=beside, **changes)


def _written(value: Any) -> str:
    return ",".join(map(_written, value)) if isinstance(value, list | tuple) else str(value)


def _fields() -> set[str]:
    return {field.name for field in dataclasses.fields(RunConfig)}


def _algorithms(options: argparse.Namespace, settings: list[dict[str, Any]]) -> list[str]:
    """The algorithms of all settings."""
    return list(dict.fromkeys(setting.get("algorithm", options.algorithm) for setting in settings))


def _check_ranges(ranges: Iterable[str], config: RunConfig) -> None:
    for name in sorted(ranges):
        if not is_traced(config, name):
            raise ValueError(
                f"--vary {name}: expected values separated by commas, got a range; it is no traced number: "
                "each value is a program or a split of its own"
            )


def _shard(options: argparse.Namespace, number: int) -> Shard:
    index, _, count = options.shard.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count) <= number):
        raise ValueError(f"--shard: expected I/N, part I from 0 of N, N at most {number} runs, got {options.shard!r}")
    if options.rungs and int(count) > 1:
        raise ValueError(f"--shard: expected none beside --rungs, where all settings are compared, got {options.shard}")
    return Shard(int(index), int(count))


def _width(text: str) -> int | None:
    if text == "auto":
        return None
    check_width("--run-width: expected auto", text)
    return int(text)


def _how(record: Mapping[str, Any]) -> str:
    """A line on how runs are computed."""
    at_once = record["runs_at_once"]
    several = (
        f"{at_once} runs at once" if at_once > 1 else f"runs in turn, client axis: {record['client_axis']['chosen']}"
    )
    seconds = record.get("seconds_per_run", {})
    measured = ", ".join(f"{1000 * float(s):.3g} ms at {width}" for width, s in seconds.items())
    usable = f" of {decimal(record['usable_bytes'])}" if record["usable_bytes"] else ""
    memory = f"a device needs {decimal(record['memory_bytes'])}{usable}"
    return f"{several} ({record['how']}{': per run ' + measured if len(seconds) > 1 else ''}); {memory}"
