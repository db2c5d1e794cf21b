"""A table with a row per client: its name, its numbers of examples, and its scores."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from fedjax_layers.simulation.scoring import LOWER_IS_BETTER, scores_under

MOST_CLIENTS = 20  # that a run lists at its end
_SHOWN = {
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "MCC",
    "auroc": "AUROC",
    "concordance": "C-index",
    "r2": "R²",
    "mae": "MAE",
    "rmse": "RMSE",
    "perplexity": "perplexity",
    "loss": "loss",
}
_SIZES = {"train_examples": "train", "val_examples": "val", "test_examples": "test"}


def client_table(arrays: Mapping[str, np.ndarray], moment: str, selection: str) -> Table:
    """The clients of a run.

    Args:
      arrays: content of ``clients.npz``, ``[C]`` each.
      moment: which model is scored.
      selection: of which round.
    """
    prefix = f"{moment}/{selection}/test/"
    metrics = _ordered(arrays, prefix)
    sizes = [name for name in _SIZES if name in arrays]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("client", overflow="fold")
    for title in (*(_SIZES[name] for name in sizes), *(_SHOWN[m] for m in metrics)):
        table.add_column(title, justify="right", no_wrap=True)
    names = arrays["client_names"].tolist() if "client_names" in arrays else None
    for c in range(len(arrays[prefix + "loss"])):
        scores = [float(arrays[prefix + metric][c]) for metric in metrics]
        table.add_row(
            escape(names[c] if names else str(c)),
            *(f"{int(arrays[size][c]):,}" for size in sizes),
            *("–" if math.isnan(score) else f"{score:.3f}" for score in scores),
        )
    return table


def describe_clients(moment: str, selection: str) -> str:
    """The line under the table: which model of which round is scored on what."""
    return f"Each client's test examples, scored by {MODELS[moment]}, {ROUNDS[selection]}."


MODELS = {
    "trained": "its own model after local training",
    "served": "its own model after aggregation",
    "team": "its team's model",
    "global": "the global model",
}
ROUNDS = {"best": "of the client's best round by validation loss", "last": "of the last round"}


def _ordered(arrays: Mapping[str, np.ndarray], prefix: str) -> list[str]:
    """The scores that there are and that the table shows: those of which a lower one is better last."""
    found = [name for name in scores_under(prefix.rstrip("/"), arrays) if name in _SHOWN]
    return sorted(found, key=lambda name: name in LOWER_IS_BETTER)
