"""The report of an algorithm that chooses blocks: how often each was updated, and how stable choice and scores were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedjax_layers.algorithms.report import LayerRecord, Report


def selection_summary(rounds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Make the entries of ``summary.json`` about the chosen blocks.

    Returns:
      ``updated_blocks`` with ``frequency``, a list with each block's share of the rounds in which it was updated;
      ``overlap``, see :func:`overlap`; ``rank_correlation``, see :func:`rank_correlation`, ``None`` where nothing was
      scored.
    """
    selected = rounds["selected"]
    return {
        "updated_blocks": {
            "frequency": selected.mean(0).tolist(),
            "overlap": overlap(selected),
            "rank_correlation": rank_correlation(rounds["block_scores"]),
        }
    }


def overlap(selected: np.ndarray) -> float | None:
    """Compute the mean Jaccard index of the blocks of consecutive rounds: 1 if they are always the same.

    Args:
      selected: ``[R, B]`` bool. Two rounds without any block count as equal.

    Returns:
      A number in 0 .. 1, ``None`` with fewer than two rounds.
    """
    before, after = selected[:-1], selected[1:]
    both, any_ = (before & after).sum(1), (before | after).sum(1)
    return float(np.where(any_ > 0, both / np.maximum(any_, 1), 1).mean()) if len(selected) > 1 else None


def rank_correlation(scores: np.ndarray) -> float | None:
    """Compute the mean Spearman correlation of the scores of consecutive scored rounds.

    Args:
      scores: ``[R, B]``, NaN in rounds without scores.

    Returns:
      A number in -1 .. 1; ``None`` with fewer than two scored rounds or two blocks, or if scores are constant in every
      pair.
    """
    scored = scores[np.isfinite(scores).all(1)]
    varied = [np.ptp(row) > 0 for row in scored]
    pairs = [(a, b) for a, b, u, v in zip(scored, scored[1:], varied, varied[1:], strict=False) if u and v]
    from scipy.stats import spearmanr  # noqa: PLC0415  (slow to import)

    return float(np.mean([spearmanr(a, b).statistic for a, b in pairs])) if pairs else None


BLOCK_REPORT = Report(
    summary=selection_summary,
    layers=(
        LayerRecord("block_scores", "block score", "The score of each block, by which the server chooses"),
        LayerRecord("selected", "block updated", "Whether the server updates the block (1) or not (0)"),
    ),
)
