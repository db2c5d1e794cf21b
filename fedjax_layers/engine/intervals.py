"""The jitted parts of a run: the start, an interval of rounds with its evaluation, and the last local phase."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers.algorithms.factory import Method
from fedjax_layers.clients import Setting, keys
from fedjax_layers.engine.device_data import DeviceData
from fedjax_layers.engine.evaluation.interval_scores import by_split, evaluate_all, observer_of, trained_scores
from fedjax_layers.engine.placement.sharding import constrain_state, replicate
from fedjax_layers.engine.plan import Plan
from fedjax_layers.engine.programs.build import build_program
from fedjax_layers.engine.sampling import Sampling, all_clients, draw_cohort
from fedjax_layers.ops import ClientAxis, weighted_mean
from fedjax_layers.ops.trace import traced_once
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Models, Observer, Params, Pool, RoundInfo, Task

NAMED = 8  # clients that a round's record names, of those whose results were not finite
Build = Callable[[Any], Algorithm | Method[Algorithm]]


class Inputs(NamedTuple):
    """The traced part of a run, whose values may change without a new compilation.

    Attributes:
      hyper: the numbers that ``build`` gets.
      device_data: the data.
      sampling: the rule by which cohorts are drawn.
      weights: ``[C]`` aggregation weights; ``None`` means the numbers of training examples.
      key: the run's base key.
      start: the params from which every model starts, leaves ``[...]``; ``None`` draws them with the key.
    """

    hyper: Any
    device_data: DeviceData
    sampling: Sampling
    weights: Array | None
    key: Key
    start: Params | None = None


def setting_of(plan: Plan, device_data: DeviceData) -> Setting:
    """Make the setting to which the run binds local solvers."""
    largest = max(device_data.largest[0], 1)
    return Setting(plan.task, device_data.num_clients, largest, uniform=device_data.uniform, axis=plan.axis)


def bound(build: Build, setting: Setting, hyper: Any) -> Algorithm:
    """Make the algorithm of ``build`` and these numbers, bound to the run's task and clients.

    Raises:
      TypeError: ``build`` does not make an algorithm.
    """
    made = build(hyper)
    if isinstance(made, Method):
        return made.bind(setting)
    if not isinstance(made, Algorithm):
        raise TypeError(f"build: expected it to return what a factory of algorithms makes, got {type(made).__name__}")
    return made


def algorithm_of(build: Build, plan: Plan, inputs: Inputs) -> Algorithm:
    """Make the run's algorithm."""
    return bound(build, setting_of(plan, inputs.device_data), inputs.hyper)


def place_inputs(inputs: Inputs, axis: ClientAxis) -> Inputs:
    """Put the inputs on the devices of the axis; examples on the host stay there."""
    source = inputs.device_data
    if not source.on_host:
        return replicate(inputs, axis)
    there: Inputs = replicate(without_examples(inputs), axis)
    return there._replace(device_data=dataclasses.replace(there.device_data, pool=source.pool))


def without_examples(inputs: Inputs) -> Inputs:
    """Remove the examples, for a program that reads none and must not copy all of them to the device."""
    nothing: Any = ()
    return inputs._replace(device_data=dataclasses.replace(inputs.device_data, pool=Pool(nothing, nothing)))


@build_program()
def start_params(task: Task, key: Key) -> Params:
    """Draw the common start of all models in the run with this base key."""
    return task.init(jax.random.fold_in(key, keys.START))


def common_start(task: Task, inputs: Inputs) -> Params:
    """Return the params from which every model of the run starts."""
    return start_params(task, inputs.key) if inputs.start is None else inputs.start


def round_keys(key: Key, t: Array) -> tuple[Key, Key]:
    """Derive the keys of round ``t``: one to draw its cohort, and one for the round itself."""
    draw_key, round_key = jax.random.split(jax.random.fold_in(key, t))
    return draw_key, round_key


