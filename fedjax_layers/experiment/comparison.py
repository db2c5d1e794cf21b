"""Comparison of several runs on the same clients: means over seeds, incentive, and tests over seeds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.algorithms import ALONE, COMMON
from fedjax_layers.engine.evaluation.score_names import LOWER_IS_BETTER, headline
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.statistics import (
    critical_difference,
    friedman,
    incentive,
    nemenyi,
    paired_difference,
    ranks,
)
from fedjax_layers.storage import StorageError

FEWEST_SEEDS = 10
"""The number of paired seeds below which a difference between two algorithms is undecided, whatever its interval."""


def listed_runs(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read the configs of a comparison's runs.

    Raises:
      ValueError: the folder holds no ``config.json``.
      StorageError: it holds no comparison, or its config is damaged.
    """
    path = Path(folder)
    runs = RunDirectory(path).read("config").get("runs")
    if not isinstance(runs, list):
        raise StorageError(f"{path}: expected a comparison, found another run")
    if not runs or not all(isinstance(run, dict) and _names_its_run(run) for run in runs):
        raise StorageError(f"{path / 'config.json'}: expected the runs of a comparison, found others")
    return runs


def _names_its_run(run: Mapping[str, Any]) -> bool:
    return isinstance(run.get("algorithm"), str) and isinstance(run.get("seed"), int)


def folder_of(folder: str | os.PathLike[str], run: Mapping[str, Any]) -> Path:
    """Return the folder of one of a comparison's runs."""
    return Path(folder) / str(run["algorithm"]) / f"seed-{run['seed']}"


def compare_runs(runs: Sequence[RunDirectory], scored_model: str, scored_round: str) -> list[dict[str, Any]]:
    """Make one row per algorithm: its summaries averaged over seeds, with the incentive where Local and FedAvg ran.

    The incentive is also added to each run's ``summary.json``.

    Args:
      runs: finished runs, every algorithm with the same seeds.
      scored_model: the model that is scored, ``"trained"`` or ``"served"``.
      scored_round: its round, ``"best"`` or ``"last"``.
    """
    summaries = [run.read("summary") for run in runs]
    metric = headline(summaries[0]["personal"])
    key, sign = f"{scored_model}/{scored_round}/test/{metric}", -1 if metric in LOWER_IS_BETTER else 1
    by_name = {(s["algorithm"], s["seed"]): run for s, run in zip(summaries, runs, strict=True)}
    for summary, run in zip(summaries, runs, strict=True):
        bars = [by_name.get((name, summary["seed"])) for name in (ALONE, COMMON)]
        if summary["algorithm"] not in (ALONE, COMMON) and all(bars):
            scores = [sign * r.read_clients()[key] for r in (run, *bars) if r is not None]
            summary["incentive"] = incentive(*scores)
            run.write_summary(summary)
    names = list(dict.fromkeys(s["algorithm"] for s in summaries))
    return [mean_over_seeds([s for s in summaries if s["algorithm"] == name]) for name in names]


def statistics_of(summaries: Sequence[Mapping[str, Any]], metric: str | None = None) -> dict[str, Any]:
    """Compute Friedman's test and Nemenyi's critical difference, with algorithms as treatments and seeds as blocks.

    The result is ``None`` with fewer than three algorithms or two seeds. ``metric=None`` takes the task's usual score.
    """
    metric = metric or headline(summaries[0]["personal"])
    names = list(dict.fromkeys(s["algorithm"] for s in summaries))
    seeds = list(dict.fromkeys(s["seed"] for s in summaries))
    empty = {
        "metric": metric,
        "friedman": None,
        "mean_ranks": None,
        "nemenyi": None,
        "critical_difference": None,
    }
    if len(names) < 3 or len(seeds) < 2:
        return empty
    value = {(s["algorithm"], s["seed"]): s["personal"][metric]["mean"] for s in summaries}
    table = np.array([[value[name, seed] for name in names] for seed in seeds], float)
    if not np.isfinite(table).all():
        return empty
    table = -table if metric in LOWER_IS_BETTER else table
    test = friedman(table)
    return {
        "metric": metric,
        "friedman": {"statistic": test.statistic, "p_value": test.p_value},
        "mean_ranks": dict(zip(names, ranks(table).tolist(), strict=True)),
        "nemenyi": {"algorithms": names, "p_values": nemenyi(table).tolist()},
        "critical_difference": critical_difference(len(names), len(seeds)),
    }


def differences_of(summaries: Sequence[Mapping[str, Any]], metric: str | None = None) -> dict[str, dict[str, Any]]:
    """Compute each algorithm's difference to the baselines over paired seeds, with its 95 % interval by Student's t.

    Baselines are :data:`~fedjax_layers.algorithms.ALONE` and ``COMMON`` where they ran, else the first algorithm.

    Args:
      summaries: the summaries of all runs, every algorithm with the same seeds.
      metric: the score whose mean over clients is compared; ``None`` takes the task's usual score.

    Returns:
      By baseline and algorithm: ``mean``, ``low`` and ``high`` of algorithm minus baseline; ``seeds``, the number of
      pairs in which both have a score; and ``undecided``: whether the interval holds 0, or there are fewer than
      :data:`FEWEST_SEEDS` pairs, or a seed without a score.
    """
    metric = metric or headline(summaries[0]["personal"])
    names = list(dict.fromkeys(s["algorithm"] for s in summaries))
    seeds = list(dict.fromkeys(s["seed"] for s in summaries))
    value = {(s["algorithm"], s["seed"]): s["personal"][metric]["mean"] for s in summaries}
    table = {name: np.array([value[name, seed] for seed in seeds], float) for name in names}
    baselines = [name for name in (ALONE, COMMON) if name in names] or names[:1]
    return {base: {name: _difference(table[name], table[base]) for name in names if name != base} for base in baselines}


def _difference(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    found = paired_difference(a, b)
    decided = found.pairs >= max(FEWEST_SEEDS, len(a)) and (found.low > 0 or found.high < 0)
    return {"mean": found.mean, "low": found.low, "high": found.high, "seeds": found.pairs, "undecided": not decided}


def mean_over_seeds(summaries: Sequence[Any]) -> Any:
    """Average numbers over seeds, field by field; take everything else from the first summary.

    A number that is ``None`` for one seed has no mean.
    """
    first = summaries[0]
    if isinstance(first, dict):
        return {k: mean_over_seeds([s[k] for s in summaries]) for k in first}
    numbers = [s for s in summaries if isinstance(s, int | float) and not isinstance(s, bool)]
    if len(numbers) < len(summaries):
        return None if None in summaries else first  # a seed without a score makes the mean None
    mean = sum(numbers) / len(numbers)
    return int(mean) if all(isinstance(n, int) for n in numbers) and mean == int(mean) else mean
