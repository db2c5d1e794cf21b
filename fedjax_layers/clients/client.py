"""One client of a round, as the function that computes it sees it, and what that function returns."""

from __future__ import annotations

from typing import Any, NamedTuple

from fedjax_layers.types import Array, ClientFaults, Params, Pool


class Client(NamedTuple):
    """One slot of a cohort, as the function that computes it sees it.

    Attributes:
      ident: ``[]`` int32, the client's id.
      weight: ``[]``, its aggregation weight; 0 for padding.
      share: ``[]``, its weight over the sum of the cohort's weights; 0 where that sum is 0.
      present: ``[]`` bool, False for padding.
      start: ``[]`` int32, the first row of its training examples in the pool.
      count: ``[]`` int32, the number of its training examples; 0 for padding.
      pool: all examples.
      slot: the slot's row of the caller's ``slots``.
      shared: the caller's ``shared``, the same for all.
      faults: what goes wrong with the client in this round.
      common: what the server keeps for the clients' objective, see :class:`fedjax_layers.clients.LocalObjective`.
    """

    ident: Array
    weight: Array
    share: Array
    present: Array
    start: Array
    count: Array  # type: ignore[assignment]  # hides tuple.count, which is not needed here
    pool: Pool
    slot: Any
    shared: Any
    faults: ClientFaults = ClientFaults()
    common: Any = ()


class ClientVisit(NamedTuple):
    """The results of computing one client.

    Attributes:
      trained: the trained model, which the cohort's observer looks at and which is then dropped.
      loss: ``[]``, the mean training loss.
      sums: a tree of :class:`fedjax_layers.ops.Term`.
      row: the client's new row of the store.
      out: results that are kept for every slot; keep them small.
    """

    trained: Params
    loss: Array
    sums: Any = ()
    row: Any = ()
    out: Any = ()
