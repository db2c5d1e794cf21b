"""What is learnt: a model, its loss, its layers and its scores, as pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from fedjax_layers.types.arrays import Array, Key, Params
from fedjax_layers.types.examples import Batch
from fedjax_layers.types.layer_map import LayerMap


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
