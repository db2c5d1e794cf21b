"""A compiled program that has no room is refused before it runs, by what the compiler says of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.intervals import run_interval
from fedjax_layers.engine.memory import program as program_memory
from fedjax_layers.engine.memory.program import planned_bytes
from fedjax_layers.engine.plan import Plan
from fedjax_layers.engine.run_loop import run_intervals, start_state
from fedjax_layers.engine.simulate import make_inputs
from fedjax_layers.host_memory import TooLargeError
from fedjax_layers.ops import ClientAxis
from tests import toy
from tests.counting import count_compilations

TASK = toy.make_task(jnp.float32)


@pytest.fixture
def free(monkeypatch):
    """A function that says how many bytes are free."""
    return lambda size: monkeypatch.setattr(program_memory, "free_memory", lambda: size)


def begun(name="layer_mix", axis=ClientAxis(1)):
    """A run at its start: what its intervals are called with."""
    source = toy.make_federation(toy.make_pool(dtype=np.float32))
    plan = Plan(TASK, 1, axis)
    inputs = make_inputs(source, hyper=0.1, seed=0, sampling=None, weights=None, axis=axis)
    build = BUILDS[name, axis.width]
    return build, plan, inputs, start_state(build, plan, inputs)


def made(name, width):
    from fedjax_layers import algorithms  # noqa: PLC0415

    axis = ClientAxis(width)
    return lambda rate: algorithms.registry[name](toy.make_trainer(TASK, learning_rate=rate, axis=axis))


BUILDS = {key: made(*key) for key in (("layer_mix", 1), ("fedavg", 1), ("fedavg", 2), ("fedavg", None))}


def needed_by(run):
    build, plan, inputs, state = run
    program = run_interval.compiled(build, plan, state, inputs, jnp.int32(0), jnp.int32(0), jnp.int32(0))
    return planned_bytes(program, beside_arguments=True)


@pytest.mark.parametrize(
    ("name", "width", "begins"),
    [
        ("fedavg", 2, "client_width: expected less, so that the compiled rounds fit into the free .*, got 2, "),
        ("layer_mix", 1, "cohort: expected less, .*, got 5, with which they take "),
        ("fedavg", 1, "model, batch_size: expected less, "),
    ],
)
def test_rounds_that_have_no_room_are_refused_in_one_line_and_nothing_runs(free, name, width, begins):
    run = build, plan, inputs, state = begun(name, ClientAxis(width))
    free(needed_by(run) - 1)
    history = History()
    with pytest.raises(TooLargeError, match=f"^{begins}") as caught:
        next(run_intervals(build, plan, inputs, state, history, 1))
    assert "\n" not in str(caught.value)
    assert history.rounds_done == 0
    assert not any(x.is_deleted() for x in jax.tree.leaves(state)), "the state was given up"
    free(needed_by(run))
    with count_compilations() as clock:
        done = [rounds for rounds, *_ in run_intervals(build, plan, inputs, state, history, 2)]
    assert done == [1, 2]
    assert clock.compilations == 0, "what was compiled to be looked at is what runs"


def test_where_nobody_tells_nothing_is_refused(free, monkeypatch):
    build, plan, inputs, state = begun("fedavg", ClientAxis())
    free(None)
    assert len(list(run_intervals(build, plan, inputs, state, History(), 1))) == 1
    free(0)
    monkeypatch.setattr(program_memory, "planned_bytes", lambda *_, **__: None)
    *_, state = begun("fedavg", ClientAxis())
    assert len(list(run_intervals(build, plan, inputs, state, History(), 1))) == 1


def test_planned_bytes_are_the_compilers(free):
    program = jax.jit(lambda x: (x @ x, x + 1), donate_argnums=0).lower(jnp.ones((50, 50))).compile()
    one = 50 * 50 * 4
    assert planned_bytes(program) >= 2 * one
    assert one <= planned_bytes(program, beside_arguments=True) <= planned_bytes(program) - one
