"""The part of ``summary.json`` about each class: its recall, precision and F1, over clients and pooled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedjax_layers.engine.history.history import History
from fedjax_layers.ops.metrics.classes import BY_CLASS

_SHORT = {name: name.removeprefix("class_") for name in BY_CLASS}


def class_summary(
    history: History, scored_model: str, scored_round: str, names: Sequence[str], unseen: np.ndarray | None = None
) -> dict[str, Any] | None:
    """Summarise recall, precision and F1 of each class.

    Args:
      history: the run's history.
      scored_model: the personal model that is scored, ``"trained"`` or ``"served"``.
      scored_round: its round, ``"best"`` or ``"last"``.
      names: the names of the S classes.
      unseen: ``[C]`` bool, clients that are left out; ``None`` leaves out none.

    Returns:
      For ``personal`` and ``global`` models, by class name, the means over the clients that have such a score, and
      ``n``, the number of clients with test examples of the class; for ``pooled`` the scores of all test examples
      together. A model that the run does not have is ``None``, and so is the result where no scores by class were
      recorded.
    """
    found: dict[str, Any] = {
        model: _over_clients(history.class_scores(when, scored_round), names, unseen)
        for model, when in (("personal", scored_model), ("global", "global"))
    }
    pooled = {name: history.evaluations.get(f"pooled/test/{name}") for name in BY_CLASS}
    found["pooled"] = None
    if all(x is not None for x in pooled.values()):
        row = history.row_of("global", scored_round)
        found["pooled"] = {
            one: {_SHORT[name]: float(x[row, s]) for name, x in pooled.items() if x is not None}
            for s, one in enumerate(names)
        }
    return found if any(x is not None for x in found.values()) else None


def _over_clients(
    scores: dict[str, np.ndarray], names: Sequence[str], unseen: np.ndarray | None
) -> dict[str, dict[str, float]] | None:
    if not scores:
        return None
    left = slice(None) if unseen is None else ~unseen
    summary = {}
    for s, one in enumerate(names):
        own = {_SHORT[name]: x[left, s] for name, x in scores.items()}
        n = int(np.isfinite(own["recall"]).sum())
        summary[one] = {name: _mean(x) for name, x in own.items()} | {"n": n}
    return summary


def _mean(values: np.ndarray) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else float("nan")
