"""Clients that never take part: not drawn, not averaged, not counted; scored apart, before and after local training."""

import dataclasses
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.data import federate, load_dataset, partition
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.intervals import cohort_of, models_of, setting_of
from fedjax_layers.engine.run_loop import run_intervals, start_state
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import assemble, load_clients
from fedjax_layers.experiment.unseen import unseen_summary

UNSEEN = (4, 5)
SEEN = np.arange(4)
ROUNDS = 3


def config_of(algorithm="fedavg", unseen=UNSEEN, **changes):
    values = {
        "model": "logistic_regression",
        "clients": 6,
        "rounds": ROUNDS,
        "learning_rate": 0.1,
        "batch_size": 128,
        "client_width": "all",
        "partition": "classes_per_client",
        "data_options": {"classes": 4, "unseen": unseen},
    }
    return RunConfig(algorithm=algorithm, dataset="digits", **(values | changes))


@pytest.fixture(scope="module")
def clients():
    """Six clients of the digits, four classes each; the last two never take part."""
    return load_clients(config_of())


def run(config, clients, **options):
    return execute(assemble(config, clients), **options)


@pytest.fixture(scope="module")
def fedavg(clients, tmp_path_factory):
    """A finished run of FedAvg: summary, history and directory."""
    folder = tmp_path_factory.mktemp("run") / "fedavg"
    config = config_of()
    return *run(config, clients, directory=RunDirectory.create(folder, config)), RunDirectory(folder)


def other_examples(clients):
    """The same clients, the unseen ones with other images and labels."""
    rng = np.random.default_rng(0)
    inputs, labels = clients.inputs.copy(), clients.labels.copy()
    rows = np.isin(clients.places[0], UNSEEN)
    inputs[rows] = rng.integers(0, 17, inputs[rows].shape)
    labels[rows] = rng.integers(0, 10, rows.sum())
    return dataclasses.replace(clients, inputs=inputs, labels=labels)


def trained_clients(history):
    """Flags ``[E, C]`` on those that have trained scores."""
    return np.isfinite(history.evaluations["trained/test/loss"])


def test_only_the_seen_take_part(fedavg):
    _, history, _ = fedavg
    assert history.rounds["participants"].tolist() == [4] * ROUNDS
    assert (trained_clients(history) == np.isin(np.arange(6), SEEN)).all()
    assert np.isfinite(history.evaluations["served/test/loss"]).all(), "what they would be served is scored"


@pytest.mark.parametrize("sampling", ["uniform", "by_size"])
def test_cohorts_are_drawn_among_the_seen(clients, sampling):
    inputs = assemble(config_of(cohort=2, sampling=sampling), clients).inputs
    keys = jax.random.split(jax.random.key(0), 200)
    cohorts = jax.jit(jax.vmap(lambda key: cohort_of(inputs, key, jnp.int32(0))))(keys)
    assert (np.asarray(cohorts.weight) > 0).all()
    assert set(np.asarray(cohorts.ids).ravel().tolist()) == set(SEEN.tolist())


@pytest.fixture(scope="module")
def adaptation(clients):
    """The same of local adaptation, whose last phase trains every client: summary and history."""
    return run(config_of("local_adaptation"), clients)


@pytest.mark.parametrize("algorithm", ["fedavg", "local_adaptation"])
def test_their_examples_change_nothing_for_the_seen(clients, fedavg, adaptation, algorithm):
    """Bit for bit, in every score, the pooled ones too; only their own scores differ."""
    one, history, *_ = fedavg if algorithm == "fedavg" else adaptation
    other, changed = run(config_of(algorithm), other_examples(clients))
    for name, values in history.evaluations.items():
        before, after = (x[:, SEEN] if x.ndim >= 2 else x for x in (values, changed.evaluations[name]))
        np.testing.assert_array_equal(before, after, err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, history.rounds, changed.rounds)
    for field in ("personal", "global", "pooled", "by_model_and_round", "fairness_variance"):
        assert one[field] == other[field], field
    assert one["unseen"] != other["unseen"]


def final_model(config, clients):
    """The global model after the last round, and the history."""
    experiment = assemble(config, clients)
    builder, plan, inputs = experiment.builder, experiment.plan, experiment.inputs
    state = start_state(builder, plan, inputs)
    *_, (_, state, history) = run_intervals(builder, plan, inputs, state, History(), config.rounds)
    return models_of(builder, setting_of(plan, inputs.device_data), inputs.hyper, state).global_model, history


