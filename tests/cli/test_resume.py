"""Going on from what a run directory holds, and for more rounds."""

import json

import numpy as np
import pytest

from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from tests.cli.command import SMALL as SMALL_RUN
from tests.cli.command import assert_refused, cli, contents

SMALL = [*SMALL_RUN, "--model", "logistic_regression"]
FLAGS = [*SMALL, "--eval-every", "2", "--finish-epochs", "1"]
TIMING = ("second", "compil", "memory")


def results(folder):
    run = RunDirectory(folder)
    summary = {k: v for k, v in run.read("summary").items() if not any(part in k for part in TIMING)}
    return summary, run.read_rounds(), run.read_clients()


def assert_same(one, other):
    (summary, lines, clients), (summary_b, lines_b, clients_b) = results(one), results(other)
    assert summary == summary_b
    assert lines == lines_b
    assert clients.keys() == clients_b.keys()
    for name, values in clients.items():
        assert values.tobytes() == clients_b[name].tobytes(), name


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A finished run of 3 rounds of an algorithm with a last local phase, evaluated every two rounds."""
    folder = tmp_path_factory.mktemp("resume") / "run"
    assert cli("run", "local_adaptation", *FLAGS, "--rounds", 3, "--out", folder).code == 0
    return folder


def test_the_config_holds_what_was_in_force(adapted):
    content = RunDirectory(adapted).read("config")
    assert (content["model"], content["partition"], content["clients"]) == ("logistic_regression", "natural", 4)
    assert (content["partition_seed"], content["start_seed"], content["cohort"]) == (0, 0, 4)
    assert content["algorithm_options"]["finish_epochs"] == 1
    assert content["data_options"]["test_fraction"] == 0.2
    assert "partition" in content["by_default"]
    assert "model" not in content["by_default"]
    assert "data_options.test_fraction" in content["by_default"]
    again = RunConfig.from_mapping(json.loads(json.dumps(content)))
    assert (again.partition, again.clients, again.data_options) == (None, None, {})
    assert again.algorithm_options == {"finish_epochs": 1}


def test_a_finished_run_goes_on_for_more_rounds_to_the_numbers_of_the_longer_one(adapted, tmp_path):
    """The shorter run was evaluated after its third round and trained its last phase; the longer one never was."""
    whole = tmp_path / "whole"
    assert cli("run", "local_adaptation", *FLAGS, "--rounds", 6, "--out", whole).code == 0
    more = cli("run", "--out", adapted, "--resume", "--rounds", 6)
    assert (more.code, more.err) == (0, "")
    assert_same(whole, adapted)
    assert [line["round"] for line in RunDirectory(adapted).read_rounds()] == [2, 4, 6]
    assert json.loads((adapted / "summary-3.json").read_text())["rounds"] == 3
    assert RunDirectory(adapted).read("config")["rounds"] == 6
    # Then the folder alone is enough.
    before = results(adapted)[0]
    assert cli("run", "--out", adapted, "--resume").code == 0
    assert results(adapted)[0] == before


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["fedavg"], ("algorithm: expected none, or local_adaptation of the run in", "got fedavg")),
        (["--seed", "1"], ("--seed: expected none, or 0 as the run in", "got 1")),
        (["--finish-epochs", "2"], ("--finish-epochs: expected none, or 1 as", "got 2")),
        (["--test-fraction", "0.3"], ("--test-fraction: expected none, or 0.2 as", "got 0.3")),
        (["--rounds", "2"], ("--rounds: expected at least the", "got 2")),
    ],
)
def test_flags_beside_must_agree(adapted, flags, parts):
    before = contents(adapted)
    assert_refused(cli("run", *flags, "--out", adapted, "--resume"), *parts)
    assert contents(adapted) == before


def test_flags_that_say_what_is_so_are_taken(adapted):
    beside = ["--test-fraction", "0.2", "--clients", "4", "--partition", "natural", "--finish-epochs", "1"]
    assert cli("run", "local_adaptation", *beside, "--out", adapted, "--resume").code == 0


def test_a_comparison_goes_on_for_more_rounds_of_all_its_runs(tmp_path):
    flags = [*SMALL, "--seeds", "2"]
    assert cli("compare", "local,fedavg", *flags, "--rounds", 1, "--out", tmp_path / "parts").code == 0
    more = cli("compare", "--out", tmp_path / "parts", "--resume", "--rounds", 2)
    assert (more.code, more.err) == (0, "")
    assert cli("compare", "local,fedavg", *flags, "--rounds", 2, "--out", tmp_path / "whole").code == 0
    for place in ("local/seed-0", "local/seed-1", "fedavg/seed-0", "fedavg/seed-1"):
        assert_same(tmp_path / "whole" / place, tmp_path / "parts" / place)
    tables = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "parts")]
    scores = [[row["personal"]["macro_f1"]["mean"] for row in table["algorithms"]] for table in tables]
    np.testing.assert_array_equal(*scores)
    before = contents(tmp_path / "parts")
    assert cli("compare", "--out", tmp_path / "parts", "--resume").code == 0
    kept = {name for name in before if name.endswith(("rounds.jsonl", "clients.npz", "manifest.json"))}
    assert {n: contents(tmp_path / "parts")[n] for n in kept} == {n: before[n] for n in kept}
    for flags, part in (
        (["fedavg,local"], "algorithms: "),
        (["--seeds", "3"], "--seeds: "),
        (["--seed", "1"], "--seed"),
    ):
        assert_refused(cli("compare", *flags, "--out", tmp_path / "parts", "--resume"), part, "expected none, or")


def test_a_config_of_before_can_be_read_and_a_broken_one_is_one_line(adapted, tmp_path):
    content = RunDirectory(adapted).read("config")
    old = RunConfig.from_mapping(content)
    run = RunDirectory.create(tmp_path / "old", old)  # as it was asked for: nulls and no options
    assert RunConfig.from_mapping(run.read("config")) == old
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"algorithm": "fedavg", "no_such_field": 1}')
    assert_refused(cli("run", "--out", tmp_path / "broken", "--resume"), "cannot resume", "no_such_field")


@pytest.mark.slow
def test_a_run_goes_on_with_its_store_in_another_folder(tmp_path):
    flags = [*SMALL_RUN, "--on-host", "state", "--out", tmp_path / "run"]
    assert cli("run", "fedper", *flags, "--store", tmp_path / "one").code == 0
    assert cli("run", "--out", tmp_path / "run", "--resume", "--rounds", 3, "--store", tmp_path / "two").code == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["store"] == str(tmp_path / "two")
