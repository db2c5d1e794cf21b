"""Copies of some clients' examples on the device, from a pool on the host or the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.data import SPLITS
from fedjax_layers.data.federated.leaks import range_rows
from fedjax_layers.data.packing import aligned_empty, let_go_of_pages
from fedjax_layers.engine.device_data import DeviceData
from fedjax_layers.engine.intervals import Inputs, cohort_of, round_keys, without_examples
from fedjax_layers.engine.placement.sharding import replicate
from fedjax_layers.ops import ClientAxis
from fedjax_layers.types import Array, Cohort, Pool, Ranges


class Examples:
    """Gives the device the examples of some clients at a time.

    Examples on the host are copied into buffers whose size depends only on the number of clients, so that one program
    takes them all; for examples on the device only the ranges are selected.

    Args:
      source: the data; whether its pool is on the host decides.
      axis: the client axis with the devices.
    """

    def __init__(self, source: DeviceData, axis: ClientAxis) -> None:
        self._pool, self._axis = source.pool, axis
        self.on_host = isinstance(source.pool.inputs, np.ndarray)
        self._since = None if isinstance(source.since, tuple) else np.asarray(source.since)
        ranges = (source.train, source.val, source.test)
        self._start = {split: np.atleast_2d(np.asarray(r.start)) for split, r in zip(SPLITS, ranges, strict=True)}
        self._count = {split: np.atleast_2d(np.asarray(r.count)) for split, r in zip(SPLITS, ranges, strict=True)}
        self._test = source.global_test
        self._rooms: dict[Any, int] = {}

    def sizes(self, t: int, split: str) -> np.ndarray:
        """Return each client's number of examples in round ``t``, ``[C]``."""
        return self._count[split][self._phase(t)]

    def bring(
        self, ids: np.ndarray, t: int, splits: Sequence[str], counted: np.ndarray | None = None
    ) -> tuple[Pool, list[Ranges]]:
        """Put the examples of clients ``ids [n]`` on the device.

        Args:
          ids: the clients.
          t: the round, which decides the phase of the data.
          splits: the splits to copy.
          counted: ``[n]`` bool; clients where it is False, which may repeat others, get no examples. ``None`` means
            all.

        Returns:
          The pool, and for each split the ranges in it, ``[n]``.
        """
        phase = self._phase(t)
        starts = [self._start[split][phase][ids] for split in splits]
        counts = [self._count[split][phase][ids] for split in splits]
        if counted is not None:
            counts = [np.where(counted, count, 0).astype(np.int32) for count in counts]
        if not self.on_host:
            return self._pool, list(map(ranges_of, starts, counts))
        count = np.concatenate(counts)
        rows = range_rows(np.concatenate(starts).astype(np.int64), count.astype(np.int64))
        pool = self.copied(rows, self.room(len(ids), tuple(splits)))
        first = np.split((np.cumsum(count) - count).astype(np.int32), len(splits))
        return pool, list(map(ranges_of, first, counts))

    def room(self, number: int, splits: tuple[str, ...]) -> int:
        """Return the largest number of examples that ``number`` clients may have."""
        key = (number, splits)
        if key not in self._rooms:
            largest = sum(self._count[split].astype(np.int64) for split in splits).max(0)  # type: ignore[union-attr]
            self._rooms[key] = max(1, int(np.partition(largest, len(largest) - number)[-number:].sum()))
        return self._rooms[key]

    def bytes_each(self, splits: tuple[str, ...]) -> int:
        """Return the bytes of the largest client's examples in these splits; 0 if they are on the device."""
        each = sum(math.prod(x.shape[1:]) * x.dtype.itemsize for x in self._pool)
        return each * self.room(1, splits) if self.on_host and splits else 0

    def global_test(self) -> tuple[Pool, Ranges]:
        """Return the global test set and its range ``[1]``."""
        if not self.on_host:
            return self._pool, self._test
        start, count = int(self._test.start[0]), int(self._test.count[0])
        zero = np.zeros(1, np.int32)
        return self.copied(np.arange(start, start + count), max(count, 1)), ranges_of(zero, zero + np.int32(count))

    def copied(self, rows: np.ndarray, room: int) -> Pool:
        """Copy these examples to a buffer of ``room`` rows on the device; it is filled while the device computes."""
        copies = [jax.device_put(_copied(np.asarray(x), rows, room), may_alias=True) for x in self._pool]
        pool: Pool = replicate(Pool(*copies), self._axis)
        return pool

    def _phase(self, t: int) -> int:
        return 0 if self._since is None else int((self._since <= t).sum()) - 1


def first_cohort(inputs: Inputs) -> Cohort:
    """Make the cohort of a run's first round with only its training examples, to train it outside the rounds."""
    examples = Examples(inputs.device_data, ClientAxis())
    ids, weight = draw(without_examples(inputs), jnp.int32(0))
    pool, (train,) = examples.bring(np.asarray(ids), 0, SPLITS[:1])
    return Cohort(ids, weight, jax.tree.map(jnp.asarray, train), pool)


@jax.jit
def draw(inputs: Inputs, t: Array) -> tuple[Array, Array]:
    """Draw ids and weights ``[K]`` of the cohort of round ``t``, as the round would, without reading examples."""
    cohort = cohort_of(inputs, round_keys(inputs.key, t)[0], t)
    return cohort.ids, cohort.weight


def ranges_of(start: Any, count: Any) -> Ranges:
    """Make ranges on the host."""
    return Ranges(start, count)


def side_by_side(ranges: Sequence[Ranges]) -> Ranges:
    """Stack the ranges ``[n]`` of P splits to ``[n, P]``."""
    return ranges_of(*(np.stack(x, -1) for x in zip(*ranges, strict=True)))


def _copied(array: np.ndarray, rows: np.ndarray, room: int) -> np.ndarray:
    # A new buffer each time, since the device may still be reading the last one.
    buffer = aligned_empty((room, *array.shape[1:]), jax.dtypes.canonicalize_dtype(array.dtype))
    if buffer.dtype == array.dtype:
        np.take(array, rows, axis=0, out=buffer[: len(rows)], mode="clip")
    else:
        buffer[: len(rows)] = array[rows]
    buffer[len(rows) :] = 0
    let_go_of_pages(array)
    return buffer