def test_the_global_model_is_that_of_the_seen_clients_alone(clients):
    """With the unseen clients last, everybody keeps its number, and with it its random keys."""
    dataset = load_dataset("digits")
    owner = partition("classes_per_client", dataset.labels, 6, 0, classes=4)
    alone = federate(dataset, np.where(owner < 4, owner, -1))
    assert alone.sizes["train"].tolist() == clients.sizes["train"][SEEN].tolist()
    assert clients.sizes["train"].max() == alone.sizes["train"].max(), "else shuffles would differ"
    model, history = final_model(config_of(), clients)
    expected, reference = final_model(config_of(unseen=()), alone)
    chex.assert_trees_all_close(model, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(history.rounds["loss"], reference.rounds["loss"], rtol=1e-5)
    for name in ("pooled/test/accuracy", "pooled/test/loss"):
        np.testing.assert_allclose(history.evaluations[name], reference.evaluations[name], rtol=1e-5)


def test_the_summary_counts_the_seen_and_has_the_unseen_apart(fedavg, clients):
    summary, history, directory = fedavg
    sizes = clients.sizes["train"]
    trained = history.scores("trained", "best")["macro_f1"][SEEN]
    assert summary["personal"]["macro_f1"]["mean"] == pytest.approx(trained.mean())
    assert summary["personal"]["macro_f1"]["weighted"] == pytest.approx(np.average(trained, weights=sizes[SEEN]))
    assert summary["fairness_variance"] == pytest.approx(trained.var())
    assert summary["personal"]["macro_f1"]["n"] == summary["global"]["loss"]["n"] == len(SEEN)
    assert history.evaluations["examples"][-1].tolist() == [*sizes[SEEN], 0, 0], "nor do they choose a round"
    served = history.evaluations["global/test/accuracy"]
    best = history.evaluations["global/val/loss"].argmin(0)
    assert summary["global"]["accuracy"]["mean"] == pytest.approx(served[best, np.arange(6)][SEEN].mean())
    assert summary["by_model_and_round"]["served/last"]["accuracy"] == pytest.approx(served[-1, SEEN].mean())
    apart = summary["unseen"]
    assert apart["clients"] == list(UNSEEN)
    for scored_model in ("served", "global"):
        assert apart[scored_model]["accuracy"]["mean"] == pytest.approx(served[-1, 4:].mean())
        assert apart[scored_model]["accuracy"]["min"] == pytest.approx(served[-1, 4:].min())
    arrays = directory.read_clients()
    adapted = arrays["adapted/last/test/accuracy"]
    assert np.isnan(adapted[SEEN]).all()
    assert apart["adapted"]["accuracy"]["mean"] == pytest.approx(adapted[4:].mean())
    assert apart["adapted"]["accuracy"]["weighted"] == pytest.approx(np.average(adapted[4:], weights=sizes[4:]))
    assert json.loads((directory.path / "summary.json").read_text())["unseen"]["clients"] == list(UNSEEN)


def test_the_lines_of_the_rounds_count_the_seen(fedavg):
    _, history, directory = fedavg
    for number, line in enumerate(directory.read_rounds()):
        for name in ("val/loss", "test/accuracy", "test/macro_f1"):
            served = history.evaluations[f"served/{name}"][number, SEEN]
            assert line[f"served/{name}"] == pytest.approx(served.mean())


def test_without_unseen_clients_there_is_nothing_apart(fedavg):
    _, history, _ = fedavg
    assert unseen_summary(history, {}, np.zeros(6, bool), np.ones(6)) is None


def test_local_training_helps_a_client_of_other_classes(fedavg):
    """Clients hold four classes of ten each: what they are served knows all ten."""
    summary, _, directory = fedavg
    apart = summary["unseen"]
    assert apart["adapted"]["accuracy"]["min"] > apart["served"]["accuracy"]["mean"] + 0.1
    assert apart["adapted"]["loss"]["mean"] < apart["served"]["loss"]["mean"]
    arrays = directory.read_clients()
    assert {name.split("/")[2] for name in arrays if name.startswith("adapted/")} == {"val", "test"}


def test_what_they_are_served_is_scored_before_the_last_local_phase(adaptation):
    """Local adaptation serves the global model; its own last phase is training already."""
    summary, history = adaptation
    apart = summary["unseen"]
    assert history.evaluations["finished"].tolist() == [False] * ROUNDS + [True]
    assert apart["served"] == apart["global"]
    last = history.evaluations["global/test/accuracy"][ROUNDS - 1, 4:]
    assert apart["served"]["accuracy"]["mean"] == pytest.approx(last.mean())
    assert apart["adapted"]["accuracy"]["mean"] > apart["served"]["accuracy"]["mean"]


def test_patience_looks_at_the_seen_alone(clients):
    """The unseen clients' validation loss rises, by the sixth round faster than that of the seen falls."""
    labels = clients.labels.copy()
    rows = np.isin(clients.places[0], UNSEEN)
    labels[rows] = (labels[rows] + 1) % 10
    wrong = dataclasses.replace(clients, labels=labels)
    summary, history = run(config_of(rounds=8, patience=1, scored_model="served", learning_rate=0.3), wrong)
    losses, sizes = history.evaluations["served/val/loss"], clients.sizes["train"]
    assert (np.diff(losses[:, SEEN] @ sizes[SEEN]) < 0).all()
    assert (np.diff(losses @ sizes) > 0).any(), "else this test would show nothing"
    assert summary["rounds"] == 8
