"""What clients minimise, apart from what is shared: one file for each objective, and how it joins a sharing rule."""

from collections.abc import Callable, Mapping

from fedjax_layers.algorithms.objectives.proximal import proximal
from fedjax_layers.algorithms.objectives.tether import tether
from fedjax_layers.algorithms.objectives.variates import variates
from fedjax_layers.clients import LocalObjective

OBJECTIVES: Mapping[str, Callable[..., LocalObjective]] = {
    "fedprox": proximal,
    "ditto": tether,
    "scaffold": variates,
}
"""The objectives by the name of the algorithm that joins each with the sharing of all layers."""
