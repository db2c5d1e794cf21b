"""Sweeps of configs: each row is that of the run by itself, whatever was computed together."""

import numpy as np
import pytest

from fedjax_layers.experiment.config.named_options import with_setting
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import prepare
from fedjax_layers.sweeps import widths
from fedjax_layers.sweeps.branches import StoppedError
from fedjax_layers.sweeps.config_sweep import run_sweep
from fedjax_layers.sweeps.configs import swept_runs
from fedjax_layers.sweeps.request import Stopping, SweepRequest, product
from fedjax_layers.sweeps.results import row_of
from fedjax_layers.sweeps.widths import Programs
from tests.counting import count_compilations

HEART = {"dataset": "heart", "rounds": 3, "batch_size": 64, "client_width": "1", "evaluated_models": "trained"}


def make(algorithm, **changes):
    return RunConfig(algorithm=algorithm, **HEART | changes)


def runs_of(base, settings, seeds=(0,), vary=("start", "partition", "sampling")):
    return swept_runs(SweepRequest(settings, seeds, vary), lambda setting: with_setting(base, setting))


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def alone(run):
    """The row of a run by itself."""
    experiment = prepare(run.config)
    summary, history = execute(experiment)
    config, sizes = run.config, experiment.data.sizes["train"]
    row = row_of(
        history, experiment.plan.task.layers, sizes, scored_model=config.scored_model, scored_round=config.scored_round
    )
    assert row["personal/test/accuracy"] == summary["personal"]["accuracy"]["mean"]
    return row


def assert_rows(rows, runs, tolerance=0.0):
    assert [row["run"] for row in rows] == [run.number for run in runs]
    for row, run in zip(rows, runs, strict=True):
        expected = alone(run)
        assert row["seed"] == run.seed
        for name, value in expected.items():
            np.testing.assert_allclose(row[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


def test_rows_of_thresholds_equal_their_runs_to_the_last_bit():
    runs = runs_of(make("player_fl"), product(threshold=[0.5, 0.50001, 1.5, 4.0, 80.0, 90.0]), (0, 3))
    programs = Programs()
    rows = run_sweep(runs, programs)
    assert_rows(rows, runs)
    assert {row["num_shared_layers"] for row in rows if row["threshold"] > 50} == {4}
    assert programs.compiled == 1


@pytest.mark.parametrize("width", [1, 2])
def test_rows_of_a_grid_equal_their_runs(width):
    base = make("fedprox", cohort=3, patience=2, rounds=5)
    runs = runs_of(base, product(mu=[0.0, 1.0], learning_rate=[0.01, 0.3]), (0, 5))
    rows = run_sweep(runs, Programs(width=width))
    assert_rows(rows, runs, 1e-5 if width > 1 else 0.0)
    assert {row["why"] for row in rows} == {"finished", "patience"}


@pytest.mark.slow
def test_many_settings_with_a_seed_see_the_same_batches():
    runs = runs_of(make("ditto", cohort=3), product(lam=np.geomspace(0.01, 1, 9).tolist()), (0, 5))
    rows = run_sweep(runs, Programs(width=2))
    assert_rows(rows[::4], runs[::4], 1e-5)


@pytest.mark.parametrize(
    ("algorithm", "name", "values", "options"),
    [
        slow("fedtlu", "k", [0, 2], {}),
        slow("heurpfedla", "retained", [0, 3], {}),
        slow("fedper", "personal_layers", [1, 4], {}),
        slow("player_fl", "fixed_cut", [0, 2], {}),
        slow("permfl", "team_rounds", [1, 3], {"num_teams": 2}),
    ],
)
def test_whole_numbers_that_are_varied_are_traced(algorithm, name, values, options):
    base = make(algorithm, algorithm_options=options, evaluated_models="both")
    runs = runs_of(base, product(**{name: values}))
    programs = Programs()
    rows = run_sweep(runs, programs)
    assert programs.compiled == 1
    assert_rows(rows, runs, 1e-6)


@pytest.mark.slow
def test_rounds_before_a_setting_matters_are_computed_once():
    runs = runs_of(make("demlearn", rounds=6, eval_every=2), product(amplified_rounds=[1, 3, 5, 9, 20]))
    seen = []
    rows = run_sweep(runs, Programs(), tick=lambda done, branches: seen.append(done))
    assert_rows(rows, runs, 1e-6)
    assert sorted(seen) == [2] * 2 + [4] * 3 + [6] * 4  # of 15 intervals


def test_what_is_only_told_otherwise_is_computed_once():
    base = make("fedbabu", evaluated_models="both", eval_every=2)
    settings = product(rounds=[4, 3, 2], scored_round=["best", "last"], scored_model=["served", "trained"])
    runs = runs_of(base, settings)
    seen = []
    programs = Programs()
    rows = run_sweep(runs, programs, tick=lambda done, branches: seen.append(done))
    assert_rows(rows, runs)
    assert seen == [2, 4, 2, 3]  # 3 rounds end between two evaluations


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        slow("permfl", {"team_formation": "random_teams", "evaluated_models": "served", "scored_model": "served"}),
        slow("fedavg", {"attack": "noise", "attack_fraction": 0.5}),
        ("fedavg", {"attack": "label_flip", "attack_fraction": 0.5}),
        slow("hsgd", {"team_formation": "by_updates", "evaluated_models": "served", "scored_model": "served"}),
        slow("fedavg", {"drift": ("class_swap@1:0.5",)}),
    ],
)
def test_what_a_seed_decides_beside_numbers(algorithm, changes):
    base = make(algorithm, **changes, algorithm_options={"num_teams": 2} if "team_formation" in changes else {})
    runs = runs_of(base, [{"learning_rate": 0.05}], (0, 1, 2))
    rows = run_sweep(runs, Programs())
    assert_rows(rows, runs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "name", "values"),
    [
        ("trimmed_mean", "aggregate_bad", [0, 1]),
        ("multi_krum", "aggregate_keep", [1, 3]),
        ("geometric_median", "aggregate_smoothing", [1e-6, 0.3]),
        ("norm_clipping", "aggregate_bound", [0.01, 0.1]),
    ],
)
def test_a_rules_numbers_are_traced(rule, name, values):
    base = make("fedavg", aggregate=rule, **({"aggregate_bad": 0} if rule == "multi_krum" else {}))
    runs = runs_of(base, product(**{name: values}))
    rows = run_sweep(runs, Programs())
    assert_rows(rows, runs, 1e-5)
    assert rows[0]["personal/test/loss"] != rows[1]["personal/test/loss"]


