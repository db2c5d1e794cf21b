"""The wording of results: sentences printed beside the tables, and the format of numbers and scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedjax_layers.algorithms import registry
from fedjax_layers.engine.evaluation.score_names import LOWER_IS_BETTER, headline
from fedjax_layers.experiment.comparison import FEWEST_SEEDS

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
    factory = registry.get(summary["algorithm"])  # of a user's own file, there may be none in this process
    return [] if factory is None or factory.report is None else factory.report.lines(summary)


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


def difference_lines(differences: Mapping[str, Mapping[str, Any]], metric: str, seeds: int) -> list[str]:
    """Describe each algorithm's difference to the baselines, and whether it is decided, in sentences."""
    if seeds == 1:
        return [f"Differences are undecided: one seed has no interval, and a claim takes {FEWEST_SEEDS} (--seeds)."]
    lines = []
    bases = list(differences)
    for base, others in differences.items():
        for name, found in others.items():
            if name in bases[: bases.index(base)]:
                continue  # the reverse difference is listed already
            told = f"{_interval(found)}: {verdict(found, seeds, metric)}"
            lines.append(f"{HEADLINES[metric]} of {name} minus that of {base}: {told}.")
    return lines


def _interval(found: Mapping[str, Any]) -> str:
    mean, low, high = (f"{found[part]:+.3f}" for part in ("mean", "low", "high"))
    if found["seeds"] < 2:
        return f"{mean} in one pair of seeds" if found["seeds"] else "no pair of seeds in which both have a score"
    return f"{mean}, 95 % interval {low} to {high} over {found['seeds']} paired seeds"


def verdict(found: Mapping[str, Any], seeds: int, metric: str) -> str:
    """Say whether a difference over so many seeds is decided, and which way.

    ``found`` is one of :func:`~fedjax_layers.experiment.comparison.differences_of`.
    """
    better, worse = ("lower", "higher") if metric in LOWER_IS_BETTER else ("higher", "lower")
    if not found["undecided"]:
        return f"{better}, so better" if (found["mean"] > 0) == (better == "higher") else f"{worse}, so worse"
    if found["seeds"] < seeds:
        return f"undecided, {seeds - found['seeds']} of {seeds} seeds without a score"
    few = found["seeds"] < FEWEST_SEEDS
    return f"undecided, fewer than {FEWEST_SEEDS} seeds" if few else "undecided, the interval holds 0"


def rank_lines(tests: Mapping[str, Any]) -> list[str]:
    """Describe the mean ranks over seeds, with Friedman's and Nemenyi's tests, in sentences; none without ranks."""
    if tests.get("friedman") is None:
        return []
    ranks = ", ".join(f"{k} {v:.1f}" for k, v in sorted(tests["mean_ranks"].items(), key=lambda kv: kv[1]))
    return [
        f"Mean ranks over seeds: {ranks}; Friedman p = {tests['friedman']['p_value']:.3f}",
        f"Nemenyi critical difference (5 %): {tests['critical_difference']:.2f} ranks",
    ]
