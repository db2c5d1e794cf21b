"""Clients that never took part: what they would be served, and what one round of local training makes of it."""

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
    """Scores after one round's local training, ``adapted/last/{split}/{metric}``, ``[C]`` each, NaN for the seen.

    Args:
      build: of the run.
      plan: of the run.
      inputs: of the run.
      state: after the last round.
      history: of the run.
      unseen: ``[C]`` bool; all False gives nothing.
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
    """What ``summary.json`` says of the unseen clients, after the last round; ``None`` where there are none.

    ``served``: the model they would be sent; ``global``: the one global model; ``adapted``: after local training. The
    first two are scored before an algorithm's last local phase, which trains.
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
