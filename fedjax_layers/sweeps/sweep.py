"""The sweep as a function: an algorithm built from traced numbers, over a grid of them and over seeds."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fedjax_layers.algorithms.factory import Method
from fedjax_layers.data import ClientData
from fedjax_layers.engine.device_data import DeviceData, to_device
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.intervals import Build, start_params
from fedjax_layers.engine.plan import Plan, rounds_per_interval
from fedjax_layers.engine.sampling import Sampling, usual_scored_model
from fedjax_layers.engine.simulate import as_build, check_rounds, make_inputs
from fedjax_layers.ops import ClientAxis
from fedjax_layers.sweeps.branches import Branches, Decide, OnEnd
from fedjax_layers.sweeps.grid import check_number_of_runs
from fedjax_layers.sweeps.programs import InTurn, Program, Vectorised
from fedjax_layers.sweeps.rungs import Contest, run_all
from fedjax_layers.sweeps.runs import Outcome, Run, never, share_seeds
from fedjax_layers.sweeps.stopping import Stopping, diverging, merit
from fedjax_layers.sweeps.widths import Programs
from fedjax_layers.types import Algorithm, Task

SEEDED = ("start", "partition", "sampling")
Data = ClientData | DeviceData | Callable[[int], ClientData | DeviceData]


class SweepResult(NamedTuple):
    """Every run of a sweep, setting by setting and within a setting seed by seed.

    Attributes:
      settings: the numbers of each run.
      seeds: its seed.
      histories: what it left; runs that were the same share one object.
      why: how it ended: ``finished``, ``diverged`` or, behind at a rung, ``stopped``.
      scored_model: which model is scored unless asked otherwise: ``trained``, or ``served`` where cohorts are
        drawn.
      record: how many runs were computed at once and why, and how many programs of an interval were compiled.
    """

    settings: list[dict[str, Any]]
    seeds: list[int]
    histories: list[History]
    why: list[str]
    scored_model: str
    record: dict[str, Any]

    def scores(
        self, metric: str, scored_model: str | None = None, scored_round: str = "best", split: str = "test"
    ) -> np.ndarray:
        """The mean over clients of one metric, ``[runs]``, of the model that the sweep scores, or of another.

        See :meth:`History.scores`; a client whose model has diverged counts.
        """
        means, scored_model = [], scored_model or self.scored_model
        for history in self.histories:
            found = history.scores(scored_model, scored_round, split)
            if found is None or metric not in found:
                raise ValueError(f"metric: expected one that these runs have at {scored_model!r}, got {metric!r}")
            means.append(np.nanmean(found[metric]) if not np.isnan(found[metric]).all() else np.nan)
        return np.array(means)


def sweep(
    build: Build | Method[Algorithm],
    grid: Sequence[Mapping[str, Any]] | Mapping[str, Any],
    task: Task,
    data: Data,
    *,
    rounds: int,
    seeds: Sequence[int] = (0,),
    seeds_vary: Sequence[str] = SEEDED,
    sampling: Sampling | None = None,
    weights: np.ndarray | None = None,
    eval_every: int = 1,
    axis: ClientAxis = ClientAxis(),
    evaluated_models: Sequence[str] = ("trained", "served"),
    width: int | None = None,
    runs: ClientAxis = ClientAxis(),
    decide: tuple[str, Decide] | None = None,
    stopping: Stopping = Stopping(),
    compare: tuple[str, str] | None = None,
    on_end: Callable[[int, Outcome], None] | None = None,
) -> SweepResult:
    """Run every setting of a grid with every seed, in as few compiled programs as there are shapes of data.

    Args:
      build: ``numbers -> method`` as in :func:`simulate`, called while tracing with one setting of the grid.
      grid: settings, each a mapping of names to numbers (see :mod:`fedjax_layers.sweeps.grid`), or one
        mapping of names to arrays ``[n]``. All settings have the same names.
      task: the model and loss.
      data: the clients; or, where seeds vary the partition, ``seed -> clients``. Clients of other shapes compile
        another program.
      rounds: of each run.
      seeds: one run of each setting per seed.
      seeds_vary: what a seed decides: ``"start"`` of the models, ``"partition"`` (where ``data`` is a function) and
        ``"sampling"``, which is cohorts and local training. What is left out has the first seed in all runs.
      sampling: cohort rule; ``None`` is full participation.
      weights: ``[C]`` aggregation weights; ``None`` takes the number of training examples.
      eval_every: rounds between evaluations.
      axis: the client axis, of training and evaluation, within each run.
      evaluated_models: which models to evaluate, see :class:`fedjax_layers.engine.intervals.Plan`.
      width: runs vectorised at once on each device; 1 computes them in turn, with the numbers of ``simulate`` to the
        last bit; ``None`` measures.
      runs: the axis of the vectorised runs; its ``mesh`` spreads them over devices (clients must then be on none) and
        its width is ``width``.
      decide: a name of the grid whose only effect is a decision that can be made again from what the run records, and
        how (:class:`fedjax_layers.algorithms.report.Decision`; for PLayer-FL's threshold
        ``algorithms.threshold_decision``). Settings
        that decide alike are computed once; runs of such grids go in turn unless ``width`` says otherwise.
      stopping: which runs end before their rounds are done.
      compare: scored_model and scored_round of the validation scores that are compared at its rungs; ``None`` is
        ``best`` of the model that the result scores.
      on_end: called with the number of each run that has ended, and its outcome.

    Returns:
      All runs, seeds within settings.

    Raises:
      ValueError: an empty grid, settings of different names, no seeds or one twice, ``seeds_vary`` of other names, a
        model to ``compare`` that is not evaluated, or ``rounds`` or ``width`` below 1.
    """
    settings = settings_of(grid)
    check_rounds(rounds)
    check_number_of_runs(len(settings), len(seeds))
    plan = Plan(task, rounds_per_interval(eval_every, rounds), axis, tuple(evaluated_models))
    request = _Request(
        as_build(build), settings, data, rounds, tuple(seeds), tuple(seeds_vary), sampling, weights, plan
    )
    _check(request, width, decide)
    usual = usual_scored_model(sampling)
    scored_model = usual if usual in plan.evaluated_models else plan.evaluated_models[0]
    compare = compare or (scored_model, "best")
    if stopping.rungs and compare[0] not in evaluated_models:
        raise ValueError(
            f"compare: expected one of the evaluated models {', '.join(evaluated_models)}, got {compare[0]!r}"
        )
    chosen = Programs(width)
    outcomes: dict[int, Outcome] = {}
    by_setting = {number: number // len(seeds) for number in range(len(settings) * len(seeds))}
    contest = Contest(by_setting, lambda _, history: merit(history, *compare), stopping)

    def ended(some: list[Run], outcome: Outcome) -> None:
        for run in some:
            outcomes[run.number] = outcome
            if stopping.rungs:
                contest.note_end(run.number, outcome.history)
            if on_end is not None:
                on_end(run.number, outcome)

    run_all(request.branches(chosen, runs, decide, stopping, ended), stopping.rungs, contest)
    ordered = [outcomes[number] for number in by_setting]
    return SweepResult(
        [dict(settings[i]) for i in by_setting.values()],
        [seeds[number % len(seeds)] for number in by_setting],
        [outcome.history for outcome in ordered],
        [outcome.why for outcome in ordered],
        scored_model,
        chosen.record["runs"] | {"programs": chosen.compiled},
    )


class _Request(NamedTuple):
    """What is to be run."""

    build: Build
    settings: list[dict[str, Any]]
    data: Data
    rounds: int
    seeds: tuple[int, ...]
    seeds_vary: tuple[str, ...]
    sampling: Sampling | None
    weights: np.ndarray | None
    plan: Plan

    def branches(
        self, chosen: Programs, axis: ClientAxis, decide: tuple[str, Decide] | None, stopping: Stopping, on_end: OnEnd
    ) -> Iterator[Branches]:
        """Groups of runs on the same data with the program that computes them, ``axis`` that of vectorised ones."""
        name, decision = decide or (None, None)
        for group in self.groups(name, stopping):
            own, same_seed = share_seeds(group, [run.number % len(self.seeds) for run in group])
            program = chosen.choose(
                "runs",
                (self.build, self.plan, same_seed),
                functools.partial(self.program, runs=axis, same_seed=same_seed),
                [run.inputs for run in own if run.stream == own[0].stream],
                intervals=-(-self.rounds // self.plan.eval_every),
                number=len(self.settings) * len(self.seeds),
                exact=decision is not None,
            )
            yield Branches(program, own, decide=decision, on_end=on_end, tick=never)

    def program(self, width: int, runs: ClientAxis, same_seed: bool) -> Program:
        if width == 1:
            return InTurn(self.build, self.plan)
        return Vectorised(self.build, self.plan, dataclasses.replace(runs, width=width), same_seed=same_seed)

    def groups(self, decided: str | None, stopping: Stopping) -> Iterator[list[Run]]:
        """Runs on the same data, for which these are made when the group's turn comes."""
        apart = callable(self.data) and "partition" in self.seeds_vary
        for places in [[i] for i in range(len(self.seeds))] if apart else [list(range(len(self.seeds)))]:
            found = self.data(self.seeds[places[0]]) if callable(self.data) else self.data
            source = found if isinstance(found, DeviceData) else to_device(found)
            over = diverging(source.num_clients) if stopping.diverged else never
            yield [
                Run(
                    number * len(self.seeds) + i,
                    self.inputs(setting, self.seeds[i], source),
                    self.rounds,
                    (tuple((name, x) for name, x in setting.items() if name != decided), i),
                    setting.get(decided) if decided else None,
                    over=over,
                )
                for number, setting in enumerate(self.settings)
                for i in places
            ]

    def inputs(self, setting: Mapping[str, Any], seed: int, source: DeviceData) -> Any:
        own = {what: seed if what in self.seeds_vary else self.seeds[0] for what in SEEDED}
        inputs = make_inputs(
            source,
            hyper=dict(setting),
            seed=own["sampling"],
            sampling=self.sampling,
            weights=self.weights,
            axis=self.plan.axis,
        )
        return inputs._replace(start=start_params(self.plan.task, jax.random.key(own["start"])))


