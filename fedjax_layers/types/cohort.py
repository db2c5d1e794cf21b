"""The clients of one round, and the observer that looks at their trained models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from fedjax_layers.types.arrays import Array, Params
from fedjax_layers.types.examples import Pool, Ranges


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Observer:
    """A function of each model that clients train, called while the model exists, since the round does not keep it.

    Attributes:
      look: static; ``(params, row of rows, data) -> pytree of arrays``.
      rows: what ``look`` needs of each slot, leaves ``[K, ...]``.
      data: what ``look`` needs besides, the same for all clients.
      due: ``[]`` bool; where it is False, ``look`` is not called and all results are zeros.
    """

    look: Callable[[Params, Any, Any], Any] = dataclasses.field(metadata={"static": True})
    rows: Any = ()
    data: Any = ()
    due: Array | bool = True


class ClientFaults(NamedTuple):
    """What goes wrong with the clients of one round, ``[K]`` each, or with one of them, ``[]``.

    Attributes:
      work: float from 0 to 1, the share of its local steps that a client does, rounded up; ``None`` means all.
      lost: bool, clients of whose results nobody hears, and which keep their row of the store; ``None`` means none.
      broken: bool, clients that return NaN; ``None`` means none.
    """

    work: Array | None = None
    lost: Array | None = None
    broken: Array | None = None


NO_FAULTS = ClientFaults()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cohort:
    """The clients of one round. Slots with weight 0 are padding and affect no model.

    Attributes:
      ids: ``[K]`` int32, the clients, each at most once among slots of positive weight; random keys, teams and each
        client's own work follow from them.
      weight: ``[K]`` float, the aggregation weight, usually the number of training examples; 0 marks padding.
      train: ``[K]`` ranges of each slot's training examples in the pool.
      pool: the examples, shared by all slots.
      observer: called on each slot's trained model; ``None`` without one.
      places: ``[K]`` int32, each slot's row in the store on the device, which may hold the cohort alone; ``None`` where
        the store holds all clients, so that row c is that of client c.
      in_order: static; True promises that row k of the store belongs to slot k, so that the store need not be gathered
        or scattered. This is so where all clients take part in order, or the store holds the cohort alone.
      faults: what goes wrong with each slot in this round.
    """

    ids: Array
    weight: Array
    train: Ranges
    pool: Pool
    observer: Observer | None = None
    places: Array | None = None
    in_order: bool = dataclasses.field(default=False, metadata={"static": True})
    faults: ClientFaults = NO_FAULTS

    @property
    def rows(self) -> Array:
        """Each slot's row of the store, ``[K]`` int32."""
        return self.ids if self.places is None else self.places
