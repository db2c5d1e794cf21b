"""Scores over rounds, and against the bytes that were moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedjax_layers.experiment.finished.methods import Method, curve_of
from fedjax_layers.options import unknown_name
from fedjax_layers.report.plots.axes import axes_for, colour, legend, score_label
from fedjax_layers.report.plots.given import methods_given, scored_model, usual_metric

_MEGABYTE = 1e6


def plot_learning_curves(
    results: Any, metric: str | None = None, *, model: str | None = None, ax: Any | None = None
) -> Any:
    """Plot the mean over clients of a test score in each evaluation, a line for each method.

    The line is the mean over seeds; the band goes from the lowest to the highest seed.

    Args:
      results: a :class:`Result`; a :class:`SweepResult`; a run directory or the folder of a comparison; a list of
        results that differ in their seeds, or of folders; or a mapping of labels to any of these.
      metric: name of the score, or ``"train_loss"``; ``None`` takes the one by which models are compared.
      model: ``"trained"``, ``"served"``, ``"team"`` or ``"global"``; ``None`` takes the model that the runs score.
      ax: Matplotlib axes; ``None`` makes a figure.

    Returns:
      The axes.

    Raises:
      ValueError: no run has such a score.
      TypeError: ``results`` is something else.
      ImportError: Matplotlib is not installed.
    """
    methods = methods_given(results)
    metric, model = metric or usual_metric(methods), model or scored_model(methods)
    ax = axes_for(ax)
    told = _draw(ax, methods, metric, model, "round")
    ax.set(xlabel="round", ylabel=f"{told}\nmean over clients")
    return ax


def plot_bytes(results: Any, metric: str | None = None, *, model: str | None = None, ax: Any | None = None) -> Any:
    """Plot the mean over clients of a test score against what all clients have sent and received so far.

    Further left at the same height is cheaper. The first download of the common start is not counted.

    Args:
      results: as for :func:`plot_learning_curves`.
      metric: name of the score; ``None`` takes the one by which models are compared.
      model: as for :func:`plot_learning_curves`.
      ax: Matplotlib axes; ``None`` makes a figure.

    Returns:
      The axes.

    Raises:
      ValueError: no run has such a score.
      TypeError: ``results`` is something else.
      ImportError: Matplotlib is not installed.
    """
    methods = methods_given(results)
    metric, model = metric or usual_metric(methods), model or scored_model(methods)
    ax = axes_for(ax)
    told = _draw(ax, methods, metric, model, "bytes")
    ax.set(xlabel="MB sent and received by all clients", ylabel=f"{told}\nmean over clients")
    return ax


def _draw(ax: Any, methods: Sequence[Method], metric: str, model: str, over: str) -> str:
    """Draw a line for each method that has the curve; return the label of the score."""
    curve = metric if metric == "train_loss" else f"{model}/test/{metric}"
    found = enumerate(curve_of(method, curve, over) for method in methods)
    bands = [(number, band) for number, band in found if band is not None]
    if not bands:
        known = {name.removeprefix(f"{model}/test/") for m in methods for run in m.runs for name in run.curves}
        raise unknown_name("metric", metric, sorted(name for name in known - {"round", "bytes"} if "/" not in name))
    scale = _MEGABYTE if over == "bytes" else 1.0
    for number, band in bands:
        few = "." if len(band.x) < 30 else None
        label = methods[number].label or None
        ax.plot(band.x / scale, band.mean, marker=few, color=colour(number), label=label)
        if band.seeds > 1:
            ax.fill_between(band.x / scale, band.low, band.high, color=colour(number), alpha=0.2, linewidth=0)
    legend(ax, [methods[number].label for number, _ in bands])
    return "training loss (lower is better)" if metric == "train_loss" else f"{score_label(metric)}, {model}"
