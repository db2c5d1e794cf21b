"""Whose scores stand behind a run's headline, where a cohort takes part in each round."""

import dataclasses
import itertools

import numpy as np
import pytest

from fedjax_layers.experiment.config.named_options import with_setting
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.run import execute, summary_of
from fedjax_layers.experiment.setup.prepare import assemble, load_clients

ROUNDS, CLIENTS, COHORT = 6, 9, 2


def config_of(**changes):
    values = {
        "dataset": "digits",
        "model": "logistic_regression",
        "partition": "classes_per_client",
        "data_options": {"classes": 2},
        "clients": CLIENTS,
        "cohort": COHORT,
        "rounds": ROUNDS,
        "batch_size": 128,
        "learning_rate": 0.1,
        "client_width": "all",
    }
    return RunConfig(**{"algorithm": "fedavg"} | values | changes)


@pytest.fixture(scope="module")
def clients():
    return load_clients(config_of())


@pytest.fixture(scope="module")
def runs(clients):
    """The same rounds, evaluated after each one or at the end, and told of in several ways: summary and history."""
    found = {}
    for every in (1, ROUNDS):
        _, history = execute(assemble(config_of(eval_every=every), clients))
        for scored_round, scored_model in itertools.product(("last", "best"), ("auto", "trained")):
            experiment = assemble(
                config_of(eval_every=every, scored_round=scored_round, scored_model=scored_model), clients
            )
            found[every, scored_round, scored_model] = summary_of(experiment, history, {}), history
    return found


def test_the_headline_counts_all_clients_whoever_was_evaluated_when(runs):
    often, once = (runs[every, "last", "auto"][0] for every in (1, ROUNDS))
    assert often["scored_model"] == "served"
    for metric, found in often["personal"].items():
        assert found["n"] == once["personal"][metric]["n"] == CLIENTS
        assert found == pytest.approx(once["personal"][metric], rel=1e-5)
    assert runs[1, "best", "auto"][0]["personal"]["loss"]["n"] == CLIENTS


def test_trained_models_are_scored_over_the_last_rounds_cohort_and_say_so(runs):
    often, once = (runs[every, "last", "trained"] for every in (1, ROUNDS))
    assert often[0]["personal"]["loss"]["n"] == once[0]["personal"]["loss"]["n"] == COHORT
    assert often[0]["personal"]["macro_f1"] == pytest.approx(once[0]["personal"]["macro_f1"], rel=1e-5)
    there = np.isfinite(often[1].evaluations["trained/test/loss"])
    assert there.sum(1).tolist() == [COHORT] * ROUNDS
    # Each client's best round: whoever was ever there when it was evaluated.
    assert runs[1, "best", "trained"][0]["personal"]["loss"]["n"] == there.any(0).sum() > COHORT
    means = runs[1, "last", "auto"][0]["by_model_and_round"]
    assert {how: means["n"] for how, means in means.items()} == {
        "served/last": CLIENTS, "served/best": CLIENTS, "trained/last": COHORT, "trained/best": there.any(0).sum(),
    }  # fmt: skip


def test_the_global_model_is_that_of_one_round(clients):
    """Each client's own best round would score a model that nobody ever had."""
    summary, history = execute(assemble(config_of(learning_rate=0.5), clients))
    test, val = (history.evaluations[f"global/{split}/accuracy"] for split in ("test", "val"))
    examples = history.evaluations["examples"]
    np.testing.assert_array_equal(examples, np.tile(clients.sizes["train"], (ROUNDS, 1)))
    row = int(np.argmin(history.evaluations["global/val/loss"] @ clients.sizes["train"]))
    assert summary["global_round"] == row + 1
    assert summary["global"]["accuracy"]["mean"] == pytest.approx(test[row].mean())
    assert summary["pooled"]["accuracy"] == pytest.approx(history.evaluations["pooled/test/accuracy"][row])
    own = history.evaluations["global/val/loss"].argmin(0)
    assert test[own, np.arange(CLIENTS)].mean() > test.mean(1).max() + 0.05, "the fixture tells the two apart"
    assert val.shape == test.shape == (ROUNDS, CLIENTS)


def test_patience_sees_every_client(clients):
    """Two of nine a round, each of two classes: other clients every time, and a model that goes on getting better."""
    config = config_of(rounds=20, learning_rate=0.01, patience=3)
    summary, history = execute(assemble(config, clients))
    loss = history.evaluations["served/val/loss"] @ clients.sizes["train"]
    lowest, fruitless, right = np.inf, 0, 20
    for number, value in enumerate(loss, start=1):
        fruitless = 0 if value < lowest else fruitless + 1
        lowest = min(lowest, value)
        right = number if fruitless == 3 else right
    assert summary["rounds"] == right


def test_patience_without_validation_examples_is_refused_before_the_run(clients):
    start, count = clients.ranges["val"]
    none = dataclasses.replace(clients, ranges=clients.ranges | {"val": (start, np.zeros_like(count))})
    with pytest.raises(ValueError, match="patience: expected clients with validation examples, got none") as caught:
        assemble(config_of(patience=3), none)
    assert "\n" not in str(caught.value)
    assemble(config_of(), none)


def test_a_sweep_over_cohorts_scores_each_as_its_participation_asks():
    base = config_of(cohort=None)
    assert base.scored_model == with_setting(base, {"learning_rate": 0.2}).scored_model == "trained"
    assert with_setting(base, {"cohort": 3}).scored_model == "served"
    assert with_setting(base, {"cohort": 3, "scored_model": "trained"}).scored_model == "trained"
