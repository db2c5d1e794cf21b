"""Plots of results on Matplotlib axes: curves over rounds and bytes, clients, layers and their metrics, and sweeps."""

from fedjax_layers.report.plots.curves import plot_bytes, plot_learning_curves
from fedjax_layers.report.plots.distribution import plot_clients
from fedjax_layers.report.plots.layers import plot_layers
from fedjax_layers.report.plots.profile import plot_profile
from fedjax_layers.report.plots.sweeps import plot_sweep

__all__ = ["plot_bytes", "plot_clients", "plot_layers", "plot_learning_curves", "plot_profile", "plot_sweep"]
