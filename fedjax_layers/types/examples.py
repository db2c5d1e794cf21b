"""Types for examples: one batch, the pool of all examples, and each client's range in the pool."""

from __future__ import annotations

from typing import NamedTuple

from fedjax_layers.types.arrays import Array


class Batch(NamedTuple):
    """One mini-batch of one client.

    Attributes:
      inputs: ``[B, ...]`` in the stored dtype; the task normalises them on the device.
      labels: ``[B, ...]`` integers, or real targets.
      mask: ``[B]`` bool; False marks a padding row, which no loss or metric may count.
    """

    inputs: Array
    labels: Array
    mask: Array


class Pool(NamedTuple):
    """All examples of all clients, held once on the device.

    Attributes:
      inputs: ``[N, ...]`` in the stored dtype.
      labels: ``[N, ...]``.
    """

    inputs: Array
    labels: Array


class Ranges(NamedTuple):
    """The rows of the pool that hold each client's examples of one split: ``start[c] .. start[c] + count[c] - 1``.

    Attributes:
      start: ``[C]`` int32, the first row.
      count: ``[C]`` int32, the number of rows.
    """

    start: Array
    count: Array  # type: ignore[assignment]  # hides tuple.count, which is not needed here
