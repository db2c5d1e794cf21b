"""The page's table of results, and the paired differences between methods with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedjax_layers.engine.evaluation.score_names import LOWER_IS_BETTER
from fedjax_layers.experiment.finished.methods import Compared, score_interval
from fedjax_layers.report.page.elements import Element, el, name, table
from fedjax_layers.report.page.scales import axis_of
from fedjax_layers.report.tables import results_columns
from fedjax_layers.report.wording import (
    HEADLINES,
    difference_lines,
    rank_lines,
    report_lines,
    team_lines,
    verdict,
)

_SPAN, _HIGH = 200, 24  # of the picture of an interval


def results_section(compared: Compared) -> Element | None:
    """Make the section; ``None`` while no run has ended."""
    if compared.metric is None:
        return None
    summaries = [method.mean for method in compared.ended]
    lines = [line for summary in summaries for line in team_lines(summary)]
    lines += list(dict.fromkeys(line for method in compared.ended for line in report_lines(method.summaries[0])))
    return el(
        "section",
        el("h2", "Results"),
        _results(compared, summaries),
        _differences(compared),
        el("ul", [el("li", line) for line in lines]) if lines else None,
    )


def _results(compared: Compared, summaries: list[dict[str, Any]]) -> list[Element]:
    assert compared.metric is not None
    seeds = max(len(method.summaries) for method in compared.ended)
    columns, best = results_columns(summaries, seeds)
    shown = [column for column in columns if any(column.cells)]
    head = ["method", *(column.title for column in shown[1:])]
    cells = [list(column.cells) for column in shown[1:]]
    legends = [column.legend for column in shown if column.legend]
    if seeds > 1:
        head.insert(2, "95 % interval")
        intervals = [score_interval(method, compared.metric) for method in compared.ended]
        cells.insert(1, [_span(found.low, found.high, ".3f") for found in intervals])
        legends.append(f"95 % interval: of the mean {HEADLINES[compared.metric]} over seeds, by Student's t.")
    if mean_ranks := compared.tests.get("mean_ranks"):
        head.insert(1, "rank")
        cells.insert(0, [f"{mean_ranks[method.label]:.1f}" for method in compared.ended])
    score = 1 + ("rank" in head)
    rows = []
    for i, method in enumerate(compared.ended):
        own: list[Any] = [column[i] for column in cells]
        if i in best:
            own[score - 1] = el("strong", own[score - 1])
        rows.append([name(method.label), *own])
    ranks = [el("p", line, class_="note") for line in rank_lines(compared.tests)]
    told = el("details", el("summary", "What the numbers are"), [el("p", line, class_="note") for line in legends])
    return [table(head, rows), *ranks, told]


def _number(value: float, spec: str) -> str:
    return f"{value:{spec}}" if np.isfinite(value) else "–"


def _span(low: float, high: float, spec: str) -> str:
    return f"{low:{spec}} to {high:{spec}}" if np.isfinite([low, high]).all() else "–"


def _differences(compared: Compared) -> list[Element]:
    """Make a table for each baseline: the methods' differences to it, with their intervals, and what they decide."""
    if not compared.differences:
        told = "The runs have no seeds in common on the same clients, so that no differences are given."
        return [el("p", told, class_="note")] if len(compared.ended) > 1 else []
    metric, seeds = str(compared.metric), len(compared.seeds)
    if seeds == 1:
        return [el("p", line, class_="note") for line in difference_lines(compared.differences, metric, 1)]
    made = [el("h3", "Paired differences")]
    better = "lower" if metric in LOWER_IS_BETTER else "higher"
    for base, others in compared.differences.items():
        ends = [np.array([x["low"], x["mean"], x["high"]], float) for x in others.values()]
        axis = axis_of([*ends, np.zeros(1)])
        rows = []
        for label, found in others.items():
            picture = None if axis is None else _picture(found, axis.low, axis.high)
            told = verdict(found, seeds, metric)
            word = el("span", told, class_="undecided" if found["undecided"] else "decided")
            mean, span = _number(found["mean"], "+.3f"), _span(found["low"], found["high"], "+.3f")
            rows.append([name(label), mean, span, picture, word])
        caption = f"{HEADLINES[metric]} of each method minus that of {base}, {seeds} paired seeds; {better} is better"
        made.append(table(["method", "difference", "95 % interval", "", ""], rows, caption, class_="differences"))
    return made


def _picture(found: Mapping[str, Any], low: float, high: float) -> Element:
    """Draw the interval as a line, the mean as a dot, and 0 as a line across."""
    at = {part: (found[part] - low) / (high - low) * (_SPAN - 12) + 6 for part in ("mean", "low", "high")}
    zero = -low / (high - low) * (_SPAN - 12) + 6
    middle = _HIGH / 2
    parts = [el("line", x1=f"{zero:.1f}", x2=f"{zero:.1f}", y1=0, y2=_HIGH, class_="zero")]
    if np.isfinite([at["low"], at["high"]]).all():
        parts.append(el("line", x1=f"{at['low']:.1f}", x2=f"{at['high']:.1f}", y1=middle, y2=middle, class_="span"))
    if np.isfinite(at["mean"]):
        parts.append(el("circle", cx=f"{at['mean']:.1f}", cy=middle, r=4.5))
    undecided = "undecided" if found["undecided"] else "decided"
    return el("svg", parts, viewBox=f"0 0 {_SPAN} {_HIGH}", class_=f"interval {undecided}", aria_hidden="true")
