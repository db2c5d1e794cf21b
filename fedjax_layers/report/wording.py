"""The wording of results: sentences printed beside the tables, and the format of numbers and scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedjax_layers.algorithms import registry
from fedjax_layers.engine.evaluation.score_names import headline

HEADLINES = {"macro_f1": "macro-F1", "perplexity": "perplexity", "mae": "MAE", "concordance": "C-index"}
BESIDE = {"macro_f1": "accuracy", "perplexity": "accuracy", "mae": "r2", "concordance": None}  # shown next to it
COLUMNS = {"accuracy": "accuracy", "r2": "R²"}


def number(value: float | None, spec: str) -> str:
    """Format a number; a dash for ``None``."""
    return "–" if value is None else format(value, spec)


def team_lines(summary: Mapping[str, Any]) -> list[str]:
    """Describe the scores of the teams' models, each on its own clients, in a sentence."""
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
    """Return the sentences that the algorithm reports of the run beside its scores."""
    report = registry[summary["algorithm"]].report
    return [] if report is None else report.lines(summary)


def soundness_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return sentences on clients that were left out or dropped out, and on divergence."""
    lines, spoilt = [], summary["nonfinite"]
    if spoilt["results"]:
        named = ", ".join(str(c) for c in spoilt["clients"])
        times = f"{spoilt['results']} time{'s' if spoilt['results'] > 1 else ''}"
        who = f"client{'s' if len(spoilt['clients']) > 1 else ''} {named}"
        what = f"in {spoilt['rounds']} round{'s' if spoilt['rounds'] > 1 else ''}, of {who}"
        lines.append(f"Results that are not finite: {times} {what}.")
    if summary["dropped"]:
        lines.append(f"Clients dropped out {summary['dropped']} time{'s' if summary['dropped'] > 1 else ''}.")
    if summary["unheard_rounds"]:
        lines.append(f"Rounds in which no client was heard: {summary['unheard_rounds']} of {summary['rounds']}.")
    if summary["diverged"]:
        lines.append(f"Diverged: {summary['diverged']}.")
    if (private := summary["privacy"]) is not None:
        lines.append(f"Privacy of a client: {_epsilon(private)}.")
    return lines


def _epsilon(private: Mapping[str, Any]) -> str:
    if private["epsilon"] is None:
        return "none, as there is no noise or far too little"
    promise = f"epsilon {private['epsilon']:.3g} at delta {private['delta']:.1e}"
    return f"{promise}, neighbours {private['adjacency']} client; it covers what the server and other clients see"
