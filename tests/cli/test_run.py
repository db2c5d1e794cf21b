"""``fedjax-layers run``: the run directory, the table, going on."""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import pytest

import fedjax_layers as fl
from fedjax_layers.cli import run as run_command
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from tests.cli.command import SMALL, cli


@pytest.fixture(scope="module")
def player(tmp_path_factory):
    """A finished run of PLayer-FL: its folder and what was printed."""
    folder = tmp_path_factory.mktemp("run") / "player"
    return folder, cli("run", "player_fl", *SMALL, "--threshold", 2, "--hidden", "6,5,4", "--seed", 3, "--out", folder)


def test_it_ends_well_and_prints_the_table(player):
    folder, outcome = player
    assert outcome.code == 0
    assert outcome.err == ""
    assert "heart: 4 clients" in outcome.out
    assert "client axis: width all, 8 devices (pinned)" in outcome.out
    assert "player_fl, seed 3: round 2 of 2" in outcome.out
    for column in ("algorithm", "macro-F1", "accuracy", "loss", "worst F1", "MB up", "shared"):
        assert column in outcome.out
    summary = RunDirectory(folder).read("summary")
    assert f"{summary['personal']['macro_f1']['mean']:.3f} ±" in outcome.out
    assert f"PLayer-FL shares {summary['cut']} of 4 layers" in outcome.out
    assert "Control cuts:" in outcome.out
    assert f"Run directory: {folder}" in outcome.out.replace("\n", "")


def test_the_run_directory_is_complete(player):
    folder, _ = player
    names = {p.name for p in folder.iterdir()}
    files = {"report.html", "config.json", "manifest.json", "rounds.jsonl", "clients.npz", "summary.json"}
    assert names == files | {"checkpoints", "history", ".lock"}
    run = RunDirectory(folder)
    config = RunConfig.from_mapping(run.read("config"))
    assert config.algorithm_options == {"threshold": 2.0}
    assert config.model_options == {"hidden": (6, 5, 4)}
    assert (config.seed, config.rounds, config.evaluated_models) == (3, 2, "trained")
    manifest = run.read("manifest")
    assert manifest["client_axis"] == {"chosen": "width all, 8 devices", "width": None, "devices": 8, "how": "pinned"}
    assert len(manifest["partition_hash"]) == 64
    assert manifest["devices"]["count"] == 8
    assert [line["round"] for line in run.read_rounds()] == [1, 2]
    clients = run.read_clients()
    assert clients["client_names"].tolist() == ["cleveland", "hungarian", "switzerland", "va"]
    sizes = fl.data.load("heart", seed=3).sizes
    for split, count in sizes.items():
        assert clients[f"{split}_examples"].tolist() == count.tolist()
    scores = clients["trained/best/test/macro_f1"]
    assert scores.shape == (4,)
    summary = run.read("summary")
    assert summary["personal"]["macro_f1"]["mean"] == pytest.approx(scores.mean())
    assert (summary["algorithm"], summary["dataset"], summary["seed"]) == ("player_fl", "heart", 3)
    assert summary["bytes_up"] > 0


def test_resuming_a_finished_run_prints_its_table_again(player):
    folder, first = player
    again = cli(
        "run", "player_fl", *SMALL, "--threshold", 2, "--hidden", "6,5,4", "--seed", 3, "--out", folder, "--resume"
    )
    assert again.code == 0
    row = next(line for line in first.out.splitlines() if line.strip().startswith("player_fl "))
    assert row in again.out
    assert len((folder / "rounds.jsonl").read_text().splitlines()) == 2


def test_without_out_a_new_folder_under_runs_is_made():
    outcome = cli("run", "local", *SMALL)
    assert outcome.code == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("local-heart-")
    assert json.loads((folder / "config.json").read_text())["algorithm"] == "local"


def test_two_runs_of_one_second_get_two_folders(monkeypatch):
    monkeypatch.setattr(run_command.time, "strftime", lambda _: "now")
    options = argparse.Namespace(out=None, resume=False)
    found = []
    for _ in range(3):
        found.append(run_command.out_folder(options, "x"))
        found[-1].mkdir(parents=True)
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"runs/x-now-[0-9a-f]{4}", f.as_posix()) for f in found)


@pytest.mark.slow
def test_a_measured_client_axis_is_in_the_manifest(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDJAX_LAYERS_CACHE", str(tmp_path / "cache"))
    small = [text if text != "all" else "auto" for text in SMALL]
    assert cli("run", "local", *small, "--out", tmp_path / "run").code == 0
    axis = RunDirectory(tmp_path / "run").read("manifest")["client_axis"]
    assert axis["how"] == "measured"
    assert axis["chosen"] in axis["predicted_seconds_per_round"]


def test_a_diverged_run_is_shown_and_written(tmp_path):
    outcome = cli("run", "local", *SMALL, "--learning-rate", 1e30, "--patience", 3, "--out", tmp_path / "run")
    assert outcome.code == 3
    assert "Diverged: since the middle of the run, the results of no client are finite." in outcome.out
    assert outcome.err == ""
    summary = RunDirectory(tmp_path / "run").read("summary")
    assert summary["personal"]["loss"]["mean"] is None
    assert np.isfinite(summary["personal"]["accuracy"]["mean"])
