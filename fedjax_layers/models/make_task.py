"""``fedjax_layers.task``: the task of a model of any kind, of Flax Linen, Flax NNX, Equinox or plain functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax.numpy as jnp

from fedjax_layers.models.adapters.network import Order
from fedjax_layers.models.features import with_features
from fedjax_layers.models.kinds import KindName, Losses, make_kind, predicts_classes
from fedjax_layers.models.module_task import Augment, Preprocess, Sample, as_float, as_stored, network_task
from fedjax_layers.types import Array, Metric, Scorer, Task


class Examples(Protocol):
    """What :func:`task` reads from the clients' data, :class:`fedjax_layers.ClientData`."""

    @property
    def inputs(self) -> Any:
        """The stored inputs, ``[N, ...]``."""

    @property
    def labels(self) -> Any:
        """The labels, ``[N, ...]``."""

    @property
    def num_classes(self) -> int:
        """The number of classes."""

    @property
    def task(self) -> Any:
        """The kind of task."""

    @property
    def preprocess(self) -> Any:
        """How a model reads the inputs."""

    @property
    def holds_tokens(self) -> bool:
        """Whether the inputs are token ids."""

    @property
    def target_units(self) -> tuple[float, float]:
        """Mean and deviation of the targets of a regression."""


def task(
    model: Any,
    examples: Examples | Sequence[int],
    num_classes: int | None = None,
    *,
    kind: KindName | None = None,
    loss: str | Losses | None = None,
    gamma: float = 1.0,
    alpha: Sequence[float] | None = None,
    preprocess: Preprocess | None = None,
    sample_dtype: Any = None,
    augment: Augment | None = None,
    order: Order | None = None,
    blocks: int | Sequence[Any] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    scorer: Scorer | None = None,
    predictions: Callable[[Array], Array] | None = None,
    target_mean: float | None = None,
    target_scale: float | None = None,
) -> Task:
    """Make the task of a model: the model with its loss, its layers in call order, and its scores.

    ``fl.task(model, data)`` is usually enough; the other arguments replace what the data say.

    **Models.** A Flax Linen module. A Flax NNX module, or a function with a parameter ``rngs`` that makes one. An
    Equinox module, or a function with a parameter ``key`` that makes one. A pair of functions ``(init, apply)``, or
    :class:`fedjax_layers.models.Functions`. A module of NNX or Equinox holds weights: every model of every run then
    starts from these, whatever the seed. A function draws them from the seed, as Linen's ``init`` does. All models take
    batches ``[B, ...]``, except those of Equinox, which take one example.

    **Layers.** The layers of a Linen module are found by watching which modules are called
    (:func:`fedjax_layers.models.call_order`); those of all other models by following each parameter through the traced
    forward pass to the place where it first meets something that depends on the inputs. Arrays of one module, or side
    by side in a tree, are one layer. A norm is a part of the layer that it follows.

    **Training and evaluation.** A model is deterministic without a key. With one, a ``__call__`` with an argument
    ``deterministic``, ``train`` or ``training`` is told so, NNX modules are in the mode of ``train()`` and Equinox's
    not in inference mode, and the key seeds dropout. Batch normalisation of Linen and NNX keeps its running statistics
    among the params (:class:`fedjax_layers.types.BatchNorm`), and leaves padding rows out of them; that of Equinox
    cannot, and is refused.

    Args:
      model: the model, ``[B, ...] -> [B, num_classes]``, or ``[B, places, num_classes]`` where places are labelled.
      examples: the clients' data, or the shape of one stored example without the batch axis.
      num_classes: the length of the outputs' last axis: the number of classes, or of targets; needed for classes
        beside a shape.
      kind: ``"classification"`` of examples (or of places), ``"tagging"``, ``"language_modelling"`` (classes are a
        vocabulary, scored by perplexity), ``"regression"`` or ``"survival"`` (labels ``[N, 2]``: time, and 1 for an
        event). ``None`` is the data's, or else classification.
      loss: ``"softmax"`` or ``"focal"`` for classes; ``"huber"``, ``"squared"`` or ``"absolute"`` for targets;
        ``"cox"`` for survival; or ``(outputs, labels) -> [B]``. ``None`` is the kind's first.
      gamma: exponent of the focal loss, see :func:`fedjax_layers.models.focal_losses`.
      alpha: class weights of the focal loss, ``[num_classes]``; ``None`` weights all terms 1.
      preprocess: ``(stored inputs [B, ...], dtype) -> inputs``, run inside ``apply`` so that the pool can stay in its
        stored dtype; a :class:`fedjax_layers.data.Preprocess`, or :func:`fedjax_layers.models.as_stored`. ``None`` is
        the data's, or else a cast to float. ``dtype`` is float32, or float64 where parameters are.
      sample_dtype: dtype of the stored examples; it matters only with ``as_stored``.
      augment: ``(key, images [B, H, W, C]) -> images``, a :class:`fedjax_layers.data.augmentation.Augmentation`:
        random changes of training images. It sees the stored pixels as floats, before ``preprocess``, as published
        recipes do: black is 0, and brightness is a factor. Without a key (evaluation, and PLayer-FL's scores unless
        they are taken with dropout) nothing is changed; with one, the key is split between it and dropout.
      order: the layers in call order in place of those found, see :func:`fedjax_layers.ops.layer_map`.
      blocks: a coarser grouping of layers: a number of leading path components that make a block, or what
        :func:`fedjax_layers.ops.layer_map` takes.
      metrics: further scores by name, ``(outputs [n, ...], labels [n, ...], mask [n]) -> []`` of the rows of one
        client at once; rows outside the mask are padding and may hold anything.
      scorer: how outputs become scores, in place of the kind's.
      predictions: ``labels [B, ...] -> [B]``, the number of predictions over which ``loss`` takes its mean in each
        example, in place of the kind's.
      target_mean: of a regression, the output for a model output of 0; ``None`` is the data's mean, or else 0.
      target_scale: of a regression, the unit of the model's outputs and of the errors in the loss; ``None`` is the
        data's standard deviation, or else 1. Outputs and scores of the task are in the targets' own units.

    Returns:
      The task.

    Raises:
      ValueError: the model is of no known kind, fails, has state that cannot be kept, never uses a parameter, or gives
        outputs of another shape; an argument of the loss is out of range; ``order`` does not fit the parameters;
        ``augment`` is given for examples that are no images, or changes their shape; or a metric's name is taken.
      TypeError: ``examples`` are neither data nor a shape.
    """
    if not isinstance(examples, Sequence) and not hasattr(examples, "holds_tokens"):
        raise TypeError(f"examples: expected the clients' data or the shape of an example, got {examples!r}")
    data = None if isinstance(examples, Sequence) else examples
    shape = tuple(examples) if isinstance(examples, Sequence) else examples.inputs.shape[1:]
    name = kind or ("classification" if data is None else data.task)
    units = (0.0, 1.0) if data is None or name != "regression" else data.target_units
    count = _num_classes(num_classes, data, name)
    chosen = make_kind(
        name,
        count,
        loss,
        gamma=gamma,
        alpha=alpha,
        target_mean=units[0] if target_mean is None else target_mean,
        target_scale=units[1] if target_scale is None else target_scale,
    )
    if scorer is not None:
        chosen = chosen._replace(scorer=scorer)
    if predictions is not None:
        chosen = chosen._replace(predictions=predictions, predictions_of_places=predictions)
    tokens = data is not None and data.holds_tokens
    usual: Preprocess = as_float if data is None or data.preprocess is None else data.preprocess
    if preprocess is None:
        preprocess = as_stored if tokens else usual
    if sample_dtype is None:
        sample_dtype = data.inputs.dtype if data is not None and tokens else jnp.float32
    places = None if data is None or not predicts_classes(name) else tuple(data.labels.shape[1:])
    made = network_task(
        model,
        Sample(shape, sample_dtype, preprocess, count, places),
        chosen,
        augment=augment,
        order=order,
        blocks=blocks,
        metrics=metrics,
    )
    return with_features(made)


def _num_classes(given: int | None, data: Examples | None, kind: str) -> int:
    """Return the length of the outputs' last axis."""
    if given is not None:
        return given
    if kind == "survival":
        return 1
    if kind == "regression":
        return 1 if data is None else math.prod(data.labels.shape[1:])
    if data is None:
        raise ValueError("num_classes: expected a number beside the shape of an example, got None")
    return data.num_classes
