"""Checks that no example is in two splits, by id, and by content for copies under another id."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np

from fedjax_layers.data.federated.splits import SPLITS
from fedjax_layers.data.packing import blocks

_ROWS_AT_ONCE = 2**20  # bounds the row numbers held beside the arrays
_MOST_FLAGS = 8  # flags per example, one byte each; as many take as much memory as sorting the ids


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """The number of examples that are copies of another one (same inputs and labels, another id).

    Attributes:
      copies: number of examples that equal one with a smaller id.
      across_splits: number of groups of equal examples that one client has in more than one split.
      across_clients: number of groups of equal examples that more than one client has.
      train_test: number of groups of equal examples of which a client trains on one, and another one is in a client's
        test split or in the global test set.
    """

    copies: int
    across_splits: int
    across_clients: int
    train_test: int


def assert_disjoint(
    example_ids: np.ndarray, places: Mapping[str, tuple[np.ndarray, np.ndarray]], client_names: tuple[str, ...] = ()
) -> None:
    """Check that no example is listed twice: not in two splits, not by two clients, not twice in one split.

    Args:
      example_ids: ``[N]`` ids of the pool's rows.
      places: ``(start [C], count [C])`` of pool rows, by split; the last may be a global test set of one range.
      client_names: the clients' names, for the message.

    Raises:
      ValueError: the first example listed twice, with its id and both places.
    """
    starts = np.concatenate([start for start, _ in places.values()]).astype(np.int64)
    counts = np.concatenate([count for _, count in places.values()]).astype(np.int64)
    some = counts > 0
    low, high = int(starts[some].min(initial=0)), int((starts + counts)[some].max(initial=1)) - 1
    if some.any() and not 0 <= low <= high < len(example_ids):
        raise ValueError(f"ranges: expected rows 0..{len(example_ids) - 1} of the pool, got {low}..{high}")
    if _all_differ(example_ids, starts, counts):
        return
    rows = range_rows(starts, counts)
    ids = example_ids[rows]
    order = np.argsort(ids, kind="stable")
    repeated = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if not len(repeated):
        return
    cell = np.repeat(np.arange(len(starts)), counts)
    names = [
        split if len(start) == 1 and split not in SPLITS else f"{split} of {client_label(c, client_names)}"
        for split, (start, _) in places.items()
        for c in range(len(start))
    ]
    first, second = order[repeated[0] : repeated[0] + 2]
    where = f"{names[cell[first]]} and {names[cell[second]]}"
    raise ValueError(f"leak: expected every example in one place, found example id {ids[first]} in {where}")


def _all_differ(example_ids: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> bool:
    """Return whether flags, used where ids are small enough, show without sorting that no id is listed twice."""
    size = int(example_ids.max(initial=-1)) + 1
    if int(example_ids.min(initial=0)) < 0 or size > _MOST_FLAGS * max(1, len(example_ids)):
        return False
    seen = np.zeros(size, bool)
    for part in blocks(counts, _ROWS_AT_ONCE):
        seen[example_ids[range_rows(starts[part], counts[part])]] = True
    return int(np.count_nonzero(seen)) == int(counts.sum())


def client_label(client: int, names: tuple[str, ...]) -> str:
    """Return a client's name to print: its own, or its number."""
    return f"client {client}" + (f" ({names[client]})" if names else "")


def range_rows(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """List the row numbers of several ranges, one after the other."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(int(counts.sum()))


def content_groups(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Number examples ``[N]`` such that two have the same number exactly when inputs and labels are bytewise equal.

    This uses 128-bit BLAKE2 digests of one example at a time, so that memory does not grow with the examples' size.
    """
    digests = np.empty((len(inputs), 2), np.uint64)
    for row in range(len(inputs)):
        digest = hashlib.blake2b(np.ascontiguousarray(inputs[row]).tobytes(), digest_size=16)
        digest.update(labels[row].tobytes())
        digests[row] = np.frombuffer(digest.digest(), np.uint64)
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    new = np.ones(len(order), bool)
    new[1:] = (digests[order][1:] != digests[order][:-1]).any(axis=1)
    groups = np.empty(len(order), np.int64)
    groups[order] = np.cumsum(new) - 1
    return groups


def later_copies(groups: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Flag every example ``[N]`` but the one with the smallest id of its group."""
    order = np.lexsort((ids, groups))
    copy = np.zeros(len(ids), bool)
    copy[order[1:]] = groups[order][1:] == groups[order][:-1]
    return copy


def count_duplicates(groups: np.ndarray, ids: np.ndarray, client: np.ndarray, split: np.ndarray) -> Duplicates:
    """Count the places of equal examples.

    Args:
      groups: ``[n]``, the result of :func:`content_groups`.
      ids: ``[n]``, the example ids.
      client: ``[n]``, each example's client, -1 in a global test set.
      split: ``[n]``, 0 for train, 1 for validation, 2 for test.
    """
    owned = client >= 0

    def groups_with_several(*columns: np.ndarray) -> np.ndarray:
        """Count groups whose examples agree in all columns but the last, and differ there."""
        cells = np.unique(np.stack([groups, *columns])[:, owned], axis=1)
        same = (cells[:-1, 1:] == cells[:-1, :-1]).all(axis=0)
        return np.unique(cells[0, 1:][same])

    trained = np.unique(groups[split == 0])
    return Duplicates(
        copies=int(later_copies(groups, ids).sum()),
        across_splits=len(groups_with_several(client, split)),
        across_clients=len(groups_with_several(client)),
        train_test=len(np.intersect1d(trained, groups[split == 2])),
    )
