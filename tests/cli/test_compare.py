"""``fedjax-layers compare``: several algorithms and seeds on the same clients."""

import json

import pytest

from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.report.wording import difference_lines
from tests.cli.command import SMALL, assert_refused, cli, contents

NAMES = ("local", "fedavg", "fedper")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A finished comparison of three algorithms, two seeds each: its folder and what was printed."""
    folder = tmp_path_factory.mktemp("compare") / "all"
    return folder, cli("compare", ",".join(NAMES), *SMALL, "--seeds", 2, "--seed", 5, "--out", folder)


def test_a_table_with_one_row_per_algorithm(compared):
    _, outcome = compared
    assert outcome.code == 0
    assert outcome.err == ""
    assert "heart, 4 clients, 2 rounds, 2 seeds" in outcome.out
    for name in NAMES:
        assert sum(line.strip().startswith(f"{name} ") for line in outcome.out.splitlines()) == 1
    assert "Friedman p = " in outcome.out
    assert "Nemenyi critical difference" in outcome.out


def test_the_page_with_the_same_numbers_is_in_the_folder(compared):
    folder, outcome = compared
    assert f"Report: {folder / 'report.html'}" in outcome.out
    page = (folder / "report.html").read_text()
    assert "3 methods, 4 clients of heart, 2 rounds, 2 seeds" in page
    best = [line.split() for line in outcome.out.splitlines() if line.strip().startswith(NAMES) and " ± " in line]
    assert all(f"{mean} ± {spread}" in page for _, mean, _, spread, *_ in best[:3])
    assert "--evaluated-models trained --client-width all --seeds 2 --seed 5" in page


def test_a_finished_comparison_as_json(compared):
    folder, _ = compared
    told = cli("compare", "--out", folder, "--resume", "--json")
    assert json.loads(told.out) == {"folder": str(folder), **RunDirectory(folder).read("summary")}
    assert "Nemenyi critical difference" in told.err


def test_a_run_directory_per_algorithm_and_seed(compared):
    folder, _ = compared
    hashes, incentives = {}, {}
    for name in NAMES:
        for seed in (5, 6):
            run = RunDirectory(folder / name / f"seed-{seed}")
            summary = run.read("summary")
            assert (summary["algorithm"], summary["seed"]) == (name, seed)
            hashes.setdefault(seed, set()).add(run.read("manifest")["partition_hash"])
            incentives[name, seed] = summary["incentive"]
    assert all(len(found) == 1 for found in hashes.values()), "all algorithms must have the same clients"
    assert [incentives["fedavg", 5], incentives["local", 6]] == [None, None]
    assert all(0 <= incentives["fedper", seed] <= 1 for seed in (5, 6))


def test_paired_differences_are_told_with_their_intervals_and_what_they_decide(compared):
    folder, outcome = compared
    found = RunDirectory(folder).read("summary")["differences"]
    assert {base: list(others) for base, others in found.items()} == {
        "local": ["fedavg", "fedper"], "fedavg": ["local", "fedper"],
    }  # fmt: skip
    each = [
        RunDirectory(folder / name / f"seed-{s}").read("summary")["personal"]["macro_f1"]["mean"]
        for name in ("fedper", "local") for s in (5, 6)
    ]  # fmt: skip
    one = found["local"]["fedper"]
    assert one["mean"] == pytest.approx((each[0] - each[2] + each[1] - each[3]) / 2)
    assert one["low"] < one["mean"] < one["high"]
    assert (one["seeds"], one["undecided"]) == (2, True)
    line = f"macro-F1 of fedper minus that of local: {one['mean']:+.3f}, 95 % interval {one['low']:+.3f} to "
    assert line in outcome.out
    assert outcome.out.count("over 2 paired seeds: undecided, fewer than 10 seeds.") == 3, "each pair once"


def test_inspecting_a_comparison_tells_where_its_runs_are(compared):
    folder, _ = compared
    assert_refused(cli("inspect", folder), "expected one run, got a comparison", str(folder / "fedavg" / "seed-5"))


DECIDED = [
    ("macro_f1", 0.1, "higher, so better"),
    ("macro_f1", -0.1, "lower, so worse"),
    ("perplexity", -0.1, "lower, so better"),
    ("perplexity", 0.1, "higher, so worse"),
]


@pytest.mark.parametrize(("metric", "mean", "said"), DECIDED)
def test_a_decided_difference_says_which_way(metric, mean, said):
    found = {"mean": mean, "low": mean - 0.05, "high": mean + 0.05, "seeds": 10, "undecided": False}
    assert difference_lines({"local": {"fedper": found}}, metric, 10)[0].endswith(f"10 paired seeds: {said}.")


def test_what_leaves_a_difference_undecided_is_said():
    found = {"mean": 0.1, "low": -0.1, "high": 0.3, "seeds": 10, "undecided": True}
    assert "undecided, the interval holds 0" in difference_lines({"local": {"a": found}}, "macro_f1", 10)[0]
    assert "undecided, 1 of 11 seeds without a score" in difference_lines({"local": {"a": found}}, "macro_f1", 11)[0]
    for pairs, said in ((0, "no pair of seeds"), (1, "+0.010 in one pair of seeds: undecided, 9 of 10")):
        few = found | {"seeds": pairs, "mean": 0.01 if pairs else float("nan"), "low": float("nan")}
        line = difference_lines({"local": {"a": few}}, "macro_f1", 10)[0]
        assert said in line
        assert "nan" not in line
    assert difference_lines({"local": {"a": found}}, "macro_f1", 1) == [
        "Differences are undecided: one seed has no interval, and a claim takes 10 (--seeds)."
    ]


def test_the_comparisons_own_summary(compared):
    folder, _ = compared
    summary = RunDirectory(folder).read("summary")
    assert [row["algorithm"] for row in summary["algorithms"]] == list(NAMES)
    assert set(summary["mean_ranks"]) == set(NAMES)
    single = [RunDirectory(folder / "fedper" / f"seed-{s}").read("summary")["bytes_up"] for s in (5, 6)]
    assert summary["algorithms"][2]["bytes_up"] == sum(single) / 2
    assert len(RunDirectory(folder).read("config")["runs"]) == 6


def test_resuming_a_finished_comparison_runs_nothing_again(compared):
    folder, first = compared
    before = contents(folder)
    again = cli("compare", ",".join(NAMES), *SMALL, "--seeds", 2, "--seed", 5, "--out", folder, "--resume")
    assert again.code == 0
    assert contents(folder) == before
    table = first.out[first.out.index("heart, 4 clients, 2 rounds, 2 seeds") :]
    assert table in again.out


def test_resuming_goes_on_where_a_run_is_missing(compared):
    folder, _ = compared
    run = folder / "fedper" / "seed-6"
    before = contents(folder)
    (run / "summary.json").unlink()
    again = cli("compare", ",".join(NAMES), *SMALL, "--seeds", 2, "--seed", 5, "--out", folder, "--resume")
    assert again.code == 0
    after = contents(folder)
    changed = {name for name in before if before[name] != after[name]}
    assert all(name.startswith("fedper/seed-6/") or name == "summary.json" for name in changed)
    assert before["fedper/seed-6/clients.npz"] == after["fedper/seed-6/clients.npz"]


def test_an_option_may_be_one_algorithms_only(tmp_path):
    small = [text if text != "2" else "1" for text in SMALL]
    outcome = cli("compare", "local,fedper", *small, "--fedper.personal-layers", 2, "--out", tmp_path / "c")
    assert outcome.code == 0
    found = [
        RunDirectory(tmp_path / "c" / n / "seed-0").read("config")["algorithm_options"] for n in ("local", "fedper")
    ]
    assert found == [{}, {"personal_layers": 2}]


@pytest.mark.slow
def test_what_a_server_does_is_left_out_where_there_is_no_server_and_divergence_is_told(tmp_path):
    flags = ("--server-optimizer", "adam", "--aggregate", "coordinate_median", "--learning-rate", 1e30)
    outcome = cli("compare", "local,fedavg", *SMALL, *flags, "--out", tmp_path / "c")
    assert outcome.code == 3  # as every run that diverged
    configs = [RunDirectory(tmp_path / "c" / n / "seed-0").read("config") for n in ("local", "fedavg")]
    assert [config["server_optimizer"] for config in configs] == [None, "adam"]
    assert [config["aggregate"] for config in configs] == [None, "coordinate_median"]
    assert "fedavg, seed 0: Diverged: the median test loss over clients is not finite." in outcome.out