def cohort_of(inputs: Inputs, key: Key, t: Array, sampling: Sampling | None = None) -> Cohort:
    """Draw the cohort of round ``t`` by the run's rule, or by ``sampling``."""
    source = inputs.device_data.at(t)
    weights = inputs.weights
    if weights is not None and not isinstance(inputs.device_data.since, tuple):
        weights = jnp.where(source.train.count > 0, weights, 0)  # a client that has not joined yet does not count
    return draw_cohort(sampling or inputs.sampling, key, t, source.train, source.pool, weights)


def start(build: Build, plan: Plan, inputs: Inputs) -> Any:
    """Make the state before the first round, with the layout that every interval leaves."""
    # Random numbers take long to compile, so the model's start is a program of its own, shared by all algorithms.
    return _first_state(build, plan, inputs, common_start(plan.task, inputs))


@build_program(static=(1,))
def _first_state(build: Build, plan: Plan, inputs: Inputs, params: Params) -> Any:
    state = algorithm_of(build, plan, inputs).init(jax.random.fold_in(inputs.key, keys.STATE), params)
    return constrain_state(state, plan.axis)


@build_program(static=(1,))
def models_of(build: Build, setting: Setting, hyper: Any, state: Any) -> Models:
    """Return the models of a state."""
    return bound(build, setting, hyper).models(state)


@build_program(static=(1,), donated=(2,))
def run_interval(
    build: Build, plan: Plan, state: Any, inputs: Inputs, first: Array, count: Array, end: Array
) -> tuple[Any, dict[str, Array], dict[str, Array]]:
    """Run ``count`` rounds from round ``first`` on, and an evaluation if that is the end of the interval, ``end``.

    Returns:
      The state; per-round arrays ``[eval_every, ...]`` whose first ``count`` rows are valid; scores by name, which are
      zeros before the interval's end.
    """
    algorithm = algorithm_of(build, plan, inputs)

    def one(t: Array, state: Any) -> tuple[Any, dict[str, Array], dict[str, Array]]:
        """Run round t: return the state, its record, and in the interval's last round the trained models' scores."""
        draw_key, round_key = round_keys(inputs.key, t)
        cohort = cohort_of(inputs, draw_key, t)
        if "trained" in plan.evaluated_models:
            due = t == end - 1
            observer = observer_of(plan, inputs.device_data.at(t), cohort.ids, due)
            cohort = dataclasses.replace(cohort, observer=observer)
        state, info = algorithm.round(round_key, state, cohort)
        trained = trained_scores(heard(cohort, info), info.observed) if info.observed else {}
        return state, round_row(cohort, info), trained

    def body(i: Array, carry: Any) -> Any:
        state, log, _ = carry
        state, row, trained = again(first + i, state)
        return state, {name: log[name].at[i].set(value) for name, value in row.items()}, trained

    again, (_, row, trained) = traced_once(one, first, state)
    empty_log = {name: jnp.zeros((plan.eval_every, *x.shape), x.dtype) for name, x in row.items()}
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), trained)
    # The count is traced, so that a shorter last interval, or a resumed one, uses the same program.
    state, log, trained = jax.lax.fori_loop(0, count, body, (state, empty_log, nothing))
    state = constrain_state(state, plan.axis)
    score, served = traced_once(lambda s: evaluate_all(plan, inputs.device_data.at(end - 1), algorithm, s), state)
    none = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), served)
    return state, log, trained | jax.lax.cond(first + count == end, score, lambda _: none, state)


def heard(cohort: Cohort, info: RoundInfo) -> Cohort:
    """Return the cohort in which slots that were left out of the round have weight 0."""
    return dataclasses.replace(cohort, weight=jnp.where(jnp.isnan(info.loss), 0, cohort.weight))


