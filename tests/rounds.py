"""Rounds of the toy clients, built and compiled once for all tests that ask for the same ones."""

import functools
import os
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers import algorithms
from fedjax_layers.ops import ClientAxis
from tests import adapter_toy, batch_norm_toy, toy
from tests.registry import NEEDED

START_KEY, STATE_KEY = 1, 2  # of the model's and of the state's random numbers
POOL = toy.make_pool()


def task_of(name, dtype=jnp.float64):
    """The toy task; with norms or adapters for an algorithm that needs them."""
    return network_of(name).make_task(dtype)


def network_of(name):
    """The module with the toy network that an algorithm needs."""
    if name.partition("+")[0] in adapter_toy.NEED_ADAPTERS:
        return adapter_toy
    return batch_norm_toy if name in batch_norm_toy.NEED_NORMS else toy


def make(name, trainer, **options):
    """The algorithm, an option that it needs at a usual value unless given."""
    return algorithms.registry[name](trainer, **NEEDED.get(name, {}) | options)


def round_key(t):
    """What round ``t`` draws from."""
    return jax.random.fold_in(jax.random.key(7), t)


class Rounds:
    """An algorithm with what a test calls of it, compiled at the first call."""

    def __init__(self, trainer, algorithm_of, init, round_, models, params, numbers=()):
        self.trainer, self.params, self._numbers = trainer, params, dict(numbers)
        self._parts = algorithm_of, init, round_, models
        self.algorithm = algorithm_of(self._numbers)

    def with_numbers(self, numbers):
        """The same compiled functions, with other values of the options that are traced."""
        return Rounds(self.trainer, *self._parts, self.params, numbers)

    def start(self, seed=STATE_KEY):
        """The state before the first round."""
        return self._parts[1](self._numbers, jax.random.key(seed), self.params)

    def step(self, key, state, cohort):
        """The next state, and the round's info."""
        return self._parts[2](self._numbers, key, state, cohort)

    def models(self, state):
        """The models of a state."""
        return self._parts[3](self._numbers, state)

    def run(self, members, *, pad_to=3, weights=None, pool=None, seed=STATE_KEY, state=None, first=0):
        """States before each round and after the last, and infos of rounds with these clients."""
        states, infos = [self.start(seed) if state is None else state], []
        for t, ids in enumerate(members, start=first):
            given = None if weights is None else weights[: len(ids)]
            slots = None if pad_to is None else max(pad_to, len(ids))
            cohort = toy.make_cohort(ids, pool or POOL, pad_to=slots, weights=given)
            state, info = self.step(round_key(t), states[-1], cohort)
            states.append(state)
            infos.append(info)
        return states, infos


def rounds_of(name, options=None, *, norms=False, network=None, optimised=False, traced=(), **changes):
    """The rounds of an algorithm with these options, on the usual trainer with these changes.

    ``network``: the module with the toy network, by default the one that the algorithm needs; ``norms``: the one with
    batch normalisation. ``optimised``: for programs that differ and are compared to the last bit. ``traced``: options
    whose values are arguments of the compiled functions, which then serve all values.
    """
    network = batch_norm_toy if norms else network or network_of(name)
    options = options or {}
    numbers = {option: jnp.asarray(options[option]) for option in traced if options.get(option) is not None}
    fixed = {option: value for option, value in options.items() if option not in numbers}
    if any(isinstance(x, jax.core.Tracer) for x in fixed.values()):
        return _make_rounds(name, fixed, network, optimised, changes)
    key = name, network, optimised, tuple(numbers), _by_value(fixed), _by_value(changes)
    if key not in _ROUNDS:
        _ROUNDS[key] = _make_rounds(name, fixed, network, optimised, changes)
    return _ROUNDS[key].with_numbers(numbers)


_ROUNDS: dict = {}


def _by_value(options):
    """Options as a key of a dictionary: arrays by what is in them."""
    arrays = np.ndarray, jax.Array
    return tuple(
        (name, (x.dtype, x.shape, np.asarray(x).tobytes()) if isinstance(x, arrays) else x)
        for name, x in sorted(options.items())
    )


@functools.cache
def start_params(norms=False, network=toy):
    """The model of all rounds before the first one."""
    init = jax.jit((batch_norm_toy if norms else network).make_task().init)
    with jax.ensure_compile_time_eval():  # a test may ask for it while it is traced
        return init(jax.random.key(START_KEY))


def _make_rounds(name, options, network, optimised, changes):
    trainer = toy.make_trainer(network.make_task(), **changes)
    jit = jit_optimised if optimised else jax.jit

    def algorithm_of(numbers):
        return make(name, trainer, **options, **numbers)

    return Rounds(
        trainer,
        algorithm_of,
        jit(lambda numbers, key, params: algorithm_of(numbers).init(key, params)),
        jit(lambda numbers, *args: algorithm_of(numbers).round(*args)),
        jit(lambda numbers, state: algorithm_of(numbers).models(state)),
        start_params(network=network),
    )


def jit_optimised(function):
    """A function compiled as users do but for the emitter, whatever the other tests do."""
    if "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:  # see tests/conftest.py
        return jax.jit(function)
    options = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
    return jax.jit(function, compiler_options=options)


class TracedRounds(NamedTuple):
    """Rounds whose learning rate and one option are arguments of the compiled functions; optimisers are kept."""

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
        trainer = toy.make_trainer(task, learning_rate=learning_rate, axis=axis, keep_optimizer=True)
        return make(name, trainer, **options)

    def start(value):
        return algorithm_of(value).init(jax.random.key(STATE_KEY), task.init(jax.random.key(START_KEY)))

    def step(key, state, cohort, learning_rate, value):
        traces.append(name)
        return algorithm_of(value, learning_rate).round(key, state, cohort)

    def models(state, value):
        return algorithm_of(value).models(state)

    return TracedRounds(jax.jit(start), jax.jit(step), jax.jit(models), traces)
