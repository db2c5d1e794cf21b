"""What happened to each layer in each round."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedjax_layers.engine.history.files import HistoryFiles
from fedjax_layers.engine.simulate import Result
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.options import unknown_name
from fedjax_layers.report.plots.axes import axes_for
from fedjax_layers.report.sweep_picture import some_places

_MOVED = {"sent": "sent", "received": "received"}


def plot_layers(result: Any, record: str = "sent", *, ax: Any | None = None) -> Any:
    """Plot a record of a run with a number for each layer as a map of layers and rounds.

    Args:
      result: a :class:`Result`, or a run directory.
      record: ``"sent"`` or ``"received"``, the share of the round's clients that moved the layer; or another record of
        the rounds with a number for each layer or block, such as an algorithm's scores.
      ax: Matplotlib axes; ``None`` makes a figure.

    Returns:
      The axes.

    Raises:
      ValueError: the run has no such record, or the folder holds no run.
      TypeError: ``result`` is neither.
      ImportError: Matplotlib is not installed.
    """
    rounds, layers = _rounds_of(result)
    wide = {name: x for name, x in rounds.items() if x.ndim == 2 and name not in ("nonfinite_clients",)}
    if record not in wide:
        raise unknown_name("record", record, sorted(wide))
    values, label = np.asarray(wide[record], float), record
    if record in _MOVED:
        values = values / np.maximum(rounds["participants"], 1)[:, None]
        label = f"share of the round's clients that {_MOVED[record]} the layer"
    ends = layers if len(layers) == values.shape[1] else tuple(f"block {i + 1}" for i in range(values.shape[1]))
    ax = axes_for(ax)
    bounds = {"vmin": 0, "vmax": 1} if record in _MOVED else {}
    extent = (0.5, len(values) + 0.5, -0.5, len(ends) - 0.5)
    image = ax.imshow(values.T, origin="lower", aspect="auto", extent=extent, interpolation="nearest", **bounds)
    places = some_places(len(ends), 20)
    ax.set_yticks(places, [ends[i] for i in places])
    ax.set(xlabel="round", ylabel="layer, the first one below")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.figure.colorbar(image, ax=ax, label=label)
    return ax


def _rounds_of(result: Any) -> tuple[Mapping[str, np.ndarray], tuple[str, ...]]:
    """Return the records of a run's rounds ``[R, ...]`` by name, and the names of its layers."""
    if isinstance(result, Result):
        return result.history.rounds, result.setting.task.layers.names
    if not isinstance(result, str | os.PathLike):
        raise TypeError(f"result: expected a Result or a run directory, got {type(result).__name__}")
    run = RunDirectory(result)
    rounds = HistoryFiles(run.history).rounds() if run.history.is_dir() else {}
    if not rounds:
        raise ValueError(f"result: expected a run with records of its rounds, found none in {run.path}")
    layers = run.read("summary")["layers"] if (run.path / "summary.json").exists() else ()
    return rounds, tuple(layers)
