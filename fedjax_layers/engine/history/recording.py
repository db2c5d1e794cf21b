"""From what an interval returns to a run's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fedjax_layers.engine.history.history import History


def add_interval(
    history: History, log: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray], count: int, num_clients: int
) -> None:
    """Add the rounds of one interval and its evaluation.

    Args:
      history: of the run; it grows.
      log: per-round arrays, ``[eval_every, ...]`` each, whose first ``count`` rows are valid.
      scores: by name, ``[C]``; those of ``trained`` are ``[K]`` with ``trained/ids`` beside them.
      count: rounds in this interval.
      num_clients: C.
    """
    rounds = {name: np.asarray(x)[:count] for name, x in log.items()}
    done = history.rounds_done + count
    history.add(rounds, _evaluation_row(scores, num_clients, done))


def add_finish(history: History, scores: Mapping[str, np.ndarray], evaluated_models: Sequence[str]) -> None:
    """Add one evaluation of each client's model after the last local phase.

    Args:
      history: of the run; it grows.
      scores: by ``{split}/{metric}``, ``[C]`` each.
      evaluated_models: those that the run evaluates; this one counts as each of them.
    """
    row = {name: np.full_like(x, np.nan) for name, x in history.latest.items() if name.count("/") == 2}
    row["examples"] = history.latest["examples"]
    for scored_model in evaluated_models:
        row |= {f"{scored_model}/{name}": np.asarray(x) for name, x in scores.items()}
    history.add({}, row | {"round": np.int64(history.rounds_done), "finished": np.bool_(True)})


def _evaluation_row(
    scores: Mapping[str, np.ndarray], num_clients: int, done: int
) -> dict[str, np.ndarray | np.generic]:
    """One evaluation for the history: trained scores moved from slots to clients."""
    host = {name: np.asarray(x) for name, x in scores.items()}
    ids = host.pop("trained/ids", None)
    row: dict[str, np.ndarray | np.generic] = {"round": np.int64(done), "finished": np.bool_(False)}
    for name, x in host.items():
        if name.startswith("trained/") and ids is not None:
            row[name] = np.full((num_clients, *x.shape[1:]), np.nan, x.dtype)
            row[name][ids[ids >= 0]] = x[ids >= 0]  # type: ignore[index]
        else:
            row[name] = x
    if "global/val/loss" in row and "served/val/loss" not in row:  # what a client without a model of its own uses
        row |= {name.replace("global/", "served/"): x for name, x in row.items() if name.startswith("global/")}
    return row
