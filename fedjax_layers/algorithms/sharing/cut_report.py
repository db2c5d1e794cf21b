"""The report of PLayer-FL's cut: the cuts of other thresholds, and control cuts without learning."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from fedjax_layers.algorithms.report import Controls, Decide, Decision, LayerRecord, Report
from fedjax_layers.algorithms.sharing.sensitivity_cut import CutRule, cut_controls
from fedjax_layers.clients import Trainer
from fedjax_layers.ops import transition_point
from fedjax_layers.types import Array, Cohort, Key, Params

_BLOCK = 256


def cut_decision(options: Mapping[str, Any]) -> Decision | None:
    """Return the decision by the threshold, whose only effect in any round is a cut of the recorded scores.

    Return ``None`` where clients vote, since their single scores are not recorded, where no prefix is shared, and where
    losses decide when the cut is estimated.
    """
    if options["agreement"] == "majority" or options["shared_layers"] == "below" or options["repeat_on_rise"]:
        return None
    rule = {name: options[name] for name in ("cumulative", "local_on_first_jump")}
    return Decision("threshold", threshold_decision(**rule))


def threshold_decision(*, cumulative: bool = False, local_on_first_jump: bool = False) -> Decide:
    """Make the function that computes PLayer-FL's cut for each threshold from a run's recorded ``scores [n, L]``.

    Args:
      cumulative: see :func:`fedjax_layers.ops.transition_point`.
      local_on_first_jump: see :func:`fedjax_layers.ops.transition_point`.

    Returns:
      ``(thresholds [M], recorded, first) -> cuts [M, n]``.
    """

    def decide(thresholds: Sequence[float], recorded: Mapping[str, np.ndarray], first: int) -> np.ndarray:
        del first
        scores = recorded["scores"]
        asked = np.repeat(np.asarray(thresholds, scores.dtype), len(scores))
        rows = np.tile(scores, (len(thresholds), 1))
        cuts = []
        for start in range(0, len(asked), _BLOCK):  # blocks are filled up, so that another count needs no compilation
            own = np.resize(asked[start : start + _BLOCK], _BLOCK), np.resize(rows[start:], (_BLOCK, rows.shape[1]))
            cuts.append(np.asarray(_cuts(*own, cumulative, local_on_first_jump)))
        return np.concatenate(cuts)[: len(asked)].reshape(len(thresholds), len(scores))

    return decide


@functools.partial(jax.jit, static_argnums=(2, 3))
def _cuts(thresholds: Array, scores: Array, cumulative: bool, local_on_first_jump: bool) -> Array:
    """Compute one cut per threshold ``[n]`` and row of scores ``[n, L]``."""
    cut = functools.partial(transition_point, cumulative=cumulative, local_on_first_jump=local_on_first_jump)
    return jax.vmap(cut)(scores, thresholds)


def cut_summary(rounds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the last round's ``cut``, and the scores from which it was made, ``layer_scores [L]``."""
    return {"cut": int(rounds["cut"][-1]), "layer_scores": rounds["scores"][-1].tolist()}


def cut_lines(summary: Mapping[str, Any]) -> list[str]:
    """Describe the cut and the control cuts in sentences."""
    controls = summary["controls"]
    names = summary["shared_layers"]
    same = all(cut == summary["cut"] for cut in controls.values())
    verdict = (
        "It equals all three controls: on this model the cut follows from the layer sizes, not from the data."
        if same
        else "It differs from a control: see docs/algorithms/player_fl.md for what that can mean."
    )
    return [
        f"PLayer-FL shares {summary['cut']} of {len(summary['layers'])} layers ({', '.join(names) or 'none'}).",
        f"Control cuts: {controls['initialisation']} at initialisation, {controls['permuted_labels']} with permuted "
        f"labels, {controls['weight_count']} by weight count. {verdict}",
    ]


def _controls(
    trainer: Trainer, key: Key, params: Params, cohort: Cohort, labels: Array, options: Mapping[str, Any]
) -> Mapping[str, Array]:
    return cut_controls(trainer, key, params, cohort, labels, CutRule(**options))


CUT_REPORT = Report(
    summary=cut_summary,
    lines=cut_lines,
    controls=Controls(_controls, frozenset(field.name for field in dataclasses.fields(CutRule))),
    layers=(LayerRecord("scores", "layer score", "The score of each layer, from which the cut is made"),),
)
