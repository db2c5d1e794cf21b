"""Functions that add the results of an interval to a run's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fedjax_layers.engine.history.history import History


def add_interval(
    history: History, log: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray], count: int, num_clients: int
) -> None:
    """Add the rounds of one interval and its evaluation.

    Args:
      history: the run's history, to which they are added.
      log: per-round arrays, ``[eval_every, ...]`` each, whose first ``count`` rows are valid.
      scores: scores by name, ``[C]``; those of ``trained`` are ``[K]`` with ``trained/ids`` beside them.
      count: number of rounds in this interval.
      num_clients: C, the number of clients.
    """
    rounds = {name: np.asarray(x)[:count] for name, x in log.items()}
    done = history.rounds_done + count
    history.add(rounds, _evaluation_row(scores, num_clients, done))


def add_finish(history: History, scores: Mapping[str, np.ndarray], evaluated_models: Sequence[str]) -> None:
    """Add one evaluation of each client's model after the last local phase.

    Args:
      history: the run's history, to which it is added.
      scores: scores by ``{split}/{metric}``, ``[C]`` each.
      evaluated_models: the models that the run evaluates; the scores are added under each of their names.
    """
    row = {name: np.full_like(x, np.nan) for name, x in history.latest.items() if name.count("/") == 2}
    row["examples"] = history.latest["examples"]
    for scored_model in evaluated_models:
        row |= {f"{scored_model}/{name}": np.asarray(x) for name, x in scores.items()}
    history.add({}, row | {"round": np.int64(history.rounds_done), "finished": np.bool_(True)})


def _evaluation_row(
    scores: Mapping[str, np.ndarray], num_clients: int, done: int
) -> dict[str, np.ndarray | np.generic]:
    """Make one evaluation for the history; scores of trained models are moved from slots to clients."""
    host = {name: np.asarray(x) for name, x in scores.items()}
    ids = host.pop("trained/ids", None)
    row: dict[str, np.ndarray | np.generic] = {"round": np.int64(done), "finished": np.bool_(False)}
    for name, x in host.items():
        if name.startswith("trained/") and ids is not None:
            row[name] = np.full((num_clients, *x.shape[1:]), np.nan, x.dtype)
            row[name][ids[ids >= 0]] = x[ids >= 0]  # type: ignore[index]
        else:
            row[name] = x
    if "global/val/loss" in row and "served/val/loss" not in row:  # clients without a personal model use the global one
        row |= {name.replace("global/", "served/"): x for name, x in row.items() if name.startswith("global/")}
    return row
