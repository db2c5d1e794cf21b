"""A run says which clients returned numbers that are not finite, and whether it diverged; its exit code does, too."""

import numpy as np
import pytest

from fedjax_layers.experiment.records.run_directory import RunDirectory
from tests.cli.command import SMALL, cli


@pytest.mark.parametrize("name", ["run", "compare"])
def test_a_run_with_broken_clients_ends_well_and_names_them(name, tmp_path):
    outcome = cli(name, "fedavg", *SMALL, "--broken", 0.5, "--drop-during", 0.3, "--seed", 4, "--out", tmp_path / "a")
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "a" if name == "run" else tmp_path / "a" / "fedavg" / "seed-4"
    summary = RunDirectory(folder).read("summary")
    assert summary["diverged"] is None
    told = summary["nonfinite"]
    assert told["results"] >= len(told["clients"]) > 0
    assert f"Results that are not finite: {told['results']} time" in outcome.out
    assert f"{', '.join(map(str, told['clients']))}." in outcome.out.replace("\n", " ")
    assert f"Clients dropped out {summary['dropped']} time" in outcome.out
    lines = RunDirectory(folder).read_rounds()
    assert sum(line["nonfinite"] for line in lines) == told["results"]
    assert sum(line["dropped"] for line in lines) == summary["dropped"]
    assert np.isfinite(summary["personal"]["loss"]["mean"])


def test_a_run_may_stop_at_the_first_broken_client(tmp_path):
    outcome = cli("run", "fedavg", *SMALL, "--broken", 1, "--nonfinite", "stop", "--out", tmp_path / "a")
    assert outcome.code == 3
    expected = "fedavg, seed 0, round 1: expected finite results, got others from client 0, 1, 2, 3"
    assert outcome.err.strip() == f"fedjax-layers: {expected}"


def test_a_run_that_kept_broken_results_says_that_it_diverged(tmp_path):
    outcome = cli("run", "fedavg", *SMALL, "--broken", 1, "--nonfinite", "keep", "--out", tmp_path / "a")
    assert outcome.code == 3
    assert "Diverged: the median test loss over clients is not finite." in outcome.out


def test_a_step_that_is_far_too_large_is_told(tmp_path):
    outcome = cli("run", "fedavg", *SMALL, "--learning-rate", 1e12, "--out", tmp_path / "a")
    assert outcome.code == 3
    assert "Diverged: " in outcome.out
