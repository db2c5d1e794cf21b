"""Runs of a sweep that need not go on: those that have diverged, and settings that fall behind at a rung."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedjax_layers.engine.evaluation.score_names import LOWER_IS_BETTER, headline
from fedjax_layers.engine.history.history import History
from fedjax_layers.sweeps.runs import Over

DIVERGED = "diverged"
BEHIND = "stopped"


@dataclasses.dataclass(frozen=True)
class Stopping:
    """When a run ends before its rounds are done.

    Attributes:
      rungs: rounds after which settings are compared; each is taken at the first evaluation not before it.
      keep: share of the settings still running that goes on after a rung, rounded up.
      diverged: whether a run ends once neither training nor any client's model on validation examples has a finite
        loss; it keeps what it scored until then.

    Raises:
      ValueError: rungs below 1 or not going up, ``keep`` not between 0 and 1.

    Source: successive halving, Jamieson and Talwalkar 2016; synchronous, the mean over seeds is compared.
    """

    rungs: tuple[int, ...] = ()
    keep: float = 0.5
    diverged: bool = True

    def __post_init__(self) -> None:
        if any(b <= a for a, b in zip((0, *self.rungs), self.rungs, strict=False)):
            raise ValueError(f"rungs: expected rounds of at least 1 that go up, got {list(self.rungs)}")
        if not 0 < self.keep < 1:
            raise ValueError(f"keep: expected a share between 0 and 1, got {self.keep}")


def diverging(num_clients: int) -> Over:
    """Tells of a run that neither training nor any client's model has a finite loss any more."""

    def over(history: History) -> str | None:
        latest, rounds = history.latest, history.rounds
        dead = not np.isfinite(rounds["loss"][-1])
        if dead and "served/val/loss" in latest:
            dead = not np.isfinite(latest["served/val/loss"]).any()
        elif dead:  # who was not there may have a model that is sound
            everyone = rounds["participants"][-1] == num_clients
            dead = bool(everyone and not np.isfinite(latest["trained/val/loss"]).any())
        return DIVERGED if dead else None

    return over


def merit(history: History, scored_model: str, scored_round: str) -> float:
    """A run's validation score so far, higher is better; minus infinity where it is no number.

    A client whose model has diverged counts: settings are compared over the same clients.
    """
    scores = history.scores(scored_model, scored_round, "val")
    assert scores is not None
    name = headline(scores)
    values = scores[name][~np.isnan(scores[name])]
    if not np.isfinite(values).all() or not values.size:
        return -math.inf
    return float(values.mean()) * (-1 if name in LOWER_IS_BETTER else 1)


def fall_behind(merits: Mapping[Any, Sequence[float]], keep: float) -> set[Any]:
    """The settings that do not go on: all but the best share by the mean over seeds, ties by their order.

    Args:
      merits: setting -> one number per run, higher is better.
      keep: share that goes on, rounded up.
    """
    ordered = sorted(merits, key=lambda setting: -float(np.mean(merits[setting])))
    return set(ordered[math.ceil(keep * len(ordered)) :])
