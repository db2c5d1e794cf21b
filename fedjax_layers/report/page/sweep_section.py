"""The page's section on a sweep: the ranking of its settings, their scores by what is varied, and all runs' bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedjax_layers.engine.evaluation.score_names import LOWER_IS_BETTER
from fedjax_layers.report.page.elements import Element, el, name, table
from fedjax_layers.report.page.figure import View, figure
from fedjax_layers.report.page.line_chart import Labels, Line
from fedjax_layers.report.page.scales import byte_unit
from fedjax_layers.report.tables import ranking_columns
from fedjax_layers.report.wording import HEADLINES
from fedjax_layers.sweeps.results import SweepFolder, headline_of, rank

_MOST = 200  # settings that the table lists


def sweep_sentence(sweep: SweepFolder) -> str:
    """Say in one sentence what was run."""
    content = sweep.read("config")
    first = content["runs"]["0"]["config"]
    settings = len({repr(run["setting"]) for run in content["runs"].values()})
    seeds = len({run["seed"] for run in content["runs"].values()})
    algorithms = ", ".join(dict.fromkeys(str(run["config"]["algorithm"]) for run in content["runs"].values()))
    clients = "" if first.get("clients") is None else f"{first['clients']} clients of "
    many = f"{seeds} seed{'s' if seeds != 1 else ''}"
    told = f"{algorithms} with {settings} setting{'s' if settings != 1 else ''}"
    return f"{told}, {clients}{first['dataset']}, {first['rounds']} rounds, {many}"


def sweep_section(sweep: SweepFolder) -> list[Element]:
    """Make the table and the figures of a sweep."""
    rows = sweep.ordered_rows
    if not rows:
        return []
    names = sweep.names
    ranking, metric = rank(rows, names), headline_of(rows)
    columns = ranking_columns(ranking[:_MOST], names)
    head = ["place", *(column.title for column in columns)]
    cells = [[str(i), *values] for i, values in enumerate(zip(*(c.cells for c in columns), strict=True), 1)]
    left_out = f" The best {_MOST} of {len(ranking)}; all are in results.csv." if len(ranking) > _MOST else ""
    order = f"Settings in the order of their validation {HEADLINES[metric]}, the best first.{left_out}"
    notes = [order, *(column.legend for column in columns if column.legend)]
    scope = sweep_sentence(sweep)
    figures = [_by_value(ranking, one, metric, scope) for one in names if len(_values(ranking, one)) > 1]
    figures.append(_against_bytes(rows, names, metric, scope))
    return [
        el("section", el("h2", "Settings, ranked"), table(head, cells), [el("p", x, class_="note") for x in notes]),
        el("div", [x for x in figures if x is not None], class_="figures"),
    ]


def _values(ranking: Sequence[Mapping[str, Any]], varied: str) -> list[Any]:
    """List the values of a name: numbers in ascending order, others in the order of the ranking."""
    values = list({json.dumps(line[varied]): line[varied] for line in ranking}.values())
    numeric = all(isinstance(x, int | float) and not isinstance(x, bool) for x in values)
    return sorted(values) if numeric else values


def _by_value(ranking: Sequence[Mapping[str, Any]], varied: str, metric: str, scope: str) -> Element | None:
    """Draw the scores by one varied name, with a line for each combination of the other names' values."""
    values = _values(ranking, varied)
    numeric = all(isinstance(x, int | float) and not isinstance(x, bool) for x in values)
    place = {json.dumps(x): float(x) if numeric else float(i) for i, x in enumerate(values)}
    beside = ("runs", "rounds", "validation", "test", "test_std", "n", "why")
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for line in ranking:
        others = [f"{n} {x}" for n, x in line.items() if n not in (*beside, varied)]
        groups.setdefault(", ".join(others) or "all settings", []).append(line)
    if len(groups) > _MOST // 4:
        return None
    listed = "" if numeric else f" ({', '.join(f'{i} {x}' for i, x in enumerate(values))})"
    word = f"{HEADLINES[metric]} ({'lower' if metric in LOWER_IS_BETTER else 'higher'} is better)"
    views = []
    for split in ("test", "validation"):
        lines = []
        for key, (label, own) in enumerate(groups.items()):
            inside = sorted(own, key=lambda line: place[json.dumps(line[varied])])
            x = np.array([place[json.dumps(line[varied])] for line in inside])
            y, spread = (np.array([line[part] for line in inside], float) for part in (split, "test_std"))
            band = (y - spread, y + spread) if split == "test" else (None, None)
            lines.append(Line(key, label, x, y, *band))
        labels = Labels(f"{split} {HEADLINES[metric]} by {varied}", f"{varied}{listed}", word, varied)
        views.append(View((split,), labels, lines))
    told = "Means over clients and seeds; the band is the standard deviation of the test score over seeds, up and down."
    return figure(f"By {varied}", views, pickers=("examples",), told=told, scope=f"{scope} by {varied}")


def _against_bytes(rows: Sequence[Mapping[str, Any]], names: Sequence[str], metric: str, scope: str) -> Element | None:
    """Draw each run as a point: the bytes that it moved, and its test score."""
    bytes_, y = (
        np.array([np.nan if row.get(part) is None else row[part] for row in rows], float)
        for part in ("bytes_up", f"personal/test/{metric}")
    )
    told = [f"{', '.join(f'{n} {row.get(n)}' for n in names)}, seed {row.get('seed')}" for row in rows]
    order = np.argsort(bytes_, kind="stable")
    size, unit = byte_unit(float(np.nanmax(bytes_, initial=0)))
    lines = [
        Line(0, "runs", bytes_[order] / size, np.where(np.isfinite(bytes_), y, np.nan)[order], who=order, dots=True)
    ]
    word = HEADLINES[metric]
    labels = Labels(f"test {word} against bytes", f"{unit} sent by all clients", f"{word} of the test examples", "run")
    shown = [[name(one), f"{b / size:,.2f}", f"{v:.4g}"] for one, b, v in zip(told, bytes_, y, strict=True)][:_MOST]
    values = table(["run", f"{unit} sent", word], shown, labels.title, class_="values")
    view = View(("all",), labels, lines, table=values)
    return figure("Score against bytes", [view], told="Each point is a run.", people=told, scope=scope)
