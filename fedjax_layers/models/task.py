"""A :class:`fedjax_layers.types.Task` made from plain functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.models.rewrite import for_clients
from fedjax_layers.ops import layer_map
from fedjax_layers.ops.metrics import ClassScorer, TargetScorer, TokenScorer
from fedjax_layers.ops.metrics.classes import BY_CLASS
from fedjax_layers.types import Array, Batch, BatchNorm, Key, LayerMap, Metric, Params, Scorer, Task

Losses = Callable[[Array, Array], Array]
Train = Callable[[Params, Array, Array, Key], tuple[Array, Params]]


def task_from_functions(
    init: Callable[[Key], Params],
    apply: Callable[[Params, Array, Key | None], Array],
    losses: Losses,
    layers: LayerMap | Sequence[Any] | None,
    num_classes: int,
    *,
    train: Train | None = None,
    statistics: Sequence[str] = (),
    affine: Sequence[str] = (),
    predictions: Callable[[Array], Array] | None = None,
    language: bool = False,
    scorer: Scorer | None = None,
    metrics: Mapping[str, Metric] | None = None,
    padding_label: float = 0,
) -> Task:
    """Make a task from plain functions on any pytree: Equinox, Haiku, NNX state, a dictionary.

    Args:
      init: ``key -> params``.
      apply: ``(params, inputs [B, ...], key | None) -> outputs [B, ...]``; with ``key=None`` deterministic. On a CPU
        its convolutions and pools are replaced by faster ones, see :func:`fedjax_layers.models.for_clients`.
      losses: ``(outputs, labels [B, ...]) -> [B]``.
      layers: the layer map, or the ``order`` from which :func:`fedjax_layers.ops.layer_map` makes it.
      num_classes: number of classes; 1 for a regression on one target.
      train: for a model with batch normalisation, ``(params, inputs [B, ...], mask [B], key) -> (outputs, params)``:
        the forward pass of a training step, with the statistics of the rows where the mask is True, and the params with
        the running statistics moved. At least one row of every mask is True.
      statistics: regular expressions; a leaf is a running statistic if one of them matches its slash-separated path.
      affine: the same for the norms' scales and offsets.
      predictions: ``labels [B, ...] -> [B]``, the number of predictions over which ``losses`` takes the mean; ``None``
        means one each.
      language: whether classes are a vocabulary, scored by perplexity and accuracy in place of a confusion matrix.
      scorer: how outputs become scores. ``None`` scores more than one class as classes and a single output as the
        target of a regression, in absolute and squared errors.
      metrics: further scores by name, ``(outputs [n, ...], labels [n, ...], mask [n]) -> []`` of the rows of one client
        at once, whatever the evaluation's batches; rows outside the mask are padding and may hold anything.
      padding_label: the label that padding rows get, for ``losses`` that are computed from all rows together.

    Returns:
      The task. Its ``loss`` is the mean over the predictions of the batch's real rows, 0 without any; values in padding
      rows, NaN included, reach neither loss nor gradient.

    Raises:
      ValueError: ``layers`` does not fit the parameters; ``train`` without ``statistics`` or the other way round; an
        expression that matches no leaf; or a metric whose name has a slash, or is that of one of the scorer's scores.
    """
    apply = for_clients(apply)
    train = None if train is None else for_clients(train)
    scorer = scorer or _usual_scorer(num_classes, language)
    own = _own_metrics(metrics or {}, scorer)
    if not isinstance(layers, LayerMap):
        layers = layer_map(jax.eval_shape(init, jax.random.key(0)), layers)

    def loss(params: Params, batch: Batch, key: Key | None) -> Array:
        inputs, labels = _real(batch, padding_label)
        return mean(losses(apply(params, inputs, key), labels), labels, batch.mask)

    def mean(values: Array, labels: Array, mask: Array) -> Array:
        return _mean(values, mask if predictions is None else jnp.where(mask, predictions(labels), 0))

    if (train is None) != (not statistics):
        raise ValueError(f"train, statistics: expected both or neither, got {train} and {tuple(statistics)}")
    if train is None:
        return Task(init, apply, losses, loss, layers, num_classes, None, predictions, scorer, own)

    def training_loss(params: Params, batch: Batch, key: Key) -> tuple[Array, Params]:
        inputs, labels = _real(batch, padding_label)
        some = batch.mask.any()
        outputs, seen = train(params, inputs, batch.mask | ~some, key)  # without real rows all count: no mean is NaN
        seen = jax.tree.map(lambda new, old: jnp.where(some, new, old), seen, params)
        return mean(losses(outputs, labels), labels, batch.mask), seen

    def either_loss(params: Params, batch: Batch, key: Key | None) -> Array:
        return loss(params, batch, None) if key is None else training_loss(params, batch, key)[0]

    norm = BatchNorm(_matched(layers, statistics, "statistics"), _matched(layers, affine, "affine"), training_loss)
    return Task(init, apply, losses, either_loss, layers, num_classes, norm, predictions, scorer, own)


def _usual_scorer(num_classes: int, language: bool) -> Scorer:
    if language:
        return TokenScorer()
    return ClassScorer(num_classes) if num_classes > 1 else TargetScorer()


def _own_metrics(metrics: Mapping[str, Metric], scorer: Scorer) -> tuple[tuple[str, Metric], ...]:
    for name in metrics:
        if "/" in name or name in (*scorer.names, *BY_CLASS, "ids"):
            expected = f"names without a slash other than {', '.join(scorer.names)}"
            raise ValueError(f"metrics: expected {expected}, got {name!r}")
    return tuple(metrics.items())


def _real(batch: Batch, label: float) -> tuple[Array, Array]:
    """Return inputs with zeros, and labels with ``label``, in padding: 0 * NaN would be NaN in the backward pass."""
    return _keep(batch.mask, batch.inputs, 0), _keep(batch.mask, batch.labels, label)


def _mean(values: Array, weights: Array) -> Array:
    """Compute the mean of ``[B]`` values, weighted with bools or counts; 0 where all weights are 0."""
    weighted = jnp.where(weights > 0, values, 0)
    if weights.dtype != bool:
        weighted = weighted * weights.astype(values.dtype)
    return weighted.sum() / jnp.maximum(weights.sum(), 1).astype(values.dtype)


def _matched(layers: LayerMap, patterns: Sequence[str], name: str) -> tuple[bool, ...]:
    for pattern in patterns:
        if not any(re.fullmatch(pattern, path) for path in layers.leaf_paths):
            raise ValueError(f"{name}: expected {pattern!r} to match a leaf, found none")
    return tuple(any(re.fullmatch(pattern, path) for pattern in patterns) for path in layers.leaf_paths)


def _keep(mask: Array, x: Array, other: float) -> Array:
    return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 1)), x, jnp.asarray(other, x.dtype))
