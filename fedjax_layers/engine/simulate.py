"""``simulate``, which runs an algorithm: intervals of rounds in one jitted loop, with an evaluation after each."""

from __future__ import annotations

import dataclasses
import functools
import html
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.algorithms.factory import Method
from fedjax_layers.clients import Setting
from fedjax_layers.data.federated.client_data import ClientData
from fedjax_layers.engine import on_host as host
from fedjax_layers.engine.device_data import DeviceData, to_device
from fedjax_layers.engine.history.display import score_line, score_table, tree_line
from fedjax_layers.engine.history.files import HistoryFiles
from fedjax_layers.engine.history.frame import data_frame, history_columns
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.intervals import Build, Inputs, bound, place_inputs, setting_of
from fedjax_layers.engine.plan import Plan, rounds_per_interval
from fedjax_layers.engine.resume import check_start, go_on
from fedjax_layers.engine.run_loop import always, finish_run, run_intervals, start_state
from fedjax_layers.engine.sampling import Sampling, Select, all_clients, check_weights
from fedjax_layers.ops import ClientAxis
from fedjax_layers.types import Algorithm, Models, Params, Task

_LAST_ROUND = 2**31 - 1  # round numbers are int32


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
    """The result of a run.

    Attributes:
      state: the algorithm's state after the last round.
      history: the history of all rounds and evaluations.
      seed: the run's seed.
      build: the ``build`` that was passed.
      setting: the task, the sizes of the data, and the client axis.
      hyper: the ``hyper`` that was passed.
    """

    state: Any
    history: History
    seed: int
    build: Build
    setting: Setting
    hyper: Any = None

    @functools.cached_property
    def models(self) -> Models:
        """The models of the state, built when they are first asked for; the clients' are stacked ``[C, ...]``."""
        return host.models_of(self.build, self.setting, self.hyper, self.state)

    def to_frame(self, rows: str = "clients") -> Any:
        """Return what was recorded as a ``pandas.DataFrame``, which needs pandas.

        Args:
          rows: ``"clients"``, a row for each evaluation and client: ``round`` (rounds done), ``finished`` (whether it
            follows the algorithm's last local phase), ``client`` from 0, ``examples`` (training examples at that time,
            0 for a client that never takes part), and each score ``{scored_model}/{split}/{metric}``, NaN where the
            client has none; or ``"rounds"``, a row for each round: ``round`` from 1, and every record of
            :attr:`History.rounds`, those with a number for each layer as ``{name}/{layer}``.

        Raises:
          ValueError: ``rows`` is neither.
          ImportError: pandas is not installed.
        """
        return data_frame({"seed": self.seed} | history_columns(self.history, self.setting.task.layers.names, rows))

    def __repr__(self) -> str:
        score = score_line(self.history)
        told = f"seed={self.seed}, {self.history!r}, state: {tree_line(self.state)}"
        return f"Result({told}{f'; {score}' if score else ''})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self.history))}, seed {self.seed}</p>{score_table(self.history)}"


