"""Whether a run's numbers are sound: clients that were left out since theirs were not finite, and divergence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedjax_layers.engine.history.history import History
from fedjax_layers.experiment.config.run_config import RunConfig

FACTOR = 1000.0  # of the smallest median loss, at least 1, above which a run counts as diverged


class NonFiniteError(RuntimeError):
    """A run with ``nonfinite="stop"`` ended, because the results of a client were not finite."""


def soundness(
    history: History, scored_model: str, unseen: np.ndarray | None = None, guess: float = np.inf
) -> dict[str, Any]:
    """Make the part of ``summary.json`` that says what was wrong in a run.

    Args:
      history: the run's history.
      scored_model: the model whose losses tell whether the run diverged, ``served`` or ``trained``.
      unseen: ``[C]`` bool, clients that never take part and do not count; ``None`` means none.
      guess: the loss of guessing all classes alike, where there are classes.

    Returns:
      ``nonfinite``: the number of times that a client was left out, in how many rounds, and the clients as far as the
      records name them. ``unheard_rounds``: the number of rounds in which no client was heard. ``dropped``: how often a
      client dropped out. ``diverged``: see :func:`divergence`.
    """
    rounds = history.rounds
    named = np.asarray(rounds["nonfinite_clients"])
    dropped = rounds.get("dropped")
    return {
        "nonfinite": {
            "results": int(rounds["nonfinite"].sum(dtype=np.int64)),
            "rounds": int((rounds["nonfinite"] > 0).sum()),
            "clients": sorted({int(c) for c in named[named >= 0]}),
        },
        "unheard_rounds": int((rounds["participants"] == 0).sum()),
        "dropped": None if dropped is None else int(dropped.sum(dtype=np.int64)),
        "diverged": divergence(history, scored_model, unseen, guess),
    }


def divergence(
    history: History, scored_model: str, unseen: np.ndarray | None = None, guess: float = np.inf
) -> str | None:
    """Say how a run diverged, in a few words; ``None`` if it did not.

    A run has diverged if in the second half of its rounds the results of no client were finite, or if at its end the
    median over clients of the test loss is not finite, or more than :data:`FACTOR` times a good one: the smallest
    median of all evaluations or the loss of guessing, but at least 1. It is the median, since a single client with
    broken test examples says nothing of the models.
    """
    if nobody_heard(history.rounds):
        return "since the middle of the run, the results of no client are finite"
    losses = history.evaluations.get(f"{scored_model}/test/loss")
    medians = [] if losses is None else [m for row in losses if (m := _median(row, unseen)) is not None]
    if not medians:
        return None
    if not np.isfinite(medians[-1]):
        return "the median test loss over clients is not finite"
    limit = FACTOR * max(1.0, min(*medians, guess))
    return f"the median test loss over clients is {medians[-1]:.2g}" if medians[-1] > limit else None


def nobody_heard(rounds: Mapping[str, Any]) -> bool:
    """Return whether in the second half of the rounds no client was heard, and not only because of drawn faults."""
    half = len(rounds["nonfinite"]) // 2
    spoilt = rounds["nonfinite"][half:].sum() - (rounds["broken"][half:].sum() if "broken" in rounds else 0)
    return bool(spoilt > 0 and rounds["participants"][half:].sum() == 0)


def _median(losses: np.ndarray, unseen: np.ndarray | None) -> float | None:
    counted = losses if unseen is None else losses[~unseen]
    scored = counted[~np.isnan(counted)]  # NaN means that there are no examples; a broken loss is infinite
    return float(np.median(scored)) if scored.size else None


def refuse_nonfinite(config: RunConfig, history: History, since: int) -> None:
    """Raise :class:`NonFiniteError` where the config says so and a round from ``since`` on left out a client."""
    if config.nonfinite != "stop":
        return
    spoilt = np.flatnonzero(history.rounds["nonfinite"][since:] > 0)
    if spoilt.size:
        first = since + int(spoilt[0])
        clients = ", ".join(str(c) for c in history.rounds["nonfinite_clients"][first] if c >= 0)
        raise NonFiniteError(f"round {first + 1}: expected finite results, got others from client {clients}")
