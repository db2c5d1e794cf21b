"""A row of a sweep's table: what was set, how the run ended, and its scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedjax_layers.engine.history.history import History
from fedjax_layers.experiment.records.summary import exchanged_bytes, pooled_scores, scores_of
from fedjax_layers.types import LayerMap

SPREAD = ("std", "min", "p10", "n")  # of the personal models on test examples, beside the means


def row_of(
    history: History,
    layers: LayerMap,
    sizes: np.ndarray,
    *,
    scored_model: str,
    scored_round: str,
    unseen: np.ndarray | None = None,
) -> dict[str, Any]:
    """Flat scores of one run.

    Args:
      history: of the run.
      layers: of its model.
      sizes: ``[C]`` training examples.
      scored_model: which model counts as the personal one.
      scored_round: ``best`` or ``last``.
      unseen: ``[C]`` bool, clients that are left out.

    Returns:
      ``rounds``, ``num_shared_layers`` (how many, in the last round), ``bytes_up``, ``bytes_down``, ``steps``; and
      ``{personal, team, global}/{val, test}/{metric}``, the mean over clients, ``.../weighted``, by training examples.
    """
    up, down = exchanged_bytes(history, layers)
    row: dict[str, Any] = {
        "rounds": history.rounds_done,
        "num_shared_layers": int((history.rounds["sent"][-1] > 0).sum()),
    }
    row |= {"bytes_up": up, "bytes_down": down, "steps": int(history.rounds["steps"].sum(dtype=np.int64))}
    for kind, when in {"personal": scored_model, "team": "team", "global": "global"}.items():
        for split in ("val", "test"):
            for metric, found in (scores_of(history, when, scored_round, sizes, unseen, split) or {}).items():
                name = f"{kind}/{split}/{metric}"
                row |= {name: found["mean"], f"{name}/weighted": found["weighted"]}
                if (kind, split) == ("personal", "test"):
                    row |= {f"{name}/{what}": found[what] for what in SPREAD}
    for metric, value in (pooled_scores(history, "test", scored_round) or {}).items():
        row[f"pooled/test/{metric}"] = value
    return row
