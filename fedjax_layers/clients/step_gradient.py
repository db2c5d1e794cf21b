"""The source of a local step's gradient, and other changes that an algorithm makes to local training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from fedjax_layers.types import Array, Batch, Key, Params, Task


class StepGradient(NamedTuple):
    """A local step's gradient other than that of the loss on one batch: meta-gradients, inner solves.

    Attributes:
      compute: ``(params, batches, key, carried) -> (loss [], grads, carried)`` of one step: ``batches`` is a tuple,
        ``loss`` is reported, ``grads`` goes to the optimiser, and ``carried`` keeps its tree, shapes and dtypes from
        step to step. For a task with batch normalisation it must return a fourth value, the params that
        :class:`fedjax_layers.types.BatchNorm` gives; a function that does not is refused for such a task.
      batches: number of batches per step, each from a shuffled order of its own, so that they are independent. The
        first batch and ``key`` are those of a plain step.
      begin: ``params -> carried`` before a round's first step; a client without steps returns it.
      objective: ``(params, batches, key) -> []``, the function whose gradient ``grads`` is, for optimisers that
        evaluate it (line searches, say); ``None`` where there is none, so that such optimisers are refused.
    """

    compute: Callable[[Params, tuple[Batch, ...], Key, Any], tuple[Any, ...]]
    batches: int = 1
    begin: Callable[[Params], Any] = lambda _: ()
    objective: Callable[[Params, tuple[Batch, ...], Key], Array] | None = None


class LocalOptions(NamedTuple):
    """The changes that an algorithm makes to one round's local training.

    Attributes:
      trainable: ``[L]`` bool; updates of other layers are dropped *after* the optimiser, since momentum or weight
        decay would move a layer whose gradient alone is zero. Running statistics of other layers stay, too. ``None``
        trains all.
      scale: factor on every update, but not on running statistics; ``None`` means 1.
      with_gradient: whether the mean gradient is returned.
      step_gradient: the source of a step's gradient; ``None`` is the loss on the step's batch. Its functions are
        static (no argument of a jitted function), but may close over arrays.
    """

    trainable: Array | None = None
    scale: Array | None = None
    with_gradient: bool = False
    step_gradient: StepGradient | None = None


def plain_gradient(task: Task) -> StepGradient:
    """Make the step gradient of the loss on the step's batch."""

    def compute(params: Params, batches: tuple[Batch, ...], key: Key, carried: Any) -> tuple[Any, ...]:
        if task.batch_norm is None:
            return *jax.value_and_grad(task.loss)(params, batches[0], key), carried
        (loss, seen), grads = jax.value_and_grad(task.batch_norm.loss, has_aux=True)(params, batches[0], key)
        return loss, grads, carried, seen

    def objective(params: Params, batches: tuple[Batch, ...], key: Key) -> Array:
        return task.loss(params, batches[0], key)

    return StepGradient(compute, objective=objective)
