"""Where a local step's gradient comes from, and what an algorithm changes in local training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from fedjax_layers.types import Array, Batch, Key, Params, Task


class StepGradient(NamedTuple):
    """A local step's gradient where it is not that of the loss on one batch: meta-gradients, inner solves.

    Attributes:
      compute: ``(params, batches, key, carried) -> (loss [], grads, carried)`` of one step: ``batches`` is a tuple,
        ``loss`` what is reported, ``grads`` goes to the optimiser, ``memory`` keeps its tree, shapes and dtypes. For a
        task with batch normalisation it returns a fourth value, the params that
        :class:`fedjax_layers.types.BatchNorm` gives; one that does not is refused there.
      batches: batches per step, each from a shuffled order of its own, so that they are independent of each other.
        The first is the one that a plain step would see, and ``key`` is the plain step's.
      begin: ``params -> memory`` before a round's first step; a client without steps returns it.
      objective: ``(params, batches, key) -> []``, the function whose gradient ``grads`` is, for optimisers that look at
        it (line searches, say); ``None`` where there is none: such optimisers are refused.
    """

    compute: Callable[[Params, tuple[Batch, ...], Key, Any], tuple[Any, ...]]
    batches: int = 1
    begin: Callable[[Params], Any] = lambda _: ()
    objective: Callable[[Params, tuple[Batch, ...], Key], Array] | None = None


class LocalOptions(NamedTuple):
    """What an algorithm changes in one round's local training.

    Attributes:
      trainable: ``[L]`` bool; updates of other layers are dropped *after* the optimiser, since momentum or weight
        decay would move a layer whose gradient alone is zero. Running statistics of other layers stand still as
        well. ``None`` trains all.
      scale: factor on every update; not on the running statistics.
      with_gradient: also return the mean gradient.
      step_gradient: where a step's gradient comes from; ``None`` is the loss on the step's batch. Its functions are
        static (no argument of a jitted function), but may close over arrays.
    """

    trainable: Array | None = None
    scale: Array | None = None
    with_gradient: bool = False
    step_gradient: StepGradient | None = None


def plain_gradient(task: Task) -> StepGradient:
    """The gradient of the loss on the step's batch."""

    def compute(params: Params, batches: tuple[Batch, ...], key: Key, carried: Any) -> tuple[Any, ...]:
        if task.batch_norm is None:
            return *jax.value_and_grad(task.loss)(params, batches[0], key), carried
        (loss, seen), grads = jax.value_and_grad(task.batch_norm.loss, has_aux=True)(params, batches[0], key)
        return loss, grads, carried, seen

    def objective(params: Params, batches: tuple[Batch, ...], key: Key) -> Array:
        return task.loss(params, batches[0], key)

    return StepGradient(compute, objective=objective)
