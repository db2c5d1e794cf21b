"""What a person sees at the end beside the tables: sentences, and how numbers and scores are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedjax_layers.algorithms import registry
from fedjax_layers.engine.evaluation.score_names import headline

HEADLINES = {"macro_f1": "macro-F1", "perplexity": "perplexity", "mae": "MAE", "concordance": "C-index"}
BESIDE = {"macro_f1": "accuracy", "perplexity": "accuracy", "mae": "r2", "concordance": None}  # in the next column
COLUMNS = {"accuracy": "accuracy", "r2": "R²"}


def number(value: float | None, spec: str) -> str:
    """A number as text; a dash where there is none."""
    return "–" if value is None else format(value, spec)


def team_lines(summary: Mapping[str, Any]) -> list[str]:
    """The scores of the teams' models, each on its own clients, as a plain sentence."""
    scores = summary["team"]
    if scores is None:
        return []
    metric = headline(scores)
    found, beside = scores[metric], BESIDE[metric]
    also = f", {COLUMNS[beside]} {number(scores[beside]['mean'], '.3f')}" if beside else ""
    who = f"Team models of {summary['algorithm']}, {summary['teams']:g} team{'s' if summary['teams'] > 1 else ''}"
    spread = f"{number(found['mean'], '.3f')} ± {number(found['std'], '.3f')}"
    return [f"{who}: {HEADLINES[metric]} {spread} over clients{also}"]


def report_lines(summary: Mapping[str, Any]) -> list[str]:
    """What the algorithm says of the run beside its scores, as plain sentences."""
    report = registry[summary["algorithm"]].report
    return [] if report is None else report.lines(summary)
