"""What is read from folders of runs, and put side by side: every number agrees with those of the run itself."""

import json

import numpy as np
import pytest

from fedjax_layers.experiment.comparison import differences_of
from fedjax_layers.experiment.finished.clients import gained, quantiles, sorted_scores, thinned
from fedjax_layers.experiment.finished.measured import measured_run
from fedjax_layers.experiment.finished.methods import (
    curve_of,
    experiments_of,
    layer_band,
    methods_of,
    score_interval,
    traffic_of,
)
from fedjax_layers.experiment.statistics import mean_interval, paired_difference
from fedjax_layers.storage import StorageError
from tests.report.made_runs import made_comparison, made_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made_comparison(tmp_path_factory.mktemp("measured") / "all")


@pytest.fixture(scope="module")
def compared(folder):
    paths = sorted(
        folder.glob("*/seed-*"), key=lambda p: (p.name, ["local", "fedavg", "player_fl"].index(p.parent.name))
    )
    (found,) = experiments_of(map(measured_run, paths))
    return found


def test_the_bytes_of_all_rounds_add_up_to_the_summary(folder):
    run = measured_run(folder / "player_fl" / "seed-0")
    assert run.curves["bytes"][-1] == run.summary["bytes_up"] + run.summary["bytes_down"]
    assert (np.diff(run.curves["bytes"]) == 4 * 4 * 2 * 20 + 12).all()


def test_curves_are_means_over_clients(folder):
    run = measured_run(folder / "fedavg" / "seed-1")
    own = run.summary["by_model_and_round"]["trained/last"]["macro_f1"]
    assert run.curves["trained/test/macro_f1"][-1] == pytest.approx(own, rel=1e-12)
    assert run.curves["global/test/loss"].shape == (3,)
    assert "team/test/loss" not in run.curves


def test_methods_are_compared_as_the_command_does(compared):
    assert [method.label for method in compared.methods] == ["local", "fedavg", "player_fl"]
    assert compared.seeds == [0, 1]
    every = [summary for method in compared.methods for summary in method.summaries]
    assert compared.differences == differences_of(every)
    assert compared.tests["mean_ranks"].keys() == {"local", "fedavg", "player_fl"}
    method = compared.methods[1]
    means = [summary["personal"]["macro_f1"]["mean"] for summary in method.summaries]
    assert score_interval(method, "macro_f1") == mean_interval(means)


def test_an_interval_of_a_mean_is_that_of_differences_to_nothing():
    values = np.array([0.1, 0.4, 0.5])
    assert mean_interval(values) == tuple(paired_difference(values, np.zeros(3)))
    assert np.isnan(mean_interval([1.0])[1])


def test_bands_go_from_the_lowest_to_the_highest_seed(compared):
    method = compared.methods[2]
    band = curve_of(method, "trained/test/loss")
    each = np.stack([run.curves["trained/test/loss"] for run in method.runs])
    np.testing.assert_array_equal([band.low, band.high], [each.min(0), each.max(0)])
    np.testing.assert_allclose(band.mean, each.mean(0))
    assert layer_band(method, 0).mean.shape == (3, 2)
    assert traffic_of(method).shared.tolist() == [1, 1]


def test_gains_are_paired_by_client_and_positive_where_better(compared):
    local, fedavg, _ = compared.methods
    gain = sorted_scores(fedavg, "loss", local)
    own, base = (np.concatenate([run.clients["loss"] for run in method.runs]) for method in (fedavg, local))
    np.testing.assert_allclose(gain.values, np.sort(base - own), err_msg="a lower loss is a gain")
    assert sum(gained(gain)) == 8
    assert quantiles(gain)[0] == gain.values[0]
    few = thinned(gain, 3)
    assert (few.values[0], few.values[-1], len(few.values)) == (gain.values[0], gain.values[-1], 3)


def test_other_clients_are_not_paired(tmp_path):
    runs = [
        measured_run(made_run(tmp_path / name, name, partition_hash=name, rounds=1).path)
        for name in ("local", "fedavg")
    ]
    (compared,) = experiments_of(runs)
    assert (compared.seeds, compared.differences) == ([], {})
    assert sorted_scores(compared.methods[1], "loss", compared.methods[0]).values.size == 0


def test_settings_tell_methods_of_one_algorithm_apart(tmp_path):
    made = [
        made_run(tmp_path / str(x), "fedprox", seed, algorithm_options={"mu": x}) for x in (0.1, 1.0) for seed in (0,)
    ]
    made.append(made_run(tmp_path / "third", "fedprox", 1, algorithm_options={"mu": 1.0}))
    methods = methods_of(measured_run(run.path) for run in made)
    assert [(m.label, len(m.runs)) for m in methods] == [
        ("fedprox (algorithm.mu 0.1)", 1),
        ("fedprox (algorithm.mu 1.0)", 2),
    ]


DAMAGE = {
    "config.json": "{}",
    "summary.json": "[]",
    "clients.npz": "nothing",
    "rounds.jsonl": "nothing\n",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_told_in_one_line(tmp_path, name):
    run = made_run(tmp_path / "run", rounds=1)
    (run.path / name).write_text(DAMAGE[name])
    with pytest.raises(StorageError, match=name) as told:
        measured_run(run.path)
    assert "\n" not in str(told.value)


def test_a_summary_of_another_version_is_told(tmp_path):
    run = made_run(tmp_path / "run", rounds=1)
    old = run.read("summary")
    del old["layer_bytes_up"]
    (run.path / "summary.json").write_text(json.dumps(old))
    with pytest.raises(StorageError, match=r"summary of this version.*layer_bytes_up"):
        measured_run(run.path)


def test_a_run_that_has_not_ended_has_curves_only(tmp_path):
    run = measured_run(made_run(tmp_path / "run", ended=False).path)
    assert run.summary is None
    assert run.curves["round"].tolist() == [1, 2, 3]
    (compared,) = experiments_of([run])
    assert (compared.metric, compared.ended) == (None, [])
