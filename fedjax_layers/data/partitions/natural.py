"""Partitions by natural clients, which the data come with (hospitals, writers, speakers), alone or in groups."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from fedjax_layers.data.partitions.checks import check_count, check_labels, check_natural
from fedjax_layers.options import Mark


def natural(
    labels: np.ndarray, num_clients: int | None = None, seed: int = 0, *, clients: Annotated[np.ndarray, Mark.FIELD]
) -> np.ndarray:
    """Take the clients that the data come with (hospitals, writers, speakers ...).

    Args:
      labels: ``[N]`` integers.
      num_clients: C, checked against ``clients``; ``None`` derives it from them.
      seed: not used, but present so that all partitions have the same arguments.
      clients: ``[N]`` integers, each example's client, -1 for none.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: ``clients`` does not fit the labels or ``num_clients``.
    """
    del seed
    clients = check_natural(labels, clients)
    found = int(clients.max(initial=-1)) + 1
    if num_clients is not None and num_clients != found:
        raise ValueError(f"num_clients: expected {found}, the natural clients of the data, got {num_clients}")
    return clients.astype(np.int32)


def natural_grouped(
    labels: np.ndarray, num_clients: int, seed: int = 0, *, clients: Annotated[np.ndarray, Mark.FIELD]
) -> np.ndarray:
    """Put natural clients into C groups of equal numbers (up to one) with nearly equal numbers of examples.

    It resembles Flower's ``GroupedNaturalIdPartitioner`` (cross-device data as organisations of users), which groups in
    the order of the data. Here the shuffled natural clients are taken C at a time, and of each C the largest goes to
    the group that has fewest examples so far. Two groups therefore differ by no more examples than the largest natural
    client has.

    Args:
      labels: ``[N]`` integers.
      num_clients: C, at most the number of natural clients.
      seed: seed of the shuffle.
      clients: ``[N]`` integers, each example's natural client, -1 for none.

    Returns:
      ``[N]`` int32, each example's group, -1 where ``clients`` is.

    Raises:
      ValueError: as :func:`iid`; or ``clients`` does not fit the labels, or has fewer than C values.
    """
    labels, num_clients = check_labels(labels, num_clients)
    clients = check_natural(labels, clients)
    sizes = np.bincount(clients[clients >= 0])
    ids = np.flatnonzero(sizes)
    check_count("num_clients", num_clients, len(ids), "the natural clients of the data")
    ids = np.random.default_rng(seed).permutation(ids)
    group = np.full(len(sizes) + 1, -1, np.int32)  # the last entry is for examples without a client (-1)
    totals = np.zeros(num_clients, np.int64)
    for first in range(0, len(ids), num_clients):
        some = ids[first : first + num_clients]
        some = some[np.argsort(-sizes[some], kind="stable")]
        fewest = np.argsort(totals, kind="stable")[: len(some)]
        group[some] = fewest
        totals[fewest] += sizes[some]
    return group[clients]