@pytest.mark.slow
def test_static_choices_are_grouped_by_program():
    base = make("fedavg")
    settings = product(learning_rate=[0.01, 0.1], algorithm=["fedavg", "local"], batch_size=[64, 128])
    runs = runs_of(base, settings)
    programs = Programs()
    rows = run_sweep(runs, programs)
    assert programs.compiled == 4 == len(programs.record)
    assert_rows(rows[::3], runs[::3])


@pytest.mark.slow
def test_other_numbers_compile_nothing_more():
    def compilations(thresholds):
        runs = runs_of(make("player_fl", batch_size=60), product(threshold=thresholds))
        with count_compilations() as clock:
            run_sweep(runs, Programs())
        return clock.compilations

    assert compilations([1.5, 9.0]) > 0
    assert compilations(np.linspace(0.1, 9, 64).tolist()) == 0


def test_rungs_stop_settings_and_are_told():
    base = make("fedavg", rounds=4)
    runs = runs_of(base, product(learning_rate=[1e-6, 1e-5, 0.02, 0.05]), (0, 1))
    rows = run_sweep(runs, Programs(), stopping=Stopping((1,), keep=0.5))
    whole = run_sweep(runs, Programs())
    for row, full in zip(rows, whole, strict=True):
        if row["why"] == "finished":
            assert row == full
        else:
            assert (row["why"], row["rounds"], row["learning_rate"] < 1e-4) == ("stopped", 1, True)
    assert sum(row["why"] == "finished" for row in rows) == 4


def test_asking_to_stop_ends_the_sweep():
    runs = runs_of(make("fedavg"), product(learning_rate=[0.01, 0.02, 0.03]))
    told = []
    with pytest.raises(StoppedError):
        run_sweep(runs, Programs(), tick=lambda *_: len(told) == 2, on_rows=told.extend)
    assert [row["run"] for row in told] == [0, 1]


@pytest.mark.slow
def test_a_width_that_does_not_fit_is_halved(monkeypatch):
    said = []
    monkeypatch.setattr(widths, "usable_memory", lambda: 1)
    runs = runs_of(make("fedavg"), product(learning_rate=[0.01, 0.02]))
    run_sweep(runs, Programs(width=4, say=lambda kind, record: said.append((kind, record))))
    ((kind, record),) = said
    assert kind.startswith("fedavg on heart (")
    assert (record["width"], record["usable_bytes"]) == (1, 1)
    assert record["memory_bytes"] > 1
