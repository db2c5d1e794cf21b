"""``fedjax-layers verify DIR``: the first rounds of a run are computed again and compared with its records."""

import json
import shutil

import pytest
from pyarrow import parquet

from fedjax_layers.experiment.verify import run_axis
from tests.cli.command import assert_refused, cli, contents

FLAGS = "--dataset heart --model logistic_regression --batch-size 128 --client-width all --evaluated-models served"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A finished run of five rounds, evaluated after every second one."""
    folder = tmp_path_factory.mktemp("verified") / "run"
    cli("run", "fedavg", *FLAGS.split(), "--rounds", 5, "--eval-every", 2, "--out", folder)
    return folder


@pytest.fixture
def run(kept, tmp_path):
    shutil.copytree(kept, tmp_path / "run")
    return tmp_path / "run"


def change(run, table, name, row):
    """Add a thousandth to one stored number."""
    (path,) = (run / "history" / table).glob("*.parquet")
    found = parquet.read_table(path)
    values = found[name].to_numpy().copy()
    values[row] *= 1.001
    column = found.schema.get_field_index(name)
    parquet.write_table(found.set_column(column, name, [values]), path)


def edit(path, *keys, value):
    content = json.loads(path.read_text())
    part = content
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(("flags", "told"), [((), "first 2 rounds repeat"), (("--rounds", 5), "first 5 rounds repeat")])
def test_the_same_numbers_repeat_and_nothing_in_the_folder_changes(run, flags, told):
    before = contents(run)
    outcome = cli("verify", run, *flags)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"{run}: the {told} bit for bit" in outcome.out
    assert contents(run) == before


def test_the_first_number_that_differs_is_named(run):
    change(run, "clients", "served/test/loss", 3 + 4)  # the second evaluation's; heart has four clients
    assert cli("verify", run).code == 0
    outcome = cli("verify", run, "--rounds", 4)
    assert outcome.code == 1
    (line,) = (line for line in outcome.out.splitlines() if str(run) in line)
    assert "round 4, served/test/loss of client 3: stored 1." in line
    assert "relative difference 0.00" in line
    assert "the environment is the same" in line


def test_a_changed_line_and_a_changed_round_are_named(run):
    lines = (run / "rounds.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    (run / "rounds.jsonl").write_text("\n".join([json.dumps(record | {"train_loss": 7.0}), *lines[1:], ""]))
    outcome = cli("verify", run)
    assert outcome.code == 1
    assert "round 2, train_loss in rounds.jsonl: stored 7" in outcome.out
    change(run, "rounds", "loss", 0)
    assert "round 1, loss: stored " in cli("verify", run).out


def test_another_environment_is_named_and_has_a_tolerance(run):
    edit(run / "manifest.json", "versions", "jax", value="0.0.1")
    outcome = cli("verify", run)
    assert outcome.code == 0
    assert "repeat within a relative 0.01" in outcome.out
    assert "jax 0.0.1 (now " in outcome.out
    lines = (run / "rounds.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    (run / "rounds.jsonl").write_text(json.dumps(record | {"train_loss": record["train_loss"] * 1.001}) + "\n")
    assert cli("verify", run).code == 0
    outcome = cli("verify", run, "--rtol", 1e-6)
    assert outcome.code == 1
    assert "round 2, train_loss in rounds.jsonl" in outcome.out
    assert "the environment differs: jax 0.0.1 (now " in outcome.out


def test_changed_data_and_settings_are_named(run):
    edit(run / "manifest.json", "content_hash", value="another")
    outcome = cli("verify", run)
    assert outcome.code == 1
    assert "the content of the data differs: the run has another, now it is " in outcome.out


def test_the_settings_of_the_run_are_used_and_put_back(run):
    edit(run / "manifest.json", "jax_settings", "threefry_partitionable", value=False)
    outcome = cli("verify", run)
    assert outcome.code == 1
    assert "round 1" in outcome.out
    assert cli("verify", run.parent / "run").code == 1
    edit(run / "manifest.json", "jax_settings", "threefry_partitionable", value=True)
    assert cli("verify", run).code == 0


def test_a_comparison_is_verified_run_by_run(tmp_path):
    folder = tmp_path / "both"
    cli("compare", "fedavg,local", *FLAGS.split(), "--rounds", 5, "--eval-every", 2, "--out", folder)
    outcome = cli("verify", folder)
    assert outcome.code == 0
    assert [line.partition(":")[0] for line in outcome.out.splitlines() if "bit for bit" in line] == [
        str(folder / name / "seed-0") for name in ("fedavg", "local")
    ]
    assert cli("verify", folder, "--runs", 1).out.count("bit for bit") == 1
    change(folder / "fedavg" / "seed-0", "rounds", "loss", 0)
    assert cli("verify", folder, "--runs", 1).code == 1


def test_runs_of_a_sweep_are_computed_again(tmp_path):
    folder = tmp_path / "sweep"
    flags = ("--rounds", 2, "--vary", "mu=0.1,0.2", "--seeds", 2, "--run-width", 2)
    cli("sweep", "fedprox", *FLAGS.split(), *flags, "--out", folder)
    before = contents(folder)
    outcome = cli("verify", folder, "--runs", 3)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"{folder}: the first 3 runs repeat bit for bit" in outcome.out
    assert contents(folder) == before
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    rows[1] = {name: value for name, value in rows[1].items() if name != "crc32"}
    rows[1]["personal/test/loss"] *= 1.001
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = cli("verify", folder, "--runs", 3)
    assert outcome.code == 1
    assert f"run {rows[1]['run']}, personal/test/loss: stored {rows[1]['personal/test/loss']}" in outcome.out
    edit(folder / "manifest.json", "data", "0", "content_hash", value="another")
    outcome = cli("verify", folder)
    assert outcome.code == 1
    assert "the content of the data of run 0 differs: the sweep has another, now it is " in outcome.out


def test_bad_input_is_refused_in_one_line(run, tmp_path):
    assert_refused(cli("verify", tmp_path / "none"), "none: not a run directory, it holds no config.json")
    assert_refused(cli("verify", run, "--rounds", 6), "--rounds: expected at most the 5 recorded, got 6")
    assert_refused(cli("verify", run, "--rounds", 0), "--rounds: expected at least 1, got 0")
    assert_refused(cli("verify", run, "--runs", 0), "--runs: expected at least 1, got 0")
    assert_refused(cli("verify", run, "--rtol", -1), "--rtol: expected")
    assert_refused(cli("verify", run, "--lr", 0.1), "verify: expected no flags but its own")
    shutil.rmtree(run / "history")
    assert_refused(cli("verify", run), "expected the records of an evaluated round, found none")
    (run / "manifest.json").write_text("[]")
    assert_refused(cli("verify", run), "manifest.json")


def test_the_recorded_client_axis_is_used_on_fewer_devices_too():
    record = {"chosen": "width 3, 2 devices", "how": "measured", "width": 3, "devices": 2}
    found = run_axis({"client_axis": record}).axis
    assert (found.width, found.num_devices) == (3, 2)
    assert run_axis({"client_axis": record | {"devices": 10**6}}).axis.width == 3
