"""``inspect``: who the clients of a run were, and how each one does; a run lists few of them itself."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.cli.command import SMALL, assert_refused, cli


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "[bold]a[/b]"
    return folder, cli("run", "fedavg", *SMALL, "--model", "logistic_regression", "--out", folder)


def test_a_run_lists_its_few_clients(run):
    folder, outcome = run
    assert outcome.code == 0
    with np.load(folder / "clients.npz") as arrays:
        score, size = arrays["trained/best/test/macro_f1"][0], arrays["train_examples"][0]
        (name, *_) = arrays["client_names"]
    (row,) = [line.split() for line in outcome.out.splitlines() if line.startswith(f" {name}")]
    assert str(size) in row
    assert f"{score:.3f}" in row
    assert f"Run directory: {folder}" in outcome.out, "a folder's name is printed as it is"


def test_inspect_shows_the_same(run):
    folder, outcome = run
    found = cli("inspect", folder)
    assert found.code == 0
    assert all(line in outcome.out for line in found.out.splitlines())
    last = cli("inspect", folder, "--scored-round", "last")
    assert "of the last round" in last.out


def test_all_scores_as_comma_separated_values(run):
    folder, _ = run
    rows = list(csv.DictReader(io.StringIO(cli("inspect", folder, "--csv").out)))
    with np.load(folder / "clients.npz") as arrays:
        assert [row["client_names"] for row in rows] == arrays["client_names"].tolist()
        np.testing.assert_array_equal(
            [float(row["trained/best/test/loss"]) for row in rows], arrays["trained/best/test/loss"]
        )


def test_what_is_no_finished_run_is_refused(run, tmp_path):
    folder, _ = run
    assert_refused(cli("inspect", "none"), "folder: ", "found none at none")
    assert_refused(cli("inspect", tmp_path), "folder: ", "expected a finished run with summary.json")
    assert_refused(cli("inspect", folder, "--scored-model", "traned"), "--scored-model: ", "did you mean 'trained'?")
    assert_refused(cli("inspect", folder, "--rounds", "3"), "inspect: expected no flags but its own")


def test_a_reader_that_stops_early_is_no_error(run):
    folder, _ = run
    code = f"import sys; from fedjax_layers.cli import main; sys.exit(main(['inspect', {str(folder)!r}, '--csv']))"
    read, write = os.pipe()
    os.close(read)  # as `head` does when it has had enough
    found = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run whose clients keep their last layer, with its models."""
    folder = tmp_path_factory.mktemp("runs") / "saved"
    assert cli("run", "fedper", *SMALL, "--model", "mlp", "--hidden", "6", "--save-model", "--out", folder).code == 0
    return folder


def test_metrics_of_layers_as_table_picture_json_and_csv(saved, tmp_path):
    picture = tmp_path / "layers.png"
    found = cli("inspect", saved, "--layer-metrics", "all", "--examples", "4", "--plot", picture)
    assert found.code == 0, found.err
    assert [line.split()[0] for line in found.out.splitlines() if line.startswith(" Dense")] == ["Dense_0", "Dense_1"]
    assert "trace: hessian_trace, trace of the Hessian" in found.out
    assert f"Models: {saved / 'personal.safetensors'}" in found.out
    assert picture.read_bytes().startswith(b"\x89PNG")
    few = ("--layer-metrics", "weight_divergence,update_cosine", "--examples", "4")
    told = json.loads(cli("inspect", saved, *few, "--json").out)
    assert told["layers"] == ["Dense_0", "Dense_1"]
    assert set(told["metrics"]) == {"weight_divergence", "update_cosine"}
    assert len(told["metrics"]["weight_divergence"]) == len(told["clients"])
    file = saved / "personal.safetensors"
    rows = list(csv.DictReader(io.StringIO(cli("inspect", file, *few, "--layers", "Dense_1", "--csv").out)))
    assert [row["layer"] for row in rows] == ["Dense_1"]
    assert float(rows[0]["update_cosine"]) == pytest.approx(told["metrics"]["update_cosine"][1])


def test_what_is_wrong_with_metrics_of_layers_is_told(run, saved, tmp_path):
    folder, _ = run
    ask = ("inspect", saved, "--layer-metrics")
    assert_refused(cli("inspect", folder, "--layer-metrics", "all"), "models: ", "which a run writes with --save-model")
    assert_refused(cli(*ask, "hesian_trace"), "--layer-metrics: ", "did you mean 'hessian_trace'?")
    assert_refused(cli(*ask, "all", "--layers", "Dense_9"), "--layers: ", "did you mean 'Dense_")
    assert_refused(cli(*ask, "all", "--examples", "1"), "--examples: expected at least 2, got 1")
    assert_refused(cli(*ask, "all", "--scored-round", "last"), "--scored-round: expected none beside --layer-metrics")
    assert_refused(cli("inspect", saved, "--plot", "a.png"), "--plot: expected --layer-metrics beside it, got none")
    wrong = cli(*ask, "weight_divergence", "--plot", tmp_path / "a.doc")
    assert_refused(wrong, "--plot: expected the path of a picture")
