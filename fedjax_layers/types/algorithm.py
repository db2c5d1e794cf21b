"""A federated algorithm as a bundle of pure functions, and what its rounds report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from fedjax_layers.types.arrays import Array, Key, Params
from fedjax_layers.types.cohort import Cohort
from fedjax_layers.types.personal import Personal
from fedjax_layers.types.round_memory import RoundMemory


def per_client() -> Any:
    """Marks a field of a state dataclass whose leaves have clients ``[C, ...]`` in front: it is sharded over them."""
    return dataclasses.field(metadata={"per_client": True})


class Models(NamedTuple):
    """The models that an algorithm offers after a round; ``None`` where it has none.

    Attributes:
      personal: what client c would use, leaves ``[C, ...]``; ``None`` means that it would use the global model.
      global_model: the server's one model, leaves ``[...]``.
      team: leaves ``[T, ...]``.
      team_of: ``[C]`` int32, each client's team, beside ``team``.
    """

    personal: Params | None = None
    global_model: Params | None = None
    team: Params | None = None
    team_of: Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RoundInfo:
    """What one round reports beside the next state.

    Attributes:
      observed: what the cohort's observer found of each slot's model after local training and before the server's
        step, leaves ``[K, ...]``; ``()`` without one.
      loss: ``[K]`` mean training loss of each slot over its local steps.
      steps: ``[]`` int32, local steps of all clients together.
      sent: ``[L]`` int32, number of clients that uploaded each layer this round.
      received: ``[L]`` int32, number of clients that downloaded each layer this round.
      sent_scalars: ``[]`` int32, number of further scalars uploaded by all clients together (scores, say).
      extra: further arrays by name, recorded for every round.
    """

    observed: Any
    loss: Array
    steps: Array
    sent: Array
    received: Array
    sent_scalars: Array
    extra: dict[str, Array] = dataclasses.field(default_factory=dict)


class Algorithm(NamedTuple):
    """A federated algorithm as a bundle of pure functions.

    Attributes:
      init: ``(key, params) -> state``; every model starts from ``params``.
      round: ``(key, state, cohort) -> (state, info)``; an empty cohort changes no model.
      personal: ``state ->`` what would be served to each client now; ``None`` where that is the global model.
      global_model: ``state -> params [...]`` of the server's one model; ``None`` where there is none.
      teams: ``state -> (params [T, ...], team of each client [C])``; ``None`` where there are none.
      finish: ``(key, state, cohort) ->`` what the cohort's observer finds ``[K, ...]`` of each client's personal model
        after a last local phase that follows all rounds (fine-tuning, say); ``None`` without such a phase.
      welcome: ``(state, shared, ids [n]) -> state`` in which clients that never took part hold what they are served,
        to train from; the other clients' models stay. ``shared`` is that of the completed :class:`Personal`, ``ids``
        whose rows the state holds. ``None`` where the state has nothing for each client.
      memory: what a round holds for a while beside the state; no number in it is traced.
      beyond_cohort: what a round or serving reads of clients outside the cohort, in words: then all rows of the state
        must be at hand, and cannot be kept on the host. ``None`` where it reads none.
    """

    init: Callable[[Key, Params], Any]
    round: Callable[[Key, Any, Cohort], tuple[Any, RoundInfo]]
    personal: Callable[[Any], Personal] | None = None
    global_model: Callable[[Any], Params] | None = None
    teams: Callable[[Any], tuple[Params, Array]] | None = None
    finish: Callable[[Key, Any, Cohort], Any] | None = None
    welcome: Callable[[Any, Any, Array], Any] | None = None
    memory: RoundMemory = RoundMemory()
    beyond_cohort: str | None = None

    def models(self, state: Any) -> Models:
        """All models of a state, those of the clients stacked ``[C, ...]``."""
        return Models(
            None if self.personal is None else self.personal(state).stacked(),
            None if self.global_model is None else self.global_model(state),
            *((None, None) if self.teams is None else self.teams(state)),
        )
