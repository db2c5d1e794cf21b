"""``fedjax-layers sweep`` and ``merge``: tables, shards, going on, and input that is refused."""

import csv
import json
import signal

import pytest

from fedjax_layers.sweeps.results import SweepFolder
from tests.cli.command import SMALL, assert_refused, cli, contents

SWEEP = ("sweep", "fedprox", *SMALL)


def table(folder):
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_table_a_picture_and_the_best_by_validation(tmp_path):
    outcome = cli(
        *SWEEP, "--vary", "mu=0.01:1:3:log", "--vary", "learning-rate=0.02,0.1", "--seeds", 2, "--out", "there"
    )
    assert (outcome.code, outcome.err) == (0, "")
    rows = table(tmp_path / "there")
    assert [(float(r["mu"]), float(r["learning_rate"]), int(r["seed"])) for r in rows] == [
        (pytest.approx(mu), rate, seed) for mu in (0.01, 0.1, 1.0) for rate in (0.02, 0.1) for seed in (0, 1)
    ]
    best = SweepFolder(tmp_path / "there").read("summary")["ranking"][0]
    means = {}
    for r in rows:
        means.setdefault((float(r["mu"]), float(r["learning_rate"])), []).append(float(r["personal/val/macro_f1"]))
    assert max(means, key=lambda setting: sum(means[setting])) == (best["mu"], best["learning_rate"])
    assert "6 settings, 2 seeds; best by validation, macro_f1" in outcome.out
    assert "12 of 12 runs" in outcome.out
    assert (tmp_path / "there" / "sweep.png").stat().st_size > 1000
    assert (tmp_path / "there" / "results.parquet").exists()


def test_a_row_is_that_of_the_run_command(tmp_path):
    cli(*SWEEP, "--vary", "mu=0.5,0.7", "--seed", 3, "--out", "swept")
    cli("run", "fedprox", *SMALL, "--mu", 0.7, "--seed", 3, "--out", "alone")
    alone = json.loads((tmp_path / "alone" / "summary.json").read_text())["personal"]
    row = table(tmp_path / "swept")[1]
    assert float(row["personal/test/macro_f1"]) == alone["macro_f1"]["mean"]
    assert float(row["personal/test/loss/weighted"]) == alone["loss"]["weighted"]


