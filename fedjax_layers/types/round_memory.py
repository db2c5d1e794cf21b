"""What a round holds while it is computed, as an algorithm declares it; imports JAX and nothing else."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax


class RoundMemory(NamedTuple):
    """What a round holds for a while beside the state and the data; static.

    A round that lets each client's model go holds few of them, however many clients it visits. A rule that needs all
    models of a round at once holds a number of them for each slot of the cohort, and says so here.

    Attributes:
      visit: models for each client that is visited at once: its start, what is trained, its gradient, and what else
        the algorithm has it hold.
      states: of its optimiser, for the same; one and what XLA copies of it.
      server: models that there are once: the running sums over clients, teams, what the server makes of them.
      slot: models for each slot of the cohort.
      client: models for each client of the device_data.
      served: models for each client of the federation while the served models are put together, all of them at once;
        0 where each is put together when it is scored.
      server_bytes: what there is once beside models of the task: a hypernetwork's gradient, say.
      slot_bytes: the same for each slot of the cohort.
      client_bytes: the same for each client of the device_data.
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

    def in_bytes(self, model: int, optimizer: int, batch: int) -> RoundBytes:
        """The same in bytes.

        Args:
          model: bytes of a model.
          optimizer: bytes of the state of a client's optimiser.
          batch: bytes of a batch.
        """
        return RoundBytes(
            visit=round(self.visit * model + self.states * optimizer) + batch,
            server=round(self.server * model) + self.server_bytes,
            slot=round(self.slot * model) + self.slot_bytes,
            client=round(self.client * model) + self.client_bytes,
            served=round(self.served * model),
        )


class RoundBytes(NamedTuple):
    """The bytes of a :class:`RoundMemory` for one model."""

    visit: int
    server: int
    slot: int
    client: int
    served: int

    def stacked(self, slots: int, clients: int) -> int:
        """What grows with the numbers K of slots and C of clients."""
        return slots * self.slot + clients * self.client

    def total(self, width: int, devices: int, slots: int, clients: int) -> int:
        """What a round holds at most, of so many clients at once on each device."""
        return devices * (self.server + width * self.visit) + self.stacked(slots, clients)


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays in a tree, of which only shapes and dtypes are looked at."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))
