"""Data on the host: data sets, partitions, and the pool of examples that a simulation trains on.

Example::

    data = load("fashion_mnist", limit=10_000, partition="dirichlet", alpha=0.5, clients=5)
    pool, train = data.pool(), data.device_ranges("train")

The way is always :func:`load_dataset` (``sources/``) → :func:`partition` (``partitions/``) →
:func:`federate` (``federate.py``); :func:`load` is the three in one. Slow packages are imported by the
source that needs them.

==================  ================================================================================
what files hold     ``columns``, ``files``, ``source``, ``parts``, ``idx``; one file per set in ``sources/``
kept for next time  ``cache`` (memory-mapped arrays), ``builders`` and ``prepared`` (TFDS)
one data set        ``dataset``, ``preprocess``, ``augmentation``, ``feature_shift``, ``text``
clients             ``partitions/``, ``owners``, ``natural_clients``, ``splits``, ``leaks``, ``federate``,
                    ``client_data``, ``partition_file``
==================  ================================================================================
"""

from __future__ import annotations

from fedjax_layers.data.client_data import ClientData, assert_no_leak
from fedjax_layers.data.data_dir import DATA_DIR_VARIABLE, resolve_data_dir
from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.feature_shift import FEATURE_SHIFTS
from fedjax_layers.data.federate import federate
from fedjax_layers.data.formats.idx import read_idx
from fedjax_layers.data.loading import load
from fedjax_layers.data.partition_file import apply_partition, save_partition
from fedjax_layers.data.partitions import PARTITIONS, classes_per_client, dirichlet, iid, natural, partition
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.sources import DATASETS, load_dataset
from fedjax_layers.data.sources.own.arrays import from_arrays
from fedjax_layers.data.splits import SPLITS

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
