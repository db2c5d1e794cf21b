"""Incentive, mean rows and tests over seeds, by hand."""

import json

import numpy as np
import pytest

from fedjax_layers.experiment.comparison import compare_runs, differences_of, statistics_of
from fedjax_layers.experiment.records.run_directory import RunDirectory

KEY = "trained/best/test/macro_f1"
F1 = {  # four clients
    "local": [0.5, 0.6, 0.6, 0.1],
    "fedavg": [0.6, 0.4, 0.8, 0.1],
    "fedper": [0.9, 0.5, 0.8, 0.2],  # above both: the first, and the last; the third is equal to one
}


def run_of(folder, name, seed, f1, **fields):
    run = RunDirectory.create(folder / f"{name}-{seed}", {"algorithm": name})
    run.write_clients({KEY: np.array(f1)})
    personal = {"macro_f1": {"mean": float(np.mean(f1))}}
    run.write_summary({"algorithm": name, "seed": seed, "personal": personal, "incentive": None, **fields})
    return run


def summary(name, seed, f1):
    return {"algorithm": name, "seed": seed, "personal": {"macro_f1": {"mean": f1}}}


def test_incentive_by_hand_beside_local_and_fedavg_of_the_same_seed(tmp_path):
    runs = [run_of(tmp_path, name, 0, f1) for name, f1 in F1.items()]
    # With seed 1 FedPer is above both everywhere but for the first client.
    runs += [run_of(tmp_path, name, 1, f1) for name, f1 in (F1 | {"fedper": [0.1, 0.9, 0.9, 0.9]}).items()]
    rows = compare_runs(runs, "trained", "best")
    assert [row["algorithm"] for row in rows] == ["local", "fedavg", "fedper"]
    assert [run.read("summary")["incentive"] for run in runs] == [None, None, 0.5, None, None, 0.75]
    assert rows[2]["incentive"] == pytest.approx(0.625)
    assert rows[0]["incentive"] is None
    assert rows[2]["personal"]["macro_f1"]["mean"] == pytest.approx((0.6 + 0.7) / 2)


@pytest.mark.parametrize("missing", ["local", "fedavg"])
def test_without_one_of_the_bars_there_is_no_incentive(tmp_path, missing):
    runs = [run_of(tmp_path, name, 0, f1) for name, f1 in F1.items() if name != missing]
    assert [row["incentive"] for row in compare_runs(runs, "trained", "best")] == [None, None]


def test_rows_average_numbers_and_keep_the_rest(tmp_path):
    runs = [
        run_of(tmp_path, "local", 0, [0.5], num_shared_layers=1, bytes_up=10, layers=["a", "b"], loss={"mean": 1.0}),
        run_of(tmp_path, "local", 1, [0.5], num_shared_layers=2, bytes_up=20, layers=["a", "b"], loss={"mean": None}),
    ]
    (row,) = compare_runs(runs, "trained", "best")
    assert row["num_shared_layers"] == 1.5
    assert row["bytes_up"] == 15
    assert isinstance(row["bytes_up"], int)
    assert row["layers"] == ["a", "b"]
    assert row["loss"]["mean"] is None, "a diverged seed must not vanish from the mean"


def test_friedman_and_nemenyi_by_hand():
    """Four seeds, always a > b > c: mean ranks 1, 2, 3."""
    summaries = [summary(name, seed, 0.9 - 0.1 * i - 0.01 * seed) for seed in range(4) for i, name in enumerate("abc")]
    found = statistics_of(summaries)
    assert found["mean_ranks"] == {"a": 1.0, "b": 2.0, "c": 3.0}
    # 12 N / (k (k + 1)) * sum (R - 2)^2 = 12 * 4 / 12 * 2 = 8; chi-square with two degrees: p = exp(-8 / 2).
    assert found["friedman"]["statistic"] == pytest.approx(8)
    assert found["friedman"]["p_value"] == pytest.approx(np.exp(-4))
    # Demšar 2006, table 5a: q = 2.343 for three treatments; times sqrt(3 * 4 / (6 * 4)).
    assert found["critical_difference"] == pytest.approx(2.343 * np.sqrt(0.5), rel=1e-3)
    p = np.array(found["nemenyi"]["p_values"])
    assert found["nemenyi"]["algorithms"] == ["a", "b", "c"]
    # Rank differences beyond 1.657 are those that the test tells apart at 5 %.
    assert p[0, 2] == p[2, 0] < 0.05 < p[0, 1] == pytest.approx(p[1, 2])
    json.dumps(found)