def round_row(cohort: Cohort, info: RoundInfo) -> dict[str, Array]:
    """Make the record of a round.

    Beside what the algorithm reports these are the mean training loss of the clients that were heard, their number
    (``participants``), the number of those whose results were not finite (``nonfinite``) with the ids of the first of
    them (``nonfinite_clients`` ``[N]``, or -1), and, where clients can, the number that ``dropped`` out.
    """
    used, present = heard(cohort, info).weight, cohort.weight > 0
    spoilt = present & (used == 0)
    told = {}
    if info.dropped is not None:
        told["dropped"] = info.dropped.sum(dtype=jnp.int32)
        spoilt &= ~info.dropped
    first = jnp.flatnonzero(spoilt, size=NAMED, fill_value=-1)
    return {
        "loss": weighted_mean(info.loss, used.astype(info.loss.dtype)),
        "participants": (used > 0).sum(dtype=jnp.int32),
        "nonfinite": spoilt.sum(dtype=jnp.int32),
        "nonfinite_clients": jnp.where(first < 0, -1, cohort.ids[first]),
        **told,
        "steps": info.steps,
        "sent": info.sent,
        "received": info.received,
        "sent_scalars": info.sent_scalars,
        **info.extra,
    }


@build_program(static=(1,))
def finish_interval(build: Build, plan: Plan, state: Any, inputs: Inputs, t: Array) -> dict[str, Array]:
    """Run the last local phase of all clients; return its models' scores by ``{split}/{metric}``, ``[C]`` each."""
    source = inputs.device_data.at(t - 1)
    return by_split("", _finish(build, plan, state, inputs, t, observer_of(plan, source, _all_of(source))))


@build_program(static=(1,))
def finish_and_keep(build: Build, plan: Plan, state: Any, inputs: Inputs, t: Array) -> tuple[dict[str, Array], Params]:
    """Run the last local phase of all clients; return the scores, and the models, leaves ``[C, ...]``."""
    source = inputs.device_data.at(t - 1)
    scoring = observer_of(plan, source, _all_of(source))
    scores, final = _finish(build, plan, state, inputs, t, and_keep(scoring))
    return by_split("", scores), final


def and_keep(scoring: Observer) -> Observer:
    """Make an observer that returns the model itself beside its scores."""
    return dataclasses.replace(scoring, look=lambda params, *known: (scoring.look(params, *known), params))


def _all_of(source: DeviceData) -> Array:
    return jnp.arange(source.num_clients, dtype=jnp.int32)


def _finish(build: Build, plan: Plan, state: Any, inputs: Inputs, t: Array, observer: Observer) -> Any:
    """Run the last local phase; return what the observer computes from the clients' models, ``[C, ...]``."""
    key = jax.random.fold_in(jax.random.fold_in(inputs.key, t), keys.FINISH)
    cohort = cohort_of(inputs, key, t - 1, all_clients(inputs.device_data.num_clients))
    finish = algorithm_of(build, plan, inputs).finish
    assert finish is not None  # checked by the caller
    return finish(key, state, dataclasses.replace(cohort, observer=observer))


@build_program(static=(1,))
def adapt_interval(build: Build, plan: Plan, state: Any, inputs: Inputs, ids: Array, t: Array) -> dict[str, Array]:
    """Score clients that never took part, after one round's local training from their served models.

    The state after the round is dropped, so that the server learns nothing from them.

    Returns:
      Scores by ``{split}/{metric}``, ``[n]`` each for ``ids [n]``.
    """
    source = inputs.device_data.at(t - 1)
    rows = jax.tree.map(lambda x: x[ids], source.train)
    observer = observer_of(plan, source, ids)
    cohort = Cohort(ids, jnp.maximum(rows.count, 1).astype(jnp.float32), rows, source.pool, observer)
    key = jax.random.fold_in(inputs.key, keys.UNSEEN)
    algorithm = algorithm_of(build, plan, inputs)
    if algorithm.welcome is not None:
        assert algorithm.personal is not None  # their served models
        state = algorithm.welcome(state, algorithm.personal(state).completed().shared, _all_of(source))
    _, info = algorithm.round(key, state, cohort)
    return by_split("", info.observed)
