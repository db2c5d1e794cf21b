"""A JAX simulator for layer-wise personalised federated learning.

Names are loaded when first used, so that ``import fedjax_layers.ops`` imports neither Flax nor file readers.
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
    "DeviceData": "fedjax_layers.engine.device_data",
    "Faults": "fedjax_layers.clients",
    "History": "fedjax_layers.engine.history.history",
    "LayerMap": "fedjax_layers.types",
    "LayerProfile": "fedjax_layers.experiment.layer_profile.profile",
    "LocalSolver": "fedjax_layers.clients",
    "Method": "fedjax_layers.algorithms.factory",
    "Models": "fedjax_layers.types",
    "Pool": "fedjax_layers.types",
    "Ranges": "fedjax_layers.types",
    "Privacy": "fedjax_layers.clients",
    "Result": "fedjax_layers.engine.simulate",
    "RoundInfo": "fedjax_layers.types",
    "Sampling": "fedjax_layers.engine.sampling",
    "Stopping": "fedjax_layers.sweeps.request",
    "SweepResult": "fedjax_layers.sweeps.sweep",
    "Task": "fedjax_layers.types",
    "evaluate": "fedjax_layers.engine.evaluation.evaluate",
    "layer_profile": "fedjax_layers.experiment.layer_profile.profile",
    "low_rank": "fedjax_layers.models.low_rank",
    "plot_bytes": "fedjax_layers.report.plots",
    "plot_clients": "fedjax_layers.report.plots",
    "plot_layers": "fedjax_layers.report.plots",
    "plot_learning_curves": "fedjax_layers.report.plots",
    "plot_profile": "fedjax_layers.report.plots",
    "plot_sweep": "fedjax_layers.report.plots",
    "simulate": "fedjax_layers.engine.simulate",
    "sweep": "fedjax_layers.sweeps.sweep",
    "task": "fedjax_layers.models.make_task",
    "to_device": "fedjax_layers.engine.device_data",
}
_ROOMS = {
    "algorithms": "fedjax_layers.algorithms",
    "data": "fedjax_layers.data",
    "engine": "fedjax_layers.engine",
    "models": "fedjax_layers.models",
    "ops": "fedjax_layers.ops",
    "sampling": "fedjax_layers.engine.sampling",
}

__all__ = ["__version__", *_HOMES, *_ROOMS]  # noqa: PLE0604  (names, from the tables above)

if TYPE_CHECKING:  # type checkers read these imports and not __getattr__, which would make every name valid to them
    from fedjax_layers import algorithms as algorithms
    from fedjax_layers import data as data
    from fedjax_layers import engine as engine
    from fedjax_layers import models as models
    from fedjax_layers import ops as ops
    from fedjax_layers.algorithms.factory import Method as Method
    from fedjax_layers.clients import Faults as Faults
    from fedjax_layers.clients import LocalSolver as LocalSolver
    from fedjax_layers.clients import Privacy as Privacy
    from fedjax_layers.data import ClientData as ClientData
    from fedjax_layers.engine import sampling as sampling
    from fedjax_layers.engine.device_data import DeviceData as DeviceData
    from fedjax_layers.engine.device_data import to_device as to_device
    from fedjax_layers.engine.evaluation.evaluate import evaluate as evaluate
    from fedjax_layers.engine.history.history import History as History
    from fedjax_layers.engine.sampling import Sampling as Sampling
    from fedjax_layers.engine.simulate import Result as Result
    from fedjax_layers.engine.simulate import simulate as simulate
    from fedjax_layers.experiment.layer_profile.profile import LayerProfile as LayerProfile
    from fedjax_layers.experiment.layer_profile.profile import layer_profile as layer_profile
    from fedjax_layers.models.low_rank import low_rank as low_rank
    from fedjax_layers.models.make_task import task as task
    from fedjax_layers.ops import ClientAxis as ClientAxis
    from fedjax_layers.report.plots import plot_bytes as plot_bytes
    from fedjax_layers.report.plots import plot_clients as plot_clients
    from fedjax_layers.report.plots import plot_layers as plot_layers
    from fedjax_layers.report.plots import plot_learning_curves as plot_learning_curves
    from fedjax_layers.report.plots import plot_profile as plot_profile
    from fedjax_layers.report.plots import plot_sweep as plot_sweep
    from fedjax_layers.sweeps.request import Stopping as Stopping
    from fedjax_layers.sweeps.sweep import SweepResult as SweepResult
    from fedjax_layers.sweeps.sweep import sweep as sweep
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
