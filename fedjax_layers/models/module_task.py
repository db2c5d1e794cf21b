"""The task of a Linen module: its training and evaluation modes, batch norms, and layers in call order."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fedjax_layers.models.batch_norm import AFFINE, STATISTICS, Path, find_norms, join, mask_norms, split, watch_norms
from fedjax_layers.models.order import block_order, call_order
from fedjax_layers.models.task import Losses, task_from_functions
from fedjax_layers.ops import layer_map
from fedjax_layers.types import Array, Key, Metric, Params, Scorer, Task

Preprocess = Callable[[Array, Any], Array]
Augment = Callable[[Key, Array], Array]


def as_float(raw: Array, dtype: Any) -> Array:
    """Cast stored inputs to ``dtype``, without other preprocessing."""
    return raw.astype(dtype)


def as_stored(raw: Array, dtype: Any) -> Array:
    """Return stored inputs as they are: integer tokens reach the model as integers."""
    del dtype
    return raw


def module_task(
    module: nn.Module,
    sample_shape: Sequence[int],
    num_outputs: int,
    losses: Losses,
    *,
    preprocess: Preprocess | None,
    sample_dtype: Any = jnp.float32,
    blocks: int | Sequence[Any] | None = None,
    augment: Augment | None = None,
    readout: Callable[[Array], Array] | None = None,
    predictions: Callable[[Array], Array] | None = None,
    predictions_of_places: Callable[[Array], Array] | None = None,
    scorer: Scorer | None = None,
    metrics: Mapping[str, Metric] | None = None,
    padding_label: float = 0,
) -> Task:
    """Make the task of a module, for the functions of each kind of task; see ``classification_task`` for details.

    Args:
      module: the Linen module, ``[B, *sample_shape] -> [B, ..., num_outputs]``.
      sample_shape: shape of one stored example.
      num_outputs: length of the module's last axis.
      losses: ``(outputs, labels) -> [B]``.
      preprocess: ``(stored inputs, dtype) -> inputs``; ``None`` casts to float.
      sample_dtype: dtype of the stored inputs.
      blocks: a coarser grouping of layers.
      augment: random changes of training images.
      readout: function from the module's outputs to the task's; ``None`` leaves them.
      predictions: see :func:`fedjax_layers.models.task_from_functions`.
      predictions_of_places: the same, used in place of ``predictions`` if the module's outputs have an axis of places.
      scorer: how outputs become scores.
      metrics: further scores of the user's own.
      padding_label: see :func:`fedjax_layers.models.task_from_functions`.

    Raises:
      ValueError: see ``classification_task``.
    """
    prepare = as_float if preprocess is None else preprocess
    stored = jax.ShapeDtypeStruct((1, *sample_shape), sample_dtype)

    def init(key: Key) -> Params:
        sample = prepare(jnp.zeros(stored.shape, stored.dtype), jnp.float32)
        return join(module.init(key, sample, **_mode(module, True)))

    def forward(params: Params, inputs: Array, key: Key | None, **options: Any) -> Any:
        dtype = _dtype(params)
        if augment is not None and key is not None:  # otherwise dropout gets the whole key
            augment_key, key = jax.random.split(key)
            inputs = augment(augment_key, inputs.astype(dtype))
        x = prepare(inputs, dtype)
        rngs = None if key is None else {"dropout": key}
        found = module.apply(split(params, norms), x, rngs=rngs, **_mode(module, key is None), **options)
        if readout is None:
            return found
        return (readout(found[0]), *found[1:]) if options else readout(found)  # options ask for the statistics, too

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
    norms, axes = _check_module(module, sample, num_outputs)
    order = call_order(module, sample, **_mode(module, True))
    grouping = block_order(order, blocks) if isinstance(blocks, int) else blocks
    layers = layer_map(jax.eval_shape(init, jax.random.key(0)), order, grouping)
    return task_from_functions(
        init,
        apply,
        losses,
        layers,
        num_outputs,
        train=train if norms else None,
        statistics=_leaves_of(norms, STATISTICS),
        affine=_leaves_of(norms, AFFINE),
        predictions=predictions_of_places if axes > 2 else predictions,
        scorer=scorer,
        metrics=metrics,
        padding_label=padding_label,
    )


def _leaves_of(norms: Collection[Path], names: Sequence[str]) -> tuple[str, ...]:
    """Return regular expressions that match the leaves ``names`` of ``norms``."""
    return tuple(f"{re.escape('/'.join(path))}/({'|'.join(names)})" for path in sorted(norms))


def _dtype(params: Params) -> Any:
    return jnp.float64 if any(x.dtype == jnp.float64 for x in jax.tree.leaves(params)) else jnp.float32


def _mode(module: nn.Module, deterministic: bool) -> dict[str, bool]:
    names = inspect.signature(type(module).__call__).parameters
    if "deterministic" in names:
        return {"deterministic": deterministic}
    return {name: not deterministic for name in ("train", "training") if name in names}


def _check_augment(augment: Augment, shape: tuple[int, ...]) -> None:
    if len(shape) != 4:
        raise ValueError(f"augment: expected images [H, W, C], got examples of shape {shape[1:]}")
    changed = jax.eval_shape(augment, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32)).shape
    if changed != shape:
        raise ValueError(f"augment: expected images of shape {shape[1:]} again, got {changed[1:]}")


def _check_module(module: nn.Module, sample: jax.ShapeDtypeStruct, num_outputs: int) -> tuple[frozenset[Path], int]:
    """Return the paths of the module's norms that keep statistics, and the number of axes of its outputs."""
    called: set[Path] = set()
    mode = _mode(module, True)
    with watch_norms(called):
        outputs, variables = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x, **mode), sample)
    norms = find_norms(variables, called)
    if norms and not mode:
        raise ValueError("module: expected an argument deterministic, train or training beside BatchNorm, found none")
    if outputs.shape[-1] != num_outputs:
        raise ValueError(f"num_classes: expected the outputs' last axis, {outputs.shape[-1]}, got {num_outputs}")
    return norms, outputs.ndim
