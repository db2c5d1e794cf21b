"""The clients' data: one pool of examples, and a range of it for each client and split."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fedjax_layers.data.dataset import Dataset, Task
from fedjax_layers.data.federated.leaks import (
    Duplicates,
    assert_disjoint,
    client_label,
    content_groups,
    count_duplicates,
    range_rows,
)
from fedjax_layers.data.federated.splits import SPLITS
from fedjax_layers.data.packing import blocks, frozen, pack_rows, settled
from fedjax_layers.data.preprocess import Preprocess, standardise

if TYPE_CHECKING:
    from fedjax_layers.types import Pool, Ranges

_BYTES_AT_ONCE = 2**26  # of examples, where they are hashed
_ROWS_AT_ONCE = 2**20  # bounds the row numbers held beside the arrays


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ClientData:
    """The examples of all clients, on the host, ordered by client, then split, then example id.

    Made by :func:`~fedjax_layers.data.federate`. Arrays are read-only. Examples of a global test set come
    last and belong to no client.

    Attributes:
      inputs: ``[N, ...]`` in stored dtype.
      labels: ``[N, ...]``, see :class:`~fedjax_layers.data.dataset.Dataset`.
      example_ids: ``[N]`` int64, row of each example in the source data set.
      ranges: for ``"train"``, ``"val"`` and ``"test"`` the pair ``(start [C], count [C])`` int32 of pool
        rows.
      num_classes: number of classes.
      class_names: one name per class.
      client_names: one name per client; empty where clients are only numbered (see :meth:`client_name`).
      name: the data set's registry name.
      preprocess: how a model reads the inputs.
      partition: JSON-able description of data, scheme, parameters, seeds and split.
      task: what is predicted.
      strata: ``[N]`` int32, the groups by which splits are stratified: the labels of a classification.
      strata_names: names of the strata.
      global_test: number of examples of the global test set, the pool's last rows.
      unseen: ``[C]`` bool, clients that never take part in training and are only scored.
      teams: ``[C]`` int32 team of each client, or ``None`` where there are none.
    """

    inputs: np.ndarray
    labels: np.ndarray
    example_ids: np.ndarray
    ranges: Mapping[str, tuple[np.ndarray, np.ndarray]]
    num_classes: int
    class_names: tuple[str, ...]
    client_names: tuple[str, ...]
    name: str
    preprocess: Preprocess | None
    partition: dict[str, Any]
    task: Task
    strata: np.ndarray
    strata_names: tuple[str, ...]
    global_test: int
    unseen: np.ndarray
    teams: np.ndarray | None

    def __post_init__(self) -> None:
        for field in ("inputs", "labels"):  # devices may use these two in place
            object.__setattr__(self, field, settled(getattr(self, field)))

    def __repr__(self) -> str:
        splits = ", ".join(f"{int(count.sum()):,} {split}" for split, count in self.sizes.items())
        pairs = (("inputs", self.inputs), ("labels", self.labels))
        arrays = (f"{name} {x.dtype.name} {list(x.shape)}" for name, x in pairs)
        return f"ClientData({self.name}: {self.num_clients:,} clients, {splits} examples; {', '.join(arrays)})"

    @property
    def num_clients(self) -> int:
        """The number C of clients."""
        return len(self.ranges["train"][0])

    @property
    def sizes(self) -> dict[str, np.ndarray]:
        """The number of examples of each client, ``[C]`` int32, by split."""
        return {split: count for split, (_, count) in self.ranges.items()}

    @functools.cached_property
    def content_hash(self) -> str:
        """The CRC-32 (8 hex digits) of all inputs and labels, in the order in which the clients hold them."""
        found = 0
        for array in (self.inputs, self.labels):
            rows = max(1, _BYTES_AT_ONCE // max(1, array[:1].nbytes))
            for start in range(0, len(array), rows):
                part = np.ascontiguousarray(array[start : start + rows])
                found = zlib.crc32(part.reshape(-1).view(np.uint8).data, found)
        return f"{found:08x}"

    @functools.cached_property
    def partition_hash(self) -> str:
        """The SHA-256 (hex) of the partition, equal exactly when all clients have the same examples in all splits.

        Hashed are C, then the counts ``[C, 3]`` (train, val, test), then the example ids ordered by client,
        split and id, then those of the global test set, all as little-endian int64; so neither platform, NumPy
        version nor row order within a split matters.
        """
        starts = np.stack([self.ranges[s][0] for s in SPLITS], axis=1).astype(np.int64).ravel()
        counts = np.stack([self.ranges[s][1] for s in SPLITS], axis=1).astype(np.int64).ravel()
        digest = hashlib.sha256()
        for part in (np.array([self.num_clients]), counts):
            digest.update(part.astype("<i8").tobytes())
        for some in blocks(counts, _ROWS_AT_ONCE):
            ids = self.example_ids[range_rows(starts[some], counts[some])]
            cells = np.repeat(np.arange(len(counts[some])), counts[some])
            digest.update(ids[np.lexsort((ids, cells))].astype("<i8").tobytes())
        apart = np.sort(self.example_ids[len(self.example_ids) - self.global_test :])
        digest.update(apart.astype("<i8").tobytes())
        return digest.hexdigest()

    @functools.cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each example's client (-1 in the global test set) and split (0 train, 1 val, 2 test), ``[N]`` each."""
        client = np.full(len(self.example_ids), -1, np.int32)
        split = np.full(len(self.example_ids), SPLITS.index("test"), np.int8)
        for number, (start, count) in enumerate(self.ranges.values()):
            rows = range_rows(start.astype(np.int64), count.astype(np.int64))
            client[rows] = np.repeat(np.arange(self.num_clients, dtype=np.int32), count)
            split[rows] = number
        return client, split

    @functools.cached_property
    def duplicates(self) -> Duplicates:
        """The places of examples of equal content; computed when first asked for."""
        client, split = self.places
        return count_duplicates(content_groups(self.inputs, self.labels), self.example_ids, client, split)

    def stratum_counts(self, splits: Sequence[str] = SPLITS) -> np.ndarray:
        """Count the examples of each client and class (stratum) in these splits together, ``[C, S]`` int64."""
        client, split = self.places
        counted = (client >= 0) & np.isin(split, [SPLITS.index(name) for name in splits])
        strata = max(len(self.strata_names), 1)
        cells = client[counted].astype(np.int64) * strata + self.strata[counted]
        return np.bincount(cells, minlength=self.num_clients * strata).reshape(-1, strata)

    @property
    def holds_tokens(self) -> bool:
        """Whether the inputs are token ids, which are not preprocessed."""
        return self.preprocess is None and bool(np.issubdtype(self.inputs.dtype, np.integer))

    @property
    def target_units(self) -> tuple[float, float]:
        """Mean and standard deviation of all participating clients' training targets; 1 where all are equal."""
        client, split = self.places
        trained_on = (client >= 0) & (split == 0)
        trained_on[trained_on] = ~self.unseen[client[trained_on]]
        targets = self.labels[trained_on].astype(np.float64)
        return float(targets.mean()), float(targets.std()) or 1.0

    def client_name(self, client: int) -> str:
        """Return a client's name to print: its own, or its number."""
        return client_label(client, self.client_names)

    def rows(self, client: int, split: str) -> slice:
        """Return the pool rows of one client's split."""
        start, count = self.ranges[split]
        return slice(int(start[client]), int(start[client] + count[client]))

    def pool(self) -> Pool:
        """Put all examples on the default device, in stored dtype; on a CPU these arrays themselves, not copies."""
        import jax  # noqa: PLC0415  (the rest of this package needs no JAX)

        from fedjax_layers.types import Pool  # noqa: PLC0415

        return Pool(*(jax.device_put(array, may_alias=True) for array in (self.inputs, self.labels)))

    def device_ranges(self, split: str) -> Ranges:
        """Put the ranges ``[C]`` of one split on the default device.

        Raises:
          ValueError: ``split`` is not train, val or test.
        """
        import jax.numpy as jnp  # noqa: PLC0415

        from fedjax_layers.types import Ranges  # noqa: PLC0415

        if split not in SPLITS:
            raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
        start, count = self.ranges[split]
        return Ranges(jnp.asarray(start), jnp.asarray(count))


