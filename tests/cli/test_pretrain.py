"""``fedjax-layers pretrain``: a model from the reserve, and runs that may and may not start from it."""

import json

from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from tests.cli.command import assert_refused, cli

DIGITS = ["--dataset", "digits", "--batch-size", "64", "--client-width", "all", "--model", "mlp", "--hidden", "8,8"]


def test_a_run_starts_from_what_no_client_of_it_holds(tmp_path):
    central = cli("pretrain", *DIGITS, "--rounds", 3, "--reserve", 0.4, "--out", tmp_path / "start")
    assert central.code == 0
    assert "digits: 1 client, 460 training examples" in central.out  # 0.8 * 0.8 of 719
    config = RunDirectory(tmp_path / "start").read("config")
    assert RunConfig.from_mapping(config).data_options == {"reserve": 0.4, "reserved": True}
    assert config["keep_optimizer"]
    assert config["save_model"]
    run = ["run", "fedavg", *DIGITS, "--rounds", 1, "--clients", 4, "--init-from", tmp_path / "start"]
    started = cli(*run, "--reserve", 0.4, "--out", tmp_path / "run")
    assert started.code == 0
    assert_refused(cli(*run, "--out", tmp_path / "no"), "--reserve: expected 0.4", "got 0")
    twice = cli(*run, "--reserve", 0.4, "--split-seed", 1, "--out", tmp_path / "no")
    assert_refused(twice, "--split-seed: expected 42", "got 1")
    assert not (tmp_path / "no").exists()
    rounds = [json.loads(line) for line in (tmp_path / "start" / "rounds.jsonl").read_text().splitlines()]
    assert rounds[-1]["served/val/loss"] < rounds[0]["served/val/loss"]


def test_what_belongs_to_a_federation_is_refused(tmp_path):
    for flag, value in (("clients", 3), ("partition", "iid"), ("cohort", 2)):
        assert_refused(cli("pretrain", f"--{flag}", value, "--out", tmp_path / "x"), f"--{flag}: expected none")
    assert not (tmp_path / "x").exists()
