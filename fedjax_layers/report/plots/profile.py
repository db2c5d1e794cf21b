"""The metrics of a layer profile against the depth of the layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedjax_layers.experiment.layer_profile.metrics import METRICS
from fedjax_layers.experiment.layer_profile.profile import LayerProfile
from fedjax_layers.report.plots.axes import axes_grid

_WIDE = 3.0  # of positive numbers, decades between the smallest and the largest from which the scale is logarithmic


def plot_profile(profile: LayerProfile, *, axes: Any | None = None) -> Any:
    """Plot every metric of a profile against the depth of the layers, one pair of axes for each metric.

    The line is the mean over the clients, a faint line is one client. Numbers above 0 that differ by a factor of more
    than 1,000 are on a logarithmic scale.

    Args:
      profile: what :func:`fedjax_layers.layer_profile` returns.
      axes: Matplotlib axes, one for each metric; ``None`` makes a figure.

    Returns:
      The axes, an array with one for each metric.

    Raises:
      ValueError: ``axes`` are of another number.
      TypeError: ``profile`` is something else.
      ImportError: Matplotlib is not installed.
    """
    if not isinstance(profile, LayerProfile):
        raise TypeError(f"profile: expected what fl.layer_profile returns, got {type(profile).__name__}")
    axes = axes_grid(len(profile.values)) if axes is None else np.ravel(axes)
    if len(axes) != len(profile.values):
        raise ValueError(f"axes: expected {len(profile.values)}, one for each metric, got {len(axes)}")
    depth = np.arange(1, len(profile.layers) + 1)
    for ax, (name, values), mean in zip(axes, profile.values.items(), profile.means().values(), strict=True):
        if values.ndim == 2:
            ax.plot(depth, values.T, color="C0", alpha=0.25, linewidth=0.8)
        ax.plot(depth, mean, color="C0", marker=".")
        shown = values[np.isfinite(values)]
        if len(shown) and shown.min() > 0 and np.log10(shown.max()) - np.log10(shown.min()) > _WIDE:
            ax.set_yscale("log")
        ax.set_title(name)
        ax.set_ylabel(METRICS[name].label, fontsize="small")
        ax.set_xticks(depth, profile.layers, rotation=90, fontsize="small")
        ax.set_xlabel("layer, from the input to the output")
    return axes
