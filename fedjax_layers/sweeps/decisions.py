"""Options whose only effect is a decision that can be made again from what a run records."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fedjax_layers import algorithms
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.ops import transition_point
from fedjax_layers.options import defaults_of
from fedjax_layers.sweeps.branches import Decide
from fedjax_layers.types import Array

_BLOCK = 256


class Decision(NamedTuple):
    """An option of a config, and how its decision is made again.

    Attributes:
      option: its name.
      value: its value in the config, given or not.
      decide: see :class:`fedjax_layers.sweeps.branches.Branches`.
    """

    option: str
    value: Any
    decide: Decide


def decision_of(config: RunConfig) -> Decision | None:
    """The option of this run's algorithm that only decides; ``None`` where there is none.

    PLayer-FL's ``threshold``: in any round it does no more than cut the recorded scores, unless clients vote, whose
    single scores are not recorded. DemLearn's ``amplified_rounds``: it says in which rounds a factor is applied.

    FedTLU's ``k`` and HeurpFedLA's ``retained`` are not among them: two different numbers update or keep different
    layers in every round, so that nothing after the first local phase would be the same.
    """
    factory = algorithms.registry[config.algorithm]
    options = defaults_of(factory) | dict(config.algorithm_options)
    if config.algorithm == "demlearn":
        return Decision("amplified_rounds", options["amplified_rounds"], first_rounds_decision)
    if config.algorithm != "player_fl":
        return None
    if options["aggregate"] == "majority":
        return None
    rule = {name: options[name] for name in ("cumulative", "local_on_first_jump")}
    return Decision("threshold", options["threshold"], threshold_decision(**rule))


def first_rounds_decision(numbers: Sequence[int], recorded: dict[str, np.ndarray], first: int) -> np.ndarray:
    """Whether each round is among the first so many, for each number ``[M]``: bool ``[M, n]``."""
    rounds = first + np.arange(len(recorded["loss"]))
    return rounds < np.asarray(numbers)[:, None]


def threshold_decision(*, cumulative: bool = False, local_on_first_jump: bool = False) -> Decide:
    """PLayer-FL's cut for each threshold, from the scores that a run records (``scores`` ``[n, L]``).

    Args:
      cumulative: as in :func:`fedjax_layers.ops.transition_point`.
      local_on_first_jump: likewise.

    Returns:
      ``(thresholds [M], recorded, first) -> cuts [M, n]``.
    """

    def decide(thresholds: Sequence[float], recorded: dict[str, np.ndarray], first: int) -> np.ndarray:
        del first
        scores = recorded["scores"]
        asked = np.repeat(np.asarray(thresholds, scores.dtype), len(scores))
        rows = np.tile(scores, (len(thresholds), 1))
        cuts = []
        for start in range(0, len(asked), _BLOCK):  # filled up, so that other numbers of settings compile nothing
            own = np.resize(asked[start : start + _BLOCK], _BLOCK), np.resize(rows[start:], (_BLOCK, rows.shape[1]))
            cuts.append(np.asarray(_cuts(*own, cumulative, local_on_first_jump)))
        return np.concatenate(cuts)[: len(asked)].reshape(len(thresholds), len(scores))

    return decide


@functools.partial(jax.jit, static_argnums=(2, 3))
def _cuts(thresholds: Array, scores: Array, cumulative: bool, local_on_first_jump: bool) -> Array:
    """One cut per threshold ``[n]`` and row of scores ``[n, L]``."""
    cut = functools.partial(transition_point, cumulative=cumulative, local_on_first_jump=local_on_first_jump)
    return jax.vmap(cut)(scores, thresholds)
