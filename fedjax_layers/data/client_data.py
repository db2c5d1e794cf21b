"""Federated data: one pool of examples, and for each client and split a range of it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.preprocess import Preprocess

if TYPE_CHECKING:
    from fedjax_layers.types import Pool, Ranges

SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class ClientData:
    """The examples of all clients, on the host, ordered by client, then split, then example id.

    Made by :func:`federate`. Arrays are read-only.

    Attributes:
      inputs: ``[N, ...]`` in stored dtype.
      labels: ``[N]`` int32.
      example_ids: ``[N]`` int64, row of each example in the source data set.
      ranges: for ``"train"``, ``"val"`` and ``"test"`` the pair ``(start [C], count [C])`` int32 of pool
        rows.
      num_classes: number of classes.
      class_names: one name per class.
      client_names: one name per client; empty where clients are only numbered (see :meth:`client_name`).
      name: the data set's registry name.
      preprocess: how a model reads the inputs.
      partition: JSON-able description of data, scheme, parameters, seeds and split.
    """

    inputs: np.ndarray
    labels: np.ndarray
    example_ids: np.ndarray
    ranges: Mapping[str, tuple[np.ndarray, np.ndarray]]
    num_classes: int
    class_names: tuple[str, ...]
    client_names: tuple[str, ...]
    name: str
    preprocess: Preprocess
    partition: dict[str, Any]

    @property
    def num_clients(self) -> int:
        """C, the number of clients."""
        return len(self.ranges["train"][0])

    @property
    def sizes(self) -> dict[str, np.ndarray]:
        """Number of examples of each client, ``[C]`` int32, by split."""
        return {split: count for split, (_, count) in self.ranges.items()}

    @functools.cached_property
    def partition_hash(self) -> str:
        """SHA-256 (hex) of who owns what: equal just when all clients have the same examples in all splits.

        Hashed are C, then the counts ``[C, 3]`` (train, val, test), then the example ids ordered by client,
        split and id, all as little-endian int64; so neither platform, NumPy version nor row order within a
        split matters.
        """
        starts = np.stack([self.ranges[s][0] for s in SPLITS], axis=1).astype(np.int64).ravel()
        counts = np.stack([self.ranges[s][1] for s in SPLITS], axis=1).astype(np.int64).ravel()
        cells = np.repeat(np.arange(len(counts)), counts)
        ids = self.example_ids[_rows(starts, counts)]
        ids = ids[np.lexsort((ids, cells))]
        digest = hashlib.sha256()
        for part in (np.array([self.num_clients]), counts, ids):
            digest.update(part.astype("<i8").tobytes())
        return digest.hexdigest()

    def client_name(self, client: int) -> str:
        """Name of a client for people: its own, or its number."""
        return f"client {client}" + (f" ({self.client_names[client]})" if self.client_names else "")

    def rows(self, client: int, split: str) -> slice:
        """Pool rows of one client's split."""
        start, count = self.ranges[split]
        return slice(int(start[client]), int(start[client] + count[client]))

    def pool(self) -> Pool:
        """All examples on the default device, in stored dtype."""
        import jax.numpy as jnp  # noqa: PLC0415  (the rest of this package needs no JAX)

        from fedjax_layers.types import Pool  # noqa: PLC0415

        return Pool(jnp.asarray(self.inputs), jnp.asarray(self.labels))

    def device_ranges(self, split: str) -> Ranges:
        """Ranges ``[C]`` of one split on the default device.

        Raises:
          ValueError: ``split`` is not train, val or test.
        """
        import jax.numpy as jnp  # noqa: PLC0415

        from fedjax_layers.types import Ranges  # noqa: PLC0415

        if split not in SPLITS:
            raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
        start, count = self.ranges[split]
        return Ranges(jnp.asarray(start), jnp.asarray(count))


