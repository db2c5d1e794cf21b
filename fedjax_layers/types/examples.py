"""Examples: a batch of them, all of them, and which are whose."""

from __future__ import annotations

from typing import NamedTuple

from fedjax_layers.types.arrays import Array


class Batch(NamedTuple):
    """One mini-batch of one client.

    Attributes:
      inputs: ``[B, ...]`` in the stored dtype; the task normalises them on the device.
      labels: ``[B, ...]`` integers, or real targets.
      mask: ``[B]`` bool; False marks a padding row, which no loss or metric may see.
    """

    inputs: Array
    labels: Array
    mask: Array


class Pool(NamedTuple):
    """All examples of all clients, once, on the device.

    Attributes:
      inputs: ``[N, ...]`` in the stored dtype.
      labels: ``[N, ...]``.
    """

    inputs: Array
    labels: Array


class Ranges(NamedTuple):
    """Where in the pool each client's examples of one split lie.

    Attributes:
      start: ``[C]`` int32, the first row.
      count: ``[C]`` int32, the number of rows, ``start[c] .. start[c] + count[c]``.
    """

    start: Array
    count: Array  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
