"""The state of algorithms that decide per layer what is shared, and what a pass of their rounds returns."""

from __future__ import annotations

from typing import Any, NamedTuple

from flax import struct

from fedjax_layers.clients import Passed
from fedjax_layers.types import Array, Cohort, Params, per_client


@struct.dataclass
class SharingState:
    """State between rounds.

    Attributes:
      round: ``[]`` int32, the number of rounds done.
      server: params of the global model.
      clients: each client's latest trained model, leaves ``[C, ...]``, with ``None`` in place of leaves that are the
        server's in every round; no leaves at all where nothing personal is kept.
      client_opt: clients' optimiser states ``[C, ...]``, or ``()``.
      server_opt: state of the server's optimiser, or ``()``.
      clip: ``[]``, the bound of clients' updates in the next round where differential privacy adapts it, or ``()``.
      common: what the server keeps for the clients' objective, or ``()``.
      objective: what each client keeps for its objective, leaves ``[C, ...]``, or ``()``.
      seen: ``[C]`` bool, who has taken part; ``None`` where nothing personal is kept.
    """

    round: Array
    server: Params
    server_opt: Any
    clip: Any
    common: Any
    clients: Params | None = per_client()
    client_opt: Any = per_client()
    objective: Any = per_client()
    seen: Array | None = per_client()


class Own(NamedTuple):
    """What is kept for each client.

    Attributes:
      model: its model or parts of it.
      opt_state: its optimiser's state.
      extra: what the algorithm keeps besides.
      objective: what its objective keeps.
    """

    model: Any
    opt_state: Any
    extra: Any = ()
    objective: Any = ()


class Phase(NamedTuple):
    """The results of a round's pass over the cohort.

    Attributes:
      mean: the mean of the trained models by the cohort's weights; ``None`` for leaves that were not summed.
      passed: losses, outputs and observations of the slots, and the store with the :class:`Own` of all clients.
      cohort: the cohort, in which clients that were left out of the pass are padding.
      clip: the next round's ``clip`` of the state.
      common: the next round's ``common`` of the state.
    """

    mean: Params
    passed: Passed
    cohort: Cohort
    clip: Any = ()
    common: Any = ()
