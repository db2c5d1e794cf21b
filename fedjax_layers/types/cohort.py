"""The clients of one round, and who looks at their trained models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from fedjax_layers.types.arrays import Array, Params
from fedjax_layers.types.examples import Pool, Ranges


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Observer:
    """What somebody wants to know of each model that clients train, asked where the model is made and then let go.

    Attributes:
      look: static; ``(params, row of rows, data) -> pytree of arrays``.
      rows: what it needs of each slot besides, leaves ``[K, ...]``.
      data: what it needs besides, the same for all clients.
      due: ``[]`` bool; where it is False nobody looks, and what is found are zeros.
    """

    look: Callable[[Params, Any, Any], Any] = dataclasses.field(metadata={"static": True})
    rows: Any = ()
    data: Any = ()
    due: Array | bool = True


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cohort:
    """The clients of one round. Slots with weight 0 are padding: nothing of them reaches any model.

    Attributes:
      ids: ``[K]`` int32, who they are, without repetition among slots of positive weight: random keys, teams and each
        client's own work follow from it.
      weight: ``[K]`` float, aggregation weight, usually the number of training examples; 0 marks padding.
      train: ``[K]`` ranges of each slot's training examples in the pool.
      pool: the examples, shared by all slots.
      observer: looks at each slot's trained model; ``None`` where nobody asks.
      places: ``[K]`` int32, the slots' rows of the store that is at hand, which may hold the cohort alone; ``None``
        where it holds all clients, row c that of client c.
      in_order: static; True promises that row k of the store is slot k's, as where all clients take part in order or
        the store holds the cohort alone, so that it need not be gathered or scattered.
    """

    ids: Array
    weight: Array
    train: Ranges
    pool: Pool
    observer: Observer | None = None
    places: Array | None = None
    in_order: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def rows(self) -> Array:
        """``[K]`` int32, each slot's row of the store."""
        return self.ids if self.places is None else self.places
