"""Settings of a sweep in order: by validation, with the test score beside it, over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedjax_layers.engine.evaluation.score_names import LOWER_IS_BETTER, headline

FIXED = ("run", "seed", "why", "partition")  # columns of a row that are neither a setting nor a score


def headline_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """The score that settings are compared by: macro-F1 of classes, perplexity of language."""
    return headline({name.split("/")[2] for row in rows for name in row if name.startswith("personal/val/")})


def rank(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """One line per setting, best first.

    Args:
      rows: of a sweep.
      names: of what is varied.

    Returns:
      The setting; ``runs``, how many; ``validation``, the mean over seeds of the personal models' validation score;
      ``test`` and ``test_std``, the same models on test examples, mean and population deviation over seeds; ``n``,
      the clients behind a run's test score, the fewest of any seed; ``why``, how many runs ended how. The test score
      never orders. Settings that stopped at a rung come behind all that did not, in their order by rung; those without
      a finite score come last.
    """
    metric = headline_of(rows)
    sign = 1 if metric in LOWER_IS_BETTER else -1
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(repr([row.get(name) for name in names]), []).append(row)
    lines = []
    for some in groups.values():
        validation, test = (_numbers(some, f"personal/{split}/{metric}") for split in ("val", "test"))
        ends = [row["why"] for row in some]
        lines.append(
            {name: some[0].get(name) for name in names}
            | {
                "runs": len(some),
                "rounds": max(row["rounds"] for row in some),
                "validation": float(validation.mean()),
                "test": float(test.mean()),
                "test_std": float(test.std()),
                "n": float(_numbers(some, f"personal/test/{metric}/n").min()),
                "why": {why: ends.count(why) for why in dict.fromkeys(ends)},
            }
        )

    def order(line: dict[str, Any]) -> tuple[bool, float, float]:
        finite = math.isfinite(line["validation"])
        behind = -line["rounds"] if "stopped" in line["why"] else -math.inf
        return (not finite, behind, sign * line["validation"] if finite else 0.0)

    return sorted(lines, key=order)


def _numbers(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([math.nan if row.get(name) is None else row[name] for row in rows], float)
