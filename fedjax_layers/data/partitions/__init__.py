"""Partitions, which decide from the labels alone which client owns which example.

Every partition is a pure function ``(labels [N], num_clients, seed, *, ...) -> client_of [N] int32`` in which
each example has one owner ``0 .. C-1`` (or -1 for none). A new one is one more such function and one line in
``PARTITIONS``; its options are its keyword-only parameters. No function here repeats draws until one fits: a draw that
misses a condition is repaired, so that the time is known beforehand.

================== ==========================================================================================
``quantity``       labels alike everywhere, sizes equal or skewed
``label_skew``     each label is cut up among the clients (Dirichlet), or each client has a size and a mix of its own
``few_classes``    clients that hold a few classes, or pieces of the examples sorted by label
``natural``        the clients that the data come with, alone or in groups (as teams: ``teams``)
``teams``          clients in teams: skew between teams and within
``papers``         the exact splits of PLayer-FL and pFedLA; ``permfl`` that of PerMFL
================== ==========================================================================================

``docs/partitions.md`` has their names in Flower and FedLab.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fedjax_layers.data.partitions.counting import ensure_min_size
from fedjax_layers.data.partitions.few_classes import classes_per_client, shards
from fedjax_layers.data.partitions.label_skew import dirichlet, dirichlet_balanced, dirichlet_lognormal
from fedjax_layers.data.partitions.natural import natural, natural_grouped
from fedjax_layers.data.partitions.papers import pfedla_1, pfedla_2, playerfl
from fedjax_layers.data.partitions.permfl import permfl
from fedjax_layers.data.partitions.quantity import iid, quantity_dirichlet, quantity_lognormal, quantity_zipf
from fedjax_layers.data.partitions.teams import classes_per_team, consecutive_teams, natural_teams, two_level
from fedjax_layers.options import check_options, options_of, unknown_name

__all__ = [
    "PARTITIONS",
    "classes_per_client",
    "classes_per_team",
    "consecutive_teams",
    "dirichlet",
    "dirichlet_balanced",
    "dirichlet_lognormal",
    "ensure_min_size",
    "iid",
    "natural",
    "natural_grouped",
    "natural_teams",
    "partition",
    "permfl",
    "pfedla_1",
    "pfedla_2",
    "playerfl",
    "quantity_dirichlet",
    "quantity_lognormal",
    "quantity_zipf",
    "shards",
    "two_level",
]

PARTITIONS: dict[str, Callable[..., np.ndarray]] = {
    "classes_per_client": classes_per_client,
    "classes_per_team": classes_per_team,
    "dirichlet": dirichlet,
    "dirichlet_balanced": dirichlet_balanced,
    "dirichlet_lognormal": dirichlet_lognormal,
    "iid": iid,
    "natural": natural,
    "natural_grouped": natural_grouped,
    "natural_teams": natural_teams,
    "permfl": permfl,
    "pfedla_1": pfedla_1,
    "pfedla_2": pfedla_2,
    "playerfl": playerfl,
    "quantity_dirichlet": quantity_dirichlet,
    "quantity_lognormal": quantity_lognormal,
    "quantity_zipf": quantity_zipf,
    "shards": shards,
    "two_level": two_level,
}


def partition(name: str, labels: np.ndarray, num_clients: int | None, seed: int = 0, **params: Any) -> np.ndarray:
    """Partition examples by a named partition.

    Args:
      name: a key of ``PARTITIONS``.
      labels: ``[N]`` integers.
      num_clients: C, the number of clients; only ``natural`` accepts ``None``.
      seed: seed of all draws.
      **params: keyword-only parameters of that partition.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: a name or parameter is unknown (the nearest is suggested), or a parameter is out of range.
    """
    if name not in PARTITIONS:
        raise unknown_name("partition", name, PARTITIONS)
    check_options(f"partition {name!r}", params, options_of(PARTITIONS[name]))
    return PARTITIONS[name](labels, num_clients, seed, **params)