def federate(
    dataset: Dataset,
    client_of: np.ndarray,
    *,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    seed: int = 42,
    num_clients: int | None = None,
    client_names: tuple[str, ...] = (),
    partition: Mapping[str, Any] | None = None,
) -> ClientData:
    """Give each example to its client; split each client's examples, disjointly, into train, val and test.

    Of a client's n examples ``ceil(test_fraction * n)`` are test, then ``ceil(val_fraction * rest)``
    validation, the rest training: 64/16/20 per cent by default, as PLayer-FL splits. Where nothing would be
    left for training, one example is taken back from validation, or else from test; so n = 1, 2, 3 give
    1/0/0, 1/0/1 and 1/1/1.

    Which examples these are depends on ``seed`` and the example ids only: an example's random key is the same
    in every partition, and a client's split does not depend on the other clients.

    Args:
      dataset: the data.
      client_of: ``[N]`` integers, each example's client, -1 for an example that is not used.
      test_fraction: share of a client's examples, in [0, 1).
      val_fraction: share of what the test split leaves, in [0, 1).
      seed: of the split; PLayer-FL's 42.
      num_clients: C; ``None`` is the largest client id plus one.
      client_names: ``C`` names; empty leaves the clients numbered.
      partition: JSON-able description of where ``client_of`` comes from, kept with the data.

    Returns:
      The federated data, checked by :func:`assert_no_leak`.

    Raises:
      ValueError: an argument out of range, a client without a training example (named), or a repeated example
        id.
    """
    for argument, value in {"test_fraction": test_fraction, "val_fraction": val_fraction}.items():
        if not 0 <= value < 1:
            raise ValueError(f"{argument}: expected a number in [0, 1), got {value}")
    client_of, num_clients = _check_clients(dataset, client_of, num_clients, client_names)
    ids = np.arange(len(dataset)) if dataset.example_ids is None else dataset.example_ids.astype(np.int64)
    sizes = np.bincount(client_of[client_of >= 0], minlength=num_clients)
    _check_trainable(sizes, client_names)
    counts = _split_counts(sizes, test_fraction, val_fraction)
    order = _order(client_of, ids, counts, seed)
    starts = (np.cumsum(counts) - counts.ravel()).reshape(counts.shape)
    data = ClientData(
        inputs=_frozen(dataset.inputs[order]),
        labels=_frozen(dataset.labels[order].astype(np.int32)),
        example_ids=_frozen(ids[order]),
        ranges={
            split: (_frozen(starts[:, s].astype(np.int32)), _frozen(counts[:, s].astype(np.int32)))
            for s, split in enumerate(SPLITS)
        },
        num_classes=dataset.num_classes,
        class_names=dataset.class_names,
        client_names=tuple(client_names),
        name=dataset.name,
        preprocess=dataset.preprocess,
        partition={
            "source": dataset.source,
            **(partition or {"scheme": "given"}),
            "num_clients": num_clients,
            "split": {"test_fraction": test_fraction, "val_fraction": val_fraction, "seed": seed},
        },
    )
    assert_no_leak(data)
    return data


def assert_no_leak(data: ClientData) -> None:
    """Check that no example is listed twice: not in two splits, not by two clients, not twice in one split.

    Raises:
      ValueError: the first example listed twice, with its id and both places.
    """
    starts = np.concatenate([data.ranges[split][0] for split in SPLITS]).astype(np.int64)
    counts = np.concatenate([data.ranges[split][1] for split in SPLITS]).astype(np.int64)
    rows = _rows(starts, counts)
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(data.example_ids):
        found = f"{rows.min()}..{rows.max()}"
        raise ValueError(f"ranges: expected rows 0..{len(data.example_ids) - 1} of the pool, got {found}")
    ids = data.example_ids[rows]
    order = np.argsort(ids, kind="stable")
    repeated = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if not len(repeated):
        return
    cell = np.repeat(np.arange(len(starts)), counts)  # cell s * C + c is client c's split s
    first, second = order[repeated[0] : repeated[0] + 2]
    places = " and ".join(
        f"{SPLITS[cell[i] // data.num_clients]} of {data.client_name(int(cell[i] % data.num_clients))}"
        for i in (first, second)
    )
    raise ValueError(f"leak: expected every example in one place, found example id {ids[first]} in {places}")


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


def _split_counts(sizes: np.ndarray, test_fraction: float, val_fraction: float) -> np.ndarray:
    """Examples of each client and split, ``[C, 3]`` int64."""
    slack = 1e-9  # 0.2 * 35 is a little more than 7 in binary
    test = np.ceil(sizes * test_fraction - slack).astype(np.int64)
    val = np.ceil((sizes - test) * val_fraction - slack).astype(np.int64)
    starved = test + val == sizes
    from_val = starved & (val > 0)
    val -= from_val
    test -= starved & ~from_val
    return np.stack([sizes - test - val, val, test], axis=1)


def _order(client_of: np.ndarray, ids: np.ndarray, counts: np.ndarray, seed: int) -> np.ndarray:
    """Rows of the data set in pool order: by client, split and example id."""
    used = np.flatnonzero(client_of >= 0)
    client = client_of[used]
    by_key = np.lexsort((ids[used], _keys(ids[used], seed), client))
    # Sorted by key, a client's first rows are training, the next validation, the last test.
    split = np.empty(len(used), np.int8)
    split[by_key] = np.repeat(np.tile(np.arange(3), len(counts)), counts.ravel())
    return used[np.lexsort((ids[used], split, client))]


def _keys(ids: np.ndarray, seed: int) -> np.ndarray:
    """A random 64-bit key for each example id, ``[n]`` uint64 (the splitmix64 mixer of Steele et al. 2014).

    A hash rather than a generator's stream: it is the same in every NumPy version and needs no other
    examples.
    """
    start = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant
        x = start + ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def _rows(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The row numbers of several ranges, one after the other."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(int(counts.sum()))


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
