"""The probe of the client axis: its model of idle steps, its choice, its record."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.engine.placement import width as probe
from fedjax_layers.engine.placement.width import choose_axis, device_mesh, padded_steps, pinned_axis, recorded_axis
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.setup import prepare as setup
from fedjax_layers.experiment.setup.prepare import prepare
from fedjax_layers.ops import ClientAxis
from tests import toy


@pytest.mark.parametrize(
    ("steps", "width", "devices", "expected"),
    [
        ([5, 1, 3, 2], 1, 1, 11),  # no idle step
        ([5, 1, 3, 2], 2, 1, 2 * 5 + 2 * 3),
        ([5, 1, 3, 2], None, 1, 4 * 5),
        ([5, 1, 3, 2], 9, 1, 4 * 5),  # no more than there are
        ([1, 5, 3], 2, 1, 2 * 5 + 2 * 3),  # the fourth place repeats the first client
        ([5, 1, 3], 2, 1, 2 * 5 + 2 * 5),
        ([5, 1, 3, 2], None, 2, 2 * 5),  # the busiest device has clients 0 and 1
        ([1, 1, 3, 2], 1, 2, 5),
        ([0, 9, 9, 0, 0], 1, 4, 9),  # eight places: the last three repeat client 0, which has no steps
    ],
)
def test_padded_steps_by_hand(steps, width, devices, expected):
    axis = ClientAxis(width, None if devices == 1 else device_mesh(devices))
    assert padded_steps(np.array(steps), axis) == expected


def test_device_mesh_is_none_for_one_device():
    assert device_mesh(1) is None
    assert device_mesh(2).shape == {"clients": 2}
    assert device_mesh().size == len(jax.local_devices())


@pytest.fixture(scope="module")
def cohort():
    return toy.make_cohort(range(toy.CLIENTS), toy.make_pool(dtype=np.float32))


def choose(cohort, **changes):
    task = toy.make_task(jnp.float32)
    return choose_axis(toy.make_trainer(task), jax.random.key(1), task.init(jax.random.key(0)), cohort, **changes)


@pytest.fixture
def patient(monkeypatch):
    """Time enough for every candidate, on a machine however slow."""
    monkeypatch.setattr(probe, "_BUDGET", 1e9)


def test_the_choice_is_one_of_the_recorded_candidates(cohort, patient):
    said = []
    axis, record = choose(cohort, say=said.append)
    assert json.loads(json.dumps(record)) == record
    times = record["predicted_seconds_per_round"]
    # Five clients: one each on eight devices, or all on one.
    assert list(times) == ["width 1, 8 devices", "width 1, 1 device", "width 4, 1 device", "width 5, 1 device"]
    assert said == [f"measuring the client axis: {name}" for name in times]
    assert min(times.values()) > 0
    assert times[record["chosen"]] == min(times.values())
    assert record["how"] == "measured"
    assert record["rounds"] is None, "nothing was left out for the sake of a short run"
    devices = "1 device" if axis.mesh is None else f"{axis.num_devices} devices"
    assert record["chosen"] == f"width {axis.width}, {devices}"


def test_a_model_too_large_to_be_copied_leaves_the_width_of_one(cohort, monkeypatch, patient):
    monkeypatch.setattr(probe, "_MEMORY_PER_DEVICE", 1)
    axis, record = choose(cohort)
    assert axis.width == 1
    assert list(record["predicted_seconds_per_round"]) == ["width 1, 8 devices", "width 1, 1 device"]


def timed(step, compiling, clock):
    """A stand-in for the timing, under a clock of its own."""

    def time_step(trainer, axis, key, params, cohort):
        clock[0] += compiling + step
        return probe._Timing(step, compiling, 0)

    return time_step


@pytest.mark.parametrize(
    ("step", "compiling", "rounds", "candidates"),
    [
        (1e-6, 0.1, 10**9, 4),
        (1e-6, 3.0, 10**9, 2),  # one more fits into the budget of 5 seconds, if it compiles half as long again
        (1e-6, 4.0, 10**9, 1),
        (2.0, 0.1, 10**9, 1),  # a transformer's probe once took ten minutes and ten gigabytes before its run began
        (1e-2, 0.1, 3, 1),  # a run of 3 rounds of 10 steps of 10 ms has not much to gain
    ],
)
def test_the_measuring_is_bounded_in_time(cohort, monkeypatch, step, compiling, rounds, candidates):
    clock = [0.0]
    monkeypatch.setattr(probe.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(probe, "_time_step", timed(step, compiling, clock))
    _, record = choose(cohort, rounds=rounds)
    assert len(record["predicted_seconds_per_round"]) == candidates
    assert next(iter(record["predicted_seconds_per_round"])) == "width 1, 8 devices"
    assert clock[0] <= compiling + step + 5.0
    assert record["rounds"] == (rounds if rounds == 3 else None)


def test_what_a_step_works_with_counts_beside_its_parameters(cohort, monkeypatch, patient):
    """A small model of long inputs: copies of its parameters fit, what its steps work with does not."""
    limit = probe._MEMORY_PER_DEVICE
    monkeypatch.setattr(probe, "_time_step", lambda *_: probe._Timing(1e-6, 0.0, limit // 5 + 1))
    assert "width 4, 1 device" in choose(cohort)[1]["predicted_seconds_per_round"]
    assert "width 5, 1 device" not in choose(cohort)[1]["predicted_seconds_per_round"]


def test_a_step_says_what_it_works_with(cohort):
    task = toy.make_task(jnp.float32)
    params = task.init(jax.random.key(0))
    timing = probe._time_step(toy.make_trainer(task), ClientAxis(4), jax.random.key(1), params, cohort)
    assert timing.working > 4 * sum(x.nbytes for x in jax.tree.leaves(params)), "a gradient for each client, at least"
    assert min(timing.step, timing.compiling) > 0


def test_a_measured_choice_is_remembered(monkeypatch, tmp_path):
    monkeypatch.setenv("FEDJAX_LAYERS_CACHE", str(tmp_path))
    config = RunConfig(algorithm="fedavg", dataset="heart", model="logistic_regression", rounds=3)
    record = {"chosen": "width 2, 1 device", "how": "measured", "width": 2, "devices": 1, "rounds": 3}
    measured = []

    def measure(*_, rounds, say):
        measured.append(rounds)
        return probe.AxisChoice(ClientAxis(2), record)

    monkeypatch.setattr(setup, "choose_axis", measure)
    clients = setup.load_clients(config)
    first = setup.assemble(config, clients).axis
    again = setup.assemble(dataclasses.replace(config, algorithm="local", learning_rate=0.1, seed=0), clients).axis
    assert (first.record["how"], again.record["how"]) == ("measured", "remembered")
    assert again.axis == ClientAxis(2)
    setup.assemble(dataclasses.replace(config, batch_size=7), clients)  # another program
    setup.assemble(dataclasses.replace(config, rounds=9), clients)  # a longer run, which may measure more
    assert measured == [3, 3, 9]
    for damaged in ("", "{", '{"width": "2", "devices": 1, "rounds": null, "chosen": ""}', "[1]"):
        for path in (tmp_path / "client_axis").iterdir():
            path.write_text(damaged)
        assert setup.assemble(config, clients).axis.record["how"] == "measured"


@pytest.mark.parametrize(("given", "width"), [("2", 2), ("all", None)])
def test_a_pinned_width_is_taken_and_recorded(given, width):
    choice = prepare(RunConfig(algorithm="fedavg", dataset="heart", client_width=given)).axis
    assert choice.axis.width == width
    devices = len(jax.local_devices())
    named = {"chosen": f"width {given}, {devices} devices", "how": "pinned"}
    assert choice.record == named | {"width": width, "devices": devices}


@pytest.mark.parametrize(("width", "devices"), [(1, 1), (None, 2), (3, 8)])
def test_a_recorded_choice_comes_back(width, devices):
    choice = pinned_axis(width, devices)
    again = recorded_axis(json.loads(json.dumps(choice.record)))
    assert again.axis == choice.axis
    assert again.record["chosen"] == choice.record["chosen"]


def test_a_choice_for_more_devices_than_there_are_is_not_taken():
    assert recorded_axis({"width": 1, "devices": 9}) is None
