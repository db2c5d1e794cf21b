"""A model and a loss as a :class:`fedjax_layers.types.Task`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from fedjax_layers.models.losses import focal_losses, softmax_losses
from fedjax_layers.models.order import block_order, call_order
from fedjax_layers.ops import layer_map
from fedjax_layers.types import Array, Batch, Key, LayerMap, Params, Task

Preprocess = Callable[[Array, Any], Array]
Augment = Callable[[Key, Array], Array]
Numbers = float | Sequence[float]
Losses = Callable[[Array, Array], Array]


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
) -> Task:
    """A classifier to learn.

    The module is called with ``deterministic`` or ``train`` (or ``training``) if its ``__call__`` has such an
    argument: deterministic without a key; with one, the key is its ``dropout`` generator.

    Args:
      module: a Linen module, ``[B, *sample_shape] -> [B, ..., num_classes]``, with parameters only.
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

    Returns:
      The task.

    Raises:
      ValueError: the module's outputs do not end in ``num_classes``, it has state beside parameters (batch
        statistics), a parameter is never used, an argument of the loss is out of range, or ``augment`` is given for
        examples that are no images, or changes their shape.
    """
    prepare = as_float if preprocess is None else preprocess
    stored = jax.ShapeDtypeStruct((1, *sample_shape), sample_dtype)

    def init(key: Key) -> Params:
        sample = prepare(jnp.zeros(stored.shape, stored.dtype), jnp.float32)
        return module.init(key, sample, **_mode(module, True))["params"]

    def apply(params: Params, inputs: Array, key: Key | None) -> Array:
        dtype = _dtype(params)
        if augment is not None and key is not None:  # else dropout gets the key as it is
            augment_key, key = jax.random.split(key)
            inputs = augment(augment_key, inputs.astype(dtype))
        x = prepare(inputs, dtype)
        rngs = None if key is None else {"dropout": key}
        return module.apply({"params": params}, x, rngs=rngs, **_mode(module, key is None))

    if augment is not None:
        _check_augment(augment, stored.shape)
    sample = jax.eval_shape(lambda x: prepare(x, jnp.float32), stored)
    _check_module(module, sample, num_classes)
    order = call_order(module, sample, **_mode(module, True))
    grouping = block_order(order, blocks) if isinstance(blocks, int) else blocks
    layers = layer_map(jax.eval_shape(init, jax.random.key(0)), order, grouping)
    return task_from_functions(init, apply, _losses(loss, gamma, alpha, num_classes), layers, num_classes)


def task_from_functions(
    init: Callable[[Key], Params],
    apply: Callable[[Params, Array, Key | None], Array],
    losses: Losses,
    layers: LayerMap | Sequence[Any] | None,
    num_classes: int,
) -> Task:
    """A task from plain functions on any pytree: Equinox, Haiku, NNX state, a dictionary.

    Args:
      init: ``key -> params``.
      apply: ``(params, inputs [B, ...], key | None) -> outputs [B, ...]``; with ``key=None`` deterministic.
      losses: ``(outputs, labels [B, ...]) -> [B]``.
      layers: the layer map, or the ``order`` from which :func:`fedjax_layers.ops.layer_map` makes it.
      num_classes: number of classes.

    Returns:
      The task. Its ``loss`` is the mean over the batch's real rows, 0 without any; whatever padding rows
      hold, NaN included, reaches neither value nor gradient.

    Raises:
      ValueError: ``layers`` does not fit the parameters.
    """
    if not isinstance(layers, LayerMap):
        layers = layer_map(jax.eval_shape(init, jax.random.key(0)), layers)

    def loss(params: Params, batch: Batch, key: Key | None) -> Array:
        # Before the model, not only after: 0 * NaN in its backward pass would be NaN.
        inputs, labels = (_keep(batch.mask, x) for x in (batch.inputs, batch.labels))
        values = jnp.where(batch.mask, losses(apply(params, inputs, key), labels), 0)
        return values.sum() / jnp.maximum(batch.mask.sum(), 1).astype(values.dtype)

    return Task(init, apply, losses, loss, layers, num_classes)


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


def _check_module(module: nn.Module, sample: jax.ShapeDtypeStruct, num_classes: int) -> None:
    outputs, variables = jax.eval_shape(
        lambda x: module.init_with_output(jax.random.key(0), x, **_mode(module, True)), sample
    )
    state = sorted(set(variables) - {"params"})
    if state:
        raise ValueError(f"module: expected parameters only, found {', '.join(state)}; GroupNorm needs no statistics")
    if outputs.shape[-1] != num_classes:
        raise ValueError(f"num_classes: expected the outputs' last axis, {outputs.shape[-1]}, got {num_classes}")
