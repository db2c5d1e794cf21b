"""Packing of rows in the order of their clients, in one copy that a CPU device can use in place."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

ALIGNMENT = 64  # bytes; XLA's CPU backend copies a buffer whose address is no multiple of this
_AT_ONCE = 2**24  # bytes of the rows that are copied at a time
_LARGEST_SHARE = 8  # rows are moved block by block if no block is larger than the whole divided by this
_COLUMN_STEPS = 16  # otherwise in this many groups of columns, one after the other


def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Make an uninitialised array whose address is aligned as devices need it."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    room = np.empty(size + ALIGNMENT, np.uint8)
    first = -room.ctypes.data % ALIGNMENT
    return room[first : first + size].view(kind).reshape(shape)


def is_aligned(array: np.ndarray) -> bool:
    """Return whether a CPU device can use the array in place."""
    return not array.size or (bool(array.flags.c_contiguous) and array.ctypes.data % ALIGNMENT == 0)


def frozen(array: np.ndarray) -> np.ndarray:
    """Make the array read-only, since devices may use the same memory, and return it."""
    array.flags.writeable = False
    return array


def settled(array: np.ndarray) -> np.ndarray:
    """Return the array if it is aligned and read-only, else such a copy; a repeated single entry is not expanded."""
    if not array.flags.writeable and (is_aligned(array) or not any(array.strides)):
        return array
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return frozen(copy)


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate arrays ``[n_i, ...]`` of one dtype to an aligned one."""
    whole = aligned_empty((sum(map(len, arrays)), *arrays[0].shape[1:]), np.result_type(*arrays))
    return np.concatenate(arrays, out=whole)


def pack_rows(
    array: np.ndarray, rows: np.ndarray, *, dtype: DTypeLike | None = None, reuse: bool = False
) -> np.ndarray:
    """Take some rows of an array in a new order, aligned and read-only.

    Args:
      array: ``[N, ...]``, possibly memory-mapped.
      rows: ``[n]`` different row numbers.
      dtype: dtype of the result; ``None`` means the array's.
      reuse: whether ``array`` is no longer needed: if it is aligned and writable, its rows are moved in place, and no
        second array is made.

    Returns:
      ``[n, ...]``.
    """
    kind = array.dtype if dtype is None else np.dtype(dtype)
    if reuse and kind == array.dtype and array.flags.writeable and is_aligned(array):
        _move(array, rows)
        return frozen(array[: len(rows)])
    packed = aligned_empty((len(rows), *array.shape[1:]), kind)
    for part in slices(len(rows), _AT_ONCE // max(1, _row_bytes(array))):
        packed[part] = array[rows[part]]
        let_go_of_pages(array)
    return frozen(packed)


def let_go_of_pages(array: np.ndarray) -> None:
    """Release the memory pages of a large memory-mapped array, which stay in its file."""
    base: Any = array if array.nbytes > _AT_ONCE else None
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def slices(size: int, step: int) -> Iterator[slice]:
    """Cut ``0 .. size`` into slices of length ``step``, at least one."""
    step = max(1, step)
    return (slice(first, min(first + step, size)) for first in range(0, size, step))


def blocks(sizes: np.ndarray, most: int) -> Iterator[slice]:
    """Cut ``sizes [n]`` into slices that sum to at most ``most`` each, or hold a single larger size."""
    ends = np.cumsum(sizes, dtype=np.int64)
    first = 0
    while first < len(sizes):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield slice(first, last)
        first = last


def client_blocks(client_of: np.ndarray, num_clients: int, most: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Iterate over groups of clients with all their rows: at most ``most`` rows, or those of a single larger client.

    Args:
      client_of: ``[N]`` integers, each row's client, -1 for none.
      num_clients: C, the number of clients.
      most: largest number of rows at a time.

    Yields:
      A slice of the clients, and their row numbers ``[n]``, by client and rising for each.
    """
    sizes = np.zeros(num_clients + 1, np.int64)
    rising = True
    for part in slices(len(client_of), most):
        owner = client_of[part.start : part.stop + 1]  # includes the first row of the next part
        rising = rising and bool((owner[1:] >= owner[:-1]).all())
        sizes += np.bincount(client_of[part] + 1, minlength=num_clients + 1)
    order = None if rising else np.argsort(client_of, kind="stable")
    ends = np.cumsum(sizes)
    for some in blocks(sizes[1:], most):
        first, last = int(ends[some.start]), int(ends[some.stop])
        yield some, np.arange(first, last) if order is None else order[first:last]


def _row_bytes(array: np.ndarray) -> int:
    return math.prod(array.shape[1:]) * array.itemsize


def _move(array: np.ndarray, rows: np.ndarray) -> None:
    """Do ``array[: n] = array[rows]`` without a second array of that size.

    A cut is a position such that all rows before it come from lower positions than all rows after it. What is written
    before a cut overwrites only rows that are not read later, so that each block between two cuts can be ordered by
    itself.
    """
    cuts = np.append(_cuts(rows), len(rows))
    step = max(1, _AT_ONCE // max(1, _row_bytes(array)))
    parts = list(blocks(np.diff(cuts, prepend=0), step))
    edges = [(0 if part.start == 0 else int(cuts[part.start - 1]), int(cuts[part.stop - 1])) for part in parts]
    if max((last - first for first, last in edges), default=0) <= max(step, len(rows) // _LARGEST_SHARE):
        for first, last in edges:
            array[first:last] = array[rows[first:last]]
        return
    flat = array.reshape(len(array), -1)
    for columns in slices(flat.shape[1], -(-flat.shape[1] // _COLUMN_STEPS)):
        flat[: len(rows), columns] = flat[rows, columns]


def _cuts(rows: np.ndarray) -> np.ndarray:
    """Find the positions ``0 < p < n`` with every row before p below every row from p on."""
    highest = np.maximum.accumulate(rows)
    cut = np.zeros(len(rows), bool)
    lowest = np.iinfo(rows.dtype).max
    for part in reversed(list(slices(len(rows), _AT_ONCE // rows.itemsize))):
        after = np.minimum(np.minimum.accumulate(rows[part][::-1])[::-1], lowest)
        lowest = after[0]
        first = max(part.start, 1)
        cut[first : part.stop] = highest[first - 1 : part.stop - 1] < after[first - part.start :]
    return np.flatnonzero(cut)
