"""Data on the host: data sets, partitions, and the pool of examples that a simulation trains on.

Example::

    data = load("fashion_mnist", limit=10_000, partition="dirichlet", alpha=0.5, clients=5)
    pool, train = data.pool(), data.device_ranges("train")

The way is always :func:`load_dataset` (``sources/``) → :func:`partition` (``partitions/``) →
:func:`federate` (``client_data.py``); :func:`load` is the three in one. Slow packages are imported by the
source that needs them.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fedjax_layers.data.client_data import SPLITS, ClientData, assert_no_leak, federate
from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.folder import DATA_DIR_VARIABLE, resolve_data_dir
from fedjax_layers.data.idx import read_idx
from fedjax_layers.data.partitions import (
    PARTITIONS,
    classes_per_client,
    consecutive_teams,
    dirichlet,
    iid,
    natural,
    partition,
)
from fedjax_layers.data.partitions import partition as make_partition
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.sources import DATASETS, load_dataset
from fedjax_layers.names import defaults_of, options_of, unknown_name

__all__ = [
    "DATASETS",
    "DATA_DIR_VARIABLE",
    "PARTITIONS",
    "SPLITS",
    "ClientData",
    "Dataset",
    "Preprocess",
    "assert_no_leak",
    "classes_per_client",
    "consecutive_teams",
    "dirichlet",
    "federate",
    "iid",
    "load",
    "load_dataset",
    "natural",
    "partition",
    "read_idx",
    "resolve_data_dir",
]

DEFAULT_CLIENTS = 10  # where the data have none of their own


def load(
    name: str,
    *,
    partition: str | None = None,
    clients: int | None = None,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    split_seed: int = 42,
    **options: Any,
) -> ClientData:
    """Load, partition and split a data set.

    Args:
      name: a key of ``DATASETS``.
      partition: a key of ``PARTITIONS``; ``None`` is ``"natural"`` where the data have natural clients, else
        ``"dirichlet"`` (alpha 0.5).
      clients: C; ``None`` is 10, or the number of natural clients. A generated data set makes that many.
      seed: of the partition, and of a generated data set.
      data_dir: folder of the data files; see :func:`resolve_data_dir`.
      test_fraction: share of a client's examples that are test.
      val_fraction: share of what the test split leaves that is validation.
      split_seed: of the split within clients.
      **options: further options of the data set (``limit``) and of the partition (``alpha``), told apart by
        name.

    Returns:
      The federated data, on the host.

    Raises:
      ValueError: an unknown name or option (the nearest is suggested), one out of range, or one that both the
        data set and the partition take.
      FileNotFoundError: data files are missing.
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    if partition is not None and partition not in PARTITIONS:
        raise unknown_name("partition", partition, PARTITIONS)
    own = options_of(DATASETS[name].build)
    chosen = {k: v for k, v in options.items() if k in own}
    if "seed" in own:
        chosen["seed"] = seed
    if "clients" in own and clients is not None and partition in (None, "natural"):
        chosen["clients"] = clients
    dataset = load_dataset(name, data_dir, **chosen)
    scheme = partition or ("dirichlet" if dataset.clients is None else "natural")
    params = _partition_options(name, scheme, partition is not None, options)
    client_of, client_names = _partition(dataset, scheme, clients, seed, params)
    return federate(
        dataset,
        client_of,
        test_fraction=test_fraction,
        val_fraction=val_fraction,
        seed=split_seed,
        num_clients=len(client_names) or None,
        client_names=client_names,
        partition={
            "options": chosen,
            "scheme": scheme,
            "params": {**defaults_of(PARTITIONS[scheme]), **params},
            "seed": seed,
        },
    )


def _partition_options(name: str, scheme: str, asked: bool, options: dict[str, Any]) -> dict[str, Any]:
    """Those of :func:`load`'s options that are the partition's; ``asked`` if the user named it."""
    own = options_of(DATASETS[name].build)
    theirs = options_of(PARTITIONS[scheme]) - {"clients"}  # the natural clients come with the data
    for option in options:
        if option not in own | theirs:
            raise unknown_name(f"option of {name} with partition {scheme!r}", option, own | theirs)
        if asked and option in own & theirs:
            raise ValueError(
                f"{option}: expected an option of either data set or partition, got one of both {name!r} and "
                f"{scheme!r}; use load_dataset, partition and federate instead"
            )
    return {k: v for k, v in options.items() if k not in own}


def _partition(
    dataset: Dataset, scheme: str, clients: int | None, seed: int, params: dict[str, Any]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Each example's client ``[N]``, and the clients' names."""
    from_data = "clients" in options_of(PARTITIONS[scheme])
    if from_data and dataset.clients is None:
        others = " or ".join(sorted(name for name, fn in PARTITIONS.items() if "clients" not in options_of(fn)))
        raise ValueError(f"partition: expected {others} for {dataset.name}, got {scheme!r}, but it has no clients")
    given = {"clients": dataset.clients} if from_data else {}
    num_clients = DEFAULT_CLIENTS if clients is None and scheme != "natural" else clients
    owner = make_partition(scheme, dataset.groups, num_clients, seed, **given, **params)
    return owner, dataset.client_names if scheme == "natural" else ()
