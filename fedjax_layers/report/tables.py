"""The tables of results, of a run or a comparison and of a sweep's settings, with legends of their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedjax_layers.engine.evaluation.score_names import ATTACK_SUCCESS, LOWER_IS_BETTER, headline
from fedjax_layers.report.client_table import MODELS, ROUNDS
from fedjax_layers.report.fitted_table import Column, Fitted, fitted
from fedjax_layers.report.wording import BESIDE, COLUMNS, HEADLINES, number


def results_table(summaries: Sequence[Mapping[str, Any]], title: str, width: int, seeds: int = 1) -> Fitted:
    """Make a row per run or algorithm: the personal models' scores over clients, incentive, bytes and shared layers.

    Args:
      summaries: the summaries, all of one kind of task.
      title: text above the table.
      width: width of the terminal in characters.
      seeds: number of runs over which each row is the mean.
    """
    columns, best = results_columns(summaries, seeds)
    return fitted(columns, width, title, [(1, row) for row in best])


def results_columns(summaries: Sequence[Mapping[str, Any]], seeds: int = 1) -> tuple[list[Column], list[int]]:
    """Make the columns of :func:`results_table`, and list the rows that are best; none where there is a single row.

    Args:
      summaries: see :func:`results_table`.
      seeds: see :func:`results_table`.
    """
    first = summaries[0]
    metric = headline(first["personal"])
    beside = BESIDE[metric]
    own = [s["personal"] for s in summaries]
    means = [scores[metric]["mean"] for scores in own]
    sign = -1 if metric in LOWER_IS_BETTER else 1
    best = max((sign * mean for mean in means if mean is not None), default=None)
    spread = [_spread(s, metric) for s in summaries]
    shared = "shared: layers that clients sent in the last round."
    columns = [
        Column("algorithm", [s["algorithm"] for s in summaries], left=True),
        Column(HEADLINES[metric], spread, legend=_what(first, seeds)),
        Column("loss", [number(s["loss"]["mean"], ".3f") for s in own], 3),
        Column("MB up", [_megabytes(s["bytes_up"]) for s in summaries], 1, legend="MB up: what all clients sent."),
        Column("shared", [f"{s['num_shared_layers']:.3g} of {len(s['layers'])}" for s in summaries], 5, legend=shared),
    ]
    if beside:
        columns.insert(2, Column(COLUMNS[beside], [number(s[beside]["mean"], ".3f") for s in own], 4))
    if metric == "macro_f1":
        columns.insert(-2, Column("worst F1", [number(s[metric]["min"], ".3f") for s in own], 2))
    if any(s["incentive"] is not None for s in summaries):
        better = "better off: the share of clients that do better than with local training and than with FedAvg."
        columns.insert(-2, Column("better off", [number(s["incentive"], ".0%") for s in summaries], 6, legend=better))
    if all(ATTACK_SUCCESS in scores for scores in own):
        told = "attack success: how often models of benign clients say the attackers' class where the trigger is."
        values = [number(scores[ATTACK_SUCCESS]["mean"], ".0%") for scores in own]
        columns.insert(-2, Column("attack success", values, 6, legend=told))
    return columns, [i for i, x in enumerate(means) if x is not None and sign * x == best and len(means) > 1]


def _megabytes(count: float) -> str:
    """Write bytes as megabytes: with two places, or as many as it takes to tell little from nothing."""
    if 0 < count < 5000:
        return np.format_float_positional(count / 1e6, precision=2, unique=False, fractional=False, trim="-")
    return f"{count / 1e6:.2f}"


def _spread(summary: Mapping[str, Any], metric: str) -> str:
    """Write mean and deviation over clients, and the number of clients where these are not all."""
    found = summary["personal"][metric]
    of_all = "" if found["n"] == summary["clients"] else f", {found['n']:g} of {summary['clients']:g}"
    return f"{number(found['mean'], '.3f')} ± {number(found['std'], '.3f')}{of_all}"


def _what(summary: Mapping[str, Any], seeds: int) -> str:
    also = f"; all are means of {seeds} seeds" if seeds > 1 else ""
    counted = summary["personal"][headline(summary["personal"])]["n"]
    fewer = "" if counted == summary["clients"] else ", beside it how many have a score"
    model = MODELS[summary["scored_model"]].replace("its ", "each client's ")
    return (
        f"Scores: means over clients of their test examples, by {model}, "
        f"{ROUNDS[summary['scored_round']]}; ± is the standard deviation over clients{fewer}{also}."
    )


def ranking_table(
    ranking: Sequence[Mapping[str, Any]], names: Sequence[str], title: str, width: int, most: int
) -> Fitted:
    """Make a row per setting of a sweep, the best by validation first.

    Args:
      ranking: the ranking of all settings.
      names: names of what is varied.
      title: text above the table.
      width: width of the terminal in characters.
      most: largest number of settings that are shown.
    """
    columns = ranking_columns(ranking[:most], names)
    found = fitted(columns, width, title)
    if len(ranking) > most:
        found.lines.append(f"The best {most} of {len(ranking)} settings; all of them are in results.csv.")
    return found


def ranking_columns(shown: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Column]:
    """Make the columns of :func:`ranking_table`, of the settings that are ``shown``."""
    several = any(line["runs"] > 1 for line in shown)
    what = "validation, test: means over clients" + (
        " and seeds; ± is the standard deviation over seeds." if several else "."
    )
    columns = [Column(name, [_setting(line[name]) for line in shown]) for name in names]
    columns += [
        Column("validation", [number(line["validation"], ".3f") for line in shown], legend=what),
        Column("test", [_test(line) for line in shown]),
        Column("epsilon", [_epsilon(line) for line in shown], legend=_EPSILON),
        Column("runs", [str(line["runs"]) for line in shown], 1),
        Column("ended", [_ended(line) for line in shown], 2),
    ]
    return columns


def _setting(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_EPSILON = "epsilon: the privacy of a client, the smaller the better; –: none."


def _epsilon(line: Mapping[str, Any]) -> str:
    return number(line["epsilon"], ".3g") if "epsilon" in line else ""


def _test(line: Mapping[str, Any]) -> str:
    spread = f" ± {number(line['test_std'], '.3f')}" if line["runs"] > 1 else ""
    return f"{number(line['test'], '.3f')}{spread}"


def _ended(line: Mapping[str, Any]) -> str:
    return ", ".join(why if n == line["runs"] else f"{n} {why}" for why, n in line["why"].items())
