"""Rounds of the toy device_data, built and compiled once for all tests that ask for the same ones."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers import algorithms
from fedjax_layers.ops import ClientAxis
from fedjax_layers.types import Algorithm
from tests import batch_norm_toy, toy
from tests.registry import NEEDED

START_KEY, STATE_KEY = 1, 2  # of the model's and of the state's random numbers


def task_of(name, dtype=jnp.float64):
    """The toy task; with norms for an algorithm of batch normalisation."""
    return (batch_norm_toy if name in batch_norm_toy.NEED_NORMS else toy).make_task(dtype)


def make(name, trainer, **options):
    """The algorithm, an option that it needs at a usual value unless given."""
    return algorithms.registry[name](trainer, **NEEDED.get(name, {}) | options)


class Rounds(NamedTuple):
    """An algorithm with what a test calls of it, compiled at the first call."""

    trainer: Any
    algorithm: Algorithm
    start: Callable  # () -> state
    step: Callable  # (key, state, cohort) -> state, info
    models: Callable  # (state) -> models


def rounds_of(name, options=None, **changes):
    """The rounds of an algorithm with these options, on the usual trainer with these changes."""
    return _rounds_of(name, tuple(sorted((options or {}).items())), tuple(sorted(changes.items())))


@functools.cache
def _rounds_of(name, options, changes):
    task = task_of(name)
    trainer = toy.make_trainer(task, **dict(changes))
    algorithm = make(name, trainer, **dict(options))

    def start():
        return algorithm.init(jax.random.key(STATE_KEY), task.init(jax.random.key(START_KEY)))

    return Rounds(trainer, algorithm, jax.jit(start), jax.jit(algorithm.round), jax.jit(algorithm.models))


class TracedRounds(NamedTuple):
    """Rounds whose learning rate and one option are arguments of the compiled functions."""

    start: Callable  # (value) -> state
    step: Callable  # (key, state, cohort, learning_rate, value) -> state, info
    models: Callable  # (state, value) -> models
    traces: list  # grows whenever the step is traced


@functools.cache
def traced_rounds_of(name, option, axis=ClientAxis()):
    """The rounds of an algorithm whose ``option`` gets the argument ``value``; ``None``: no option gets it."""
    task, traces = task_of(name), []

    def algorithm_of(value, learning_rate=0.1):
        options = {} if option is None else {option: value}
        return make(name, toy.make_trainer(task, learning_rate=learning_rate, axis=axis), **options)

    def start(value):
        return algorithm_of(value).init(jax.random.key(STATE_KEY), task.init(jax.random.key(START_KEY)))

    def step(key, state, cohort, learning_rate, value):
        traces.append(name)
        return algorithm_of(value, learning_rate).round(key, state, cohort)

    def models(state, value):
        return algorithm_of(value).models(state)

    return TracedRounds(jax.jit(start), jax.jit(step), jax.jit(models), traces)
