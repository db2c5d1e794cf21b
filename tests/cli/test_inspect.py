"""``inspect``: who the clients of a run were, and how each one does; a run lists few of them itself."""

import csv
import io
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
