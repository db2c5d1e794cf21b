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
    """Mark a field of a state dataclass as holding one row per client, leaves ``[C, ...]``, sharded over clients."""
    return dataclasses.field(metadata={"per_client": True})


class Models(NamedTuple):
    """The models that an algorithm offers after a round; a field is ``None`` where the algorithm has no such model.

    Attributes:
      personal: the model that each client would use, leaves ``[C, ...]``; ``None`` means that all use the global model.
      global_model: the server's single model, leaves ``[...]``.
      team: the teams' models, leaves ``[T, ...]``.
      team_of: ``[C]`` int32, the team of each client; given together with ``team``.
    """

    personal: Params | None = None
    global_model: Params | None = None
    team: Params | None = None
    team_of: Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RoundInfo:
    """What one round reports in addition to the next state.

    Attributes:
      observed: what the cohort's observer computed from each slot's model after local training and before the server's
        step, leaves ``[K, ...]``; ``()`` without an observer.
      loss: ``[K]``, the mean training loss of each slot over its local steps; NaN for a slot that was left out.
      steps: ``[]`` int32, the number of local steps of all clients together.
      sent: ``[L]`` int32, number of clients that uploaded each layer this round.
      received: ``[L]`` int32, number of clients that downloaded each layer this round.
      sent_scalars: ``[]`` int32, the number of scalars that all clients together upload beside layers (scores, say).
      extra: further arrays by name, which are recorded for every round.
      dropped: ``[K]`` bool, the slots that dropped out before or during training; ``None`` where no client can.
    """

    observed: Any
    loss: Array
    steps: Array
    sent: Array
    received: Array
    sent_scalars: Array
    extra: dict[str, Array] = dataclasses.field(default_factory=dict)
    dropped: Array | None = None


class Algorithm(NamedTuple):
    """A federated algorithm as a bundle of pure functions.

    Attributes:
      init: ``(key, params) -> state``; every model starts from ``params``.
      round: ``(key, state, cohort) -> (state, info)``; an empty cohort changes no model.
      personal: ``state -> Personal``, the model that each client would use now; ``None`` where all use the global
        model.
      global_model: ``state -> params [...]``, the server's single model; ``None`` where there is none.
      teams: ``state -> (params [T, ...], team of each client [C])``; ``None`` where there are no teams.
      finish: ``(key, state, cohort) -> pytree [K, ...]``, what the cohort's observer computes from each client's
        personal model after a last local phase that follows all rounds (fine-tuning, say); ``None`` without such a
        phase.
      welcome: ``(state, shared, ids [n]) -> state``, which gives clients that never took part the model that they would
        use as their own, so that they can train from it; the models of other clients stay. ``shared`` is that of the
        completed :class:`Personal`; ``ids`` are the clients whose rows the state holds. ``None`` where the state has no
        row per client.
      memory: what a round holds for a while in addition to the state; none of its numbers is traced.
      beyond_cohort: words that say what a round, or a personal model, reads of clients outside the cohort. All rows of
        the state must then be on the device. ``None`` where nothing is read of other clients.
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
        """Return all models of a state, those of the clients stacked ``[C, ...]``."""
        return Models(
            None if self.personal is None else self.personal(state).stacked(),
            None if self.global_model is None else self.global_model(state),
            *((None, None) if self.teams is None else self.teams(state)),
        )
