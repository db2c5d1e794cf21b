"""PLayer-FL's control cuts: labels permuted within clients only, cuts beside every run's own."""

import dataclasses

import numpy as np
import pytest

from fedjax_layers.algorithms import registry
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.controls import control_decisions, permuted_labels
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import load_clients, prepare
from tests.counting import count_compilations

CONTROLS = registry["player_fl"].report.controls
CONFIG = RunConfig(algorithm="player_fl", dataset="heart", rounds=1, client_width="all", batch_size=128)


@pytest.fixture(scope="module")
def clients():
    return load_clients(CONFIG)


def test_labels_are_permuted_within_each_client_and_split(clients):
    labels = permuted_labels(clients, seed=0)
    for client in range(clients.num_clients):
        for split in ("train", "val", "test"):
            rows = clients.rows(client, split)
            np.testing.assert_array_equal(np.sort(labels[rows]), np.sort(clients.labels[rows]))
        rows = clients.rows(client, "train")
        assert (labels[rows] != clients.labels[rows]).any()
    assert labels.dtype == clients.labels.dtype
    assert not clients.labels.flags.writeable, "the run's own labels must stay"


def test_the_permutation_follows_its_seed(clients):
    np.testing.assert_array_equal(permuted_labels(clients, 1), permuted_labels(clients, 1))
    assert (permuted_labels(clients, 1) != permuted_labels(clients, 2)).any()


@pytest.fixture(scope="module")
def run():
    experiment = prepare(CONFIG)
    return experiment, execute(experiment)[0]


def test_a_player_fl_summary_holds_its_controls(run):
    _, summary = run
    assert set(summary["controls"]) == {"initialisation", "permuted_labels", "weight_count"}
    for cut in (summary["cut"], *summary["controls"].values()):
        assert isinstance(cut, int)
        assert 0 <= cut <= len(summary["layers"]) == 4
    assert len(summary["layer_scores"]) == 4


def test_the_weight_count_by_hand(run):
    """10-50-20-20-5 has 500, 1000, 400 and 100 weights: the first fall by more than the threshold is the cut."""
    experiment, summary = run
    assert experiment.plan.task.layers.scored_sizes == (500, 1000, 400, 100)
    assert summary["controls"]["weight_count"] == 2  # 1000 / 400 = 2.5 > 1.5
    high = dict(experiment.inputs.hyper) | {"options": {"threshold": np.float32(3.0)}}
    inputs = experiment.inputs._replace(hyper=high)
    cuts = control_decisions(CONTROLS, experiment.builder, experiment.plan, inputs, experiment.data, 0)
    assert cuts["weight_count"] == 3  # 400 / 100 = 4 > 3


def test_options_that_are_not_of_the_rule_compile_nothing_more(run):
    experiment, summary = run
    builder = dataclasses.replace(experiment.builder, options=(*experiment.builder.options, ("fixed_cut", 2)))
    with count_compilations() as clock:
        cuts = control_decisions(CONTROLS, builder, experiment.plan, experiment.inputs, experiment.data, CONFIG.seed)
    assert clock.compilations == 0
    assert cuts == summary["controls"]


@pytest.mark.slow
def test_other_algorithms_have_no_controls():
    experiment = prepare(RunConfig(algorithm="local", dataset="heart", rounds=1, client_width="all", batch_size=128))
    assert "controls" not in execute(experiment)[0]
