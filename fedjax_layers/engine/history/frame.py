"""A history as a table of pandas, which is imported when a table is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedjax_layers.engine.evaluation.score_names import SCORED
from fedjax_layers.engine.history.history import History
from fedjax_layers.options import unknown_name

ROWS = ("clients", "rounds")


def data_frame(columns: Mapping[str, Any]) -> Any:
    """Make a ``pandas.DataFrame`` of columns by name.

    Raises:
      ImportError: pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")  # an extra of the package
    except ImportError as error:
        raise ImportError("to_frame: expected pandas, found none; pip install 'fedjax-layers[notebook]'") from error
    return pandas.DataFrame(dict(columns))


def history_columns(history: History, layers: Sequence[str], rows: str) -> dict[str, np.ndarray]:
    """Make the columns of a history's table.

    Args:
      history: the history.
      layers: names of the layers ``[L]``.
      rows: ``"clients"``, a row for each evaluation and client; or ``"rounds"``, a row for each round.

    Returns:
      Columns by name, equally long: see :meth:`fedjax_layers.engine.simulate.Result.to_frame`.

    Raises:
      ValueError: ``rows`` is neither.
    """
    if rows not in ROWS:
        raise unknown_name("rows", rows, ROWS)
    return _client_columns(history) if rows == "clients" else _round_columns(history, layers)


def _client_columns(history: History) -> dict[str, np.ndarray]:
    evaluations = dict(history.evaluations)
    owners = ("examples", *SCORED)  # without the scores of all examples together, and those by class
    per_client = {name: x for name, x in evaluations.items() if name.split("/")[0] in owners and x.ndim == 2}
    if not per_client:
        return {name: np.zeros(0) for name in ("round", "finished", "client")}
    number, clients = next(iter(per_client.values())).shape
    keys = {
        "round": np.repeat(evaluations["round"], clients),
        "finished": np.repeat(evaluations["finished"], clients),
        "client": np.tile(np.arange(clients), number),
    }
    return keys | {name: x.reshape(-1) for name, x in per_client.items()}


def _round_columns(history: History, layers: Sequence[str]) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {"round": np.arange(1, history.rounds_done + 1)}
    for name, values in history.rounds.items():
        if values.ndim == 1:
            columns[name] = values
        elif values.ndim == 2:
            ends = layers if values.shape[1] == len(layers) else range(values.shape[1])
            columns |= {f"{name}/{end}": values[:, place] for place, end in enumerate(ends)}
    return columns
