"""``fedjax-layers compare A,B,C``: run several algorithms on the same clients, and compare them."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedjax_layers.algorithms import registry
from fedjax_layers.cli.arguments import config_of
from fedjax_layers.cli.given import effect_lines, refuse_unused, without_effect
from fedjax_layers.cli.interrupt import Interrupt, graceful_interrupt
from fedjax_layers.cli.report import add_report, scores_in
from fedjax_layers.cli.resume import MAY_DIFFER, is_resumed, resumed_config, resumed_content
from fedjax_layers.cli.run import (
    DIVERGED,
    out_folder,
    print_facts,
    remembered_axis,
    run_one,
    stopped,
    tell_divergence,
    usage_errors,
)
from fedjax_layers.cli.status import Status, print_table
from fedjax_layers.cli.usage import UsageError
from fedjax_layers.engine.placement.width import AxisChoice
from fedjax_layers.experiment.comparison import compare_runs, differences_of, folder_of, listed_runs, statistics_of
from fedjax_layers.experiment.config.run_config import RunConfig, has_teams
from fedjax_layers.experiment.records.run_directory import RunDirectory, to_json
from fedjax_layers.experiment.records.summary import rebuild_rounds
from fedjax_layers.experiment.setup.early import check_early
from fedjax_layers.experiment.setup.foreseen import refuse_early
from fedjax_layers.experiment.setup.prepare import assemble, check_fit
from fedjax_layers.experiment.setup.shared_data import SharedData
from fedjax_layers.experiment.tracking.choose import tracker_maker
from fedjax_layers.ops.collusion import COLLUSIONS
from fedjax_layers.options import taken_from_config
from fedjax_layers.report.tables import results_table
from fedjax_layers.report.wording import difference_lines, rank_lines, report_lines, soundness_lines, team_lines
from fedjax_layers.storage import StorageError
from fedjax_layers.sweeps.request import check_number_of_runs


def command(options: argparse.Namespace) -> int:
    """Compare algorithms; return the exit code."""
    status: Status = options.status
    configs = _resumed(options) if is_resumed(options) else _configs(options)
    first = configs[0]
    if not is_resumed(options):
        for line in effect_lines(without_effect(options, configs)):
            status.console.print(line, soft_wrap=True)
    folder = out_folder(options, f"compare-{first.dataset}")
    seeds = len({config.seed for config in configs})
    record = {"runs": [to_json(c) for c in configs]}
    with usage_errors():
        options.make_tracker = None if options.track is None else tracker_maker(options.track)
        if not is_resumed(options):
            RunDirectory.check(folder, resume=options.resume)
        for config in configs:
            check_early(config, options.data_dir)
        for config in configs[: len(configs) // seeds]:
            refuse_early(config)
        shared = SharedData(options.data_dir, status.say)
        for config in configs[: len(configs) // seeds]:  # errors are raised here, before any run
            check_fit(config, shared.of(config))
        if is_resumed(options):
            RunDirectory(folder).write("config", record)
        else:
            RunDirectory.create(folder, record, resume=options.resume)
    with graceful_interrupt(status.console) as interrupt:
        done = _run_all(options, configs, folder, shared, interrupt)
    if done is None:
        return stopped(status, folder, interrupt.code)
    return _report(options, done, folder, first)


def _resumed(options: argparse.Namespace) -> list[RunConfig]:
    """Read the configs of the comparison in ``--out``, with which given algorithms, seeds and flags must agree."""
    folder = Path(options.out)
    runs = listed_runs(folder)
    names, seeds = (list(dict.fromkeys(run[field] for run in runs)) for field in ("algorithm", "seed"))
    if "algorithms" in options.given and options.algorithms != ",".join(names):
        raise UsageError(f"algorithms: expected none, or {','.join(names)} of {folder}, got {options.algorithms}")
    if "seeds" in options.given and options.seeds != len(seeds):
        raise UsageError(f"--seeds: expected none, or {len(seeds)} as {folder} has it, got {options.seeds}")
    if "seed" in options.given and options.seed != seeds[0]:
        raise UsageError(f"--seed: expected none, or {seeds[0]} as {folder} has it, got {options.seed}")
    beside = argparse.Namespace(**{**vars(options), "given": options.given - {"seed"}})
    places = [folder_of(folder, run) for run in runs]
    return [resumed_config(beside, resumed_content(p, run), p, names) for p, run in zip(places, runs, strict=True)]


def _configs(options: argparse.Namespace) -> list[RunConfig]:
    names = [name for name in options.algorithms.split(",") if name]
    if not names or len(set(names)) != len(names):
        raise UsageError(f"algorithms: expected different names separated by commas, got {options.algorithms!r}")
    if options.seeds < 1:
        raise UsageError(f"--seeds: expected at least 1, got {options.seeds}")
    with usage_errors():
        check_number_of_runs(len(names), options.seeds)
    configs = [
        config_of(options, name, beside=names, seed=options.seed + i, **_left_out(name, names, options.attack))
        for i in range(options.seeds)
        for name in names
    ]
    refuse_unused(options, configs)
    return configs


def _left_out(name: str, names: Sequence[str], attack: str | None) -> dict[str, Any]:
    """Reset fields that an algorithm does not use, as ``local``: server optimiser, rule, attack on it, privacy, teams.

    An algorithm that averages refuses a rule that cannot take its mean's place, and an attack on such a rule. Where no
    algorithm of the comparison has teams, asking for teams remains an error.
    """
    if name not in registry:
        return {}
    server = {} if taken_from_config(registry[name], "server_optimizer") else {"server_optimizer": None}
    unused = {"aggregate": None, "dp_noise": None} | ({"attack": None} if attack in COLLUSIONS else {})
    rule = {} if registry[name].averages else unused
    beside = any(has_teams(other) for other in names if other in registry)
    return server | rule | ({"team_formation": None, "team_of": None} if beside and not has_teams(name) else {})


def _run_all(
    options: argparse.Namespace,
    configs: Sequence[RunConfig],
    folder: Path,
    shared: SharedData,
    interrupt: Interrupt,
) -> list[RunDirectory] | None:
    """Execute the runs in turn, except finished ones; all use the client axis that the first one chose."""
    status: Status = options.status
    axis: AxisChoice | None = None
    done = []
    for config in configs:
        own = folder / config.algorithm / f"seed-{config.seed}"
        with usage_errors():
            directory = RunDirectory.create(own, config, resume=options.resume, free=MAY_DIFFER)
        axis = axis or remembered_axis(own)
        if not _ended(directory, config, shared):
            experiment = assemble(config, shared.of(config), axis, runs=len(configs), say=status.say)
            if axis is None:
                print_facts(status, experiment)
                axis = experiment.axis
            if run_one(options, experiment, directory, interrupt) is None:
                return None
            del experiment  # frees its data before the next seed's are loaded
        done.append(directory)
    return done


def _ended(directory: RunDirectory, config: RunConfig, shared: SharedData) -> bool:
    """Return whether a run has ended and its results can be read; otherwise it goes on, and writes them again."""
    if not (directory.path / "summary.json").exists():
        return False
    try:
        read, clients = directory.read("summary"), directory.read_clients()
    except StorageError:
        return False
    whole = read.keys() >= {"algorithm", "seed", "personal", "clients", "rounds", "scored_model"}
    if not whole or directory.read("config").get("rounds") != config.rounds:
        return False
    try:
        unseen = None if read.get("unseen") is None else shared.of(config).unseen
        rebuild_rounds(directory, read["rounds"], unseen, clients.get("attacks"))
    except StorageError as error:
        warnings.warn(f"{error}; the results of the run, which has ended, are used", stacklevel=2)
    return True


def _report(options: argparse.Namespace, done: Sequence[RunDirectory], folder: Path, config: RunConfig) -> int:
    status: Status = options.status
    rows = compare_runs(done, config.scored_model, config.scored_round)
    status.say("comparing the results")
    whole, console = RunDirectory(folder), status.console
    summaries = [d.read("summary") for d in done]
    tests = statistics_of(summaries)
    differences = differences_of(summaries)
    result = {"algorithms": rows, **tests, "differences": differences}
    whole.write_summary(result)
    status.stop()
    clients, rounds = rows[0]["clients"], rows[0]["rounds"]
    seeds = len(done) // len(rows)
    title = f"{config.dataset}, {clients} clients, {rounds} rounds, {seeds} seed{'s' if seeds > 1 else ''}"
    print_table(console, results_table(rows, title, console.width, seeds))
    for line in (line for row in rows for line in team_lines(row)):
        console.print(line, soft_wrap=True)
    for line in difference_lines(differences, tests["metric"], seeds):
        console.print(line, soft_wrap=True)
    for line in rank_lines(tests):
        console.print(line, soft_wrap=True)
    for summary in summaries[: len(rows)]:
        for line in report_lines(summary):
            console.print(line, soft_wrap=True)
    console.print(f"Run directory: {folder}", soft_wrap=True)
    for summary in summaries:
        for line in soundness_lines(summary):
            console.print(f"{summary['algorithm']}, seed {summary['seed']}: {line}", soft_wrap=True)
        tell_divergence(status, summary)
    add_report(options, folder, sum(scores_in(summary, config.eval_every) for summary in summaries))
    status.print_result(result, folder)
    return DIVERGED if any(summary["diverged"] for summary in summaries) else 0
