"""The probe of the client axis: its model of idle steps, its choice, its record."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.ops import ClientAxis
from fedjax_layers.simulation import probe
from fedjax_layers.simulation.config import RunConfig
from fedjax_layers.simulation.probe import choose_axis, device_mesh, padded_steps, pinned_axis, recorded_axis
from fedjax_layers.simulation.setup import prepare
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


def test_the_choice_is_one_of_the_recorded_candidates(cohort):
    task = toy.make_task(jnp.float32)
    params = task.init(jax.random.key(0))
    axis, record = choose_axis(toy.make_trainer(task), jax.random.key(1), params, cohort)
    assert json.loads(json.dumps(record)) == record
    times = record["predicted_seconds_per_round"]
    # Five clients on one device, or one each on eight.
    assert list(times) == ["width 1, 1 device", "width 4, 1 device", "width 5, 1 device", "width 1, 8 devices"]
    assert min(times.values()) > 0
    assert times[record["chosen"]] == min(times.values())
    assert record["how"] == "measured"
    devices = "1 device" if axis.mesh is None else f"{axis.num_devices} devices"
    assert record["chosen"] == f"width {axis.width}, {devices}"


def test_a_model_too_large_to_be_copied_leaves_the_width_of_one(cohort, monkeypatch):
    monkeypatch.setattr(probe, "_MEMORY_PER_DEVICE", 1)
    task = toy.make_task(jnp.float32)
    params = task.init(jax.random.key(0))
    axis, record = choose_axis(toy.make_trainer(task), jax.random.key(1), params, cohort)
    assert axis.width == 1
    assert list(record["predicted_seconds_per_round"]) == ["width 1, 1 device", "width 1, 8 devices"]


def test_slow_steps_are_not_timed_side_by_side(cohort, monkeypatch):
    """A transformer's probe once took ten minutes and ten gigabytes before its run began."""
    monkeypatch.setattr(probe, "_LONGEST", 1e-9)
    task = toy.make_task(jnp.float32)
    _, record = choose_axis(toy.make_trainer(task), jax.random.key(1), task.init(jax.random.key(0)), cohort)
    assert list(record["predicted_seconds_per_round"]) == ["width 1, 1 device", "width 1, 8 devices"]


def test_what_a_step_works_with_counts_beside_its_parameters(cohort, monkeypatch):
    """A small model of long inputs: copies of its parameters fit, what its steps work with does not."""
    task = toy.make_task(jnp.float32)
    trainer, key, params = toy.make_trainer(task), jax.random.key(1), task.init(jax.random.key(0))
    step, _ = probe._time_step(trainer, ClientAxis(1), key, params, cohort)
    limit = probe._MEMORY_PER_DEVICE
    monkeypatch.setattr(probe, "_time_step", lambda *_: (step, limit // 5 + 1))
    assert "width 4, 1 device" in choose_axis(trainer, key, params, cohort)[1]["predicted_seconds_per_round"]
    assert "width 5, 1 device" not in choose_axis(trainer, key, params, cohort)[1]["predicted_seconds_per_round"]


def test_a_step_says_what_it_works_with(cohort):
    task = toy.make_task(jnp.float32)
    params = task.init(jax.random.key(0))
    _, working = probe._time_step(toy.make_trainer(task), ClientAxis(4), jax.random.key(1), params, cohort)
    assert working > 4 * sum(x.nbytes for x in jax.tree.leaves(params)), "a gradient for each client, at least"


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
