"""A JAX simulator for layer-wise personalised federated learning.

Names are loaded when first used, so that ``import fedjax_layers.ops`` brings in neither Flax nor file readers.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Algorithm": "fedjax_layers.types",
    "Batch": "fedjax_layers.types",
    "ClientAxis": "fedjax_layers.ops",
    "ClientData": "fedjax_layers.data",
    "Cohort": "fedjax_layers.types",
    "LayerMap": "fedjax_layers.types",
    "Models": "fedjax_layers.types",
    "Task": "fedjax_layers.types",
    "Trainer": "fedjax_layers.local_training",
    "evaluate": "fedjax_layers.simulation.evaluation",
    "simulate": "fedjax_layers.simulation.simulate",
    "sweep": "fedjax_layers.simulation.sweeps.sweep",
}
_ROOMS = ("algorithms", "data", "models", "ops", "simulation")

__all__ = ["__version__", *_HOMES, *_ROOMS]  # noqa: PLE0604  (names, from the tables above)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
