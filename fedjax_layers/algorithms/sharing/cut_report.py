"""What is told of PLayer-FL's cut: what another threshold would have made of it, and the cuts that need no learning."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from fedjax_layers.algorithms.report import Controls, Decide, Decision, Report
from fedjax_layers.algorithms.sharing.sensitivity_cut import CutRule, cut_controls
from fedjax_layers.clients import Trainer
from fedjax_layers.ops import transition_point
from fedjax_layers.types import Array, Cohort, Key, Params

_BLOCK = 256


def cut_decision(options: Mapping[str, Any]) -> Decision | None:
    """The threshold: in any round it does no more than cut the recorded scores.

    Unless clients vote, whose single scores are not recorded.
    """
    if options["aggregate"] == "majority":
        return None
    rule = {name: options[name] for name in ("cumulative", "local_on_first_jump")}
    return Decision("threshold", threshold_decision(**rule))


def threshold_decision(*, cumulative: bool = False, local_on_first_jump: bool = False) -> Decide:
    """PLayer-FL's cut for each threshold, from the scores that a run records (``scores`` ``[n, L]``).

    Args:
      cumulative: as in :func:`fedjax_layers.ops.transition_point`.
      local_on_first_jump: likewise.

    Returns:
      ``(thresholds [M], recorded, first) -> cuts [M, n]``.
    """

    def decide(thresholds: Sequence[float], recorded: Mapping[str, np.ndarray], first: int) -> np.ndarray:
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


def cut_summary(rounds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The last round's ``cut``, and the scores behind it, ``layer_scores [L]``."""
    return {"cut": int(rounds["cut"][-1]), "layer_scores": rounds["scores"][-1].tolist()}


def cut_lines(summary: Mapping[str, Any]) -> list[str]:
    """The cut, and the cuts that no learning explains, as plain sentences."""
    controls = summary["controls"]
    names = summary["layers"][: summary["cut"]]
    same = all(cut == summary["cut"] for cut in controls.values())
    verdict = (
        "The same as all three controls: on this model the cut follows from the layer sizes, not from the data."
        if same
        else "It differs from a control: see docs/playerfl.md for what that can mean."
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
)
