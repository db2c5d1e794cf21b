"""Runs whose data change: what a change does to the scores, that it compiles nothing, and going on across it."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.intervals import cohort_of, models_of, setting_of
from fedjax_layers.engine.run_loop import run_intervals, start_state
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import assemble, load_clients
from tests.counting import count_compilations

ROUNDS, BATCH = 6, 128


def config_of(*drift, **changes):
    values = {
        "model": "logistic_regression",
        "clients": 4,
        "rounds": ROUNDS,
        "learning_rate": 0.1,
        "batch_size": BATCH,
        "client_width": "all",
        "data_options": {"alpha": 3.0, "global_test": 0.1},
    }
    return RunConfig(algorithm="fedavg", dataset="digits", drift=drift, **(values | changes))


@pytest.fixture(scope="module")
def clients():
    """Four clients of the digits, of different size, and a global test set."""
    return load_clients(config_of())


@pytest.fixture(scope="module")
def swapped(clients):
    """A run in which all classes change places before the fourth round: history, programs compiled by each round."""
    compiled = []

    def progress(*_):
        compiled.append(clock.compilations)

    with count_compilations() as clock:
        _, history = execute(assemble(config_of("class_swap@3:1"), clients), progress=progress)
    return history, compiled


def test_the_global_model_falls_at_a_class_swap_and_learns_anew(swapped):
    history, _ = swapped
    accuracy = history.evaluations["global/test/accuracy"].mean(1)
    assert (np.diff(accuracy[:3]) > 0).all()
    assert accuracy[3] < accuracy[2] - 0.25
    assert accuracy[5] > accuracy[3] + 0.1
    # Nobody's examples are not swapped: on them the new classes are wrong ones.
    apart = history.evaluations["pooled/global_test/accuracy"]
    assert apart[2] > 0.5
    assert apart[5] < apart[2] - 0.2


def test_a_change_compiles_nothing(swapped):
    _, compiled = swapped
    assert compiled[0] > 0
    assert compiled == [compiled[0]] * ROUNDS


def test_another_round_of_the_change_is_the_same_program_and_the_same_until_then(clients, swapped):
    history, _ = swapped
    with count_compilations() as clock:
        _, later = execute(assemble(config_of("class_swap@5:1"), clients))
    assert clock.compilations == 0
    for name, values in history.evaluations.items():
        np.testing.assert_array_equal(values[:3], later.evaluations[name][:3], err_msg=name)
    accuracy = later.evaluations["global/test/accuracy"].mean(1)
    assert accuracy[4] > 0.6 > accuracy[5]


def test_the_global_test_set_is_scored_by_hand(clients):
    """Also with phases it is the first one's, and the model is that of the last round."""
    experiment = assemble(config_of("class_swap@3:1"), clients)
    builder, plan, inputs = experiment.builder, experiment.plan, experiment.inputs
    state = start_state(builder, plan, inputs)
    *_, (_, state, history) = run_intervals(builder, plan, inputs, state, History(), ROUNDS)
    model = models_of(builder, setting_of(plan, inputs.device_data), inputs.hyper, state).global_model
    rows = slice(len(clients.inputs) - clients.global_test, None)
    labels = clients.labels[rows]
    assert len(labels) == math.ceil(179.7)
    outputs = np.asarray(plan.task.apply(model, jnp.asarray(clients.inputs[rows]), None), np.float64)
    predictions = outputs.argmax(1)
    found = {k.split("/")[2]: v[-1] for k, v in history.evaluations.items() if k.startswith("pooled/global_test/")}
    log_chances = outputs - np.log(np.exp(outputs).sum(1, keepdims=True))
    assert found["loss"] == pytest.approx(-log_chances[np.arange(len(labels)), labels].mean(), rel=1e-4)
    assert found["accuracy"] == pytest.approx((predictions == labels).mean())
    assert found["macro_f1"] == pytest.approx(
        sklearn.metrics.f1_score(labels, predictions, average="macro", zero_division=0), rel=1e-5
    )
    assert found["mcc"] == pytest.approx(sklearn.metrics.matthews_corrcoef(labels, predictions), rel=1e-4)


def results(folder):
    """What a run leaves that interruptions must not change."""
    directory = RunDirectory(folder)
    summary = directory.read("summary")
    kept = {k: v for k, v in summary.items() if "second" not in k and k not in ("compilations", "peak_memory_bytes")}
    arrays = {name: x.tobytes() for name, x in directory.read_clients().items()}
    return kept, (folder / "rounds.jsonl").read_text(), arrays


