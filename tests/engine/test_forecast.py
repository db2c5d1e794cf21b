"""The memory of a run from shapes alone: what it says, what it refuses, and that it refuses nothing that fits."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers import data
from fedjax_layers.data.outline import outline_clients
from fedjax_layers.data.packing import frozen
from fedjax_layers.engine.memory.forecast import Forecast, data_bytes, evaluation_bytes, fitting, state_bytes, told
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.setup import foreseen as foreseeing
from fedjax_layers.experiment.setup import prepare as setup
from fedjax_layers.experiment.setup.design import make_design
from fedjax_layers.experiment.setup.foreseen import foreseen, outlined, refuse_too_large
from fedjax_layers.types.round_memory import RoundBytes

SIZES = {"clients": 100, "min_samples": 10, "max_samples": 10}
LINEAR = 4 * (60 * 10 + 10)  # bytes of the logistic regression of these data


def config_of(algorithm="player_fl", **values):
    options = {k: v for k, v in SIZES.items() if k != "clients"}
    usual = {"dataset": "synthetic", "clients": 100, "model": "logistic_regression", "client_width": "4"}
    return RunConfig(algorithm=algorithm, data_options=options, **usual | values)


def forecast_of(algorithm="player_fl", **values):
    return outlined(config_of(algorithm, **values))


def test_examples_are_counted_once_and_phases_that_share_them_too():
    clients = data.load("synthetic", **SIZES)
    own = 1000 * 61 * 4
    assert data_bytes([clients], on_host=False) == own + 24 * 100
    assert data_bytes([clients], on_host=True) == own + 8 * 1000 + 24 * 100
    assert data_bytes([clients, clients], on_host=False) == own + 2 * 24 * 100
    other = data.load("synthetic", **SIZES)
    assert data_bytes([clients, other], on_host=False) == 2 * (own + 24 * 100)
    assert data_bytes([outline_clients("synthetic", **SIZES)], on_host=True) == data_bytes([clients], on_host=True)


@pytest.mark.parametrize(
    ("algorithm", "models"),
    [("fedavg", 0), ("fedper", 1), ("player_fl", 1), ("ditto", 1)],
)
def test_what_each_client_has_follows_from_the_state(algorithm, models):
    found = forecast_of(algorithm)
    assert models * LINEAR <= found.per_client <= models * LINEAR + 8
    assert (
        found.store == found.per_client * 100 + found.devices * (found.store - found.per_client * 100) // found.devices
    )
    assert found.store >= max(LINEAR, found.per_client * 100)


def test_the_state_is_that_of_the_run():
    """Shapes tell what the arrays of a state that is there have."""
    experiment = setup.prepare(config_of("fedper", rounds=1))
    own, shared = state_bytes(setup_state(experiment))
    assert experiment.memory.store == own + shared * jax.local_device_count()


def test_what_stays_on_the_host_is_brought_for_a_cohort_alone(monkeypatch):
    """Beside the state there, rows as they come and go, and the examples of this round and the next."""

    def on_devices():  # but for the rows that devices bring to each other: those from the host are where they are used
        found = forecast_of(cohort=10)
        return found._replace(round=found.round._replace(slot=0))

    plain, found = on_devices(), forecast_of(cohort=10, on_host=("data", "state"))
    assert found.brought == 2 * plain.per_client + 2 * 10 * 61 * 4
    assert found.total == plain.total + 10 * found.brought
    assert "brought from the host 97.6 kB" in told(found, None)
    stored = forecast_of(cohort=10, on_host=("state",), store="there")
    assert stored.total == plain.total - 100 * plain.per_client + 10 * 2 * plain.per_client
    monkeypatch.setattr(foreseeing.jax, "default_backend", lambda: "gpu")
    on_device, found = on_devices(), forecast_of(cohort=10, on_host=("data", "state"))
    assert (found.data, found.per_client) == (0, 0)
    assert found.store < 2 * LINEAR, "the server's model and what is nobody's own"
    there = on_device.data + on_device.store - found.store
    assert found.total == on_device.total - there + 10 * found.brought
    refusal = fitting(found._replace(slots=10_000, clients=10_000), found.least + 100 * found.brought)
    assert refusal.startswith("cohort: expected at most 110 ")


def setup_state(experiment):
    from fedjax_layers.engine.run_loop import start_state  # noqa: PLC0415

    return start_state(experiment.builder, experiment.plan, experiment.inputs)


def test_a_visit_is_a_few_models_its_optimizer_and_a_batch():
    found = forecast_of(batch_size=5, optimizer="sgd")
    assert found.round.visit == 3 * LINEAR + 1.5 * LINEAR + 1200, "of SGD the momentum, which may be 0"
    assert forecast_of(batch_size=5, optimizer="adam").round.visit == pytest.approx(6 * LINEAR + 1200, abs=8)
    assert found.width == 4
    assert found.visits == 4 * found.devices * found.round.visit
    assert found.stacked == 0
    assert forecast_of(client_width="all").width * jax.local_device_count() >= 100
    assert forecast_of(client_width="auto").width == forecast_of(client_width="auto").devices == 1
    assert forecast_of(client_width="64", cohort=6).width == 1, "a device has no more than its share"


def test_an_evaluation_has_two_splits_of_each_kind_of_model():
    task = make_design(config_of(), outline_clients("synthetic", **SIZES)).task
    one = evaluation_bytes(task, 100, ("trained",))
    assert evaluation_bytes(task, 100, ("trained", "served")) - one == 2 * (one - 3 * 400)
    assert evaluation_bytes(task, 200, ("trained",)) == 2 * one


sizes = st.integers(0, 10**8)
forecasts = st.builds(
    Forecast,
    clients=st.integers(1, 10**6),
    slots=st.integers(1, 10**6),
    data=st.integers(1, 10**10),
    held=st.just(0),
    store=st.integers(0, 10**9),
    per_client=st.just(0),
    width=st.integers(1, 500),
    devices=st.integers(1, 8),
    round=st.builds(
        RoundBytes, visit=sizes, server=sizes, slot=sizes, client=st.integers(0, 10**5), served=st.integers(0, 10**5)
    ),
    evaluation=st.integers(0, 10**8),
    programs=st.just(400_000_000),
    model=st.integers(1, 10**8),
)


@settings(deadline=None, max_examples=300)
@given(found=forecasts, per_client=st.integers(0, 10**4), free=st.integers(0, 10**12))
def test_what_may_fit_is_not_refused_and_what_is_advised_is_not_either(found, per_client, free):
    store = found.store + per_client * found.clients
    found = found._replace(per_client=per_client, store=store, slots=min(found.slots, found.clients))
    refusal = fitting(found, free)
    assert (refusal is None) == (found.least <= free)
    if refusal is None:
        return
    argument, _, rest = refusal.partition(": expected ")
    narrow = found._replace(width=1)
    if argument == "model":
        assert "fits into the free" in rest
        assert found.of_clients(1).least > free
        return
    most = int(rest.split()[2].replace(",", ""))
    assert most >= 1
    if argument == "client_width":
        assert found._replace(width=most).least <= free < found._replace(width=most + 1).least
        return
    assert narrow.least > free
    if argument == "cohort":
        assert narrow._replace(slots=most).least <= free < narrow._replace(slots=most + 1).least
        return
    assert argument == "clients"
    assert narrow._replace(slots=1).least > free
    assert found.of_clients(most).least <= free


@pytest.mark.parametrize(
    ("algorithm", "options", "models"),
    [
        ("pfedla", {}, 4),
        ("layer_mix", {}, 2),
        ("fedfomo", {}, 5),
        ("demlearn", {}, 8),
        ("pfedhn", {}, 4.5),
        ("fedtlu", {"reading": "clients"}, 1),
        ("fedtlu", {}, 0),
        ("player_fl", {}, 0),
    ],
)
def test_models_that_a_rule_needs_all_at_once_are_counted(algorithm, options, models):
    found = forecast_of(algorithm, algorithm_options=options, model="mlp", client_width="1")
    rules = 1.3 * found.model if algorithm == "pfedla" else 0  # hypernetworks
    assert 100 * models * found.model <= found.stacked <= 100 * (models * found.model + rules)
    if models:
        assert forecast_of(algorithm, algorithm_options=options, model="mlp", cohort=10).stacked < found.stacked


def test_rows_of_a_part_of_the_clients_are_brought_to_several_devices():
    """Where all take part each device has its own; of others the compiler was seen to hold 1.5 to 1.9 copies each."""
    all_clients, some, nothing = forecast_of(), forecast_of(cohort=10), forecast_of("fedavg", cohort=10)
    devices = jax.local_device_count()
    assert all_clients.stacked == nothing.stacked == 0
    assert some.stacked == (10 * round(1.5 * devices * some.per_client) if devices > 1 else 0)
    assert forecast_of(cohort=10, client_width="auto").stacked == 0


def test_a_round_that_stacks_more_than_there_is_room_for_is_refused_by_its_cohort(monkeypatch):
    found = forecast_of("pfedla", model="mlp", client_width="1")
    let_go = found._replace(round=found.round._replace(slot=0, client=0, served=0))
    free = (let_go.least + found.least) // 2
    monkeypatch.setattr(foreseeing, "free_memory", lambda: free)
    refuse_too_large(let_go)
    with pytest.raises(ValueError, match=r"^cohort: expected at most \d+ for the free .*, got 100 \(data ") as caught:
        refuse_too_large(found)
    most = int(str(caught.value).split()[4])
    assert 10 < most < 90
    refuse_too_large(forecast_of("pfedla", model="mlp", client_width="1", cohort=most))
    with pytest.raises(ValueError, match=f"cohort: expected at most {most} "):
        refuse_too_large(forecast_of("pfedla", model="mlp", client_width="1", cohort=most + 1))


def test_nothing_is_refused_where_nobody_tells_what_is_free():
    found = forecast_of()
    assert fitting(found, None) is None
    assert told(found, None).startswith("memory: 4")
    assert " of " in told(found, 10**10)


def test_a_run_is_refused_before_its_data_are_made_and_not_when_it_fits(monkeypatch):
    config = config_of(rounds=1)
    needed = outlined(config).least
    made = []
    monkeypatch.setattr(setup.data, "load", lambda *args, **kwargs: made.append(kwargs))
    monkeypatch.setattr(foreseeing, "free_memory", lambda: needed - 1)
    with pytest.raises(ValueError, match=r"client_width: expected at most 3 for the free .*, got 4 \(data ") as caught:
        setup.prepare(config)
    assert "\n" not in str(caught.value)
    assert not made
    monkeypatch.setattr(foreseeing, "free_memory", lambda: needed)
    with pytest.raises(AttributeError):  # there are no data
        setup.prepare(config)
    assert made


def test_what_is_there_already_needs_no_room(monkeypatch):
    config = RunConfig(algorithm="fedper", dataset="heart", rounds=1, client_width="all")
    clients = setup.load_clients(config)
    found = foreseen(config, make_design(config, clients), loaded=True)
    assert found.held == found.data > 0
    monkeypatch.setattr(foreseeing, "free_memory", lambda: found.least - found.held)
    refuse_too_large(found)
    setup.check_fit(config, clients)
    monkeypatch.setattr(foreseeing, "free_memory", lambda: found.least - found.held - 1)
    with pytest.raises(ValueError, match="expected at most"):
        setup.check_fit(config, clients)
    with pytest.raises(ValueError, match="expected at most"):
        setup.assemble(config, clients)


def test_fields_of_clients_are_found_in_nested_states():
    from flax import struct  # noqa: PLC0415

    from fedjax_layers.types import per_client  # noqa: PLC0415

    @struct.dataclass
    class Inner:
        shared: object
        own: object = per_client()

    @struct.dataclass
    class Outer:
        inner: Inner
        all_own: object = per_client()

    one = frozen(np.zeros(3, np.float32))
    assert state_bytes(Outer(Inner(one, (one, one)), {"a": one})) == (36, 12)
