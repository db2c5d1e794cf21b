"""The table with a row per client: its name, its numbers of examples, and its scores."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from fedjax_layers.engine.evaluation.score_names import LOWER_IS_BETTER, scores_under
from fedjax_layers.report.fitted_table import Column, Fitted, fitted

MOST_CLIENTS = 20  # largest number of clients that a run lists at its end
_SHOWN = {
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "MCC",
    "roc_auc": "AUROC",
    "concordance": "C-index",
    "r2": "R²",
    "mae": "MAE",
    "rmse": "RMSE",
    "perplexity": "perplexity",
    "loss": "loss",
}
_SIZES = {"train_examples": "train", "val_examples": "val", "test_examples": "test"}


def client_table(arrays: Mapping[str, np.ndarray], scored_model: str, scored_round: str, width: int) -> Fitted:
    """Make the table of a run's clients, and the line that says which model of which round is scored.

    Args:
      arrays: content of ``clients.npz``, ``[C]`` each.
      scored_model: the model that is scored.
      scored_round: its round, ``"best"`` or ``"last"``.
      width: width of the terminal in characters.
    """
    prefix = f"{scored_model}/{scored_round}/test/"
    metrics = _ordered(arrays, prefix)
    number = len(arrays[prefix + "loss"])
    names = arrays["client_names"].tolist() if "client_names" in arrays else list(map(str, range(number)))
    columns = [Column("client", names, left=True)]
    columns += [
        Column(title, [f"{int(x):,}" for x in arrays[name]]) for name, title in _SIZES.items() if name in arrays
    ]
    for place, metric in enumerate(metrics):
        cells = ["–" if math.isnan(x) else f"{x:.3f}" for x in map(float, arrays[prefix + metric])]
        columns.append(Column(_SHOWN[metric], cells, len(metrics) - place if place else 0))
    found = fitted(columns, width)
    scored = f"Each client's test examples, scored by {MODELS[scored_model]}, {ROUNDS[scored_round]}."
    return Fitted(found.table, [scored, *found.lines])


MODELS = {
    "trained": "its own model after local training",
    "served": "its own model after aggregation",
    "team": "its team's model",
    "global": "the global model",
}
ROUNDS = {"best": "of the client's best round by validation loss", "last": "of the last round"}


def _ordered(arrays: Mapping[str, np.ndarray], prefix: str) -> list[str]:
    """List the available scores that the table shows, those for which lower is better last."""
    found = [name for name in scores_under(prefix.rstrip("/"), arrays) if name in _SHOWN]
    return sorted(found, key=lambda name: name in LOWER_IS_BETTER)
