"""The sweep as a function: a method built from traced numbers, over a grid of them and over seeds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fedjax_layers.algorithms.factory import Method
from fedjax_layers.algorithms.report import Decide
from fedjax_layers.data import ClientData
from fedjax_layers.engine.device_data import DeviceData, to_device
from fedjax_layers.engine.history.frame import data_frame
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.intervals import Build, Inputs, start_params
from fedjax_layers.engine.plan import Plan, rounds_per_interval
from fedjax_layers.engine.sampling import Sampling, usual_scored_model
from fedjax_layers.engine.simulate import as_build, check_rounds, make_inputs
from fedjax_layers.ops import ClientAxis
from fedjax_layers.sweeps.arguments import check_arguments
from fedjax_layers.sweeps.branches import Group, OnEnd, Outcome, Run
from fedjax_layers.sweeps.display import plain, ranking_html
from fedjax_layers.sweeps.groups import run_groups
from fedjax_layers.sweeps.request import SEEDED, Stopping, SweepRequest, settings_of
from fedjax_layers.sweeps.results import Row, row_of
from fedjax_layers.sweeps.widths import Programs
from fedjax_layers.types import Algorithm, LayerMap, Task

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
      layers: the layers of the model.
    """

    settings: list[dict[str, Any]]
    seeds: list[int]
    histories: list[History]
    why: list[str]
    scored_model: str
    record: dict[str, Any]
    layers: LayerMap

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

    @property
    def names(self) -> list[str]:
        """The names of what is varied."""
        return list(dict.fromkeys(name for setting in self.settings for name in setting))

    def rows(self) -> list[Row]:
        """Return a row for each run: its setting, ``seed``, ``why``, and the columns of a sweep's ``results.csv``.

        These are ``rounds``, ``num_shared_layers``, ``bytes_up``, ``bytes_down``, ``steps``, and
        ``{personal, team, global}/{val, test}/{metric}``, the means over clients at the best round.
        """
        found = []
        for setting, seed, history, why in zip(self.settings, self.seeds, self.histories, self.why, strict=True):
            sizes = np.asarray(history.latest["examples"])
            scores = row_of(
                history, self.layers, sizes, scored_model=self.scored_model, scored_round="best", unseen=sizes == 0
            )
            found.append({name: plain(x) for name, x in setting.items()} | {"seed": seed, "why": why} | scores)
        return found

    def to_frame(self) -> Any:
        """Return :meth:`rows` as a ``pandas.DataFrame`` with a row for each run, which needs pandas.

        Raises:
          ImportError: pandas is not installed.
        """
        rows = self.rows()
        columns = dict.fromkeys(name for row in rows for name in row)
        return data_frame({name: [row.get(name) for row in rows] for name in columns})

    def __repr__(self) -> str:
        ends = ", ".join(f"{self.why.count(why)} {why}" for why in dict.fromkeys(self.why))
        varied = ", ".join(f"{name}: {len({repr(s.get(name)) for s in self.settings})} values" for name in self.names)
        return f"SweepResult({len(self.seeds)} runs ({ends}); {varied}; {len(set(self.seeds))} seeds)"

    def _repr_html_(self) -> str:
        return ranking_html(self.rows(), self.names, repr(self))


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
      grid: settings, each a mapping of names to numbers (see :mod:`fedjax_layers.sweeps.request`), or one mapping of
        names to values, of which all combinations are settings. All settings have the same names.
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
      width: how many runs each device computes at once; 1 computes one run after another, with the numbers of
        ``simulate`` to the last bit; ``None`` measures which number is fastest.
      runs: the axis of the vectorised runs; its ``mesh`` spreads them over devices (clients must then be on none) and
        its width is ``width``.
      decide: a name of the grid whose only effect is a decision that can be made again from what the run records, and
        how (:class:`fedjax_layers.algorithms.report.Decision`; for PLayer-FL's threshold
        ``algorithms.threshold_decision``). Settings that lead to the same decisions in all rounds are computed once.
        Runs of such grids are computed one after another, unless ``width`` says otherwise.
      stopping: which runs end before their rounds are done.
      compare: the scored model and the scored round of the validation scores that are compared at rungs; ``None`` is
        the best round of the model that the result scores.
      on_end: called with the number of each run that has ended, and its outcome.

    Returns:
      All runs, seeds within settings.

    Raises:
      ValueError: an argument of another kind, or seeds out of range; an empty grid, settings of different names, or
        others than ``build`` asks for; no seeds or one twice, ``seeds_vary`` of other names, a model to ``compare``
        that is not evaluated, or ``rounds`` or ``width`` below 1.
    """
    check_arguments(
        build=build, grid=grid, task=task, data=data, rounds=rounds, seeds=seeds, seeds_vary=seeds_vary,
        sampling=sampling, weights=weights, eval_every=eval_every, axis=axis, evaluated_models=evaluated_models,
        width=width, runs=runs, decide=decide, stopping=stopping, compare=compare, on_end=on_end,
    )  # fmt: skip
    request = SweepRequest(settings_of(grid), seeds, seeds_vary, width, stopping)
    check_rounds(rounds)
    plan = Plan(task, rounds_per_interval(eval_every, rounds), axis, tuple(evaluated_models))
    usual = usual_scored_model(sampling)
    scored_model = usual if usual in plan.evaluated_models else plan.evaluated_models[0]
    compare = compare or (scored_model, "best")
    swept = _Swept(request, as_build(build), data, rounds, sampling, weights, plan, runs, decide, compare)
    swept.check()
    outcomes: dict[int, Outcome] = {}

    def ended(some: list[Run], outcome: Outcome) -> None:
        for run in some:
            outcomes[run.number] = outcome
            if on_end is not None:
                on_end(run.number, outcome)

    programs = Programs(request.width)
    with _names_of(request):
        run_groups(swept.groups(ended), programs, request.stopping)
    numbers, settings, own_seeds = zip(*request.runs(), strict=True)
    record = programs.record["runs"] | {"programs": programs.compiled}
    ordered = [outcomes[number] for number in numbers]
    histories, why = [outcome.history for outcome in ordered], [outcome.why for outcome in ordered]
    return SweepResult(list(settings), list(own_seeds), histories, why, scored_model, record, task.layers)


@contextlib.contextmanager
def _names_of(request: SweepRequest) -> Iterator[None]:
    """Turn the ``KeyError`` of a ``build`` that asks for another name than the grid has into a ``ValueError``."""
    try:
        yield
    except KeyError as error:
        (name, *_) = error.args or ("",)
        if name in request.names or not isinstance(name, str):
            raise
        has = ", ".join(request.names) or "no names"
        raise ValueError(f"grid: expected the names that build asks for, as {name!r}, got {has}") from error


class _Swept(NamedTuple):
    """A request with what its runs are made of; see :func:`sweep`."""

    request: SweepRequest
    build: Build
    data: Data
    rounds: int
    sampling: Sampling | None
    weights: np.ndarray | None
    plan: Plan
    axis: ClientAxis
    decide: tuple[str, Decide] | None
    compare: tuple[str, str]

    def check(self) -> None:
        names, evaluated = self.request.names, self.plan.evaluated_models
        for setting in self.request.settings:
            if set(setting) != set(names):
                raise ValueError(f"grid: expected the names {names} in every setting, got {list(setting)}")
        if self.decide is not None and self.decide[0] not in names:
            raise ValueError(f"decide: expected a name of the grid, one of {', '.join(names)}, got {self.decide[0]!r}")
        if self.request.stopping.rungs and self.compare[0] not in evaluated:
            expected = f"one of the evaluated models {', '.join(evaluated)}"
            raise ValueError(f"compare: expected {expected}, got {self.compare[0]!r}")

    def groups(self, on_end: OnEnd) -> Iterator[Group]:
        """Runs on the same data, for which these are made when the group's turn comes."""
        asked = self.request.runs()
        apart = callable(self.data) and "partition" in self.request.seeds_vary
        for seeds in [[seed] for seed in self.request.seeds] if apart else [self.request.seeds]:
            found = self.data(seeds[0]) if callable(self.data) else self.data
            source = found if isinstance(found, DeviceData) else to_device(found)
            own = [self.run(number, setting, seed, source) for number, setting, seed in asked if seed in seeds]
            exact, decide = self.decide is not None, self.decide and self.decide[1]
            yield Group("runs", self.build, self.plan, self.axis, own, len(asked), on_end, decide=decide, exact=exact)

    def run(self, number: int, setting: Mapping[str, Any], seed: int, source: DeviceData) -> Run:
        decided = self.decide and self.decide[0]
        return Run(
            number,
            self.inputs(setting, seed, source),
            self.rounds,
            family=(tuple((name, x) for name, x in setting.items() if name != decided), seed),
            stream=seed,
            setting=number // len(self.request.seeds),
            scored=self.compare,
            decided=setting.get(decided) if decided else None,
        )

    def inputs(self, setting: Mapping[str, Any], seed: int, source: DeviceData) -> Inputs:
        vary, first = self.request.seeds_vary, self.request.seeds[0]
        own = {what: seed if what in vary else first for what in SEEDED}
        inputs = make_inputs(
            source,
            hyper=dict(setting),
            seed=own["sampling"],
            sampling=self.sampling,
            weights=self.weights,
            axis=self.plan.axis,
        )
        return inputs._replace(start=start_params(self.plan.task, jax.random.key(own["start"])))
