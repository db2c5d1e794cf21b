"""The types that all parts of the package share; their modules import nothing but JAX.

Axis letters used in all docstrings: ``C`` clients stored, ``K`` client slots in a round's cohort, ``L`` layers,
``B`` examples in a batch, ``N`` examples in the pool, ``T`` teams, ``R`` rounds.
"""

from fedjax_layers.types.algorithm import Algorithm, Models, RoundInfo, per_client
from fedjax_layers.types.arrays import Array, Key, Params
from fedjax_layers.types.cohort import ClientFaults, Cohort, Observer
from fedjax_layers.types.examples import Batch, Pool, Ranges
from fedjax_layers.types.layer_map import LayerMap
from fedjax_layers.types.personal import Overview, Personal
from fedjax_layers.types.round_memory import RoundMemory
from fedjax_layers.types.task import Adapters, BatchNorm, Metric, Scorer, Task, Trigger

__all__ = [
    "Adapters",
    "Algorithm",
    "Array",
    "Batch",
    "BatchNorm",
    "ClientFaults",
    "Cohort",
    "Key",
    "LayerMap",
    "Metric",
    "Models",
    "Observer",
    "Overview",
    "Params",
    "Personal",
    "Pool",
    "Ranges",
    "RoundInfo",
    "RoundMemory",
    "Scorer",
    "Task",
    "Trigger",
    "per_client",
]
