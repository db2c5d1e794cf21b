"""The few types that every room of the package shares; imports JAX and nothing else.

Axis letters used in all docstrings: ``C`` clients stored, ``K`` client slots in a round's cohort, ``L`` layers,
``B`` examples in a batch, ``N`` examples in the pool, ``T`` teams, ``R`` rounds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from fedjax_layers.layer_map import LayerMap as LayerMap  # noqa: PLC0414  # it is one of the types
from fedjax_layers.personal import Overview as Overview  # noqa: PLC0414
from fedjax_layers.personal import Personal as Personal  # noqa: PLC0414
from fedjax_layers.round_memory import RoundMemory as RoundMemory  # noqa: PLC0414

Array = jax.Array
Key = jax.Array
Params = Any  # a pytree of arrays: one model or, where called "stacked", K or C models along axis 0


def per_client() -> Any:
    """Marks a field of a state dataclass whose leaves have clients ``[C, ...]`` in front: it is sharded over them."""
    return dataclasses.field(metadata={"per_client": True})


class Batch(NamedTuple):
    """One mini-batch of one client.

    Attributes:
      inputs: ``[B, ...]`` in the stored dtype; the task normalises them on the device.
      labels: ``[B, ...]`` integers, or real targets.
      mask: ``[B]`` bool; False marks a padding row, which no loss or metric may see.
    """

    inputs: Array
    labels: Array
    mask: Array


class Pool(NamedTuple):
    """All examples of all clients, once, on the device.

    Attributes:
      inputs: ``[N, ...]`` in the stored dtype.
      labels: ``[N, ...]``.
    """

    inputs: Array
    labels: Array


class Ranges(NamedTuple):
    """Where in the pool each client's examples of one split lie.

    Attributes:
      start: ``[C]`` int32, the first row.
      count: ``[C]`` int32, the number of rows, ``start[c] .. start[c] + count[c]``.
    """

    start: Array
    count: Array  # type: ignore[assignment]  # hides tuple.count, which nobody needs here


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
      everyone: static; True promises that row k of the store is slot k's, as where all clients take part in order or
        the store holds the cohort alone, so that it need not be gathered or scattered.
    """

    ids: Array
    weight: Array
    train: Ranges
    pool: Pool
    observer: Observer | None = None
    places: Array | None = None
    everyone: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def rows(self) -> Array:
        """``[K]`` int32, each slot's row of the store."""
        return self.ids if self.places is None else self.places


class BatchNorm(NamedTuple):
    """What a model with batch normalisation has beside weights: running statistics, leaves of the same tree.

    So clients stack, send, average, mix and checkpoint them as they do weights, each with the layer that its norm
    follows. No optimiser sees them: a local step leaves them as the forward pass on its batch does.

    Attributes:
      statistics: which leaves are running means and variances, in flatten order.
      affine: which leaves are scales and offsets of the same norms.
      loss: ``(params, batch, key) -> (loss [], params)``: :attr:`Task.loss` with the batch's own statistics, and the
        params with the running ones moved towards these; padding rows count in neither.
    """

    statistics: tuple[bool, ...]
    affine: tuple[bool, ...]
    loss: Callable[[Params, Batch, Key], tuple[Array, Params]]


class Scorer(Protocol):
    """How a task's outputs become scores: pure functions, and a value (hashable, equal by its fields).

    Sums of batches, the *tally*, are merged, so that scores do not depend on how examples are cut into batches. What
    does not add up, ranks say, is computed of all rows of a client at once.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The scores, in the order in which to report them; ``loss`` is one of them."""

    @property
    def joint(self) -> bool:
        """Whether the loss is one of all rows together, which :meth:`whole` gives, and not a mean over examples."""

    @property
    def keeps_rows(self) -> bool:
        """Whether :meth:`whole` gives any score, for which the outputs of a client's rows are kept."""

    @property
    def adds_up(self) -> bool:
        """Whether :meth:`merge` is a plain sum, so that a sum over many clients need not hold their tallies."""

    def tally(self, outputs: Array, labels: Array, mask: Array) -> Any:
        """Sums of the rows ``[B, ...]`` in ``mask [B]``, a pytree of arrays; zeros where there is none."""

    def merge(self, tallies: Any) -> Any:
        """Tallies of several sets, stacked along axis 0, as that of one."""

    def scores(self, tally: Any, loss: Array) -> dict[str, Array]:
        """Scores by name of tallies ``[...]``, with the mean losses ``[...]``; NaN where there is no example."""

    def whole(self, outputs: Array, labels: Array, mask: Array) -> dict[str, Array]:
        """Further scores by name, ``[]``, of one client's rows ``[n, ...]`` that are in ``mask [n]``."""


Metric = Callable[[Array, Array, Array], Array]
"""A score of one's own: ``(outputs [n, ...], labels [n, ...], mask [n]) -> []``, of one client's rows at once."""


class Task(NamedTuple):
    """What is learnt: a model, its loss and its layers, as pure functions.

    Attributes:
      init: ``key -> params``.
      apply: ``(params, inputs [B, ...], key | None) -> outputs [B, ...]``; with ``key=None`` deterministic.
      losses: ``(outputs, labels [B, ...]) -> [B]``, one loss per example: the mean over its predictions. Of a joint
        loss (see :class:`Scorer`) the rows are one set.
      loss: ``(params, batch, key | None) -> []``, the mean over all predictions in the rows of the batch that are real.
      layers: the model's :class:`LayerMap`.
      num_classes: number of classes, or targets, of the outputs' last axis.
      batch_norm: the running statistics among the params, which ``apply`` and ``loss`` use where ``key=None``;
        ``None`` for a model without.
      predictions: ``labels [B, ...] -> [B]`` integers, how many predictions an example holds: of a sequence, its
        places that have a label; of survival, its event. ``None``: one each.
      scorer: how outputs become scores; ``None`` scores them as classes.
      metrics: further scores of one's own, pairs of name and function, of each client's rows at once.
    """

    init: Callable[[Key], Params]
    apply: Callable[[Params, Array, Key | None], Array]
    losses: Callable[[Array, Array], Array]
    loss: Callable[[Params, Batch, Key | None], Array]
    layers: LayerMap
    num_classes: int
    batch_norm: BatchNorm | None = None
    predictions: Callable[[Array], Array] | None = None
    scorer: Scorer | None = None
    metrics: tuple[tuple[str, Metric], ...] = ()


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
