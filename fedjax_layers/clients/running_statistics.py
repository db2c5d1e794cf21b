"""Running statistics of batch normalisation, which are leaves of the params, in optimisers and local steps."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from fedjax_layers.ops import select
from fedjax_layers.types import Array, Params, Task


def with_statistics(task: Task, tree: Params, source: Params) -> Params:
    """Return ``tree`` with the running statistics of ``source``; unchanged for a model without any."""
    if task.batch_norm is None:
        return tree
    flags = jax.tree.unflatten(jax.tree.structure(tree), task.batch_norm.statistics)
    return jax.tree.map(lambda flag, a, b: a if flag else b, flags, source, tree)


def weights_only(task: Task, tree: Params) -> Params:
    """Return ``tree`` with zeros for running statistics, so that no norm, weight decay or pull counts them."""
    return tree if task.batch_norm is None else with_statistics(task, tree, jax.tree.map(jnp.zeros_like, tree))


def refuse_statistics(task: Task, algorithm: str) -> None:
    """Raise ``ValueError`` for batch normalisation with an algorithm whose own steps do not update its statistics."""
    if task.batch_norm is not None:
        raise ValueError(f"task: expected a model without batch normalisation for {algorithm}, got one")


def after_step(task: Task, moved: Params, before: Params, seen: Sequence[Params], trainable: Array | None) -> Params:
    """Compute the params after a local step.

    Args:
      task: the task with the model.
      moved: the params after the optimiser's update.
      before: the params before it.
      seen: a sequence of what the step's gradient returned besides: the params with the statistics after the forward
        pass on the step's batch, or nothing.
      trainable: ``[L]`` bool; in other layers the statistics stay. ``None`` means all.

    Raises:
      ValueError: the model has statistics and the step's gradient left them out.
    """
    if task.batch_norm is None:
        return moved
    if not seen:
        raise ValueError("task: expected a model without batch normalisation for this algorithm's own steps, got one")
    statistics = seen[0] if trainable is None else select(trainable, task.layers, seen[0], before)
    return with_statistics(task, moved, statistics)
