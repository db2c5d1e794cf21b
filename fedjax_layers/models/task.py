"""A model and a loss as a :class:`fedjax_layers.types.Task`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from fedjax_layers.models.batch_norm import AFFINE, STATISTICS, Path, find_norms, join, mask_norms, split, watch_norms
from fedjax_layers.models.losses import count_labels, focal_losses, softmax_losses
from fedjax_layers.models.order import block_order, call_order
from fedjax_layers.ops import layer_map
from fedjax_layers.types import Array, Batch, BatchNorm, Key, LayerMap, Params, Task

Preprocess = Callable[[Array, Any], Array]
Augment = Callable[[Key, Array], Array]
Numbers = float | Sequence[float]
Losses = Callable[[Array, Array], Array]
Train = Callable[[Params, Array, Array, Key], tuple[Array, Params]]


def as_float(raw: Array, dtype: Any) -> Array:
    """Cast alone."""
    return raw.astype(dtype)


def as_stored(raw: Array, dtype: Any) -> Array:
    """No preprocessing: integer tokens reach the model as integers."""
    del dtype
    return raw


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
) -> Task:
    """A classifier to learn, of examples or of the places of a sequence.

    The module is called with ``deterministic`` or ``train`` (or ``training``) if its ``__call__`` has such an
    argument: deterministic without a key; with one, the key is its ``dropout`` generator.

    Where the module has ``flax.linen.BatchNorm``, the params hold the running statistics beside the parameters
    (:class:`fedjax_layers.types.BatchNorm`): without a key it normalises with them, with one by the batch, whose
    padding rows the norms are told to leave out. A norm is part of the layer that it follows, and its statistics
    count in that layer's size and bytes.

    Args:
      module: a Linen module, ``[B, *sample_shape] -> [B, ..., num_classes]``.
      sample_shape: shape of one stored example, without the batch axis.
      num_classes: number of classes.
      preprocess: ``(stored inputs [B, ...], dtype) -> inputs``, run inside ``apply`` so that the pool can
        stay in its stored dtype; a :class:`fedjax_layers.data.Preprocess`, or :func:`as_stored`.
        ``None`` casts to float. ``dtype`` is float32, or float64 where parameters are.
      sample_dtype: dtype of the stored examples; matters with ``as_stored`` alone.
      loss: ``"softmax"`` cross-entropy, ``"focal"``, or ``(outputs, labels) -> [B]``.
      gamma: of the focal loss.
      alpha: of the focal loss, ``[num_classes]``.
      blocks: a coarser grouping of layers: a number of leading path components that make a block, or what
        :func:`fedjax_layers.ops.layer_map` takes.
      augment: ``(key, images [B, H, W, C]) -> images``, a :class:`fedjax_layers.data.augmentation.Augmentation`:
        random changes of training images. It sees the stored pixels as floats, before ``preprocess``, as published
        recipes do: black is 0, and brightness is a factor. Without a key (evaluation, and PLayer-FL's scores unless
        they are taken with dropout) nothing is changed; with one, the key is split between it and dropout.
      language: classes are a vocabulary, see :class:`fedjax_layers.types.Task`.

    Returns:
      The task.

    Raises:
      ValueError: the module's outputs do not end in ``num_classes``, it has state beside parameters and what
        ``BatchNorm`` keeps, a norm with neither scale nor bias, or norms without an argument that switches them; a
        parameter is never used, an argument of the loss is out of range, or ``augment`` is given for examples that
        are no images, or changes their shape.
    """
    prepare = as_float if preprocess is None else preprocess
    stored = jax.ShapeDtypeStruct((1, *sample_shape), sample_dtype)

    def init(key: Key) -> Params:
        sample = prepare(jnp.zeros(stored.shape, stored.dtype), jnp.float32)
        return join(module.init(key, sample, **_mode(module, True)))

    def forward(params: Params, inputs: Array, key: Key | None, **options: Any) -> Any:
        dtype = _dtype(params)
        if augment is not None and key is not None:  # else dropout gets the key as it is
            augment_key, key = jax.random.split(key)
            inputs = augment(augment_key, inputs.astype(dtype))
        x = prepare(inputs, dtype)
        rngs = None if key is None else {"dropout": key}
        return module.apply(split(params, norms), x, rngs=rngs, **_mode(module, key is None), **options)

    def train(params: Params, inputs: Array, mask: Array, key: Key) -> tuple[Array, Params]:
        with mask_norms(mask):
            outputs, changed = forward(params, inputs, key, mutable=["batch_stats"])
        return outputs, join(split(params, norms) | changed)

    def apply(params: Params, inputs: Array, key: Key | None) -> Array:
        if norms and key is not None:
            return train(params, inputs, jnp.ones(inputs.shape[0], bool), key)[0]
        return forward(params, inputs, key)

    if augment is not None:
        _check_augment(augment, stored.shape)
    sample = jax.eval_shape(lambda x: prepare(x, jnp.float32), stored)
    norms, axes = _check_module(module, sample, num_classes)
    order = call_order(module, sample, **_mode(module, True))
    grouping = block_order(order, blocks) if isinstance(blocks, int) else blocks
    layers = layer_map(jax.eval_shape(init, jax.random.key(0)), order, grouping)
    return task_from_functions(
        init,
        apply,
        _losses(loss, gamma, alpha, num_classes),
        layers,
        num_classes,
        train=train if norms else None,
        statistics=_leaves_of(norms, STATISTICS),
        affine=_leaves_of(norms, AFFINE),
        predictions=count_labels if axes > 2 else None,
        language=language,
    )


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
) -> Task:
    """A task from plain functions on any pytree: Equinox, Haiku, NNX state, a dictionary.

    Args:
      init: ``key -> params``.
      apply: ``(params, inputs [B, ...], key | None) -> outputs [B, ...]``; with ``key=None`` deterministic.
      losses: ``(outputs, labels [B, ...]) -> [B]``.
      layers: the layer map, or the ``order`` from which :func:`fedjax_layers.ops.layer_map` makes it.
      num_classes: number of classes.
      train: for a model with batch normalisation, ``(params, inputs [B, ...], mask [B], key) -> (outputs, params)``:
        the forward pass of a training step, whose statistics are those of the rows of the mask, and the params with
        the running ones moved. There is a row in every mask.
      statistics: regular expressions; a leaf whose slash-separated path one of them matches is a running statistic.
      affine: the same for the norms' scales and offsets.
      predictions: ``labels [B, ...] -> [B]``, how many predictions ``losses`` is the mean over; ``None``: one each.
      language: classes are a vocabulary, see :class:`fedjax_layers.types.Task`.

    Returns:
      The task. Its ``loss`` is the mean over the predictions of the batch's real rows, 0 without any; whatever padding
      rows hold, NaN included, reaches neither value nor gradient.

    Raises:
      ValueError: ``layers`` does not fit the parameters; ``train`` without ``statistics`` or the other way round; an
        expression that matches no leaf.
    """
    if not isinstance(layers, LayerMap):
        layers = layer_map(jax.eval_shape(init, jax.random.key(0)), layers)

    def loss(params: Params, batch: Batch, key: Key | None) -> Array:
        inputs, labels = _real(batch)
        return mean(losses(apply(params, inputs, key), labels), labels, batch.mask)

    def mean(values: Array, labels: Array, mask: Array) -> Array:
        return _mean(values, mask if predictions is None else jnp.where(mask, predictions(labels), 0))

    if (train is None) != (not statistics):
        raise ValueError(f"train, statistics: expected both or neither, got {train} and {tuple(statistics)}")
    if train is None:
        return Task(init, apply, losses, loss, layers, num_classes, None, predictions, language)

    def training_loss(params: Params, batch: Batch, key: Key) -> tuple[Array, Params]:
        inputs, labels = _real(batch)
        some = batch.mask.any()
        outputs, seen = train(params, inputs, batch.mask | ~some, key)  # a mean over no row would be NaN
        seen = jax.tree.map(lambda new, old: jnp.where(some, new, old), seen, params)
        return mean(losses(outputs, labels), labels, batch.mask), seen

    def either_loss(params: Params, batch: Batch, key: Key | None) -> Array:
        return loss(params, batch, None) if key is None else training_loss(params, batch, key)[0]

    norm = BatchNorm(_matched(layers, statistics, "statistics"), _matched(layers, affine, "affine"), training_loss)
    return Task(init, apply, losses, either_loss, layers, num_classes, norm, predictions, language)


def _real(batch: Batch) -> tuple[Array, Array]:
    """Inputs and labels with zeros in padding rows: before the model, since 0 * NaN in its backward pass is NaN."""
    inputs, labels = (_keep(batch.mask, x) for x in (batch.inputs, batch.labels))
    return inputs, labels


def _mean(values: Array, weights: Array) -> Array:
    """Mean of ``[B]`` values, weighted with bools or counts; 0 where all weights are."""
    weighted = jnp.where(weights > 0, values, 0)
    if weights.dtype != bool:
        weighted = weighted * weights.astype(values.dtype)
    return weighted.sum() / jnp.maximum(weights.sum(), 1).astype(values.dtype)


def _matched(layers: LayerMap, patterns: Sequence[str], name: str) -> tuple[bool, ...]:
    for pattern in patterns:
        if not any(re.fullmatch(pattern, path) for path in layers.leaf_paths):
            raise ValueError(f"{name}: expected {pattern!r} to match a leaf, found none")
    return tuple(any(re.fullmatch(pattern, path) for pattern in patterns) for path in layers.leaf_paths)


def _leaves_of(norms: Collection[Path], names: Sequence[str]) -> tuple[str, ...]:
    """Expressions for these leaves of norms."""
    return tuple(f"{re.escape('/'.join(path))}/({'|'.join(names)})" for path in sorted(norms))


def _keep(mask: Array, x: Array) -> Array:
    return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 1)), x, jnp.zeros((), x.dtype))


def _dtype(params: Params) -> Any:
    return jnp.float64 if any(x.dtype == jnp.float64 for x in jax.tree.leaves(params)) else jnp.float32


def _mode(module: nn.Module, deterministic: bool) -> dict[str, bool]:
    names = inspect.signature(type(module).__call__).parameters
    if "deterministic" in names:
        return {"deterministic": deterministic}
    return {name: not deterministic for name in ("train", "training") if name in names}


def _losses(loss: str | Losses, gamma: float, alpha: Sequence[float] | None, num_classes: int) -> Losses:
    if callable(loss):
        return loss
    if loss not in {"softmax", "focal"}:
        raise ValueError(f"loss: expected 'softmax', 'focal' or a function, got {loss!r}")
    if alpha is not None and len(alpha) != num_classes:
        raise ValueError(f"alpha: expected {num_classes} entries, got {len(alpha)}")
    return softmax_losses if loss == "softmax" else focal_losses(gamma, alpha)


def _check_augment(augment: Augment, shape: tuple[int, ...]) -> None:
    if len(shape) != 4:
        raise ValueError(f"augment: expected images [H, W, C], got examples of shape {shape[1:]}")
    changed = jax.eval_shape(augment, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32)).shape
    if changed != shape:
        raise ValueError(f"augment: expected images of shape {shape[1:]} again, got {changed[1:]}")


def _check_module(module: nn.Module, sample: jax.ShapeDtypeStruct, num_classes: int) -> tuple[frozenset[Path], int]:
    """The paths of the module's norms that keep statistics, and the number of axes of its outputs."""
    called: set[Path] = set()
    mode = _mode(module, True)
    with watch_norms(called):
        outputs, variables = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x, **mode), sample)
    norms = find_norms(variables, called)
    if norms and not mode:
        raise ValueError("module: expected an argument deterministic, train or training beside BatchNorm, found none")
    if outputs.shape[-1] != num_classes:
        raise ValueError(f"num_classes: expected the outputs' last axis, {outputs.shape[-1]}, got {num_classes}")
    return norms, outputs.ndim