def assemble_clients(
    dataset: Dataset,
    order: np.ndarray,
    counts: np.ndarray,
    client_names: tuple[str, ...],
    unseen: np.ndarray,
    teams: np.ndarray | None,
    partition: dict[str, Any],
    *,
    reuse: bool = False,
) -> ClientData:
    """Make the clients' data from rows of the data set in their final order.

    Args:
      dataset: the data.
      order: ``[n]`` rows by client and split, then those of the global test set.
      counts: ``[C, 3]``, the number of examples of each client and split.
      client_names: ``C`` names, or none.
      unseen: ``[C]`` bool, the clients that never train.
      teams: ``[C]`` integers, each client's team, or ``None``.
      partition: description of the partition, kept with the data.
      reuse: whether the data set's arrays may become the pool's; the data set must not be used afterwards.

    Raises:
      ValueError: an example is listed twice, or teams do not fit the clients.
    """
    if teams is not None and teams.shape != (len(counts),):
        raise ValueError(f"teams: expected {len(counts)} integers, got shape {teams.shape}")
    ranges = ranges_of(counts)
    ids = order if dataset.example_ids is None else dataset.example_ids[order]
    strata = None if dataset.strata is None else frozen(dataset.strata[order].astype(np.int32))
    integers = np.issubdtype(dataset.labels.dtype, np.integer)
    labels = pack_rows(dataset.labels, order, dtype=np.int32 if integers else None, reuse=reuse)
    inputs = pack_rows(dataset.inputs, order, reuse=reuse)
    if strata is None:
        strata = labels if dataset.task == "classification" else frozen(np.zeros(len(order), np.int32))
    preprocess = dataset.preprocess
    if preprocess == "standardise":
        start, count = (x[~unseen].astype(np.int64) for x in ranges["train"])
        preprocess = standardise(inputs, range_rows(start, count))
    data = ClientData(
        inputs=inputs,
        labels=labels,
        example_ids=frozen(ids.astype(np.int64, copy=False)),
        ranges=ranges,
        num_classes=dataset.num_classes,
        class_names=dataset.class_names,
        client_names=tuple(client_names),
        name=dataset.name,
        preprocess=preprocess,
        partition=partition,
        task=dataset.task,
        strata=strata,
        strata_names=dataset.group_names,
        global_test=len(order) - int(counts.sum()),
        unseen=frozen(unseen),
        teams=None if teams is None else frozen(teams.astype(np.int32)),
    )
    assert_no_leak(data)
    return data


def ranges_of(counts: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Make ``ranges`` for clients with ``counts [C, 3]`` examples of each split, packed one after the other."""
    starts = (np.cumsum(counts) - counts.ravel()).reshape(counts.shape)
    columns = zip(SPLITS, starts.astype(np.int32).T, counts.astype(np.int32).T, strict=True)
    return {split: (frozen(start.copy()), frozen(count.copy())) for split, start, count in columns}


def assert_no_leak(data: ClientData) -> None:
    """Check that no example is listed twice: not in two splits, not by two clients, not twice in one split.

    Raises:
      ValueError: the first example listed twice, with its id and both places.
    """
    places = {split: data.ranges[split] for split in SPLITS}
    if data.global_test:
        first = len(data.example_ids) - data.global_test
        places["global test set"] = (np.array([first]), np.array([data.global_test]))
    assert_disjoint(data.example_ids, places, data.client_names)
