"""From the configs of a sweep to groups of runs on the same data, and the programs that compute them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import jax

from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.placement.width import AxisChoice, device_mesh, recorded_axis
from fedjax_layers.experiment.run import patience_of
from fedjax_layers.experiment.setup.design import deciding_sizes
from fedjax_layers.experiment.setup.prepare import Experiment, check_numbers, prepare, vary
from fedjax_layers.experiment.setup.shared_data import SharedData
from fedjax_layers.ops import ClientAxis
from fedjax_layers.sweeps.branches import Branches, Tick
from fedjax_layers.sweeps.decisions import decision_of
from fedjax_layers.sweeps.programs import InTurn, Program, Vectorised
from fedjax_layers.sweeps.runs import Outcome, Over, Run, needed_runs, share_seeds
from fedjax_layers.sweeps.settings import SweptRun, data_key, family_key, program_key
from fedjax_layers.sweeps.stopping import Stopping, diverging
from fedjax_layers.sweeps.widths import Programs

OnRuns = Callable[[list[SweptRun], Outcome, Experiment], None]


class Computer:
    """Makes groups of runs; each program is compiled once, and its width and client axis are chosen once.

    Args:
      data_dir: folder of the data files.
      width: runs vectorised at once on each device; 1 is in turn, ``None`` measures.
      stopping: whether runs that diverge end.
      remembered: the record of an earlier start of the same sweep, whose choices are kept.
      say: told of each choice: the kind of run and the record.

    Attributes:
      record: by kind of run, how many are computed at once, why, and along which client axis.
    """

    def __init__(
        self,
        data_dir: str | None,
        *,
        width: int | None = None,
        stopping: Stopping = Stopping(),
        remembered: Mapping[str, Any] | None = None,
        say: Callable[[str, dict[str, Any]], None] = lambda *_: None,
    ) -> None:
        before = remembered or {}
        self._data, self._width, self._stopping, self._say = SharedData(data_dir), width, stopping, say
        self._programs = Programs(width, {kind: one["width"] for kind, one in before.items()})
        self._axes = {kind: recorded_axis(one["client_axis"]) for kind, one in before.items()}
        self.record: dict[str, dict[str, Any]] = {}

    @property
    def compiled(self) -> int:
        """Programs of an interval compiled so far."""
        return self._programs.compiled

    def groups(
        self, runs: Sequence[SweptRun], on_end: OnRuns, tick: Tick, there: Collection[int] = ()
    ) -> Iterator[Branches]:
        """Runs of one program on the same data, loaded when the group's turn comes.

        Args:
          runs: of the sweep.
          on_end: called with runs that have ended with the same history.
          tick: called after each interval with the rounds done and the number of branches.
          there: numbers of runs that are not needed any more. Those computed at once with one that is needed are
            computed all the same: the last bits of a run may depend on its place among the others.

        Raises:
          ValueError: a config that does not fit its data or model.
        """
        apart: dict[tuple[str, str], list[SweptRun]] = {}
        for run in runs:
            apart.setdefault((program_key(run.config, run.counts), data_key(run.config)), []).append(run)
        families: dict[str, set[str]] = {}
        for (program, _), some in apart.items():
            families.setdefault(program, set()).update(family_key(run.config, run.counts) for run in some)
        for (program, _), some in apart.items():
            if not all(run.number in there for run in some):
                yield self._group(kind_of(some[0]), some, len(families[program]), on_end, tick, there)

    def _group(
        self, kind: str, some: list[SweptRun], number: int, on_end: OnRuns, tick: Tick, there: Collection[int]
    ) -> Branches:
        first = min((run.config for run in some), key=lambda config: config.rounds)  # the drift must fit into it
        axis = self._axes.get(kind) or self._unprobed(first)
        experiment = prepare(first, axis=axis, counts=some[0].counts, runs=len(some), shared=self._data)
        self._axes[kind] = experiment.axis
        by_number = {run.number: run for run in some}
        decision = decision_of(first)
        seeds = [(run.config.seed, run.config.start_seed) for run in some]
        own, same_seed = share_seeds([self._run(experiment, run) for run in some], seeds)
        shared = decision is not None and len({run.family for run in own}) < len(own)
        builder, plan = experiment.builder, experiment.plan
        program = self._programs.choose(
            kind,
            (builder, plan, same_seed),
            lambda width: _program(experiment, width, same_seed),
            [run.inputs for run in own if run.stream == own[0].stream],
            intervals=-(-first.rounds // first.eval_every),
            number=number,
            exact=shared and jax.default_backend() == "cpu",  # where it costs little: there are few runs to compute
        )
        if kind not in self.record:
            self.record[kind] = self._programs.record[kind] | {"client_axis": experiment.axis.record}
            self._say(kind, self.record[kind])

        def ended(ended_runs: list[Run], outcome: Outcome) -> None:
            on_end([by_number[run.number] for run in ended_runs], outcome, experiment)

        needed = needed_runs(own, program.size, there)
        return Branches(program, needed, decide=decision.decide if decision else None, on_end=ended, tick=tick)

    def _unprobed(self, config: Any) -> AxisChoice | None:
        """The client axis where only vectorised runs are asked for; ``None`` leaves it to the config."""
        if self._width in (None, 1) or config.client_width != "auto":
            return None
        axis = ClientAxis(1 if jax.default_backend() == "cpu" else None)
        return AxisChoice(
            axis, {"chosen": "within vectorised runs", "how": "pinned", "width": axis.width, "devices": 1}
        )

    def _run(self, experiment: Experiment, run: SweptRun) -> Run:
        config, decision = run.config, decision_of(run.config)
        setting = decision and decision.value
        over = self._over(config, experiment)
        inputs = vary(experiment, config).inputs
        return Run(run.number, inputs, config.rounds, family_key(config, run.counts), setting, over=over)

    def _over(self, config: Any, experiment: Experiment) -> Over:
        ended = patience_of(config, deciding_sizes(experiment.data))
        dead = diverging(experiment.data.num_clients)

        def over(history: History) -> str | None:
            if ended(history):
                return "patience"
            return dead(history) if self._stopping.diverged else None

        return over


def check_runs(runs: Sequence[SweptRun], stopping: Stopping, data_dir: str | None) -> None:
    """Raise ``ValueError`` for what no run could start with: bad data, models and options show before any work."""
    shortest = min(run.config.rounds for run in runs)
    if stopping.rungs and stopping.rungs[-1] >= shortest:
        raise ValueError(f"rungs: expected rounds below the runs' {shortest}, got {stopping.rungs[-1]}")
    unprobed, shared = AxisChoice(ClientAxis(), {}), SharedData(data_dir)
    programs: dict[str, list[SweptRun]] = {}
    for run in runs:
        programs.setdefault(program_key(run.config, run.counts), []).append(run)
    for some in programs.values():
        experiment = prepare(some[0].config, data_dir, unprobed, counts=some[0].counts, shared=shared)
        for run in some:
            check_numbers(experiment, run.config)


def kind_of(run: SweptRun) -> str:
    """A short name for all runs of the same program."""
    digest = hashlib.sha256(program_key(run.config, run.counts).encode()).hexdigest()[:8]
    return f"{run.config.algorithm} on {run.config.dataset} ({digest})"


def _program(experiment: Experiment, width: int, same_seed: bool) -> Program:
    builder, plan = experiment.builder, experiment.plan
    if width == 1:
        return InTurn(builder, plan)
    inner = dataclasses.replace(experiment.axis.axis, mesh=None)  # the devices are the runs'
    if experiment.config.client_width == "auto" and jax.default_backend() == "cpu":
        inner = ClientAxis(1)  # runs fill the vectors, and none waits for the client with most steps
    axis = ClientAxis(width, device_mesh())
    return Vectorised(builder, dataclasses.replace(plan, axis=inner), axis, same_seed=same_seed)
