"""Scores of clients that never took part, with their served models and after one round of local training."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from fedjax_layers.engine import on_host as host
from fedjax_layers.engine.evaluation.score_names import scores_under
from fedjax_layers.engine.history.client_statistics import summarise
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.intervals import Build, Inputs, adapt_interval
from fedjax_layers.engine.plan import Plan


def adapted_scores(
    build: Build, plan: Plan, inputs: Inputs, state: Any, history: History, unseen: np.ndarray
) -> dict[str, np.ndarray]:
    """Score unseen clients after a round's local training, ``adapted/last/{split}/{metric}`` ``[C]``, NaN for others.

    Args:
      build: the run's ``build``.
      plan: the run's plan.
      inputs: the run's inputs.
      state: the state after the last round.
      history: the run's history.
      unseen: ``[C]`` bool; if all are False the result is empty.
    """
    ids = np.flatnonzero(unseen)
    if not len(ids):
        return {}
    rounds = jnp.int32(history.rounds_done)
    if plan.on_host:
        scores = host.adapt_scores(build, plan, inputs, state, ids.astype(np.int32), history.rounds_done)
    else:
        scores = adapt_interval(build, plan, state, inputs, jnp.asarray(ids, jnp.int32), rounds)
    arrays = {}
    for name, values in scores.items():
        arrays[f"adapted/last/{name}"] = np.full((len(unseen), *values.shape[1:]), np.nan)
        arrays[f"adapted/last/{name}"][ids] = np.asarray(values)
    return arrays


def unseen_summary(
    history: History, adapted: dict[str, np.ndarray], unseen: np.ndarray, sizes: np.ndarray
) -> dict[str, Any] | None:
    """Make the part of ``summary.json`` about unseen clients, after the last round; ``None`` where there are none.

    ``served`` are scores of their served models, ``global`` of the global model, and ``adapted`` those after local
    training. The first two precede an algorithm's last local phase, since that phase trains.
    """
    if not unseen.any():
        return None
    found: dict[str, Any] = {"clients": np.flatnonzero(unseen).tolist()}
    last = history.row(int(np.flatnonzero(~history.evaluations["finished"])[-1]))
    for scored_model in ("served", "global"):
        found[scored_model] = (
            _over(last, f"{scored_model}/test", unseen, sizes) if f"{scored_model}/test/loss" in last else None
        )
    found["adapted"] = _over(adapted, "adapted/last/test", unseen, sizes)
    return found


def _over(
    scores: dict[str, np.ndarray], which: str, unseen: np.ndarray, sizes: np.ndarray
) -> dict[str, dict[str, float]]:
    names = scores_under(which, scores)
    return {metric: summarise(scores[name][unseen], sizes[unseen]) for metric, name in names.items()}
