"""``fedjax-layers verify DIR``: compute the first rounds of a run again, and compare them with its records."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from fedjax_layers.cli.run import usage_errors
from fedjax_layers.cli.usage import UsageError
from fedjax_layers.experiment.comparison import folder_of, listed_runs
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.verify import Verdict, verify_run
from fedjax_layers.sweeps.results import SweepFolder
from fedjax_layers.sweeps.verify import verify_sweep


def command(options: argparse.Namespace) -> int:
    """Verify a run, or the runs of a comparison or a sweep; return 0 if all repeat, else 1."""
    for name, least in (("rounds", 1), ("runs", 1), ("rtol", 0.0)):
        value = getattr(options, name)
        if value is not None and not value >= least:
            raise UsageError(f"--{name}: expected at least {least:g}, got {value}")
    status, found = options.status, []
    with usage_errors():
        for folder, verdict in _verdicts(options):
            told = _told(folder, verdict)
            status.console.print(told, soft_wrap=True)
            found.append({"folder": str(folder), "same": verdict.same, "told": told, **dataclasses.asdict(verdict)})
    same = all(one["same"] for one in found)
    status.print_result({"same": same, "runs": found})
    return 0 if same else 1


def _verdicts(options: argparse.Namespace) -> Iterator[tuple[Path, Verdict]]:
    folder, status = Path(options.folder), options.status
    content = RunDirectory(folder).read("config")
    if "shard" in content:
        if options.rounds is not None:
            raise UsageError("--rounds: expected none for a sweep, whose runs are computed to their end; see --runs")
        sweep = SweepFolder(folder)
        _use_devices(sweep.manifest)
        yield folder, verify_sweep(sweep, options.data_dir, runs=options.runs or 1, rtol=options.rtol, say=status.say)
        return
    places = [folder] if "algorithm" in content else _begun(folder)[: options.runs]
    if options.runs is not None and "algorithm" in content:
        raise UsageError("--runs: expected none for a single run")
    if not places:
        raise UsageError(f"{folder}: expected a run that has begun, found none")
    for place in places:
        directory = RunDirectory(place)
        _use_devices(directory.read_manifest())
        verdict = verify_run(directory, options.data_dir, rounds=options.rounds, rtol=options.rtol, say=status.say)
        yield place, verdict


def _begun(folder: Path) -> list[Path]:
    """List the folders of a comparison's runs that have begun."""
    places = [folder_of(folder, run) for run in listed_runs(folder)]
    return [place for place in places if (place / "manifest.json").exists()]


def _use_devices(manifest: Mapping[str, Any]) -> None:
    """Make as many CPU devices as the run had, unless JAX runs already."""
    devices = manifest.get("devices", {})
    if devices.get("backend") == "cpu":
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", devices["count"])


def _told(folder: Path, verdict: Verdict) -> str:
    """Say the outcome in one line."""
    what = "runs" if (folder / "rows.jsonl").exists() else "rounds"
    what = f"the first {verdict.rounds} {what}" if verdict.rounds > 1 else f"the first {what[:-1]}"
    where = "the environment is the same"
    if verdict.environment:
        where = f"the environment differs: {', '.join(verdict.environment)}"
    if verdict.inputs:
        return f"{folder}: {what} cannot repeat, {verdict.inputs[0]}"
    found = verdict.difference
    if found is None and not verdict.rtol:
        return f"{folder}: {what} {'repeat' if verdict.rounds > 1 else 'repeats'} bit for bit"
    if found is None:
        return f"{folder}: {what} repeat within a relative {verdict.rtol:g} of their means; {where}"
    relative = "" if found.relative is None else f", relative difference {found.relative:.3g}"
    return f"{folder}: {found.place}: stored {found.stored}, computed {found.computed}{relative}; {where}"