def settings_of(grid: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> list[dict[str, Any]]:
    """The settings of a grid, given one by one or by columns ``[n]``."""
    if not isinstance(grid, Mapping):
        return [dict(setting) for setting in grid]
    lengths = {name: len(values) for name, values in grid.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"grid: expected columns of one length, got {lengths}")
    number = next(iter(lengths.values()), 0)
    return [{name: np.asarray(values)[i].item() for name, values in grid.items()} for i in range(number)]


def _check(request: _Request, width: int | None, decide: tuple[str, Decide] | None) -> None:
    if not request.settings:
        raise ValueError("grid: expected at least one setting, got none")
    names = list(request.settings[0])
    for setting in request.settings:
        if set(setting) != set(names):
            raise ValueError(f"grid: expected the names {names} in every setting, got {list(setting)}")
    if not request.seeds or len(set(request.seeds)) < len(request.seeds):
        raise ValueError(f"seeds: expected different numbers, got {list(request.seeds)}")
    unknown = [what for what in request.seeds_vary if what not in SEEDED]
    if unknown:
        raise ValueError(f"seeds_vary: expected some of {', '.join(SEEDED)}, got {unknown[0]!r}")
    if decide is not None and decide[0] not in names:
        raise ValueError(f"decide: expected a name of the grid, one of {', '.join(names)}, got {decide[0]!r}")
    if width is not None and width < 1:
        raise ValueError(f"width: expected at least 1, got {width}")
