"""The examples that a layer profile is computed on: some of each client's own, and some that all clients see."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fedjax_layers.data import ClientData


class Examples(NamedTuple):
    """The examples of a profile, on the host.

    Attributes:
      inputs: ``[K, n, ...]``, training examples of each client, as they are stored.
      labels: ``[K, n, ...]``.
      mask: ``[K, n]`` bool; False marks the padding of a client with fewer than n.
      probe: ``[m, ...]``, inputs of all clients in equal shares, on which representations are compared.
    """

    inputs: np.ndarray
    labels: np.ndarray
    mask: np.ndarray
    probe: np.ndarray


def draw_examples(data: ClientData, most: int, seed: int) -> Examples:
    """Draw training examples of each client, without repetition, and the probe from them.

    Args:
      data: the clients' data.
      most: largest number of examples of one client, and of the probe.
      seed: of the draws, which for each client depend on it and the client's number alone.

    Raises:
      ValueError: ``most`` is below 2, or the clients together have fewer than two training examples.
    """
    if most < 2:
        raise ValueError(f"examples: expected at least 2, got {most}")
    starts, counts = data.ranges["train"]
    if counts.sum() < 2:
        raise ValueError("data: expected clients with training examples, found none")
    rows = np.zeros((data.num_clients, min(most, int(counts.max()))), np.int64)
    mask = np.zeros(rows.shape, bool)
    for client, (start, count) in enumerate(zip(starts, counts, strict=True)):
        number = min(int(count), rows.shape[1])
        order = np.random.default_rng((seed, client)).permutation(int(count))[:number]
        rows[client, :number] = start + order
        mask[client, :number] = True
    shares = rows.T[mask.T][:most]  # every client's first, then every client's second, ...
    return Examples(data.inputs[rows], data.labels[rows], mask, data.inputs[shares])
