"""``federate``, which makes the clients' data from a data set and the owner of each example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.federated.client_data import ClientData, assemble_clients
from fedjax_layers.data.federated.splits import SPLITS, assign_splits, drawn, split_counts
from fedjax_layers.data.packing import client_blocks, slices

_ROWS_AT_ONCE = 2**20  # bounds the memory that sorting takes beside the arrays


def federate(
    dataset: Dataset,
    client_of: np.ndarray,
    *,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    stratified: bool = True,
    in_order: bool = False,
    seed: int = 42,
    num_clients: int | None = None,
    client_names: tuple[str, ...] = (),
    global_test: np.ndarray | None = None,
    own_test: np.ndarray | None = None,
    unseen: int | Sequence[int] = 0,
    teams: np.ndarray | None = None,
    partition: Mapping[str, Any] | None = None,
    reuse: bool = False,
) -> ClientData:
    """Give each example to its client; split each client's examples, disjointly, into train, val and test.

    The default is 64/16/20 per cent, as in PLayer-FL; for the rounding see
    :func:`~fedjax_layers.data.federated.splits.split_counts`, for the choice
    :func:`~fedjax_layers.data.federated.splits.assign_splits`.

    Args:
      dataset: the data.
      client_of: ``[N]`` integers, each example's client, -1 for an example that is not used.
      test_fraction: share of a client's examples, in [0, 1).
      val_fraction: share of what the test split leaves, in [0, 1).
      stratified: whether each of a client's splits keeps the shares of its classes.
      in_order: whether a client's last examples by id are test and its first ones training, for windows of a series,
        which overlap.
      seed: seed of the split, and of the choice of unseen clients; PLayer-FL has 42.
      num_clients: C, the number of clients; ``None`` means the largest client id plus one.
      client_names: ``C`` names; empty leaves the clients numbered.
      global_test: ``[N]`` bool, examples of the global test set, which must belong to no client; ``None`` for none.
      own_test: ``[N]`` bool, clients' examples that are in their test splits; ``None`` takes those of the data's
        official test part, if there is one. Of such a client's other examples, ``val_fraction`` is validation and none
        is test; a client without such examples is split as usual.
      unseen: clients that never train: their ids, or how many to draw.
      teams: ``[C]`` integers, each client's team.
      partition: JSON-able description of where ``client_of`` comes from, kept with the data.
      reuse: whether the clients' data may take over the data set's arrays, which halves the memory; the data set must
        not be used afterwards.

    Returns:
      The federated data, checked by :func:`assert_no_leak`.

    Raises:
      ValueError: an argument is out of range, a client (named) has no training example, or an example id is repeated.
    """
    client_of, num_clients = _check_clients(dataset, client_of, num_clients, client_names)
    apart = np.empty(0, np.int64)
    if global_test is not None:
        apart = np.flatnonzero(_check_flags("global_test", global_test, client_of, owned=False))
    given = (
        np.zeros(len(client_of), bool) if dataset.official_test is None else dataset.official_test & (client_of >= 0)
    )
    if own_test is not None:
        given = _check_flags("own_test", own_test, client_of, owned=True)
    sizes, tested = _count(client_of, given, num_clients)
    _check_trainable(sizes, client_names)
    counts = split_counts(sizes, test_fraction, val_fraction)
    counts = np.where((tested > 0)[:, None], split_counts(sizes, 0.0, val_fraction), counts)
    order = _ordered(dataset, client_of, given, apart, counts, (stratified, in_order, seed))
    counts[:, SPLITS.index("test")] += tested
    hidden = unseen_flags(unseen, num_clients, seed)
    description = {
        "source": dataset.source,
        **(partition or {"scheme": "given"}),
        "num_clients": num_clients,
        "split": {
            "test_fraction": test_fraction,
            "val_fraction": val_fraction,
            "stratified": stratified and not in_order,
            "in_order": in_order,
            "seed": seed,
        },
        "global_test": len(apart),
        "own_test": int(tested.sum()),
        "unseen": np.flatnonzero(hidden).tolist(),
    }
    return assemble_clients(dataset, order, counts, client_names, hidden, teams, description, reuse=reuse)


def _count(client_of: np.ndarray, given: np.ndarray, num_clients: int) -> tuple[np.ndarray, np.ndarray]:
    """Count each client's examples to split, and those that are test examples already, ``[C]`` each."""
    found = np.zeros((2, num_clients), np.int64)
    for part in slices(len(client_of), _ROWS_AT_ONCE):  # in parts, since counting converts them to 64-bit integers
        owner, flags = client_of[part], given[part]
        found[0] += np.bincount(owner[(owner >= 0) & ~flags], minlength=num_clients)
        found[1] += np.bincount(owner[flags], minlength=num_clients)
    return found[0], found[1]


