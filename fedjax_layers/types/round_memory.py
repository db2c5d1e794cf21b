"""The memory that a round needs while it is computed, as an algorithm declares it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax


class RoundMemory(NamedTuple):
    """The memory that a round needs in addition to the state and the data; static.

    A round that keeps no client's model holds few of them, however many clients it trains. An algorithm that needs all
    models of a round at once holds a number of them for each slot of the cohort, and says so here.

    Attributes:
      visit: number of models for each client that is computed at once: its starting model, the trained one, its
        gradient, and whatever else the algorithm holds.
      states: number of optimiser states for each such client: one, and XLA's copies of it.
      server: number of models that exist once: the running sums over clients, the teams' models, the server's results.
      slot: number of models for each slot of the cohort.
      rows: number of models for each slot that a rule of aggregation holds beside them; 0 for a mean.
      client: number of models for each client of the federation.
      served: number of models for each client of the federation while personal models are built all at once; 0 where
        each is built when it is scored.
      server_bytes: bytes of what exists once and is no model of the task: a hypernetwork's gradient, say.
      slot_bytes: the same for each slot of the cohort.
      client_bytes: the same for each client of the federation.
    """

    visit: float = 3
    states: float = 1.5
    server: float = 2
    slot: float = 0
    client: float = 0
    served: float = 0
    server_bytes: int = 0
    slot_bytes: int = 0
    client_bytes: int = 0
    rows: float = 0

    @property
    def by_slot(self) -> float:
        """The number of models for each slot of the cohort, with a rule's."""
        return self.slot + self.rows

    def in_bytes(self, model: int, optimizer: int, batch: int) -> RoundBytes:
        """Convert the numbers of models to bytes.

        Args:
          model: bytes of one model.
          optimizer: bytes of the state of one client's optimiser.
          batch: bytes of one batch.
        """
        return RoundBytes(
            visit=round(self.visit * model + self.states * optimizer) + batch,
            server=round(self.server * model) + self.server_bytes,
            slot=round(self.by_slot * model) + self.slot_bytes,
            client=round(self.client * model) + self.client_bytes,
            served=round(self.served * model),
        )


class RoundBytes(NamedTuple):
    """A :class:`RoundMemory` in bytes, for one particular model."""

    visit: int
    server: int
    slot: int
    client: int
    served: int

    def stacked(self, slots: int, clients: int) -> int:
        """Return the bytes that grow with the numbers K of slots and C of clients."""
        return slots * self.slot + clients * self.client

    def total(self, width: int, devices: int, slots: int, clients: int) -> int:
        """Return the most bytes that a round holds when ``width`` clients are computed at once on each device."""
        return devices * (self.server + width * self.visit) + self.stacked(slots, clients)


def tree_bytes(tree: Any) -> int:
    """Return the bytes of all arrays in a tree; only their shapes and dtypes are read."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))
