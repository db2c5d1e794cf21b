"""A learning task: a model, its loss, its layers and its scores, as pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from fedjax_layers.types.arrays import Array, Key, Params
from fedjax_layers.types.examples import Batch
from fedjax_layers.types.layer_map import LayerMap


class BatchNorm(NamedTuple):
    """The running statistics of a model with batch normalisation, which are leaves of the params beside the weights.

    Clients therefore stack, send, average, mix and checkpoint statistics as they do weights, each with the layer that
    its norm follows. No optimiser sees them: a local step leaves them as the forward pass on its batch does.

    Attributes:
      statistics: which leaves are running means and variances, in flatten order.
      affine: which leaves are scales and offsets of the same norms.
      loss: ``(params, batch, key) -> (loss [], params)``: :attr:`Task.loss` with the batch's own statistics, and the
        params with the running statistics moved towards these; padding rows count in neither.
    """

    statistics: tuple[bool, ...]
    affine: tuple[bool, ...]
    loss: Callable[[Params, Batch, Key], tuple[Array, Params]]


class Adapters(NamedTuple):
    """What the params of a low-rank task are: two thin matrices beside each adapted kernel, ``W = W_0 + s B A``.

    Attributes:
      factors: which leaves are an ``"A"`` ``[r, inputs]`` or a ``"B"`` ``[outputs, r]``, in flatten order; ``""`` for
        the leaves of layers that are trained whole.
      rank: r.
      dense: the task without adapters.
      merge: ``params -> dense params``, in which each product is added to its kernel.
    """

    factors: tuple[str, ...]
    rank: int
    dense: Task
    merge: Callable[[Params], Params]


class Scorer(Protocol):
    """The way in which a task's outputs become scores: pure functions on a hashable object that is equal by its fields.

    Sums over batches, the *tally*, are merged, so that scores do not depend on how examples are cut into batches.
    Scores that do not add up, such as those by ranks, are computed from all rows of a client at once.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the scores in the order of reports; ``loss`` is one of them."""

    @property
    def joint(self) -> bool:
        """Whether the loss is defined on all rows together and given by :meth:`whole`, not a mean over examples."""

    @property
    def keeps_rows(self) -> bool:
        """Whether :meth:`whole` gives any score, so that the outputs of a client's rows must be kept."""

    @property
    def adds_up(self) -> bool:
        """Whether :meth:`merge` is a plain sum, so that a sum over many clients need not hold their tallies."""

    def tally(self, outputs: Array, labels: Array, mask: Array) -> Any:
        """Return the tally of the rows ``[B, ...]`` marked by ``mask [B]``, a pytree of arrays; zeros where none is."""

    def merge(self, tallies: Any) -> Any:
        """Merge the tallies of several sets, stacked along axis 0, into one."""

    def scores(self, tally: Any, loss: Array) -> dict[str, Array]:
        """Return scores by name from tallies ``[...]`` and mean losses ``[...]``; NaN where there is no example."""

    def whole(self, outputs: Array, labels: Array, mask: Array) -> dict[str, Array]:
        """Return further scores by name, ``[]`` each, of one client's rows ``[n, ...]`` marked by ``mask [n]``."""


Metric = Callable[[Array, Array, Array], Array]
"""A user's own score: ``(outputs [n, ...], labels [n, ...], mask [n]) -> []``, of all rows of one client at once."""


class Trigger(Protocol):
    """The trigger of a backdoor, hashable and equal by its fields."""

    @property
    def target(self) -> int:
        """The class that attackers want predicted where the trigger is."""

    def __call__(self, inputs: Array, /) -> Array:
        """Return inputs ``[B, ...]``, as they are stored, with the trigger on each."""


class Task(NamedTuple):
    """A learning task: a model, its loss and its layers, as pure functions.

    Attributes:
      init: ``key -> params``.
      apply: ``(params, inputs [B, ...], key | None) -> outputs [B, ...]``; with ``key=None`` deterministic.
      losses: ``(outputs, labels [B, ...]) -> [B]``, one loss per example, the mean over its predictions. A joint loss
        (see :class:`Scorer`) takes the rows as one set.
      loss: ``(params, batch, key | None) -> []``, the mean over all predictions in the batch's real rows.
      layers: the model's :class:`LayerMap`.
      num_classes: the length of the outputs' last axis: the number of classes, or of targets.
      batch_norm: the running statistics among the params, which ``apply`` and ``loss`` use where ``key=None``;
        ``None`` for a model without.
      predictions: ``labels [B, ...] -> [B]`` integers, the number of predictions in each example: in a sequence, its
        labelled places; in survival analysis, its event. ``None`` means one each.
      scorer: how outputs become scores; ``None`` scores them as classes.
      metrics: further scores of the user's own, pairs of name and function, each computed from all rows of one client.
      trigger: of a backdoor, whose success is one more score of a classifier; ``None`` where there is none.
      example: shape and dtype of one stored example; ``None`` where it is not known.
      adapters: what the params are where they are low-rank adapters of a frozen model; ``None`` elsewhere.
      features: ``(params, inputs [B, ...], key | None) -> [B, F]``, what the last layer gets, flattened; ``None`` where
        it is not known.
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
    trigger: Trigger | None = None
    example: jax.ShapeDtypeStruct | None = None
    adapters: Adapters | None = None
    features: Callable[[Params, Array, Key | None], Array] | None = None

    def __repr__(self) -> str:
        names, sizes = self.layers.names, self.layers.sizes
        told = [f"{name} {size:,}" for name, size in zip(names, sizes, strict=True)]
        shown = ", ".join([*told[:4], "...", *told[-2:]] if len(told) > 7 else told)
        return f"Task(layers: {len(names)}, parameters: {sum(sizes):,} ({shown}), outputs: {self.num_classes})"