@pytest.mark.parametrize("stop", [2, 3, 4], ids=["before", "at", "after"])
def test_a_run_resumed_around_a_change_ends_as_an_uninterrupted_one(clients, tmp_path, stop):
    config = config_of("class_swap@3:1")
    execute(assemble(config, clients), RunDirectory.create(tmp_path / "whole", config))
    directory = RunDirectory.create(tmp_path / "parts", config)
    execute(assemble(config, clients), directory, stop=lambda done: done == stop)
    assert not (tmp_path / "parts" / "summary.json").exists()
    execute(assemble(config, clients), RunDirectory(tmp_path / "parts"), resume=True)
    assert results(tmp_path / "whole") == results(tmp_path / "parts")
    assert results(tmp_path / "whole")[0]["global_test"] is not None


def steps(clients, who):
    return int(sum(-(-n // BATCH) for n in clients.sizes["train"][who]))


def test_new_clients_take_part_when_they_come(clients):
    config = config_of("new_clients@2:0.5", rounds=4)
    _, history = execute(assemble(config, clients))
    assert history.rounds["participants"].tolist() == [2, 2, 4, 4]
    there = np.isfinite(history.evaluations["trained/test/loss"])
    early = there[0]
    assert early.sum() == 2
    assert there.tolist() == [early.tolist()] * 2 + [[True] * 4] * 2
    np.testing.assert_array_equal(np.isfinite(history.evaluations["global/test/loss"]), there)
    assert history.rounds["steps"].tolist() == [steps(clients, early)] * 2 + [steps(clients, slice(None))] * 2


def test_leaving_clients_take_part_until_they_leave(clients):
    _, history = execute(assemble(config_of("leaving_clients@2:0.5", rounds=4), clients))
    assert history.rounds["participants"].tolist() == [4, 4, 2, 2]
    there = np.isfinite(history.evaluations["global/test/loss"])
    left = there[3]
    assert left.sum() == 2
    assert there.tolist() == [[True] * 4] * 2 + [left.tolist()] * 2
    assert history.rounds["steps"].tolist() == [steps(clients, slice(None))] * 2 + [steps(clients, left)] * 2


def weights(config, clients, t, draws=1):
    """Aggregation weights ``[draws, C]`` of cohorts of round ``t``."""
    inputs = assemble(config, clients).inputs
    keys = jax.random.split(jax.random.key(1), draws)
    cohorts = jax.jit(jax.vmap(lambda key: cohort_of(inputs, key, jnp.int32(t))))(keys)
    table = np.zeros((draws, clients.num_clients))
    np.add.at(table, (np.arange(draws)[:, None], np.asarray(cohorts.ids)), np.asarray(cohorts.weight))
    return table


@pytest.mark.parametrize("weighting", ["uniform", "examples"])
def test_absent_clients_weigh_nothing(clients, weighting):
    config = config_of("new_clients@2:0.5", rounds=4, weighting=weighting)
    sizes = np.asarray(assemble(config, clients).inputs.device_data.at(0).train.count)
    assert (sizes == 0).sum() == 2
    full = np.ones(4) if weighting == "uniform" else clients.sizes["train"]
    assert weights(config, clients, 1).tolist() == [np.where(sizes > 0, full, 0).tolist()]
    assert weights(config, clients, 2).tolist() == [full.tolist()]


def test_by_size_draws_nobody_who_is_absent(clients):
    config = config_of("new_clients@2:0.5", rounds=4, cohort=2, sampling="by_size")
    here = np.asarray(assemble(config, clients).inputs.device_data.at(0).train.count) > 0
    assert weights(config, clients, 0, draws=200).tolist() == [here.astype(float).tolist()] * 200
    assert (weights(config, clients, 2, draws=200).sum(1) == 2).all()
    assert (weights(config, clients, 2, draws=200).sum(0) > 0).all()


def test_a_round_of_absent_clients_alone_changes_nothing(clients, tmp_path):
    """Three of four come late: a uniform cohort of one is mostly nobody. The loss of nobody is no number."""
    config = config_of("new_clients@5:0.75", cohort=1, weighting="uniform")
    directory = RunDirectory.create(tmp_path / "run", config)
    summary, history = execute(assemble(config, clients), directory)
    present = history.rounds["participants"]
    assert 0 < present[:5].sum() < 5
    assert present[5] == 1
    losses = np.asarray(history.evaluations["pooled/test/loss"][:5])
    for t in range(1, 5):
        assert (losses[t] == losses[t - 1]) == (present[t] == 0)
    lines = [json.loads(line) for line in (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()]
    assert [line["train_loss"] is None for line in lines] == (present == 0).tolist()
    assert np.isfinite(summary["global"]["loss"]["mean"])
