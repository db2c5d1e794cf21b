"""Programs are shared by value: by builds that are equal, and by functions that come to the same program."""

import dataclasses
import functools
import gc
import pathlib
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import fedjax_layers as fl
from fedjax_layers import algorithms
from fedjax_layers.engine import intervals
from fedjax_layers.engine.programs import store as program_store
from fedjax_layers.engine.programs.build import BuildProgram, build_program
from tests import toy
from tests.counting import count_compilations

X = jnp.ones((20, 20))
LARGE = np.arange(50_000, dtype=np.float32)


@build_program(static=(1,), donated=(2,))
def power(build, steps, x):
    """``build() * x`` multiplied with itself, some times."""
    return jax.lax.fori_loop(0, steps, lambda _, y: jnp.tanh(y @ y), build() * x)


@build_program()
def apply(build, *args):
    """``build(*args)``."""
    return build(*args)


def made(number):
    return lambda: number


@struct.dataclass
class Marked:
    """A value with a static mark."""

    value: jax.Array
    mark: str = struct.field(pytree_node=False)


def run(build):
    return float(power(build, 2, X + 0)[0, 0])


def compilations(*calls):
    """How many programs each call compiled."""
    counts = []
    for call in calls:
        with count_compilations() as clock:
            jax.block_until_ready(call())
        counts.append(clock.compilations)
    return counts


def maps():
    gc.collect()
    return len(pathlib.Path("/proc/self/maps").read_text().splitlines())


def test_the_intervals_of_a_run_are_such_programs():
    names = ("start_params", "_first_state", "models_of", "run_interval", "finish_interval", "adapt_interval")
    assert all(isinstance(getattr(intervals, name), BuildProgram) for name in names)


def test_a_loop_of_settings_with_functions_tasks_and_data_of_their_own_compiles_once():
    def setting(rate, rounds=1):
        task = toy.make_task(jnp.float32)._replace(loss=lambda *args: toy.make_task(jnp.float32).loss(*args))
        source = toy.make_federation(toy.make_pool(dtype=np.float32))
        build = lambda hyper: algorithms.local(toy.make_trainer(task, learning_rate=hyper))  # noqa: E731
        result = fl.simulate(build, task, source, rounds=rounds, hyper=jnp.float32(rate), evaluated_models=("served",))
        return result.history.evaluations["served/test/loss"]

    first = setting(0.0)
    with count_compilations() as clock:
        losses = [float(setting(rate / 100)[-1].mean()) for rate in range(1, 6)]
    assert clock.compilations == 0
    assert len({float(first[-1].mean()), *losses}) == 6  # each is a run of its own


@pytest.mark.skipif(not pathlib.Path("/proc/self/maps").exists(), reason="memory maps are listed on Linux alone")
def test_a_loop_of_thirty_functions_that_all_differ_takes_no_more_memory_maps():
    makes = (made, lambda n: functools.partial(made(n)))
    run(made(0.5))
    before, held = maps(), len(program_store._programs)
    assert compilations(*(lambda n=n: run(makes[n % 2](n)) for n in range(30))) == [1] * 30
    assert len(program_store._programs) <= held
    assert maps() - before < 12


def test_functions_that_come_again_compile_once_more_and_never_again():
    calls = [lambda n=n: run(made(n)) for n in (0.15, 0.35) * 4]
    assert compilations(*calls) == [1, 1, 1, 1, 0, 0, 0, 0]


def test_no_more_programs_are_held_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(program_store, "MOST_PROGRAMS", 3)
    builds = [made(n / 10) for n in range(5)]
    assert compilations(*(functools.partial(run, build) for build in builds)) == [1] * 5
    assert len(program_store._programs) == 3
    assert compilations(*(functools.partial(run, build) for build in reversed(builds))) == [0, 0, 0, 1, 1]


def test_fewer_programs_are_held_where_memory_maps_run_out(monkeypatch):
    monkeypatch.setattr(program_store, "_crowded", lambda: len(program_store._programs) > 2)
    program_store.clear()
    builds = [made(n / 100) for n in (1, 2, 3)]
    assert compilations(*(functools.partial(run, builds[i]) for i in (0, 1, 2, 2, 0))) == [1, 1, 1, 0, 1]


def test_a_function_that_is_seen_again_is_not_traced_again():
    traced = []

    def build():
        traced.append(1)
        return 0.25

    assert compilations(*[lambda: run(build)] * 3) == [1, 0, 0]
    assert len(traced) == 1
    with jax.enable_x64(True):
        power(build, 2, jnp.ones((20, 20), jnp.float32))
    assert len(traced) == 2


def test_a_program_that_made_room_is_compiled_again(monkeypatch):
    monkeypatch.setattr(program_store, "MOST_PROGRAMS", 1)
    one, two = made(0.125), made(0.375)
    calls = [functools.partial(run, build) for build in (one, one, two, one)]
    assert compilations(*calls) == [1, 0, 1, 1]


