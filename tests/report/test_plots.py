"""Plots: what is drawn is what the results say, from memory and from folders."""

import sys

import matplotlib as mpl
import numpy as np
import pytest

import fedjax_layers as fl
from fedjax_layers.clients import Setting
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import prepare
from fedjax_layers.report.page.found import Found
from fedjax_layers.report.plots import given
from fedjax_layers.sweeps.results import SweepFolder, sweep_config
from tests import toy

mpl.use("agg")
TASK = toy.make_task(np.float32)


@pytest.fixture(scope="module")
def swept():
    """Two settings with two seeds each, and a second evaluation."""

    def build(numbers):
        return fl.algorithms.fedper(toy.make_trainer(TASK, learning_rate=numbers["rate"]), personal_layers=1)

    source = toy.make_federation(toy.make_pool(dtype=np.float32))
    return fl.sweep(build, {"rate": [0.1, 0.02]}, TASK, source, rounds=2, seeds=(3, 4), width=1)


@pytest.fixture(scope="module")
def results(swept):
    """The sweep's runs as results by label, a list of seeds each; only their histories and layers are looked at."""
    setting = Setting(TASK, toy.CLIENTS, int(toy.COUNTS.max()))
    runs = [fl.Result(None, h, s, None, setting) for h, s in zip(swept.histories, swept.seeds, strict=True)]
    return {"fast": runs[:2], "slow": runs[2:]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a run of two rounds."""
    path = tmp_path_factory.mktemp("run") / "run"
    config = RunConfig(algorithm="fedavg", dataset="heart", model="logistic_regression", rounds=2, client_width="all")
    execute(prepare(config), RunDirectory.create(path, config))
    return path


@pytest.fixture(autouse=True)
def _close():
    yield
    mpl.pyplot.close("all")


def test_a_profile_has_axes_for_each_metric():
    shared = {"update_cosine": np.array([0.5, 0.1])}
    each = {"hessian_trace": np.array([[1.0, 5000.0], [3.0, np.nan]])}
    profile = fl.LayerProfile(("first", "last"), ("a", "b"), shared | each)
    cosine, trace = fl.plot_profile(profile)
    np.testing.assert_array_equal(cosine.lines[0].get_ydata(), [0.5, 0.1])
    assert [line.get_ydata().tolist() for line in trace.lines[:1]] == [[1.0, 5000.0]]
    np.testing.assert_array_equal(trace.lines[-1].get_ydata(), [2.0, 5000.0])
    assert (cosine.get_yscale(), trace.get_yscale()) == ("linear", "log")
    assert [label.get_text() for label in trace.get_xticklabels()] == ["first", "last"]
    assert fl.plot_profile(profile, axes=[cosine, trace])[1] is trace
    with pytest.raises(ValueError, match="axes: expected 2, one for each metric, got 1"):
        fl.plot_profile(profile, axes=cosine)
    with pytest.raises(TypeError, match=r"profile: expected what fl.layer_profile returns, got dict"):
        fl.plot_profile({})


def means(histories, name):
    return np.mean([np.nanmean(h.evaluations[name], axis=1) for h in histories], axis=0)


def test_a_curve_is_the_mean_over_clients_and_seeds_with_a_band(swept, results):
    ax = fl.plot_learning_curves(results, "accuracy", model="served")
    fast, slow = ax.get_lines()
    np.testing.assert_allclose(fast.get_xydata()[:, 0], [1, 2])
    np.testing.assert_allclose(fast.get_ydata(), means(swept.histories[:2], "served/test/accuracy"), rtol=1e-6)
    np.testing.assert_allclose(slow.get_ydata(), means(swept.histories[2:], "served/test/accuracy"), rtol=1e-6)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["fast", "slow"]
    each = [np.nanmean(h.evaluations["served/test/accuracy"], axis=1) for h in swept.histories[:2]]
    low, high = ax.collections[0].get_datalim(ax.transData).intervaly
    assert (low, high) == pytest.approx((np.min(each), np.max(each)), rel=1e-5)


def test_a_sweep_has_a_curve_for_each_setting_and_losses_can_be_shown(swept):
    ax = fl.plot_learning_curves(swept, "train_loss")
    assert [line.get_label() for line in ax.get_lines()] == ["rate 0.1", "rate 0.02"]
    expected = np.mean([h.rounds["loss"] for h in swept.histories[:2]], axis=0)
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), expected, rtol=1e-6)


def test_bytes_are_what_all_clients_moved_so_far(swept, results):
    ax = fl.plot_bytes({"fast": results["fast"][0]})
    row = swept.rows()[0]
    total = (row["bytes_up"] + row["bytes_down"]) / 1e6
    np.testing.assert_allclose(ax.get_lines()[0].get_xdata(), [total / 2, total])  # all clients, in both rounds


def test_clients_are_sorted_and_gains_are_paired(swept, results):
    one = {label: runs[0] for label, runs in results.items()}
    ax = fl.plot_clients(one, "loss")
    fast, slow = (h.scores("trained", "best")["loss"] for h in (swept.histories[0], swept.histories[2]))
    there = np.isfinite(fast)
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), np.sort(fast[there]))
    gained = fl.plot_clients(one, "loss", minus="slow").get_lines()[0].get_ydata()
    np.testing.assert_allclose(gained, np.sort((slow - fast)[there]))  # of a loss, less is a gain


def test_layers_are_a_map_of_shares_and_of_records(swept, results):
    (image,) = fl.plot_layers(results["fast"][0]).images
    np.testing.assert_allclose(image.get_array(), [[1, 1], [1, 1], [0, 0]])  # fedper keeps the last
    with pytest.raises(ValueError, match="record: "):
        fl.plot_layers(results["fast"][0], "scores")


def test_a_sweep_is_drawn_from_memory_and_from_its_folder(swept, tmp_path):
    ax = fl.plot_sweep(swept, "accuracy")
    (line,) = ax.get_lines()
    mean = swept.scores("accuracy").reshape(2, 2).mean(1)
    np.testing.assert_allclose(line.get_xydata(), [[0.02, mean[1]], [0.1, mean[0]]])
    config = sweep_config([], {"log": {}})
    folder = SweepFolder.create(tmp_path / "sweep", config | {"runs": {"0": {"setting": swept.settings[0]}}})
    folder.append([row | {"run": number} for number, row in enumerate(swept.rows())])
    (again,) = fl.plot_sweep(folder.path, "accuracy").get_lines()
    np.testing.assert_allclose(again.get_xydata(), line.get_xydata())


def test_a_folder_is_drawn_under_the_name_of_its_algorithm(folder):
    ax = fl.plot_learning_curves([folder])
    assert ax.get_lines()[0].get_label() == "fedavg"
    assert "macro-F1 (higher is better), trained" in ax.get_ylabel()
    assert len(fl.plot_clients(folder).get_lines()[0].get_ydata()) == 4
    assert len(fl.plot_bytes(folder).get_lines()[0].get_xdata()) == 2
    assert fl.plot_layers(folder).get_yticklabels()[0].get_text() == "RowDense_0"


def test_given_axes_are_drawn_on_and_returned(results, swept):
    _, axes = mpl.pyplot.subplots(1, 4)
    for plot, ax in zip((fl.plot_learning_curves, fl.plot_bytes, fl.plot_clients, fl.plot_sweep), axes, strict=True):
        assert plot(swept if plot is fl.plot_sweep else results, ax=ax) is ax
        assert ax.get_lines()


def test_what_cannot_be_drawn_is_refused_in_a_line(results, monkeypatch):
    monkeypatch.setattr(given, "find", lambda folders: Found([], [], [], []))  # as of the folder of a sweep
    with pytest.raises(ValueError, match="results: expected runs, found the sweep some/sweep, which plot_sweep draws"):
        given.methods_given("some/sweep")
    with pytest.raises(TypeError, match="results: expected a Result, a SweepResult, folders of runs"):
        given.methods_given(3)
    with pytest.raises(ValueError, match="results: expected at least one run"):
        given.methods_given([])
    with pytest.raises(ValueError, match=r"metric: .*accurracy.*accuracy"):
        fl.plot_learning_curves(results, "accurracy")
    with pytest.raises(ValueError, match=r"minus: .*fst.*fast"):
        fl.plot_clients(results, minus="fst")
    with pytest.raises(ValueError, match="metric: "):
        fl.plot_clients(results, "acc")


def test_without_matplotlib_one_line_says_what_to_install(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"^plot: expected matplotlib, found none; pip install .*\[plot\]'$"):
        fl.plot_learning_curves(results)
