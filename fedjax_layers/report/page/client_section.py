"""The page's distribution of scores over clients, and who gains and loses against Local and FedAvg."""

from __future__ import annotations

import numpy as np

from fedjax_layers.experiment.finished.clients import QUANTILES, Sorted, gained, quantiles, sorted_scores, thinned
from fedjax_layers.experiment.finished.methods import Compared, Method, baselines
from fedjax_layers.report.page.curve_section import Keys
from fedjax_layers.report.page.elements import Element, el, name, table
from fedjax_layers.report.page.figure import View, figure
from fedjax_layers.report.page.line_chart import Labels, Line
from fedjax_layers.report.wording import HEADLINES

_MOST = 1000  # points of a line


def client_distribution(compared: Compared, keys: Keys) -> Element | None:
    """Make the figure: one line for each method, its clients sorted by their scores, or by what they gain."""
    if compared.metric is None:
        return None
    people: dict[str, int] = {}
    views = [_view(compared, keys, None, people)]
    views += [_view(compared, keys, base, people) for base in baselines(compared) if len(compared.ended) > 1]
    several = any(len(method.summaries) > 1 for method in compared.ended)
    told = "The clients of each method from the lowest to the highest score"
    told += ", those of all seeds together." if several else "."
    told += " How steep a line is shows how unequally the clients are served."
    return figure("Clients", views, pickers=("show",), told=told, people=list(people))


def _view(compared: Compared, keys: Keys, base: Method | None, people: dict[str, int]) -> View:
    metric = str(compared.metric)
    word = HEADLINES[metric]
    methods = [method for method in compared.ended if base is None or method.label != base.label]
    found = {method.label: sorted_scores(method, metric, base) for method in methods}
    lines = [_line(keys[label], label, one, people) for label, one in found.items() if len(one.values)]
    choice = "scores" if base is None else f"gain over {base.label}"
    y = word if base is None else f"gain in {word} over {base.label}"
    labels = Labels(f"clients sorted by {y}", "% of the clients", y, "client")
    note = "" if base is None else _who_gains(found, base)
    return View(
        (choice,),
        labels,
        lines,
        zero=base is not None,
        span=(0, 100),
        note=note,
        table=_table(found, labels.title, base),
    )


def _line(key: int, label: str, found: Sorted, people: dict[str, int]) -> Line:
    kept = thinned(found, _MOST)
    x = (np.arange(len(kept.values)) + 0.5) / len(kept.values) * 100
    who = [f"{client}, seed {seed}" for client, seed in zip(kept.clients.tolist(), kept.seeds.tolist(), strict=True)]
    numbers = np.array([people.setdefault(one, len(people)) for one in who])
    return Line(key, label, x, kept.values, who=numbers)


def _who_gains(found: dict[str, Sorted], base: Method) -> str:
    told = []
    for label, one in found.items():
        gain, lose, same = gained(one)
        even = f", {same} neither" if same else ""
        told.append(f"{label}: {gain} gain, {lose} lose{even}")
    return f"Clients against {base.label}: {'; '.join(told)}."


def _table(found: dict[str, Sorted], caption: str, base: Method | None) -> Element:
    words = ["lowest", *(f"{q} %" for q in QUANTILES[1:-1]), "highest"]
    head = ["method", *(["gain", "lose"] if base is not None else []), *words]
    rows = []
    for label, one in found.items():
        counted = list(map(str, gained(one)[:2])) if base is not None else []
        rows.append([name(label), *counted, *("–" if np.isnan(x) else f"{x:.3f}" for x in quantiles(one))])
    return el("div", table(head, rows, f"{caption}, percentiles", class_="values"))
