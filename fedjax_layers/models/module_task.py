"""The task of a network: its inputs are preprocessed and augmented, its outputs checked and read, its layers found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers.models.adapters.dispatch import network_of
from fedjax_layers.models.adapters.network import Network, Order, told
from fedjax_layers.models.kinds import Kind
from fedjax_layers.models.order import block_order
from fedjax_layers.models.task import task_from_functions
from fedjax_layers.ops import layer_map
from fedjax_layers.types import Array, Key, Metric, Params, Task

Preprocess = Callable[[Array, Any], Array]
Augment = Callable[[Key, Array], Array]


class Sample(NamedTuple):
    """What a model reads and what it is to return.

    Attributes:
      shape: shape of one stored example.
      dtype: dtype of stored examples.
      preprocess: ``(stored inputs, dtype) -> inputs``.
      num_classes: length of the outputs' last axis.
      places: shape of one example's labels where they are classes; ``None`` if it is not known.
    """

    shape: tuple[int, ...]
    dtype: Any
    preprocess: Preprocess
    num_classes: int
    places: tuple[int, ...] | None

    def batch(self, rows: int) -> jax.ShapeDtypeStruct:
        """Return shape and dtype of a stored batch."""
        return jax.ShapeDtypeStruct((rows, *self.shape), self.dtype)

    def prepared(self, rows: int) -> jax.ShapeDtypeStruct:
        """Return shape and dtype of a preprocessed batch."""
        return jax.eval_shape(lambda x: self.preprocess(x, jnp.float32), self.batch(rows))


def as_float(raw: Array, dtype: Any) -> Array:
    """Cast stored inputs to ``dtype``, without other preprocessing."""
    return raw.astype(dtype)


def as_stored(raw: Array, dtype: Any) -> Array:
    """Return stored inputs as they are: integer tokens reach the model as integers."""
    del dtype
    return raw


def network_task(
    model: Any,
    sample: Sample,
    kind: Kind,
    *,
    augment: Augment | None,
    order: Order | None,
    blocks: int | Sequence[Any] | None,
    metrics: Mapping[str, Metric] | None,
) -> Task:
    """Make the task of a model of any kind; arguments as of :func:`fedjax_layers.task`.

    Raises:
      ValueError: see there.
    """

    def prepare(params: Params, inputs: Array, key: Key | None) -> tuple[Array, Key | None]:
        dtype = _dtype(params)
        if augment is not None and key is not None:  # otherwise dropout gets the whole key
            augment_key, key = jax.random.split(key)
            inputs = augment(augment_key, inputs.astype(dtype))
        return sample.preprocess(inputs, dtype), key

    def read(outputs: Array) -> Array:
        return outputs if kind.readout is None else kind.readout(outputs)

    def apply(params: Params, inputs: Array, key: Key | None) -> Array:
        return read(network.apply(params, *prepare(params, inputs, key)))

    def train(params: Params, inputs: Array, mask: Array, key: Key) -> tuple[Array, Params]:
        x, left = prepare(params, inputs, key)
        assert network.train is not None
        assert left is not None
        outputs, moved = network.train(params, x, mask, left)
        return read(outputs), moved

    if augment is not None:
        _check_augment(augment, sample.batch(1).shape)
    with told(f"one that can be built for inputs of shape {sample.prepared(1).shape}"):
        network = network_of(model, sample.prepared(1))
    outputs = _check_outputs(network, sample)
    order = network.order() if order is None else order
    task = task_from_functions(
        network.init,
        apply,
        kind.losses,
        layer_map(network.params, order, _grouping(order, blocks)),
        sample.num_classes,
        train=train if network.train else None,
        statistics=network.statistics,
        affine=network.affine,
        predictions=kind.predictions_of_places if len(outputs) > 2 else kind.predictions,
        scorer=kind.scorer,
        metrics=metrics,
        padding_label=kind.padding_label,
    )
    return task._replace(example=jax.ShapeDtypeStruct(sample.shape, sample.dtype))


def _grouping(order: Order | None, blocks: int | Sequence[Any] | None) -> Sequence[Any] | None:
    """Return ``blocks`` as :func:`fedjax_layers.ops.layer_map` takes them."""
    if not isinstance(blocks, int):
        return blocks
    return block_order([[entry] if isinstance(entry, str) else entry for entry in order or ()], blocks)


def _dtype(params: Params) -> Any:
    return jnp.float64 if any(x.dtype == jnp.float64 for x in jax.tree.leaves(params)) else jnp.float32


def _check_augment(augment: Augment, shape: tuple[int, ...]) -> None:
    if len(shape) != 4:
        raise ValueError(f"augment: expected images [H, W, C], got examples of shape {shape[1:]}")
    changed = jax.eval_shape(augment, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32)).shape
    if changed != shape:
        raise ValueError(f"augment: expected images of shape {shape[1:]} again, got {changed[1:]}")


def _check_outputs(network: Network, sample: Sample) -> tuple[int, ...]:
    """Trace the model for two examples in both modes, check the shape of its outputs, and return it."""
    x = sample.prepared(2)
    shape: tuple[int, ...] = ()
    for key in (jax.random.key(0), None):
        with told(f"one that takes inputs of shape {x.shape} in {'evaluation' if key is None else 'training'}"):
            found = jax.eval_shape(lambda params, x, key=key: network.apply(params, x, key), network.params, x)
        if not isinstance(found, jax.ShapeDtypeStruct):
            raise ValueError(f"model: expected one array of outputs, got {type(found).__name__}")
        shape = found.shape
    if len(shape) < 2 or shape[0] != 2:
        raise ValueError(f"model: expected outputs [B, ..., {sample.num_classes}], got shape {shape} for a batch of 2")
    if shape[-1] != sample.num_classes:
        raise ValueError(f"model: expected {sample.num_classes} outputs, one for each class or target, got {shape[-1]}")
    if sample.places is not None and shape[1:-1] != sample.places:
        expected = (2, *sample.places, sample.num_classes)
        raise ValueError(f"model: expected outputs of shape {expected} for a batch of 2, got {shape}")
    return shape
