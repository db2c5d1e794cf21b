"""Compiled programs come and go with the function they were compiled for; equal values share theirs."""

import dataclasses
import functools
import gc
import pathlib
import warnings

import jax
import jax.numpy as jnp
import pytest

from fedjax_layers.simulation import periods
from fedjax_layers.simulation.build_programs import BuildProgram, build_program
from fedjax_layers.simulation.compile_clock import compile_clock

X = jnp.ones((20, 20))


@build_program(static=(1,), donated=(2,))
def power(build, steps, x):
    """``build() * x`` multiplied with itself, some times."""
    return jax.lax.fori_loop(0, steps, lambda _, y: jnp.tanh(y @ y), build() * x)


def made(number):
    return lambda: number


def run(build):
    return float(power(build, 2, X + 0)[0, 0])


def maps():
    gc.collect()
    return len(pathlib.Path("/proc/self/maps").read_text().splitlines())


def test_the_periods_of_a_run_are_such_programs():
    names = ("_first_state", "models_of", "run_period", "finish_period", "adapt_period")
    assert all(isinstance(getattr(periods, name), BuildProgram) for name in names)


@pytest.mark.skipif(not pathlib.Path("/proc/self/maps").exists(), reason="memory maps are listed on Linux alone")
@pytest.mark.parametrize("make", [made, lambda n: functools.partial(made(0.0), *(), **{})], ids=["closure", "partial"])
def test_a_build_that_is_gone_leaves_no_program_behind(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(make(0.5))
        before = maps()
        for trial in range(6):
            run(make(float(trial)))
        assert maps() - before < 12


def test_a_build_in_a_loop_is_told_of_once_by_name():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for trial in range(7):
            run(made(float(trial)))
    (one,) = caught
    text = str(one.message)
    assert text.startswith("build: expected one function for all runs, got made.<locals>.<lambda> as a new object")
    assert "hyper" in text
    assert "\n" not in text


def test_builds_that_are_kept_keep_their_programs():
    builds = [made(float(n)) for n in range(6)]
    right = [run(build) for build in builds]
    with compile_clock() as clock:
        assert [run(build) for build in builds] == right
    assert clock.compilations == 0


def test_builds_that_are_equal_share_a_program():
    @dataclasses.dataclass(frozen=True)
    class Build:
        number: float

        def __call__(self):
            return self.number

    first = run(Build(0.5))
    with compile_clock() as clock:
        assert run(Build(0.5)) == first
    assert clock.compilations == 0
