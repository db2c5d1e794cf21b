"""Intervals that are cut into parts, so that a run is saved and stopped within them: no number depends on it."""

import shutil

import pytest

from fedjax_layers.engine.checkpoint import saved_rounds
from fedjax_layers.engine.parts import Parts
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import prepare
from tests.counting import count_compilations
from tests.engine.test_checkpoint import assert_same_results, run_into


def config_of(**changes):
    values = {"rounds": 7, "eval_every": 5, "cohort": 3, "client_width": "all", "batch_size": 128} | changes
    return RunConfig("fedavg", dataset="heart", model="logistic_regression", evaluated_models="both", **values)


@pytest.fixture(scope="module", params=[(), ("data", "state")], ids=["device", "host"])
def whole(request, tmp_path_factory):
    """The config of a run, and the folder of its whole."""
    config, folder = config_of(on_host=request.param), tmp_path_factory.mktemp("whole") / "run"
    run_into(folder, config)
    return config, folder


def stop_at(*rounds):
    return lambda done: done in rounds


def test_a_run_that_saves_after_every_round_has_the_numbers_of_one_that_does_not(whole, tmp_path):
    config, folder = whole
    seen, shown = [], []
    with count_compilations() as clock:
        run_into(
            tmp_path / "run",
            config,
            save_every=0,
            stop=seen.append,
            progress=lambda done, _: shown.append(done),
        )
    assert clock.compilations == 0, "parts are computed by the program of the whole interval"
    assert seen == [1, 2, 3, 4, 5, 6]
    assert shown == [5, 7]
    assert_same_results(tmp_path / "run", folder)


@pytest.mark.parametrize("stops", [(3,), (2, 4, 6), (5, 6)], ids=str)
def test_a_run_that_stops_within_an_interval_goes_on_from_there(whole, tmp_path, stops):
    config, folder = whole
    for done in stops:
        summary, history = run_into(tmp_path / "run", config, resume=True, save_every=0, stop=stop_at(done))
        assert (summary, history.rounds_done, saved_rounds(tmp_path / "run" / "checkpoints")) == ({}, done, done)
    run_into(tmp_path / "run", config, resume=True)
    assert_same_results(tmp_path / "run", folder)


def test_a_kill_within_an_interval_loses_one_part(whole, tmp_path):
    config, folder = whole

    def crash(done):
        if done == 4:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run_into(tmp_path / "run", config, save_every=0, stop=crash)
    assert saved_rounds(tmp_path / "run" / "checkpoints") == 3
    assert RunDirectory(tmp_path / "run").read_rounds() == []
    run_into(tmp_path / "run", config, resume=True)
    assert_same_results(tmp_path / "run", folder)


def test_a_run_that_is_extended_stops_within_its_new_intervals(whole, tmp_path):
    config, _ = whole
    longer = config_of(rounds=12, on_host=config.on_host)
    run_into(tmp_path / "whole", longer)
    shutil.copytree(whole[1], tmp_path / "run")
    for done in (8, 11):
        directory = RunDirectory.create(tmp_path / "run", longer, resume=True, free=("rounds",))
        execute(prepare(longer), directory, resume=True, save_every=0, stop=stop_at(done))
    assert [line["round"] for line in directory.read_rounds()] == [5, 10]
    run_into(tmp_path / "run", longer, resume=True)
    assert_same_results(tmp_path / "run", tmp_path / "whole")


def test_a_part_has_as_many_rounds_as_the_time_allows(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    parts = Parts(5.0)
    assert parts.begin(1000) == 1
    now[0] += 30  # the first one may compile, too
    parts.end(1)
    assert parts.begin(999) == 1
    now[0] += 0.5
    parts.end(1)
    assert parts.begin(998) == 10
    assert parts.begin(4) == 4
    assert Parts(None).begin(1000) == 1000
