"""All clients' data on the device, for each phase of a run."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.data import SPLITS, ClientData
from fedjax_layers.data.changes.drift import Phase
from fedjax_layers.data.packing import frozen, joined
from fedjax_layers.types import Array, Pool, Ranges


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DeviceData:
    """The pool of examples, and the ranges that belong to each client.

    Attributes:
      pool: the examples of all phases; NumPy arrays where they stay on the host.
      train: training range of each client, ``[C]``, or ``[P, C]`` where the data have P phases.
      val: validation ranges.
      test: test ranges.
      global_test: the global test set, one range ``[1]``.
      largest: static; the number of examples of the largest client in train, val and test, and of the global test set.
      since: ``[P]`` int32, the first round of each phase, which is 0 for the first phase; ``()`` without phases.
      unseen: ``[U]`` int32, clients that never take part in training; ``()`` where all do.
      uniform: static; whether every client has ``largest[0]`` training examples in every phase.
    """

    pool: Pool
    train: Ranges
    val: Ranges
    test: Ranges
    global_test: Ranges
    largest: tuple[int, int, int, int] = dataclasses.field(metadata={"static": True})
    since: Array | tuple[()] = ()
    unseen: Array | tuple[()] = ()
    uniform: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def on_host(self) -> bool:
        """Whether the examples stay on the host."""
        return isinstance(self.pool.inputs, np.ndarray)

    @property
    def num_clients(self) -> int:
        """The number C of clients."""
        return self.train.count.shape[-1]

    def split(self, name: str) -> tuple[Ranges, int]:
        """Return the ranges of a split, and the number of examples of its largest client."""
        index = SPLITS.index(name)
        return (self.train, self.val, self.test)[index], self.largest[index]

    def at(self, round_number: Array | int) -> DeviceData:
        """Return the data of one round, which counts from 0 and may be traced, with ranges ``[C]``."""
        if isinstance(self.since, tuple):
            return self
        phase = jnp.sum(self.since <= round_number) - 1
        train, val, test = jax.tree.map(lambda x: x[phase], (self.train, self.val, self.test))
        return dataclasses.replace(self, train=train, val=val, test=test, since=())


def to_device(data: ClientData | Sequence[Phase], *, on_host: bool = False) -> DeviceData:
    """Put the clients' data on the device, once.

    Args:
      data: the data of the whole run, or its phases in order. Phases with other inputs or labels have their own copy of
        the examples. The global test set and the unseen clients are those of the first phase.
      on_host: whether the examples stay on the host, for a run with ``on_host`` data.

    Raises:
      ValueError: phases differ in the number of clients or in the inputs' shape or dtype, or their first rounds do not
        rise from 0.
    """
    if isinstance(data, ClientData):
        return _stack([data], (), on_host)
    rounds = [phase.since for phase in data]
    if not rounds or rounds[0] != 0 or any(b <= a for a, b in itertools.pairwise(rounds)):
        raise ValueError(f"phases: expected rounds that start at 0 and go up, got {rounds}")
    clients = sorted({phase.data.num_clients for phase in data})
    if len(clients) > 1:
        raise ValueError(f"phases: expected one number of clients, got {clients}")
    kinds = {f"{phase.data.inputs.dtype} {phase.data.inputs.shape[1:]}": None for phase in data}
    if len(kinds) > 1:
        raise ValueError(f"phases: expected inputs of one shape and type, got {' and '.join(kinds)}")
    if len(data) == 1:
        return _stack([data[0].data], (), on_host)
    return _stack([phase.data for phase in data], jnp.asarray(rounds, jnp.int32), on_host)


def _stack(phases: list[ClientData], since: Array | tuple[()], on_host: bool) -> DeviceData:
    pool, offsets = _pool(phases)
    if not on_host:
        pool = Pool(*(jax.device_put(x, may_alias=True) for x in pool))
    ranges = []
    for split in SPLITS:
        start = np.stack([phase.ranges[split][0] + offset for phase, offset in zip(phases, offsets, strict=True)])
        count = np.stack([phase.ranges[split][1] for phase in phases])
        if len(phases) == 1:
            start, count = start[0], count[0]
        ranges.append(Ranges(jnp.asarray(start, jnp.int32), jnp.asarray(count, jnp.int32)))
    sizes = [int(max(phase.sizes[split].max(initial=0) for phase in phases)) for split in SPLITS]
    first = phases[0]
    apart = Ranges(
        jnp.asarray([len(first.inputs) - first.global_test], jnp.int32), jnp.asarray([first.global_test], jnp.int32)
    )
    largest = (sizes[0], sizes[1], sizes[2], first.global_test)
    unseen = jnp.asarray(np.flatnonzero(first.unseen), jnp.int32) if first.unseen.any() else ()
    uniform = all((phase.sizes["train"] == sizes[0]).all() for phase in phases)
    return DeviceData(pool, ranges[0], ranges[1], ranges[2], apart, largest, since, unseen, uniform)


def _pool(phases: list[ClientData]) -> tuple[Pool, list[int]]:
    """Join the examples of all phases on the host, and find where each phase's begin; equal arrays are stored once."""
    kept: dict[tuple[int, int], ClientData] = {}
    starts: dict[tuple[int, int], int] = {}
    for phase in phases:
        arrays = (id(phase.inputs), id(phase.labels))
        if arrays not in kept:
            starts[arrays] = sum(len(one.inputs) for one in kept.values())
            kept[arrays] = phase
    offsets = [starts[id(phase.inputs), id(phase.labels)] for phase in phases]
    if len(kept) == 1:
        return Pool(phases[0].inputs, phases[0].labels), offsets  # type: ignore[arg-type]  # still NumPy arrays
    inputs, labels = (frozen(joined([getattr(one, field) for one in kept.values()])) for field in ("inputs", "labels"))
    return Pool(inputs, labels), offsets  # type: ignore[arg-type]
