"""How results describe themselves: in a line of text, and as a short table in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from fedjax_layers.engine.evaluation.score_names import EVALUATED_MODELS, headline
from fedjax_layers.engine.history.client_statistics import summarise
from fedjax_layers.engine.history.history import History


def usual_model(history: History) -> str | None:
    """Choose which of the clients' own models counts: trained where every client has one, otherwise served.

    A run that draws cohorts has trained models of its last cohort only. ``None`` means that nothing was evaluated.
    """
    there = [name for name in EVALUATED_MODELS if f"{name}/test/loss" in history.latest]
    if set(there) == set(EVALUATED_MODELS):
        served, trained = (~np.isnan(history.latest[f"{name}/test/loss"]) for name in EVALUATED_MODELS)
        return "served" if (served & ~trained).any() else "trained"
    return there[0] if there else None


def counted(number: int, what: str) -> str:
    """Write a number with its noun, as in ``1 round`` and ``2 rounds``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def score_line(history: History) -> str:
    """Describe the mean over clients of the usual score, in half a sentence; empty without an evaluation."""
    found = _usual_scores(history)
    if found is None:
        return ""
    model, scores = found
    metric = headline(scores)
    return f"{metric} {scores[metric]['mean']:.3f} ({model}, best round, test examples)"


def score_table(history: History) -> str:
    """Make the table of a run's scores over clients as HTML; empty without an evaluation."""
    found = _usual_scores(history)
    if found is None:
        return ""
    model, scores = found
    rows = [
        [metric, *(f"{one[part]:.4g}" for part in ("mean", "std", "min")), f"{one['n']:,}"]
        for metric, one in scores.items()
    ]
    told = f"Scores over clients of their test examples, by the model that is {model}, of each client's best round"
    return html_table(told, ("score", "mean", "std", "lowest", "clients"), rows)


def _usual_scores(history: History) -> tuple[str, dict[str, dict[str, float | int]]] | None:
    """Summarise the usual model's scores by metric, with its name; clients that never take part do not count."""
    model = usual_model(history)
    scores = None if model is None else history.scores(model, "best")
    if model is None or scores is None:
        return None
    sizes = np.asarray(history.latest.get("examples", np.ones(len(next(iter(scores.values()))))))
    return model, {metric: summarise(np.where(sizes > 0, x, np.nan), sizes) for metric, x in scores.items()}


def tree_line(tree: Any) -> str:
    """Describe a tree of arrays: its type, the number of arrays, and their bytes."""
    leaves = jax.tree.leaves(tree)
    total = sum(int(getattr(leaf, "nbytes", 0)) for leaf in leaves)
    return f"{type(tree).__name__} of {counted(len(leaves), 'array')}, {total:,} bytes"


def html_table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], foot: str = "") -> str:
    """Make a table as HTML, in which nothing of what is given can be markup."""
    head = "".join(f"<th>{html.escape(str(cell))}</th>" for cell in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    under = f"<p>{html.escape(foot)}</p>" if foot else ""
    told = f"<caption>{html.escape(caption)}</caption>"
    start = '<table class="dataframe">'  # looks as the tables of pandas do, on a dark page, too
    return f"{start}{told}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{under}"
