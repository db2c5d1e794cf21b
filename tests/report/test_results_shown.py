"""Results say in a line what they are, show a short table in a notebook, and become tables of pandas."""

import functools
import sys

import numpy as np
import pytest

import fedjax_layers as fl
from fedjax_layers.engine.history.display import html_table, usual_model
from fedjax_layers.engine.history.history import History
from tests import toy

TASK = toy.make_task(np.float32)


@functools.cache
def build():
    trainer = functools.partial(toy.make_trainer, TASK)  # the same programs as in test_plots.py
    return lambda numbers: fl.algorithms.fedper(trainer(learning_rate=numbers["rate"]), personal_layers=1)


@pytest.fixture(scope="module")
def source():
    return toy.make_federation(toy.make_pool(dtype=np.float32))


@pytest.fixture(scope="module")
def swept(source):
    """Two settings with two seeds each."""
    return fl.sweep(build(), {"rate": [0.1, 0.02]}, TASK, source, rounds=2, seeds=(3, 4), width=1)


@pytest.fixture(scope="module")
def result(source):
    """The first run of the sweep by itself: the same program."""
    return fl.simulate(build(), TASK, source, rounds=2, hyper={"rate": 0.1}, seed=3)


def test_a_result_is_a_line(result):
    assert repr(result).startswith("Result(seed=3, History(2 rounds, 2 evaluations of 5 clients: served, trained)")
    assert "macro_f1" in repr(result)
    assert len(repr(result)) < 250
    assert repr(History()) == "History(0 rounds, 0 evaluations)"


def test_a_task_is_a_line_and_many_layers_are_cut_short():
    assert repr(TASK) == "Task(layers: 3, parameters: 103 (0 30, 1 49, 2 24), outputs: 3)"
    many = fl.ops.layer_map({f"layer_{i:02d}": np.zeros(2) for i in range(50)})
    told = repr(TASK._replace(layers=many))
    assert "layers: 50, parameters: 100 (layer_00 2, layer_01 2, layer_02 2, layer_03 2, ..., layer_48 2" in told


def test_clients_data_are_a_line():
    splits = "470 train, 120 val, 150 test examples"
    told = repr(fl.data.load("heart"))
    assert told == f"ClientData(heart: 4 clients, {splits}; inputs float32 [740, 10], labels int32 [740])"


def test_a_sweep_is_a_line(swept):
    assert repr(swept) == "SweepResult(4 runs (4 finished); rate: 2 values; 2 seeds)"


def test_notebooks_show_a_short_table_and_no_markup_of_names(result, swept):
    assert "<td>macro_f1</td>" in result._repr_html_()
    assert swept._repr_html_().count("<tr>") == 3
    hostile = html_table("<script>", ["<b>"], [["<img src=x onerror=alert(1)>"]], "</p>")
    assert "<script>" not in hostile
    assert "<img" not in hostile
    assert "&lt;b&gt;" in hostile


def test_the_model_served_counts_where_cohorts_are_drawn(result):
    assert usual_model(result.history) == "trained"
    arrays = result.history.to_arrays()
    trained = {name: x.copy() for name, x in arrays["evaluations"].items() if name.startswith("trained/test/")}
    for values in trained.values():
        values[:, 1] = np.nan  # client 1 was in no cohort
    cohorts = History.from_arrays(arrays | {"evaluations": arrays["evaluations"] | trained})
    assert usual_model(cohorts) == "served"
    assert usual_model(History()) is None


def test_a_table_has_a_row_for_each_evaluation_and_client(result):
    pytest.importorskip("pandas")
    table, evaluations = result.to_frame(), result.history.evaluations
    assert len(table) == 2 * toy.CLIENTS
    assert list(table.columns[:5]) == ["seed", "round", "finished", "client", "examples"]
    last = table[table["round"] == 2].set_index("client")["served/test/accuracy"]
    np.testing.assert_array_equal(last.to_numpy(), evaluations["served/test/accuracy"][1])
    assert not [name for name in table.columns if name.startswith("pooled") or "class_" in name]


def test_a_table_has_a_row_for_each_round(result):
    pytest.importorskip("pandas")
    table = result.to_frame("rounds")
    assert table["round"].tolist() == [1, 2]
    names = [f"sent/{layer}" for layer in TASK.layers.names]
    np.testing.assert_array_equal(table[names].to_numpy(), result.history.rounds["sent"])
    with pytest.raises(ValueError, match="rows: "):
        result.to_frame("layers")


def test_a_sweeps_table_has_a_row_for_each_run(swept):
    pytest.importorskip("pandas")
    table = swept.to_frame()
    assert table[["rate", "seed"]].to_numpy().tolist() == [[0.1, 3], [0.1, 4], [0.02, 3], [0.02, 4]]
    np.testing.assert_allclose(table["personal/test/macro_f1"], swept.scores("macro_f1"))
    assert (table["bytes_up"] > 0).all()


def test_without_pandas_one_line_says_what_to_install(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        ImportError, match=r"to_frame: expected pandas, found none; pip install 'fedjax-layers\[notebook\]'"
    ):
        result.to_frame()
