"""What the kinds of tasks differ in: losses, scores, and which labels are predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

from fedjax_layers.models.losses import (
    count_events,
    count_labels,
    cox_losses,
    focal_losses,
    softmax_losses,
    target_losses,
)
from fedjax_layers.ops.metrics import ClassScorer, SurvivalScorer, TargetScorer, TokenScorer
from fedjax_layers.ops.metrics.survival import NOBODY
from fedjax_layers.options import unknown_name
from fedjax_layers.types import Array, Scorer

Losses = Callable[[Array, Array], Array]
KindName = Literal["classification", "tagging", "language_modelling", "regression", "survival"]

_CLASS_LOSSES = ("softmax", "focal")
LOSSES: Mapping[str, tuple[str, ...]] = {
    "classification": _CLASS_LOSSES,
    "tagging": _CLASS_LOSSES,
    "language_modelling": _CLASS_LOSSES,
    "regression": ("huber", "squared", "absolute"),  # huber's gradients are bounded, so the usual step size works
    "survival": ("cox",),
}
"""The losses of each kind of task, the one that is used where none is named first."""


class Kind(NamedTuple):
    """What a kind of task decides; fields as of :func:`fedjax_layers.models.task.task_from_functions`.

    Attributes:
      losses: ``(outputs, labels) -> [B]``.
      scorer: how outputs become scores.
      predictions: ``labels -> [B]`` for a model with one output per example; ``None`` means one each.
      predictions_of_places: the same for a model whose outputs have an axis of places.
      readout: function from the model's outputs to the task's; ``None`` leaves them.
      padding_label: the label of padding rows.
    """

    losses: Losses
    scorer: Scorer
    predictions: Callable[[Array], Array] | None = None
    predictions_of_places: Callable[[Array], Array] | None = None
    readout: Callable[[Array], Array] | None = None
    padding_label: float = 0


def predicts_classes(kind: str) -> bool:
    """Return whether a task of this kind predicts classes; the others predict real numbers."""
    return LOSSES[kind] == _CLASS_LOSSES


def make_kind(
    name: str,
    num_classes: int,
    loss: str | Losses | None,
    *,
    gamma: float = 1.0,
    alpha: Sequence[float] | None = None,
    target_mean: float = 0.0,
    target_scale: float = 1.0,
) -> Kind:
    """Make the kind of this name; arguments as of :func:`fedjax_layers.task`.

    Raises:
      ValueError: the name or the loss is unknown, or an argument of the loss is out of range.
    """
    if name not in LOSSES:
        raise unknown_name("kind", name, LOSSES)
    loss = LOSSES[name][0] if loss is None else loss
    if not callable(loss) and loss not in LOSSES[name]:
        expected = " or ".join(map(repr, LOSSES[name]))
        raise ValueError(f"loss: expected {expected} for {name.replace('_', ' ')}, or a function, got {loss!r}")
    if predicts_classes(name):
        scorer: Scorer = TokenScorer() if name == "language_modelling" else ClassScorer(num_classes)
        losses = loss if callable(loss) else _class_losses(loss, gamma, alpha, num_classes)
        return Kind(losses, scorer, predictions_of_places=count_labels)
    if name == "survival":
        losses = loss if callable(loss) else cox_losses
        return Kind(losses, SurvivalScorer(losses), count_events, padding_label=NOBODY)
    if not target_scale > 0:
        raise ValueError(f"target_scale: expected a positive number, got {target_scale}")
    losses = loss if callable(loss) else target_losses(cast(Any, loss), target_scale)
    return Kind(losses, TargetScorer(), readout=lambda found: target_mean + target_scale * found)


def _class_losses(loss: str, gamma: float, alpha: Sequence[float] | None, num_classes: int) -> Losses:
    if alpha is not None and len(alpha) != num_classes:
        raise ValueError(f"alpha: expected {num_classes} entries, got {len(alpha)}")
    return softmax_losses if loss == "softmax" else focal_losses(gamma, alpha)
