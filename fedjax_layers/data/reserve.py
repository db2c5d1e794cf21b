"""Examples that no client owns, for a model that is trained centrally before the federated run."""

from __future__ import annotations

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.splits import random_keys

_STEP = 7  # of the seed: other draws than those of the splits


def withheld_rows(dataset: Dataset, reserve: float, reserved: bool, seed: int) -> np.ndarray:
    """Flags ``[N]`` on what a load leaves out: the reserve, or all but it.

    Args:
      dataset: N examples.
      reserve: as in :func:`reserved_rows`.
      reserved: whether it is the reserve that is loaded.
      seed: of the choice.

    Raises:
      ValueError: the reserve is asked for and there is none, or as :func:`reserved_rows`.
    """
    if reserved and reserve == 0:
        raise ValueError("reserve: expected a share above 0 with reserved=True, got 0")
    return reserved_rows(dataset, reserve, seed) != reserved


def reserved_rows(dataset: Dataset, reserve: float, seed: int) -> np.ndarray:
    """Flags ``[N]`` on the reserve: whole natural clients (documents, speakers), or examples where there are none.

    Nothing of an official test part is in it. A choice that depends on the ids and the seed alone, so that two loads
    agree on it whatever else they ask for.

    Args:
      dataset: N examples.
      reserve: share in [0, 1) of the clients, or examples, rounded up.
      seed: of the choice.

    Raises:
      ValueError: ``reserve`` is out of range, or leaves no client.
    """
    if not 0 <= reserve < 1:
        raise ValueError(f"reserve: expected a share in [0, 1), got {reserve}")
    free = np.ones(len(dataset), bool) if dataset.official_test is None else ~dataset.official_test
    if reserve == 0:
        return np.zeros(len(dataset), bool)
    if dataset.clients is None:
        ids = np.arange(len(dataset)) if dataset.example_ids is None else dataset.example_ids
        return _first(ids, ids[free], reserve, seed) & free
    clients = dataset.clients
    units = np.unique(clients[free & (clients >= 0)])
    if np.ceil(len(units) * reserve - 1e-9) >= len(units):
        raise ValueError(f"reserve: expected a share that leaves one of {len(units)} clients, got {reserve}")
    return _first(clients, units, reserve, seed) & free


def _first(of_row: np.ndarray, units: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Flags on the rows whose unit is among the given share of units in a random order."""
    wanted = int(np.ceil(len(units) * share - 1e-9))
    order = np.lexsort((units, random_keys(units, seed + _STEP)))
    return np.isin(of_row, units[order[:wanted]])
