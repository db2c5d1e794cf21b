"""The scores of a sweep over what was varied."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from fedjax_layers.report.plots.axes import axes_for
from fedjax_layers.report.sweep_picture import draw_on_axes
from fedjax_layers.sweeps.results import SweepFolder, headline_of
from fedjax_layers.sweeps.sweep import SweepResult


def plot_sweep(results: Any, metric: str | None = None, *, ax: Any | None = None) -> Any:
    """Plot the personal models' mean test score over what a sweep varies.

    One number gives a line, with a band over seeds and the number of shared layers beside it where that changes; two
    give a map; more give parallel lines, the best on top.

    Args:
      results: a :class:`SweepResult`, or the folder of a sweep.
      metric: name of the score; ``None`` takes the one by which models are compared.
      ax: Matplotlib axes; ``None`` makes a figure.

    Returns:
      The axes.

    Raises:
      ValueError: no run has such a score, or the folder holds no sweep.
      TypeError: ``results`` is neither.
      ImportError: Matplotlib is not installed.
    """
    log: Mapping[str, bool] | None = None
    if isinstance(results, SweepResult):
        rows, names = results.rows(), results.names
    elif isinstance(results, str | os.PathLike):
        folder = SweepFolder(results)
        rows, names, log = folder.ordered_rows, folder.names, folder.read("config")["options"].get("log")
    else:
        raise TypeError(f"results: expected a SweepResult or a sweep's folder, got {type(results).__name__}")
    metric = metric or headline_of(rows)
    if not any(row.get(f"personal/test/{metric}") is not None for row in rows):
        raise ValueError(f"metric: expected one that these runs have, got {metric!r}")
    ax = axes_for(ax)
    draw_on_axes(ax, rows, names, metric, log)
    return ax
