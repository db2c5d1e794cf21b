"""The distribution of scores over clients."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedjax_layers.experiment.finished.clients import sorted_scores
from fedjax_layers.options import unknown_name
from fedjax_layers.report.plots.axes import axes_for, colour, legend, score_label
from fedjax_layers.report.plots.given import methods_given, usual_metric
from fedjax_layers.report.wording import HEADLINES


def plot_clients(results: Any, metric: str | None = None, *, minus: str | None = None, ax: Any | None = None) -> Any:
    """Plot every client's test score, sorted, a line for each method; or what each client gains over another method.

    The scores are those by which the runs are summarised; of a :class:`Result`, the best round of the model trained, or
    of the model served where cohorts are drawn. The clients of all seeds stand side by side.

    Args:
      results: as for :func:`plot_learning_curves`.
      metric: name of the score; ``None`` takes the one by which models are compared.
      minus: label of a method (of a folder, the algorithm's name) whose scores are subtracted, client by client and
        seed by seed; a gain is above 0, also for scores of which lower is better.
      ax: Matplotlib axes; ``None`` makes a figure.

    Returns:
      The axes.

    Raises:
      ValueError: no run has such a score, or ``minus`` is no method.
      TypeError: ``results`` is something else.
      ImportError: Matplotlib is not installed.
    """
    methods = methods_given(results)
    metric = metric or usual_metric(methods)
    known = {name for method in methods for run in method.runs for name in run.clients} - {"client_names"}
    if metric not in known:
        raise unknown_name("metric", metric, sorted(known))
    base = next((method for method in methods if method.label == minus), None)
    if minus is not None and base is None:
        raise unknown_name("minus", minus, [method.label for method in methods])
    ax = axes_for(ax)
    for number, method in enumerate(methods):
        if method is base:
            continue
        values = sorted_scores(method, metric, base).values
        places = (np.arange(len(values)) + 0.5) / max(len(values), 1) * 100
        few = "." if len(values) < 40 else None
        ax.plot(places, values, marker=few, color=colour(number), label=method.label or None)
    if base is not None:
        ax.axhline(0, color="0.5", linewidth=0.8)
    gain = f"gain in {HEADLINES.get(metric, metric)} over {minus}\nabove 0 is better"
    ax.set(xlabel="clients, sorted (%)", ylabel=gain if base is not None else score_label(metric), xlim=(0, 100))
    legend(ax, [method.label for method in methods if method is not base])
    return ax