def _ordered(
    dataset: Dataset,
    client_of: np.ndarray,
    given: np.ndarray,
    apart: np.ndarray,
    counts: np.ndarray,
    how: tuple[bool, bool, int],
) -> np.ndarray:
    """Sort rows ``[n]`` by client, split and example id, then the global test set's; some clients at a time.

    Args:
      dataset: the data.
      client_of: ``[N]``, each example's client, -1 for none.
      given: ``[N]`` flags on test examples that are not split.
      apart: rows of the global test set.
      counts: ``[C, 3]``, the number of examples of each split, without the given ones.
      how: ``stratified``, ``in_order`` and ``seed``.
    """
    stratified, in_order, seed = how
    groups = dataset.groups if stratified else None
    order = np.empty(int(np.count_nonzero(client_of >= 0)) + len(apart), np.int64)
    end = 0
    for some, rows in client_blocks(client_of, len(counts), _ROWS_AT_ONCE):
        ids = rows if dataset.example_ids is None else dataset.example_ids[rows].astype(np.int64)
        owner, free = client_of[rows].astype(np.int64) - some.start, ~given[rows]
        strata = None if groups is None else groups[rows[free]]
        split = np.full(len(rows), SPLITS.index("test"), np.int8)
        split[free] = assign_splits(owner[free], ids[free], strata, counts[some], seed, in_order)
        first, end = end, end + len(rows)
        order[first:end] = rows[np.lexsort((ids, split, owner))]
    order[end:] = apart if dataset.example_ids is None else apart[np.argsort(dataset.example_ids[apart])]
    return order


def _check_clients(
    dataset: Dataset, client_of: np.ndarray, num_clients: int | None, client_names: tuple[str, ...]
) -> tuple[np.ndarray, int]:
    client_of = np.asarray(client_of)
    if client_of.shape != (len(dataset),) or not np.issubdtype(client_of.dtype, np.integer):
        found = f"shape {client_of.shape} of {client_of.dtype}"
        raise ValueError(f"client_of: expected {len(dataset)} integers, got {found}")
    low, high = (int(client_of.min()), int(client_of.max())) if len(client_of) else (-1, -1)
    total = high + 1 if num_clients is None else int(num_clients)
    if low < -1 or high >= total or total < 1:
        expected = f"ids from -1 to {max(total, 1) - 1}, some not -1"
        raise ValueError(f"client_of: expected {expected}, got {low}..{high}")
    if len(client_of) > np.iinfo(np.int32).max:
        raise ValueError(f"client_of: expected at most 2^31 - 1 examples, got {len(client_of)}")
    if client_names and len(client_names) != total:
        raise ValueError(f"client_names: expected {total} names, got {len(client_names)}")
    return client_of, total


def _check_trainable(sizes: np.ndarray, client_names: tuple[str, ...]) -> None:
    empty = np.flatnonzero(sizes == 0)
    if len(empty):
        name = f" ({client_names[empty[0]]})" if client_names else ""
        more = f" (and {len(empty) - 1} more clients)" if len(empty) > 1 else ""
        found = f"none for client {empty[0]}{name}{more}"
        raise ValueError(f"client_of: expected a training example for each client, got {found}")


def _check_flags(argument: str, flags: np.ndarray, client_of: np.ndarray, owned: bool) -> np.ndarray:
    """Check flags ``[N]``: they may mark only clients' examples (``owned``), or only others; else ``ValueError``."""
    if flags.shape != client_of.shape or flags.dtype != bool:
        raise ValueError(f"{argument}: expected {len(client_of)} flags, got shape {flags.shape} of {flags.dtype}")
    stray = np.flatnonzero(flags & ((client_of < 0) if owned else (client_of >= 0)))
    if len(stray):
        expected = "examples of clients" if owned else "examples that are no client's"
        whose = ", which is nobody's" if owned else f" of client {client_of[stray[0]]}"
        raise ValueError(f"{argument}: expected {expected}, got row {stray[0]}{whose}")
    return flags


def unseen_flags(unseen: int | Sequence[int], num_clients: int, seed: int) -> np.ndarray:
    """Flag the clients ``[C]`` that never train, by their ids or by a number to draw with the seed.

    Raises:
      ValueError: the ids or the number are out of range.
    """
    flags = np.zeros(num_clients, bool)
    if isinstance(unseen, int | np.integer):
        if not 0 <= unseen < num_clients:
            raise ValueError(f"unseen: expected 0..{num_clients - 1} clients, got {unseen}")
        flags[drawn(np.arange(num_clients), int(unseen), seed)] = True
        return flags
    ids = np.asarray(unseen)
    if ids.size and not (np.issubdtype(ids.dtype, np.integer) and 0 <= ids.min() <= ids.max() < num_clients):
        raise ValueError(f"unseen: expected client ids 0..{num_clients - 1}, got {list(unseen)}")
    flags[ids.astype(np.int64)] = True
    if flags.all():
        raise ValueError("unseen: expected some clients left for training, got all of them")
    return flags
