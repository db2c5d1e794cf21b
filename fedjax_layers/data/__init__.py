"""Data on the host: data sets, partitions, and the pool of examples that a simulation trains on.

Example::

    data = load("fashion_mnist", limit=10_000, partition="dirichlet", alpha=0.5, clients=5)
    pool, train = data.pool(), data.device_ranges("train")

The steps are :func:`load_dataset` (``sources/``), :func:`partition` (``partitions/``) and :func:`federate`
(``federated/``); :func:`load` does all three. Slow packages are imported only by the sources that need them.

==================  ================================================================================================
what files hold     ``sources``: one file per set; ``tables``: columns, the cache, TFDS; ``formats``; ``text``
one data set        ``dataset``, ``preprocess``; on the device ``augmentation``
clients             ``partitions``, ``team_formation``, ``feature_shift``; ``federated``: splits, leaks, one packed pool
afterwards          ``changes``: bad examples, changes during a run
==================  ================================================================================================
"""

from __future__ import annotations

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.feature_shift import FEATURE_SHIFTS
from fedjax_layers.data.federated.client_data import ClientData, assert_no_leak
from fedjax_layers.data.federated.federate import federate
from fedjax_layers.data.federated.partition_file import apply_partition, save_partition
from fedjax_layers.data.federated.splits import SPLITS
from fedjax_layers.data.formats.idx import read_idx
from fedjax_layers.data.loading import load
from fedjax_layers.data.partitions import PARTITIONS, classes_per_client, dirichlet, iid, natural, partition
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.sources import DATASETS, load_dataset
from fedjax_layers.data.sources.own.arrays import from_arrays
from fedjax_layers.data.tables.files import DATA_DIR_VARIABLE, resolve_data_dir

__all__ = [
    "DATASETS",
    "DATA_DIR_VARIABLE",
    "FEATURE_SHIFTS",
    "PARTITIONS",
    "SPLITS",
    "ClientData",
    "Dataset",
    "Preprocess",
    "apply_partition",
    "assert_no_leak",
    "classes_per_client",
    "dirichlet",
    "federate",
    "from_arrays",
    "iid",
    "load",
    "load_dataset",
    "natural",
    "partition",
    "read_idx",
    "resolve_data_dir",
    "save_partition",
]
