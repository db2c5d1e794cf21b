"""Running an algorithm: intervals of rounds in one jitted loop, an evaluation after each."""

from __future__ import annotations

import dataclasses
import functools
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
from fedjax_layers.engine.going_on import check_start, go_on
from fedjax_layers.engine.history.files import HistoryFiles
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.intervals import Build, Inputs, bound, place_inputs, setting_of
from fedjax_layers.engine.plan import Plan, rounds_per_interval
from fedjax_layers.engine.run_loop import always, finish_run, run_intervals, start_state
from fedjax_layers.engine.sampling import Sampling, Select, all_clients, check_weights
from fedjax_layers.ops import ClientAxis
from fedjax_layers.types import Algorithm, Models, Params, Task

_LAST_ROUND = 2**31 - 1  # rounds are counted in int32


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run returns.

    Attributes:
      state: the algorithm's, after the last round.
      history: of all rounds and evaluations.
      seed: that the run was made with.
      build: as it was handed over, and ``hyper`` with it.
      setting: the task, and what the data imply for training.
      hyper: see ``build``.
    """

    state: Any
    history: History
    seed: int
    build: Build = dataclasses.field(repr=False)
    setting: Setting = dataclasses.field(repr=False)
    hyper: Any = dataclasses.field(default=None, repr=False)

    @functools.cached_property
    def models(self) -> Models:
        """Those of the state, the clients' stacked ``[C, ...]``: put together when they are first asked for."""
        return host.models_of(self.build, self.setting, self.hyper, self.state)


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
    """Run ``rounds`` rounds and evaluate every client along the way.

    What is compiled is shared by value: two runs whose algorithm, local training, task, shapes and static arguments
    come to the same program compile it once, also where ``build`` and ``task`` are made anew for each, inside an
    objective say. Other values of ``hyper``, ``seed``, ``weights``, ``start`` or cohort members compile nothing new; a
    number that ``build`` closes over instead is part of the program. The same function object is not even traced again.

    Args:
      build: what runs, as a factory of :mod:`fedjax_layers.algorithms` makes it of a
        :class:`~fedjax_layers.clients.LocalSolver`; or ``hyper ->`` such a method, called while tracing, so that
        all of ``hyper`` may be used as plain numbers. An algorithm that is bound already is taken as it is.
      task: the model and loss.
      data: the clients, on the host or already on the device (:func:`to_device`).
      rounds: rounds to run, those of a resumed run among them.
      hyper: a pytree of numbers.
      seed: seeds initialisation, cohorts and local training; ``None`` is the resumed run's, else 0.
      sampling: cohort rule; ``None`` is full participation.
      select: ``(rounds done, history) -> ids [K]``, called before each interval of ``eval_every`` rounds: the cohort of
        all its rounds, chosen from the scores so far, -1 for an empty slot. K stays what it is at first. In place of
        ``sampling``.
      weights: ``[C]`` aggregation weights, in JAX's default precision; ``None`` takes the number of training examples.
      start: the parameters that every model starts from, leaves ``[...]`` as ``task.init`` makes them; ``None`` draws
        them with the seed.
      resume: the result of an earlier run of the same algorithm on as many clients, from whose end this one goes on:
        state, history, the numbers of rounds and with them their keys. Cohort rule, numbers and data may be others.
        What it holds stays as it is.
      eval_every: rounds between evaluations; the last round is always evaluated.
      axis: the client axis: how many clients are trained and evaluated at once, and on which devices.
      evaluated_models: which models to evaluate, see :class:`Plan`.
      on_evaluation: called after each evaluation with (rounds done, state, history); returning True ends the run
        early. The state is given up to the next interval: copy what is to be kept. Without it and ``select``, an
        interval is begun before the scores of the one before are fetched.
      on_host: ``"data"``, ``"state"`` or both: what stays on the host, while the device sees of it what a round's
        cohort needs, see docs/memory.md. The numbers are those of the ordinary run up to the order of sums. The state
        then has arrays of NumPy for what is each client's own, which the next interval renews in place.
      store: a folder for the clients' rows of a state on the host, as files without names that go with the process;
        ``None`` keeps them in memory.
      records: a folder in which the history is written as it grows, see :class:`HistoryFiles`, so that memory does not
        grow with the evaluations; nothing may be there. ``None`` keeps the history in memory.

    Returns:
      Final state, models and history.

    Raises:
      ValueError: ``rounds`` or ``eval_every`` out of range or all rounds done before, weights that are negative, not
        finite or all 0, or of another length, arguments that exclude each other, a start or a resumed run that does
        not fit, a cohort selected with ids out of range, twice, or of another size than before, records where
        some are, labels of more classes than the task has, or a state on the host for an algorithm whose rounds need
        all clients'.
      StorageError: the records, or the store, cannot be written.
      TooLargeError: the compiled rounds take more memory than is free; nothing has run.
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
    """A function of the numbers, where a method without any was given.

    Raises:
      TypeError: neither was.
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
    """Refuse labels that the model has no output for, which no loss would complain of."""
    if isinstance(data, ClientData) and data.task == "classification" and data.num_classes > task.num_classes:
        raise ValueError(
            f"task: expected outputs for the {data.num_classes} classes of {data.name}, got {task.num_classes}"
        )


def check_rounds(rounds: int) -> None:
    """Refuse a number of rounds that none is, or that the round's own number cannot count."""
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
    """Check the traced part of a run, and put it on the devices of ``axis``."""
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
