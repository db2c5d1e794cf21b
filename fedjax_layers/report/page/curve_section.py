"""The page's learning curves, and its curves of scores against the bytes that were moved."""

from __future__ import annotations

from collections.abc import Mapping

from fedjax_layers.engine.evaluation.score_names import LOWER_IS_BETTER, SCORED
from fedjax_layers.experiment.finished.methods import Band, Compared, Method, curve_of
from fedjax_layers.report.page.elements import Element, name, table
from fedjax_layers.report.page.figure import View, figure
from fedjax_layers.report.page.line_chart import Labels, Line
from fedjax_layers.report.page.scales import byte_unit
from fedjax_layers.report.wording import HEADLINES

_MODELS = {"trained": "own, trained", "served": "own, served", "team": "team's", "global": "global"}
_WORDS = {**HEADLINES, "accuracy": "accuracy", "loss": "loss"}
Keys = Mapping[str, int]
"""The numbers of methods on the page, by label."""


def learning_curves(compared: Compared, keys: Keys) -> Element | None:
    """Make the figure of scores over rounds."""
    views = []
    for metric, model in _curves(compared):
        bands = _bands(compared, f"{model}/test/{metric}")
        lines = [Line(keys[m.label], m.label, b.x, b.mean, b.low, b.high) for m, b in bands]
        y = f"{_WORDS[metric]} ({_better(metric)} is better)"
        labels = Labels(f"{_WORDS[metric]} over rounds, {_MODELS[model]} model", "round", y)
        views.append(View((_WORDS[metric], _MODELS[model]), labels, lines, whole=True))
    bands = _bands(compared, "train_loss")
    lines = [Line(keys[m.label], m.label, b.x, b.mean, b.low, b.high) for m, b in bands]
    if lines:
        labels = Labels("training loss over rounds", "round", "training loss (lower is better)")
        views.append(View(("training loss", _MODELS["trained"]), labels, lines, whole=True))
    several = any(len(method.runs) > 1 for method in compared.methods)
    told = "Means over clients of their test examples. Trained: after local training; served: as the server left it."
    told += " The band goes from the lowest to the highest seed." if several else ""
    return figure("Learning curves", views, pickers=("score", "model"), told=told)


def _curves(compared: Compared) -> list[tuple[str, str]]:
    """List scores and models that any run has, those by which the methods are compared first."""
    there = {name for method in compared.methods for run in method.runs for name in run.curves}
    first = compared.ended[0].runs[0].config if compared.ended else compared.methods[0].runs[0].config
    models = sorted(SCORED, key=lambda model: model != first.get("scored_model"))
    found = [(metric, model) for metric in _WORDS for model in models if f"{model}/test/{metric}" in there]
    return sorted(found, key=lambda pair: pair[0] != compared.metric)


def _bands(compared: Compared, curve: str, over: str = "round") -> list[tuple[Method, Band]]:
    found = [(method, curve_of(method, curve, over)) for method in compared.methods]
    return [(method, band) for method, band in found if band is not None and len(band.x)]


def _better(metric: str) -> str:
    return "lower" if metric in LOWER_IS_BETTER else "higher"


def bytes_curves(compared: Compared, keys: Keys) -> Element | None:
    """Make the figure of scores against the bytes that all clients have moved so far."""
    views = []
    scored = str(compared.ended[0].summaries[0]["scored_model"]) if compared.ended else "trained"
    for metric, model in _curves(compared):
        bands = _bands(compared, f"{model}/test/{metric}", "bytes")
        if model != scored or not bands:
            continue
        size, unit = byte_unit(max(float(b.x[-1]) for _, b in bands))
        lines = [Line(keys[m.label], m.label, b.x / size, b.mean, b.low, b.high) for m, b in bands]
        word = _WORDS[metric]
        labels = Labels(
            f"{word} against bytes", f"{unit} moved by all clients", f"{word} ({_better(metric)} is better)", "", unit
        )
        rows = [[name(m.label), f"{b.x[-1] / size:,.2f}", f"{b.mean[-1]:.4g}"] for m, b in bands]
        end = table(["method", f"{unit} moved", word], rows, f"{word} and bytes after the last round", class_="values")
        views.append(View((word,), labels, lines, table=end))
    told = "Up and down, all clients together, from the first round on. Further left at the same height is cheaper."
    return figure("Score against bytes", views, pickers=("score",), told=told)
