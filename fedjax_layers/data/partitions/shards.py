"""The examples sorted by label, cut into shards and dealt."""

from __future__ import annotations

import numpy as np

from fedjax_layers.data.partitions.checks import check_count, check_labels


def shards(labels: np.ndarray, num_clients: int, seed: int = 0, *, shards_per_client: int = 2) -> np.ndarray:
    """Pathological label skew: sort by label, cut into ``C * shards_per_client`` shards, deal them shuffled.

    McMahan et al. 2017 (FedAvg), section 3, with 2 shards for each of 100 clients. Shards, and so clients, are of
    equal size up to one each; a client holds at most twice ``shards_per_client`` labels if no label is smaller
    than a shard, and mostly ``shards_per_client`` or fewer.

    Args:
      labels: ``[N]`` integers.
      num_clients: C.
      seed: of the deal.
      shards_per_client: shards that each client gets.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: as :func:`iid`; or ``shards_per_client`` is below 1 or makes more shards than examples.
    """
    labels, num_clients = check_labels(labels, num_clients)
    most = len(labels) // num_clients
    check_count("shards_per_client", shards_per_client, most, "the examples for each client")
    total = num_clients * shards_per_client
    holder = np.random.default_rng(seed).permutation(total) // shards_per_client
    owner = np.empty(len(labels), np.int32)
    owner[np.argsort(labels, kind="stable")] = holder[np.arange(len(labels)) * total // len(labels)]
    return owner