def test_a_function_and_what_it_closes_over_are_not_kept():
    class Data:
        pass

    def one_run():
        data = Data()
        build = lambda: 0.5 if data else 0.0  # noqa: E731
        run(build)
        return weakref.ref(data), weakref.ref(build)

    gone = one_run()
    gc.collect()
    assert [one() for one in gone] == [None, None]


def test_builds_that_are_equal_share_a_program_and_are_traced_once():
    traced = []

    @dataclasses.dataclass(frozen=True)
    class Build:
        number: float

        def __call__(self):
            traced.append(self.number)
            return self.number

    assert compilations(*(lambda n=n: run(Build(n)) for n in (0.6, 0.6, 0.7))) == [1, 0, 1]
    assert traced == [0.6, 0.7]


def plus(constant):
    return lambda x: x + constant.sum()


DIFFERENT = {  # pairs of functions that must not share a program
    "literals": (lambda x: x * 2.0, lambda x: x * 3.0),
    "large constants": (plus(LARGE), plus(np.where(LARGE == 25_000, 0, LARGE))),
    "arrays on the device": (plus(jnp.float32(1.5)), plus(jnp.float32(2.5))),
    "constants of another type": (plus(jnp.arange(3)), plus(jnp.arange(3.0))),
    "which argument is used": (lambda x, y: x * 2, lambda x, y: y * 2),
    "order of results": (lambda x, y: {"a": x * 2, "b": y * 2}, lambda x, y: {"b": x * 2, "a": y * 2}),
    "trees": (lambda x: (x * 2, x), lambda x: [x * 2, x]),
    "static parts of trees": (lambda x: Marked(x, "a"), lambda x: Marked(x, "b")),
    "weak types": (lambda x: jnp.full((), 2.0, jnp.float32), lambda x: jnp.asarray(2.0)),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_functions_that_differ_do_not_share_a_program(kind):
    for fn in DIFFERENT[kind]:
        args = [jnp.float32(3 + i) for i in range(fn.__code__.co_argcount)]
        found, right = apply(fn, *args), jax.jit(fn)(*args)
        assert jax.tree.structure(found) == jax.tree.structure(right)
        jax.tree.map(np.testing.assert_array_equal, found, right)
        assert [jax.typeof(x) for x in jax.tree.leaves(found)] == [jax.typeof(x) for x in jax.tree.leaves(right)]


def test_equal_constants_share_a_program_whoever_made_them():
    kinds = (lambda: LARGE + 1, lambda: jnp.asarray(LARGE + 2), lambda: jax.random.normal(jax.random.key(3), (5,)))
    for make in kinds:
        constants = [make(), make()]
        assert compilations(*(functools.partial(apply, plus(c), jnp.float32(1)) for c in constants)) == [1, 0]


def test_a_callback_is_called_by_its_own_function_alone():
    seen = []

    def telling(name):
        def fn(x):
            jax.debug.callback(lambda value: seen.append((name, float(value))), x)
            return x + jax.pure_callback(lambda value: np.float32(len(name)), jax.typeof(x), x)

        return fn

    found = [float(apply(telling(name), jnp.float32(1))) for name in ("a", "bcd")]
    jax.effects_barrier()
    assert found == [2.0, 4.0]
    assert seen == [("a", 1.0), ("bcd", 1.0)]


def test_donation_and_errors_are_those_of_a_jitted_function():
    x = X + 0
    power(made(0.5), 2, x)
    assert x.is_deleted()

    def broken():
        raise ValueError("rate: expected a number, got None")

    with pytest.raises(ValueError, match="rate: expected a number, got None"):
        run(broken)
    with pytest.raises(TypeError, match="dot_general requires contracting dimensions to have the same shape"):
        power(made(0.5), 2, jnp.ones((3, 2)))
    with jax.debug_nans(True), pytest.raises(FloatingPointError, match="nan"):
        power(made(jnp.nan), 2, X + 0)


def test_within_a_traced_function_and_without_jit_it_is_a_part_of_what_calls_it():
    expected = run(made(0.5))
    assert float(jax.jit(lambda x: power(made(0.5), 2, x))(X)[0, 0]) == pytest.approx(expected)
    assert jax.vmap(lambda x: power(made(0.5), 2, x))(jnp.stack([X, X])).shape == (2, 20, 20)
    with jax.disable_jit():
        assert run(made(0.5)) == pytest.approx(expected)


def test_the_same_program_on_other_devices_is_another_one():
    devices = jax.devices()
    if len(devices) < 4:
        pytest.skip("needs four devices")
    for some in (devices[:2], devices[2:4]):
        spread = NamedSharding(Mesh(np.array(some), ("clients",)), P("clients"))
        within = apply(lambda x, s=spread: jax.lax.with_sharding_constraint(x * 2, s), jnp.arange(4.0))
        assert within.sharding.device_set == set(some)
        given = apply(lambda x: x * 2, jax.device_put(jnp.arange(4.0), spread))
        assert given.sharding.device_set == set(some)
    for device in devices[:2]:
        with jax.default_device(device):
            assert apply(lambda x: x * 2 + 1, np.arange(4.0)).devices() == {device}
        assert apply(lambda x: x * 2 + 1, jax.device_put(jnp.arange(4.0), device)).devices() == {device}
