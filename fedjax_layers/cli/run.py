"""``fedjax-layers run ALGORITHM``: execute one run, and write its run directory."""

from __future__ import annotations

import argparse
import contextlib
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.cli.arguments import config_of
from fedjax_layers.cli.given import refuse_unused
from fedjax_layers.cli.interrupt import Interrupt, graceful_interrupt
from fedjax_layers.cli.progress import RoundsProgress
from fedjax_layers.cli.report import add_report, scores_in
from fedjax_layers.cli.resume import MAY_DIFFER, is_resumed, resumed_config
from fedjax_layers.cli.status import Status, print_table
from fedjax_layers.cli.usage import RunEndedError, UsageError
from fedjax_layers.engine.memory.forecast import told
from fedjax_layers.engine.memory.process import free_memory
from fedjax_layers.engine.placement.width import AxisChoice, recorded_axis
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.records.soundness import NonFiniteError
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import Experiment, prepare
from fedjax_layers.experiment.tracking.choose import tracker_maker
from fedjax_layers.report.client_table import MOST_CLIENTS, client_table
from fedjax_layers.report.tables import results_table
from fedjax_layers.report.wording import report_lines, soundness_lines, team_lines

DIVERGED = RunEndedError.code  # exit code of a run that diverged


def command(options: argparse.Namespace) -> int:
    """Run one algorithm; return the exit code."""
    if is_resumed(options):
        config = resumed_run(options, options.algorithm if "algorithm" in options.given else None)
    else:
        if options.resume and options.out and "algorithm" not in options.given and not Path(options.out).exists():
            found = "found no such folder; to begin one, name an algorithm"
            raise UsageError(f"--resume: expected a run in {options.out}, {found}")
        config = config_of(options, options.algorithm)
        refuse_unused(options, [config])
    return run_config(options, config, f"{config.algorithm}-{config.dataset}")


def resumed_run(options: argparse.Namespace, algorithm: str | None) -> RunConfig:
    """Read the config of the run in ``--out``, which must be of this algorithm if one is named."""
    folder = Path(options.out)
    content = RunDirectory(folder).read("config")
    if "runs" in content:
        raise UsageError(f"{folder}: cannot resume, expected one run, found several: a comparison's or a sweep's")
    if algorithm not in (None, content.get("algorithm")):
        raise UsageError(
            f"algorithm: expected none, or {content.get('algorithm')} of the run in {folder}, got {algorithm}"
        )
    return resumed_config(options, content, folder)


def run_config(options: argparse.Namespace, config: RunConfig, name: str) -> int:
    """Execute one run with progress, and return the exit code; ``name`` is the start of a new directory's name."""
    status: Status = options.status
    folder = out_folder(options, name)
    begins = options.resume and not is_resumed(options)
    if not options.save_every >= 0:
        raise UsageError(f"--save-every: expected at least 0 seconds, got {options.save_every}")
    with usage_errors():
        options.make_tracker = None if options.track is None else tracker_maker(options.track)
        RunDirectory.check(folder, config, resume=options.resume, free=MAY_DIFFER)
        axis = remembered_axis(folder) if options.resume else None
        experiment = prepare(config, options.data_dir, axis, say=status.say)
        directory = RunDirectory.create(folder, config, resume=options.resume, free=MAY_DIFFER)
    print_facts(status, experiment)
    if begins:
        status.console.print(f"--resume: no run in {folder} yet, a new one begins", soft_wrap=True)
    with graceful_interrupt(status.console) as interrupt:
        summary = run_one(options, experiment, directory, interrupt)
    status.stop()
    if summary is None:
        return stopped(status, folder, interrupt.code)
    title = f"{config.dataset}, {summary['clients']} clients, {config.rounds} rounds"
    width = status.console.width
    print_table(status.console, results_table([summary], title, width))
    if summary["clients"] <= MOST_CLIENTS and summary["personal"] is not None:
        clients = client_table(directory.read_clients(), summary["scored_model"], summary["scored_round"], width)
        print_table(status.console, clients)
    for line in (*soundness_lines(summary), *team_lines(summary), *report_lines(summary), f"Run directory: {folder}"):
        status.console.print(line, soft_wrap=True)
    tell_divergence(status, summary)
    add_report(options, folder, scores_in(summary, config.eval_every))
    status.print_result(summary, folder)
    return DIVERGED if summary["diverged"] else 0


def tell_divergence(status: Status, summary: Mapping[str, Any]) -> None:
    """Print on stderr that a run diverged, where the lines about its soundness are not printed."""
    if summary["diverged"]:
        status.complain(f"{summary['algorithm']}, seed {summary['seed']}: diverged: {summary['diverged']}")


def run_one(
    options: argparse.Namespace, experiment: Experiment, directory: RunDirectory, interrupt: Interrupt
) -> dict[str, Any] | None:
    """Execute a run with progress, and return its summary; ``None`` if the user stopped it."""
    config = experiment.config
    interrupt.grace = 0  # until a round has ended there is nothing to save

    progress = RoundsProgress(options.status, f"{config.algorithm}, seed {config.seed}", config.rounds)

    def stop(done: int) -> bool:
        progress.at(done)
        interrupt.grace = 1
        return interrupt.asked

    try:
        summary, _ = execute(
            experiment,
            directory,
            resume=options.resume,
            progress=progress,
            stop=stop,
            say=progress.say,
            save_every=options.save_every,
            track=None if options.make_tracker is None else options.make_tracker(directory.path),
        )
    except NonFiniteError as error:
        raise RunEndedError(f"{config.algorithm}, seed {config.seed}, {error}") from error
    return summary or None


def remembered_axis(folder: Path) -> AxisChoice | None:
    """Read the client axis of the run in this folder, since another one would change the last bits of results."""
    if not (folder / "manifest.json").is_file():
        return None
    return recorded_axis(RunDirectory(folder).read_manifest()["client_axis"])


def out_folder(options: argparse.Namespace, name: str) -> Path:
    """Return the folder that was asked for, or a new one under ``runs/``.

    Raises:
      UsageError: ``--resume`` is given without ``--out``.
    """
    if options.out:
        return Path(options.out)
    if options.resume:
        raise UsageError("--resume: expected --out with the run to continue, got none")
    # Commands that start in the same second, perhaps on several machines, have folders of their own.
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Turn errors before the run into ``UsageError``, which is shown as one line and not as a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error


def print_facts(status: Status, experiment: Experiment) -> None:
    """Print two lines about the run: what it is, and the memory that it takes."""
    for line in (describe(experiment), told(experiment.memory, free_memory())):
        status.console.print(line, soft_wrap=True)


def describe(experiment: Experiment) -> str:
    """Describe a run in one line."""
    config: RunConfig = experiment.config
    data, layers = experiment.data, experiment.plan.task.layers
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


def stopped(status: Status, folder: Path, code: int) -> int:
    """Print how to continue the stopped run; return the exit code ``code``."""
    status.stop()
    status.console.print(f"Stopped. To continue, repeat the command with --out {folder} --resume", soft_wrap=True)
    status.print_result({"stopped": True}, folder)
    return code
