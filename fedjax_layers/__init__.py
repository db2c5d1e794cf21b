"""A JAX simulator for layer-wise personalised federated learning.

Names are loaded when first used, so that ``import fedjax_layers.ops`` brings in neither Flax nor file readers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Algorithm": "fedjax_layers.types",
    "Batch": "fedjax_layers.types",
    "ClientAxis": "fedjax_layers.ops",
    "ClientData": "fedjax_layers.data",
    "Cohort": "fedjax_layers.types",
    "Federation": "fedjax_layers.simulation.federation",
    "History": "fedjax_layers.simulation.history",
    "LayerMap": "fedjax_layers.types",
    "LocalSolver": "fedjax_layers.local_training",
    "Method": "fedjax_layers.algorithms.factory",
    "Models": "fedjax_layers.types",
    "Pool": "fedjax_layers.types",
    "Ranges": "fedjax_layers.types",
    "Result": "fedjax_layers.simulation.simulate",
    "RoundInfo": "fedjax_layers.types",
    "Sampling": "fedjax_layers.simulation.sampling",
    "Stopping": "fedjax_layers.simulation.sweeps.stopping",
    "SweepResult": "fedjax_layers.simulation.sweeps.sweep",
    "Task": "fedjax_layers.types",
    "evaluate": "fedjax_layers.simulation.evaluation",
    "federation": "fedjax_layers.simulation.federation",
    "simulate": "fedjax_layers.simulation.simulate",
    "sweep": "fedjax_layers.simulation.sweeps.sweep",
}
_ROOMS = {
    "algorithms": "fedjax_layers.algorithms",
    "data": "fedjax_layers.data",
    "models": "fedjax_layers.models",
    "ops": "fedjax_layers.ops",
    "sampling": "fedjax_layers.simulation.sampling",
    "simulation": "fedjax_layers.simulation",
}

__all__ = ["__version__", *_HOMES, *_ROOMS]  # noqa: PLE0604  (names, from the tables above)

if TYPE_CHECKING:  # type checkers read these lines, and no __getattr__: to them, one would make every name right
    from fedjax_layers import algorithms as algorithms
    from fedjax_layers import data as data
    from fedjax_layers import models as models
    from fedjax_layers import ops as ops
    from fedjax_layers import simulation as simulation
    from fedjax_layers.algorithms.factory import Method as Method
    from fedjax_layers.data import ClientData as ClientData
    from fedjax_layers.local_training import LocalSolver as LocalSolver
    from fedjax_layers.ops import ClientAxis as ClientAxis
    from fedjax_layers.simulation import sampling as sampling
    from fedjax_layers.simulation.evaluation import evaluate as evaluate
    from fedjax_layers.simulation.federation import Federation as Federation
    from fedjax_layers.simulation.federation import federation as federation
    from fedjax_layers.simulation.history import History as History
    from fedjax_layers.simulation.sampling import Sampling as Sampling
    from fedjax_layers.simulation.simulate import Result as Result
    from fedjax_layers.simulation.simulate import simulate as simulate
    from fedjax_layers.simulation.sweeps.stopping import Stopping as Stopping
    from fedjax_layers.simulation.sweeps.sweep import SweepResult as SweepResult
    from fedjax_layers.simulation.sweeps.sweep import sweep as sweep
    from fedjax_layers.types import Algorithm as Algorithm
    from fedjax_layers.types import Batch as Batch
    from fedjax_layers.types import Cohort as Cohort
    from fedjax_layers.types import LayerMap as LayerMap
    from fedjax_layers.types import Models as Models
    from fedjax_layers.types import Pool as Pool
    from fedjax_layers.types import Ranges as Ranges
    from fedjax_layers.types import RoundInfo as RoundInfo
    from fedjax_layers.types import Task as Task
else:

    def __getattr__(name: str) -> Any:
        if name in _ROOMS:
            return importlib.import_module(_ROOMS[name])
        if name in _HOMES:
            return getattr(importlib.import_module(_HOMES[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
