"""Tasks from Linen modules, one function per kind: classification, regression, survival analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from fedjax_layers.models.losses import (
    count_events,
    count_labels,
    cox_losses,
    focal_losses,
    softmax_losses,
    target_losses,
)
from fedjax_layers.models.module_task import Augment, Preprocess, module_task
from fedjax_layers.models.task import Losses
from fedjax_layers.ops.metrics import ClassScorer, SurvivalScorer, TargetScorer, TokenScorer
from fedjax_layers.ops.metrics.survival import NOBODY
from fedjax_layers.types import Metric, Task


def classification_task(
    module: nn.Module,
    sample_shape: Sequence[int],
    num_classes: int,
    *,
    preprocess: Preprocess | None = None,
    sample_dtype: Any = jnp.float32,
    loss: Literal["softmax", "focal"] | Losses = "softmax",
    gamma: float = 1.0,
    alpha: Sequence[float] | None = None,
    blocks: int | Sequence[Any] | None = None,
    augment: Augment | None = None,
    language: bool = False,
    metrics: Mapping[str, Metric] | None = None,
) -> Task:
    """Make the task of a classifier of examples, or of the places of a sequence.

    The module is called with ``deterministic`` or ``train`` (or ``training``) if its ``__call__`` has such an
    argument: deterministic without a key; with one, the key seeds its ``dropout``.

    Where the module has ``flax.linen.BatchNorm``, the params hold the running statistics beside the parameters
    (:class:`fedjax_layers.types.BatchNorm`). Without a key the module normalises with them; with one, with the
    statistics of the batch, in which padding rows are left out. A norm is part of the layer that it follows, and its
    statistics count in that layer's size and bytes.

    Args:
      module: a Linen module, ``[B, *sample_shape] -> [B, ..., num_classes]``.
      sample_shape: shape of one stored example, without the batch axis.
      num_classes: number of classes.
      preprocess: ``(stored inputs [B, ...], dtype) -> inputs``, run inside ``apply`` so that the pool can
        stay in its stored dtype; a :class:`fedjax_layers.data.Preprocess`, or :func:`as_stored`. ``None`` casts to
        float. ``dtype`` is float32, or float64 where parameters are.
      sample_dtype: dtype of the stored examples; it matters only with ``as_stored``.
      loss: ``"softmax"`` cross-entropy, ``"focal"``, or ``(outputs, labels) -> [B]``.
      gamma: exponent of the focal loss, see :func:`fedjax_layers.models.focal_losses`.
      alpha: class weights of the focal loss, ``[num_classes]``; ``None`` weights all terms 1.
      blocks: a coarser grouping of layers: a number of leading path components that make a block, or what
        :func:`fedjax_layers.ops.layer_map` takes.
      augment: ``(key, images [B, H, W, C]) -> images``, a :class:`fedjax_layers.data.augmentation.Augmentation`:
        random changes of training images. It sees the stored pixels as floats, before ``preprocess``, as published
        recipes do: black is 0, and brightness is a factor. Without a key (evaluation, and PLayer-FL's scores unless
        they are taken with dropout) nothing is changed; with one, the key is split between it and dropout.
      language: whether classes are a vocabulary, scored by perplexity and accuracy in place of a confusion matrix.
      metrics: further scores of the user's own, see :func:`fedjax_layers.models.task_from_functions`: ``{"brier":
        brier}``, say.

    Returns:
      The task.

    Raises:
      ValueError: the module's outputs do not end in ``num_classes``; it has state that no ``BatchNorm`` keeps, a norm
        with neither scale nor bias, or norms without an argument that switches them; a parameter is never used; an
        argument of the loss is out of range; or ``augment`` is given for examples that are no images, or changes their
        shape. See also :func:`fedjax_layers.models.task_from_functions`.
    """
    return module_task(
        module,
        sample_shape,
        num_classes,
        _losses(loss, gamma, alpha, num_classes),
        preprocess=preprocess,
        sample_dtype=sample_dtype,
        blocks=blocks,
        augment=augment,
        predictions_of_places=count_labels,
        scorer=TokenScorer() if language else ClassScorer(num_classes),
        metrics=metrics,
    )


def regression_task(
    module: nn.Module,
    sample_shape: Sequence[int],
    *,
    outputs: int = 1,
    preprocess: Preprocess | None = None,
    sample_dtype: Any = jnp.float32,
    loss: Literal["squared", "absolute", "huber"] | Losses = "squared",
    target_mean: float = 0.0,
    target_scale: float = 1.0,
    blocks: int | Sequence[Any] | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> Task:
    """Make the task of a regression on real targets ``[N]``, or ``[N, outputs]``.

    The module learns standardised targets: the task's outputs are ``target_mean + target_scale * module(x)``, and its
    losses are computed from errors divided by ``target_scale``. Scores are in the units of the targets.

    Args:
      module: a Linen module, ``[B, *sample_shape] -> [B, outputs]``.
      sample_shape: shape of one stored example, without the batch axis.
      outputs: number of targets per example.
      preprocess: see :func:`classification_task`.
      sample_dtype: see :func:`classification_task`.
      loss: ``"squared"`` error, ``"absolute"``, ``"huber"`` (quadratic up to one ``target_scale``), or
        ``(outputs, labels) -> [B]``.
      target_mean: the output for a module output of 0, usually the mean of all clients' training targets.
      target_scale: the unit of the errors, usually their standard deviation.
      blocks: see :func:`classification_task`.
      metrics: see :func:`classification_task`.

    Returns:
      The task.

    Raises:
      ValueError: the loss is unknown, the scale is not positive, or :func:`classification_task` would raise.
    """
    if not target_scale > 0:
        raise ValueError(f"target_scale: expected a positive number, got {target_scale}")
    return module_task(
        module,
        sample_shape,
        outputs,
        loss if callable(loss) else target_losses(loss, target_scale),
        preprocess=preprocess,
        sample_dtype=sample_dtype,
        blocks=blocks,
        readout=lambda found: target_mean + target_scale * found,
        scorer=TargetScorer(),
        metrics=metrics,
    )


def survival_task(
    module: nn.Module,
    sample_shape: Sequence[int],
    *,
    preprocess: Preprocess | None = None,
    sample_dtype: Any = jnp.float32,
    blocks: int | Sequence[Any] | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> Task:
    """Make the task of a proportional-hazards model on labels ``[N, 2]``: times of at least 0, and 1 for an event.

    The output is the log hazard. Training looks for those at risk at an event among the examples of the same batch, as
    FLamby does; an evaluation among all examples of the client. Without an event, a batch or a client has no loss.

    Args:
      module: a Linen module, ``[B, *sample_shape] -> [B, 1]``.
      sample_shape: shape of one stored example, without the batch axis.
      preprocess: see :func:`classification_task`.
      sample_dtype: see :func:`classification_task`.
      blocks: see :func:`classification_task`.
      metrics: see :func:`classification_task`.

    Returns:
      The task, scored by Harrell's concordance index.

    Raises:
      ValueError: :func:`classification_task` would raise.

    Source: Cox 1972; FLamby (du Terrail et al. 2022), Fed-TCGA-BRCA.
    """
    return module_task(
        module,
        sample_shape,
        1,
        cox_losses,
        preprocess=preprocess,
        sample_dtype=sample_dtype,
        blocks=blocks,
        predictions=count_events,
        scorer=SurvivalScorer(cox_losses),
        metrics=metrics,
        padding_label=NOBODY,
    )


def _losses(loss: str | Losses, gamma: float, alpha: Sequence[float] | None, num_classes: int) -> Losses:
    if callable(loss):
        return loss
    if loss not in {"softmax", "focal"}:
        raise ValueError(f"loss: expected 'softmax', 'focal' or a function, got {loss!r}")
    if alpha is not None and len(alpha) != num_classes:
        raise ValueError(f"alpha: expected {num_classes} entries, got {len(alpha)}")
    return softmax_losses if loss == "softmax" else focal_losses(gamma, alpha)