def test_the_order_of_the_runs_does_not_matter():
    summaries = [summary(name, seed, 0.9 - 0.1 * i) for seed in range(2) for i, name in enumerate("abc")]
    forward, back = statistics_of(summaries), statistics_of(summaries[::-1])
    assert forward["mean_ranks"] == back["mean_ranks"]
    assert forward["friedman"] == pytest.approx(back["friedman"])


@pytest.mark.parametrize(("names", "seeds"), [("ab", 5), ("abc", 1)])
def test_too_few_treatments_or_blocks_are_not_tested(names, seeds):
    found = statistics_of([summary(name, seed, 0.5) for name in names for seed in range(seeds)])
    assert found["metric"] == "macro_f1"
    assert {v for k, v in found.items() if k != "metric"} == {None}


def test_a_run_without_a_score_is_not_tested():
    summaries = [summary(name, seed, 0.5) for name in "abc" for seed in range(3)]
    summaries[4]["personal"]["macro_f1"]["mean"] = None
    assert statistics_of(summaries)["friedman"] is None


def paired(scores):
    """Summaries of every algorithm's scores ``[seeds]``."""
    return [summary(name, seed, f1) for name, values in scores.items() for seed, f1 in enumerate(values)]


def test_the_paired_difference_to_each_baseline_by_hand():
    """Differences 0.1, 0.2, 0.3: mean 0.2, deviation 0.1; t of two degrees at 97.5 % is 4.30265."""
    found = differences_of(paired({"fedper": [0.6, 0.8, 0.4], "local": [0.5, 0.6, 0.1], "fedavg": [0.6, 0.8, 0.4]}))
    assert list(found) == ["local", "fedavg"]
    assert list(found["local"]) == ["fedper", "fedavg"]
    half = 4.30265 * 0.1 / np.sqrt(3)
    expected = {"mean": 0.2, "low": 0.2 - half, "high": 0.2 + half, "seeds": 3, "undecided": True}
    assert found["local"]["fedper"] == pytest.approx(expected, rel=1e-5)
    assert found["fedavg"]["fedper"]["mean"] == 0
    json.dumps(found)


def test_without_local_and_fedavg_the_first_is_the_baseline():
    assert list(differences_of(paired({"b": [0.1, 0.2], "a": [0.2, 0.1]}))) == ["b"]


BASE = np.linspace(0.3, 0.5, 10)
UNDECIDED = {
    "ten seeds, all better": (BASE + np.linspace(0.01, 0.03, 10), False),
    "ten seeds, all worse": (BASE - np.linspace(0.01, 0.03, 10), False),
    "the interval holds 0": (BASE + np.linspace(-0.03, 0.04, 10), True),
    "nine seeds": ((BASE + np.linspace(0.01, 0.03, 10))[:9], True),
    "one seed": (BASE[:1] + 0.1, True),
    "a seed without a score": ([*(BASE + 0.1)[:9], None], True),
    "no difference at all": (BASE, True),
}


@pytest.mark.parametrize("case", UNDECIDED)
def test_when_a_difference_is_undecided(case):
    values, undecided = UNDECIDED[case]
    found = differences_of(paired({"local": BASE[: len(values)], "fedper": list(values)}))["local"]["fedper"]
    assert found["undecided"] is undecided
    assert found["seeds"] == sum(value is not None for value in values)