def simulate(
    build: Build | Method[Algorithm],
    task: Task,
    data: ClientData | DeviceData,
    *,
    rounds: int,
    hyper: Any = None,
    seed: int | None = None,
    sampling: Sampling | None = None,
    select: Select | None = None,
    weights: np.ndarray | None = None,
    start: Params | None = None,
    resume: Result | None = None,
    eval_every: int = 1,
    axis: ClientAxis = ClientAxis(),
    evaluated_models: Sequence[str] = ("trained", "served"),
    on_evaluation: Callable[[int, Any, History], bool | None] | None = None,
    on_host: Sequence[str] = (),
    store: str | os.PathLike[str] | None = None,
    records: str | os.PathLike[str] | None = None,
) -> Result:
    """Run an algorithm for ``rounds`` rounds, and evaluate every client along the way.

    Compiled programs are shared by value: two runs whose algorithm, local training, task, shapes and static arguments
    give the same program compile it once, even where ``build`` and ``task`` are made anew for each, as inside an
    objective function. Other values of ``hyper``, ``seed``, ``weights``, ``start`` or cohort members compile nothing
    new; a number that ``build`` closes over is part of the program. The same function object is not even traced again.

    Args:
      build: the algorithm, as a factory of :mod:`fedjax_layers.algorithms` makes it from a
        :class:`~fedjax_layers.clients.LocalSolver`; or a function ``hyper -> algorithm``, which is called during
        tracing, so that all of ``hyper`` may be used like plain numbers. A bound algorithm is used as it is.
      task: the model and loss.
      data: the clients' data, on the host or already on the device (:func:`to_device`).
      rounds: number of rounds, including those of a resumed run.
      hyper: a pytree of numbers for ``build``.
      seed: seed of initialisation, cohorts and local training; ``None`` means the resumed run's seed, or 0.
      sampling: the rule by which cohorts are drawn; ``None`` means full participation.
      select: ``(rounds done, history) -> ids [K]``, called before each interval of ``eval_every`` rounds to choose the
        cohort of all its rounds by the scores so far; -1 is an empty slot, and K must stay the same. It is given in
        place of ``sampling``.
      weights: ``[C]`` aggregation weights, in JAX's default precision; ``None`` takes the numbers of training examples.
      start: the parameters from which every model starts, leaves ``[...]`` as ``task.init`` makes them; ``None`` draws
        them with the seed.
      resume: the result of an earlier run of the same algorithm on as many clients, which this run continues with its
        state, history, and round numbers (hence keys). Cohort rule, numbers and data may differ. It is not changed.
      eval_every: number of rounds between evaluations; the last round is always evaluated.
      axis: the client axis: how many clients are trained and evaluated at once, and on which devices.
      evaluated_models: which models to evaluate, see :class:`Plan`.
      on_evaluation: called after each evaluation with (rounds done, state, history); returning True ends the run
        early. The next interval donates the state, so copy what is to be kept. Without this and ``select``, an interval
        starts before the scores of the one before are fetched.
      on_host: ``"data"``, ``"state"`` or both: what stays on the host, while the device gets only what a round's
        cohort needs, see docs/memory.md. Results equal those of an ordinary run up to the order of sums. The clients'
        rows of the state are then NumPy arrays, which the next interval changes in place.
      store: a folder for memory-mapped files of the clients' rows on the host, which vanish with the process;
        ``None`` keeps the rows in memory.
      records: an empty folder to which the history is written as it grows, see :class:`HistoryFiles`, so that memory
        does not grow with the evaluations; ``None`` keeps the history in memory.

    Returns:
      Final state, models and history.

    Raises:
      ValueError: ``rounds`` or ``eval_every`` is out of range, or all rounds are done already; weights are negative,
        not finite, all 0, or of another length; arguments exclude each other; a start or a resumed run does not fit; a
        selected cohort has ids out of range or twice, or another size than before; the folder ``records`` is not empty;
        labels have more classes than the task; or the state is on the host for an algorithm whose rounds need all
        clients' rows.
      StorageError: the records, or the store, cannot be written.
      TooLargeError: the compiled rounds need more memory than is free; nothing has run.
    """
    _check_going(rounds, sampling, select, start, resume)
    build = as_build(build)
    files = None if records is None else HistoryFiles.new(Path(records))
    seed = seed if seed is not None else resume.seed if resume is not None else 0
    plan = Plan(task, rounds_per_interval(eval_every, rounds), axis, tuple(evaluated_models), tuple(on_host))
    source = data if isinstance(data, DeviceData) else to_device(data, on_host="data" in on_host)
    _check_classes(task, data)
    if plan.on_host or store is not None:
        host.check_host(plan, source, bound(build, setting_of(plan, source), hyper), store)
    start = None if start is None else check_start(task, start)
    inputs = make_inputs(source, hyper=hyper, seed=seed, sampling=sampling, weights=weights, axis=axis, start=start)
    if resume is None:
        state, history = start_state(build, plan, inputs, store), History(files)
    else:
        state, history = go_on(build, plan, inputs, resume.state, resume.history, files)
        if "state" in plan.on_host:
            state = host.moved_to_host(state, store)
    looked_at = None if on_evaluation is None else always
    intervals = run_intervals(build, plan, inputs, state, history, rounds, select, looked_at)
    for done, state, history in intervals:
        if on_evaluation is not None and on_evaluation(done, state, history):
            break
    finish_run(build, plan, inputs, state, history)
    history.flush()
    return Result(state, history, seed, build, setting_of(plan, source), inputs.hyper)


def as_build(build: Build | Method[Algorithm]) -> Build:
    """Make a function of ``hyper`` from a method, which ignores it; return a function as it is.

    Raises:
      TypeError: ``build`` is neither a method nor a function.
    """
    if isinstance(build, Method):
        return lambda _: build
    if not callable(build):
        raise TypeError(f"build: expected a method, or a function that makes one, got {type(build).__name__}")
    return build


def _check_going(
    rounds: int, sampling: Sampling | None, select: Select | None, start: Params | None, resume: Result | None
) -> None:
    done = 0 if resume is None else resume.history.rounds_done
    check_rounds(rounds)
    if rounds <= done:
        raise ValueError(f"rounds: expected more than the {done} of the resumed run, which count, got {rounds}")
    if sampling is not None and select is not None:
        raise ValueError("select: expected none beside sampling, got both")
    if start is not None and resume is not None:
        raise ValueError("start: expected none beside resume, whose models are there already, got both")


def _check_classes(task: Task, data: ClientData | DeviceData) -> None:
    """Raise ``ValueError`` for more classes than the model has outputs, which no loss would notice."""
    if isinstance(data, ClientData) and data.task == "classification" and data.num_classes > task.num_classes:
        raise ValueError(
            f"task: expected outputs for the {data.num_classes} classes of {data.name}, got {task.num_classes}"
        )


def check_rounds(rounds: int) -> None:
    """Raise ``ValueError`` for a number of rounds below 1, or above the largest round number."""
    if not 1 <= rounds <= _LAST_ROUND:
        raise ValueError(f"rounds: expected {'at least 1' if rounds < 1 else f'at most {_LAST_ROUND}'}, got {rounds}")


def make_inputs(
    source: DeviceData,
    *,
    hyper: Any,
    seed: int,
    sampling: Sampling | None,
    weights: np.ndarray | None,
    axis: ClientAxis = ClientAxis(),
    start: Params | None = None,
) -> Inputs:
    """Make and check the traced part of a run, and put it on the devices of ``axis``."""
    num_clients = source.num_clients
    if weights is not None:
        weights = check_weights(weights, num_clients)
    inputs = Inputs(
        hyper=jax.tree.map(jnp.asarray, hyper),
        device_data=source,
        sampling=sampling or all_clients(num_clients),
        weights=None if weights is None else jnp.asarray(weights, float),
        key=jax.random.key(seed),
        start=start,
    )
    return place_inputs(inputs, axis)
