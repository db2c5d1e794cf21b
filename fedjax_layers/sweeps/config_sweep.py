"""A sweep of configs: runs in groups of one program on the same data, computed into the rows of its table."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import jax

from fedjax_layers.data import ClientData
from fedjax_layers.engine.placement.width import AxisChoice, device_mesh, recorded_axis
from fedjax_layers.engine.plan import Plan
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.privacy import guarantee
from fedjax_layers.experiment.run import patience_of
from fedjax_layers.experiment.setup.attack import attackers_of
from fedjax_layers.experiment.setup.design import deciding_sizes
from fedjax_layers.experiment.setup.prepare import Experiment, check_numbers, prepare, vary
from fedjax_layers.experiment.setup.shared_data import SharedData
from fedjax_layers.ops import ClientAxis
from fedjax_layers.storage import locked
from fedjax_layers.sweeps.branches import Group, Outcome, Run, Tick, never
from fedjax_layers.sweeps.configs import SweptRun, data_key, decision_of, family_key, program_key
from fedjax_layers.sweeps.groups import run_groups
from fedjax_layers.sweeps.request import Stopping
from fedjax_layers.sweeps.results import Row, SweepFolder, row_of
from fedjax_layers.sweeps.same_sweep import refuse_other_data, tell_other_environment
from fedjax_layers.sweeps.widths import Programs

OnRuns = Callable[[list[SweptRun], Outcome, Experiment], None]


def run_sweep(
    runs: Sequence[SweptRun],
    programs: Programs,
    data_dir: str | None = None,
    *,
    stopping: Stopping = Stopping(),
    folder: SweepFolder | None = None,
    tick: Tick = never,
    on_rows: Callable[[list[Row]], object] = never,
) -> list[Row]:
    """Compute the runs that are not in the folder yet.

    Where runs are vectorised, or compared at rungs, those that were computed together are computed together again if
    one of them is missing, so that the numbers do not depend on where an earlier start was cut off.

    Args:
      runs: of the sweep, or of its shard.
      programs: holds what is compiled, with the width that each kind of run was given.
      data_dir: folder of the data files.
      stopping: which runs end early.
      folder: gets each run's row as soon as it has ended; ``None`` keeps them here only.
      tick: called after each interval with the rounds done and the number of branches; if it returns True, the sweep
        ends with a :class:`fedjax_layers.sweeps.branches.StoppedError`.
      on_rows: called with the rows of runs that have just ended.

    Returns:
      Their rows, in order.

    Raises:
      ValueError: a config that does not fit its data or model.
      StorageError: another process computes the same shard in the folder, an earlier start had other data or settings
        of JAX, or a file cannot be written.
    """
    with contextlib.nullcontext() if folder is None else locked(folder.path):
        return _run_sweep(runs, programs, data_dir, stopping, folder, tick, on_rows)


def _run_sweep(
    runs: Sequence[SweptRun],
    programs: Programs,
    data_dir: str | None,
    stopping: Stopping,
    folder: SweepFolder | None,
    tick: Tick,
    on_rows: Callable[[list[Row]], object],
) -> list[Row]:
    rows: dict[int, Row] = {} if folder is None else dict(folder.rows)
    if folder is not None:
        tell_other_environment(folder)

    def ended(some: list[SweptRun], outcome: Outcome, experiment: Experiment) -> None:
        new = _rows(some, outcome, experiment)
        if folder is not None:
            folder.append(new)
        rows.update({row["run"]: row for row in new if row["run"] not in rows})
        on_rows(new)

    stored = set(rows)
    if stopping.rungs and not all(run.number in stored for run in runs):
        stored = set()  # a missing run is compared with all others, which are computed again
    groups = _Groups(programs, data_dir, stopping, ended, folder).of(runs, stored)
    run_groups(groups, programs, stopping, tick=tick, stored=stored)
    return [rows[run.number] for run in runs]


def check_runs(runs: Sequence[SweptRun], stopping: Stopping, data_dir: str | None) -> None:
    """Raise ``ValueError`` for what no run could start with: bad data, models and options show before any work."""
    shortest = min(run.config.rounds for run in runs)
    if stopping.rungs and stopping.rungs[-1] >= shortest:
        raise ValueError(f"rungs: expected rounds below the runs' {shortest}, got {stopping.rungs[-1]}")
    unprobed, shared = AxisChoice(ClientAxis(), {}), SharedData(data_dir)
    by_program: dict[str, list[SweptRun]] = {}
    for run in runs:
        by_program.setdefault(program_key(run.config, run.counts), []).append(run)
    for some in by_program.values():
        experiment = prepare(some[0].config, data_dir, unprobed, counts=some[0].counts, shared=shared)
        for run in some:
            check_numbers(experiment, run.config)


class _Groups:
    """Makes the groups of a sweep's runs; the data are loaded when a group's turn comes.

    The client axis of each kind of run is chosen once; an earlier start's choice is kept.
    """

    def __init__(
        self,
        programs: Programs,
        data_dir: str | None,
        stopping: Stopping,
        on_end: OnRuns,
        folder: SweepFolder | None = None,
    ) -> None:
        self._programs, self._stopping, self._on_end, self._folder = programs, stopping, on_end, folder
        self._data = SharedData(data_dir)
        before = programs.remembered.items()
        self._axes = {kind: recorded_axis(one["client_axis"]) for kind, one in before if "client_axis" in one}

    def of(self, runs: Sequence[SweptRun], stored: Collection[int]) -> Iterator[Group]:
        """The groups in which a run is missing among those that are ``stored``, given by their numbers."""
        apart: dict[tuple[str, str], list[SweptRun]] = {}
        families: dict[str, set[str]] = {}
        for run in runs:
            program = program_key(run.config, run.counts)
            apart.setdefault((program, data_key(run.config)), []).append(run)
            families.setdefault(program, set()).add(family_key(run.config, run.counts))
        for (program, _), some in apart.items():
            if not all(run.number in stored for run in some):
                yield self._group(program, some, len(families[program]))

    def _group(self, program: str, some: list[SweptRun], number: int) -> Group:
        first = min((run.config for run in some), key=lambda config: config.rounds)  # the drift must fit into it
        kind = f"{first.algorithm} on {first.dataset} ({hashlib.sha256(program.encode()).hexdigest()[:8]})"
        axis = self._axes.get(kind) or self._unprobed(first)
        experiment = prepare(first, axis=axis, counts=some[0].counts, runs=len(some), shared=self._data)
        self._axes[kind] = experiment.axis
        if self._folder is not None:
            refuse_other_data(self._folder, some[0].number, experiment.data)
        by_number = {run.number: run for run in some}
        decision = decision_of(first)
        runs = [self._run(experiment, run) for run in some]
        shared = decision is not None and len({run.family for run in runs}) < len(runs)
        return Group(
            kind,
            experiment.builder,
            experiment.plan,
            ClientAxis(mesh=device_mesh()),
            runs,
            number,
            on_end=lambda ended, outcome: self._on_end([by_number[r.number] for r in ended], outcome, experiment),
            vectorised_plan=_vectorised_plan(experiment),
            decide=decision and decision[0].decide,
            exact=shared and jax.default_backend() == "cpu",  # where it costs little: there are few runs to compute
            facts={"client_axis": experiment.axis.record},
        )

    def _run(self, experiment: Experiment, run: SweptRun) -> Run:
        config, decision = run.config, decision_of(run.config)
        return Run(
            run.number,
            vary(experiment, config).inputs,
            config.rounds,
            family=family_key(config, run.counts),
            stream=(config.seed, config.start_seed),
            setting=repr(list(run.setting.items())),
            scored=(config.scored_model, config.scored_round),
            decided=decision and decision[1],
            out_of_patience=patience_of(config, deciding_sizes(experiment.data)),
        )

    def _unprobed(self, config: RunConfig) -> AxisChoice | None:
        """The client axis where only vectorised runs are asked for; ``None`` leaves it to the config."""
        if self._programs.width in (None, 1) or config.client_width != "auto":
            return None
        axis = ClientAxis(1 if jax.default_backend() == "cpu" else None)
        record = {"chosen": "within vectorised runs", "how": "pinned", "width": axis.width, "devices": 1}
        return AxisChoice(axis, record)


def _vectorised_plan(experiment: Experiment) -> Plan:
    """The plan inside runs that are computed at once: the devices are spread over the runs, not over the clients."""
    axis = dataclasses.replace(experiment.axis.axis, mesh=None)
    if experiment.config.client_width == "auto" and jax.default_backend() == "cpu":
        axis = ClientAxis(1)  # runs fill the vectors, and none waits for the client with most steps
    return dataclasses.replace(experiment.plan, axis=axis)


def _rows(some: list[SweptRun], outcome: Outcome, experiment: Experiment) -> list[Row]:
    """A row per run; what several have in common is computed once."""
    data, layers = experiment.data, experiment.plan.task.layers
    scores: dict[tuple[str, str], Row] = {}
    known: dict[tuple[Any, ...], Row] = {}
    rows = []
    for run in some:
        how = (run.config.scored_model, run.config.scored_round)
        if how not in scores:
            scores[how] = row_of(
                outcome.history,
                layers,
                data.sizes["train"],
                scored_model=how[0],
                scored_round=how[1],
                unseen=data.unseen,
                attackers=attackers_of(run.config, data),
            )
        own: Row = {"seed": run.seed, "why": outcome.why, "partition": data.partition_hash[:12]}
        own |= _privacy(run.config, data, outcome.history.rounds_done, known)
        rows.append({"run": run.number, **run.setting, **own, **scores[how]})
    return rows


def _privacy(config: RunConfig, data: ClientData, rounds: int, known: dict[tuple[Any, ...], Row]) -> Row:
    """The epsilon and delta of a run; empty without privacy. What the accountant has computed stays in ``known``."""
    if config.dp_noise is None:
        return {}
    key = (config.dp_noise, config.dp_delta, config.cohort, rounds)
    if key not in known:
        told = guarantee(config, data, rounds) or {}
        known[key] = {name: told[name] for name in ("epsilon", "delta")}
    return known[key]
