"""``fedjax-layers run ALGORITHM``: one run into one directory."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from fedjax_layers.cli.arguments import config_of
from fedjax_layers.cli.display import (
    Interrupt,
    RoundsProgress,
    cut_lines,
    graceful_interrupt,
    make_console,
    results_table,
    team_lines,
)
from fedjax_layers.cli.given import refuse_unused
from fedjax_layers.cli.usage import UsageError
from fedjax_layers.simulation.config import RunConfig
from fedjax_layers.simulation.experiment import execute
from fedjax_layers.simulation.probe import AxisChoice, recorded_axis
from fedjax_layers.simulation.records import RunDirectory
from fedjax_layers.simulation.setup import Experiment, prepare

INTERRUPTED = 130


def command(options: argparse.Namespace) -> int:
    """Run one algorithm; returns the exit code."""
    config = config_of(options, options.algorithm)
    refuse_unused(options, [config])
    return run_config(options, config, f"{config.algorithm}-{config.dataset}")


def run_config(options: argparse.Namespace, config: RunConfig, name: str) -> int:
    """One run into its directory, with progress; returns the exit code. ``name`` is that of a new directory."""
    console = make_console()
    folder = out_folder(options, name)
    with usage_errors():
        experiment = prepare(config, options.data_dir, remembered_axis(folder) if options.resume else None)
        directory = RunDirectory.create(folder, config, resume=options.resume)
    console.print(describe(experiment), soft_wrap=True)
    with graceful_interrupt() as interrupt:
        summary = run_one(console, experiment, directory, interrupt, resume=options.resume)
    if summary is None:
        return stopped(console, folder)
    console.print(results_table([summary], f"{config.dataset}, {summary['clients']} clients, {config.rounds} rounds"))
    for line in (*team_lines(summary), *cut_lines(summary), f"Run directory: {folder}"):
        console.print(line, soft_wrap=True)
    return 0


def run_one(
    console: Console, experiment: Experiment, directory: RunDirectory, interrupt: Interrupt, *, resume: bool
) -> dict[str, Any] | None:
    """Execute with progress; ``None`` if the user stopped it."""
    config = experiment.config
    label = f"{config.algorithm}, seed {config.seed}"
    with RoundsProgress(console, label, config.rounds, interrupt) as progress:
        summary, _ = execute(experiment, directory, resume=resume, progress=progress)
    return summary or None


def remembered_axis(folder: Path) -> AxisChoice | None:
    """The client axis of the run in this folder: another one would change the last bits of what follows."""
    if not (folder / "manifest.json").is_file():
        return None
    return recorded_axis(RunDirectory(folder).read("manifest")["client_axis"])


def out_folder(options: argparse.Namespace, name: str) -> Path:
    """The folder asked for, or a new one under ``runs/``.

    Raises:
      UsageError: ``--resume`` without ``--out``.
    """
    if options.out:
        return Path(options.out)
    if options.resume:
        raise UsageError("--resume: expected --out with the run to go on with, got none")
    folder = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    others = (folder.with_name(f"{folder.name}-{n}") for n in itertools.count(2))
    return next(one for one in itertools.chain([folder], others) if not one.exists())


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """What is wrong with the input, before anything ran, is one line and not a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error


def describe(experiment: Experiment) -> str:
    """A line on what is about to run."""
    config: RunConfig = experiment.config
    data, layers = experiment.data, experiment.builder.task.layers
    return (
        f"{data.name}: {data.num_clients} client{'s' if data.num_clients > 1 else ''}{_in_teams(experiment)}, "
        f"{int(data.sizes['train'].sum())} training examples; "
        f"{layers.num_layers} layers, {sum(layers.sizes):,} parameters; {config.rounds} rounds; "
        f"client axis: {experiment.axis.record['chosen']} ({experiment.axis.record['how']})"
    )


def _in_teams(experiment: Experiment) -> str:
    if experiment.team_of is None:
        return ""
    sizes = np.bincount(experiment.team_of)
    span = f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
    return f" in {len(sizes)} team{'s' if len(sizes) > 1 else ''} of {span}"


def stopped(console: Console, folder: Path) -> int:
    """Tell how to go on."""
    console.print(f"Stopped. Go on with the same command and --out {folder} --resume", soft_wrap=True)
    return INTERRUPTED