def test_shards_joined_equal_the_whole(tmp_path):
    flags = (*SWEEP, "--vary", "mu=0:1:5", "--seeds", 2)
    cli(*flags, "--out", "whole")
    for i in range(3):
        assert cli(*flags, "--shard", f"{i}/3", "--out", f"part{i}").code == 0
    assert cli("merge", "part2", "part0", "part1", "--out", "joined").code == 0
    for name in ("results.csv", "results.parquet", "summary.json"):
        assert (tmp_path / "joined" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    again = cli(*flags, "--out", "joined", "--resume")
    assert (again.code, again.err) == (0, "")
    assert "10 runs, 0 to be computed" in again.out
    told = cli("sweep", "--out", "joined", "--resume", "--json")
    assert json.loads(told.out) == {"folder": "joined", **SweepFolder("joined").read("summary")}
    assert "10 runs, 0 to be computed" in told.err
    assert cli("merge", "part2", "part0", "part1", "--out", "quiet", "--quiet").out == "quiet\n"
    assert_refused(
        cli("merge", "part0", "part2", "--out", "less"),
        "expected all 10 runs, 3 are missing, the first of them is run 3",
    )
    assert not (tmp_path / "less").exists()


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(("--run-width", 1), marks=pytest.mark.slow),
        ("--run-width", 2),
        pytest.param(("--rungs", "1"), marks=pytest.mark.slow),
    ],
    ids=["in turn", "vectorised", "rungs"],
)
def test_an_interrupted_sweep_goes_on_to_the_same_table(tmp_path, monkeypatch, flags):
    sweep = (*SWEEP, "--vary", "mu=0,0.1,0.2,0.3,0.4,0.5", "--seeds", 2, *flags)
    cli(*sweep, "--out", "whole")
    append, calls = SweepFolder.append, []

    def interrupted(self, rows):
        append(self, rows)
        calls.append(rows)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(SweepFolder, "append", interrupted)
    outcome = cli(*sweep, "--out", "part", "--json")
    monkeypatch.setattr(SweepFolder, "append", append)
    assert (outcome.code, json.loads(outcome.out)) == (130, {"folder": "part", "stopped": True})
    assert "Stopped. To continue, repeat the command with --out part --resume" in outcome.err
    assert 0 < len(SweepFolder(tmp_path / "part").rows) < 12
    again = cli("sweep", "--out", "part", "--resume")  # the folder knows the rest
    assert (again.code, again.err) == (0, "")
    for name in ("results.csv", "summary.json"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert cli(*sweep, "--out", "part", "--resume").code == 0
    assert (tmp_path / "part" / "results.csv").read_bytes() == (tmp_path / "whole" / "results.csv").read_bytes()


def test_a_sweep_cut_short_in_the_middle_of_a_row_goes_on_to_the_same_table(tmp_path):
    sweep = (*SWEEP, "--vary", "mu=0,0.1", "--out")
    cli(*sweep, "whole")
    before = contents(tmp_path / "whole")
    rows = before["rows.jsonl"]
    last = rows[:-1].rfind(b"\n") + 1
    (tmp_path / "whole" / "rows.jsonl").write_bytes(rows[: (last + len(rows)) // 2])
    for name in ("results.csv", "results.parquet", "summary.json"):
        (tmp_path / "whole" / name).unlink()
    again = cli(*sweep, "whole", "--resume")
    assert (again.code, again.err) == (0, "")
    assert "2 runs, 1 to be computed" in again.out
    after = contents(tmp_path / "whole")
    assert {name: x for name, x in after.items() if name != "programs.json"} == {
        name: x
        for name, x in before.items()
        if name != "programs.json"  # which tells the memory that was free
    }
    (tmp_path / "whole" / "rows.jsonl").write_bytes(rows[:-2])
    assert_refused(
        cli("merge", "whole", "--out", "joined"), "expected all 2 runs, 1 are missing, the first of them is run 1"
    )
    assert (tmp_path / "whole" / "rows.jsonl").read_bytes() == rows[:-2], "merging only reads the parts"


@pytest.mark.slow
def test_static_choices_and_options_of_one_of_several_algorithms(tmp_path):
    settings = [
        {"algorithm": "fedavg"},
        {"algorithm": "fedprox", "fedprox.mu": 0.5},
        {"algorithm": "fedprox", "mu": 0.5, "batch-size": 64},
    ]
    (tmp_path / "grid.json").write_text(json.dumps(settings))
    outcome = cli("sweep", *SMALL, "--grid", "grid.json", "--out", "there")
    assert (outcome.code, outcome.err) == (0, "")
    assert [row["algorithm"] for row in table(tmp_path / "there")] == ["fedavg", "fedprox", "fedprox"]
    configs = SweepFolder(tmp_path / "there").read("config")["runs"]
    assert [configs[i]["config"]["batch_size"] for i in "012"] == [128, 128, 64]
    assert [configs[i]["config"]["algorithm_options"] for i in "012"] == [{}, {"mu": 0.5}, {"mu": 0.5}]


def test_grid_files_of_values_pairs_and_draws(tmp_path):
    (tmp_path / "grid.json").write_text(json.dumps({"mu": "0:1:2", "batch-size": [64, 128], "rounds": 1}))

    small = [text for text in SMALL if text not in ("--batch-size", "128", "--rounds", "2")]  # they are varied

    def settings(*flags):
        outcome = cli("sweep", "fedprox", *small, *flags, "--out", f"there{len(list(tmp_path.iterdir()))}")
        assert (outcome.code, outcome.err) == (0, "")
        newest = max(tmp_path.glob("there*"), key=lambda path: int(path.name[5:]))
        return [run["setting"] for run in SweepFolder(newest).read("config")["runs"].values()]

    assert settings("--grid", "grid.json") == [
        {"batch_size": size, "rounds": 1, "mu": mu} for size in (64, 128) for mu in (0.0, 1.0)
    ]
    assert settings("--vary", "mu=0,1", "--vary", "rounds=1,2", "--zip") == [
        {"mu": 0, "rounds": 1},
        {"mu": 1, "rounds": 2},
    ]
    found = settings("--vary", "mu=0.01:1:log", "--vary", "rounds=1,2", "--random", 4)
    assert len({setting["mu"] for setting in found}) == 4
    assert all(0.01 <= setting["mu"] <= 1 for setting in found)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--vary", "thresold=1:2:3"), ("flag: expected one that", "got '--thresold'; did you mean '--threshold'?")),
        (("--vary", "fedprox.mu=1"), ("--fedprox.mu: expected an option of player_fl, got one of fedprox",)),
        (("--vary", "threshold=a:b:3"), ("--vary threshold: expected numbers as the ends of the range, got 'a'",)),
        (("--vary", "threshold=1:2:0"), ("--vary threshold: range: expected at least 1 number, got 0",)),
        (("--vary", "threshold="), ("--vary threshold: expected at least one value",)),
        (("--vary", "threshold"), ("--vary: expected NAME=SPEC, got 'threshold'",)),
        (("--vary", "threshold=1", "--vary", "threshold=2"), ("expected each name once, got 'threshold' again",)),
        (("--vary", "threshold=-1,1"), ("--threshold: expected at least 0, got -1",)),
        ((), ("grid: expected --vary NAME=SPEC or a --grid file with at least one setting, got none",)),
        (("--vary", "batch-size=16:64:3"), ("--vary batch_size: expected values separated by commas, got a range",)),
        (
            ("--vary", "alpha=0.1:1:3", "--partition", "dirichlet"),
            ("--vary alpha: expected values separated by commas, got a range",),
        ),
        (("--vary", "seed=1,2"), ("seed: expected seeds beside the grid",)),
        (("--vary", "model=mpl"), ("model", "'mpl'")),
        (("--vary", "threshold=1,2", "--zip", "--vary", "rounds=1"), ("expected as many values of each name",)),
        (("--vary", "threshold=1,2", "--random", "0"), ("grid: expected at least 1 setting to draw, got 0",)),
        (("--vary", "threshold=1,2", "--seeds", "0"), ("--seeds: expected at least 1, got 0",)),
        (
            ("--vary", "threshold=1,2", "--seeds", "2", "--seeds-vary", "starts"),
            ("--seeds-vary: expected one of", "'start'"),
        ),
        (("--vary", "threshold=1,2", "--shard", "2/2"), ("--shard: expected I/N", "got '2/2'")),
        (("--vary", "threshold=1,2", "--shard", "0/9"), ("--shard: expected I/N", "N at most 2 runs")),
        (
            ("--vary", "threshold=1,2", "--shard", "0/2", "--rungs", "1"),
            ("shard: expected none beside rungs",),
        ),
        (
            ("--vary", "threshold=1,2", "--run-width", "0"),
            ("--run-width: expected auto or a number of 1 to 2147483647, got '0'",),
        ),
        (
            ("--vary", "threshold=1,2", "--rungs", "1", "--keep", "2"),
            ("keep: expected a share between 0 and 1, got 2.0",),
        ),
        (("--vary", "threshold=1,2", "--rungs", "2,1"), ("rungs: expected rounds of at least 1 that go up",)),
        (("--vary", "threshold=1,2", "--rungs", "1,2"), ("rungs: expected rounds below the runs' 2, got 2",)),
        (("--vary", "threshold=1,2", "--save-model"), ("--save-model: expected none in a sweep",)),
        (("--grid", "missing.json"), ("missing.json",)),
        (("--grid", "bad.json"), ("--grid: bad.json: expected a complete JSON file",)),
        (("--grid", "number.json"), ("--grid: expected a list of settings, or names with their values",)),
        (("--grid", "empty.json"), ("grid: expected --vary NAME=SPEC or a --grid file",)),
        (("--grid", "list.json", "--vary", "rounds=1"), ("--grid: expected no --vary, --zip or --random beside",)),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, flags, parts):
    files = {"bad.json": "{", "number.json": "3", "empty.json": "[]", "list.json": '[{"rounds": 1}]'}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert_refused(cli("sweep", "player_fl", *SMALL, *flags, "--out", "there"), *parts)
    assert not (tmp_path / "there").exists()


def test_results_of_another_grid_are_refused_and_kept(tmp_path):
    assert cli(*SWEEP, "--vary", "mu=0,1", "--out", "there").code == 0
    before = contents(tmp_path / "there")
    other = (*SWEEP, "--vary", "mu=0,2", "--out", "there")
    told = "expected none, or {} the sweep in there has it, got {}"
    assert_refused(cli(*other, "--resume"), f"--vary mu: {told.format('1 as run 1 of', 2)}")
    again = (*SWEEP, "--vary", "mu=0,1", "--out", "there", "--resume")
    for flags, message in (
        (("--learning-rate", 0.5), f"--learning-rate: {told.format('0.05 as run 0 of', 0.5)}"),
        (("--seed", 5), f"--seed: {told.format('0 as run 0 of', 5)}"),
        (("--run-width", 2), f"--run-width: {told.format(repr('auto') + ' as', repr('2'))}"),
        (("--rungs", 1), f"--rungs: {told.format('[] as', [1])}"),
        (("--seeds", 2), f"number of runs: {told.format('2 as', 4)}"),
        (("--shard", "0/2"), f"--shard: {told.format([0, 1], [0, 2])}".replace("] the", "] as the")),
    ):
        assert_refused(cli(*again, *flags), message)
    assert_refused(cli(*other), "there: the folder is not empty")
    assert_refused(cli("run", "fedprox", *SMALL, "--out", "there", "--resume"), "expected one run, found several")
    assert contents(tmp_path / "there") == before
    assert_refused(cli("merge", "nowhere", "--out", "joined"), "nowhere: not a run directory")
    assert_refused(cli("merge", "there", "--out", "there"), "there: the folder is not empty")


def test_ctrl_c_after_the_last_run_still_writes_the_table_and_the_picture(tmp_path, monkeypatch):
    append, calls = SweepFolder.append, []

    def interrupted(self, rows):
        append(self, rows)
        calls.extend(rows)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(SweepFolder, "append", interrupted)
    outcome = cli(*SWEEP, "--vary", "mu=0,0.1", "--out", "there")
    assert (outcome.code, outcome.err) == (0, "")
    assert (tmp_path / "there" / "sweep.png").exists()
    assert len(table(tmp_path / "there")) == 2
