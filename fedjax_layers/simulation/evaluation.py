"""Scoring models on every client's own examples, inside jit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.ops import ClientAxis, map_clients
from fedjax_layers.simulation.scoring import confusion_matrix, scores_from_confusion, scores_from_hits
from fedjax_layers.types import Array, Batch, Params, Pool, Ranges, Task

SPLITS = ("val", "test")


def evaluate(
    task: Task,
    params: Params,
    pool: Pool,
    ranges: Ranges,
    *,
    stacked: bool,
    largest: int,
    axis: ClientAxis = ClientAxis(),
    batch_size: int = 256,
    pooled: bool = False,
    which: Array | None = None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Score each client's model, or one model for all, on each client's examples.

    Args:
      task: gives outputs and losses; dropout is off.
      params: leaves ``[K, ...]`` if ``stacked``, else one model, or with ``which`` several, ``[T, ...]``.
      pool: the examples.
      ranges: ``[K]``, each client's rows.
      stacked: see ``params``.
      largest: examples of the largest client, a bound on the batch.
      axis: how the clients are mapped.
      batch_size: examples scored at once per client.
      pooled: also score all clients' examples as one set.
      which: ``[K]`` integers, each client's model among several (its team's).

    Returns:
      Metrics of :data:`fedjax_layers.simulation.scoring.METRICS`, of a language model ``LANGUAGE_METRICS``: each
      ``[K]``, NaN for a client without examples; and the pooled ones, each ``[]`` (an empty dict unless asked for).
    """
    batch_size = max(1, min(batch_size, largest))

    def one(row: Any, common: Any) -> tuple[Array, Array]:
        own, place, start, count = row
        model, pool = common
        if place is not None:
            model = jax.tree.map(lambda x: x[place], model)
        return _tally(task, own if stacked else model, pool, start, count, batch_size)

    rows = (params if stacked else (), which, ranges.start, ranges.count)
    shared = (() if stacked else params, pool)
    counts, loss_sum = map_clients(one, rows, shared=(shared,), axis=axis)
    total = _scores(task, counts.sum(0), loss_sum.sum(0)) if pooled else {}
    return _scores(task, counts, loss_sum), total


def _scores(task: Task, counts: Array, loss_sum: Array) -> dict[str, Array]:
    if task.language:
        return scores_from_hits(counts[..., 0], counts[..., 1], loss_sum)
    return scores_from_confusion(counts, loss_sum)


def _tally(task: Task, params: Params, pool: Pool, start: Array, count: Array, batch_size: int) -> tuple[Array, Array]:
    """Confusion matrix ``[S, S]``, or of a language model hits and places ``[2]``, and the summed loss on one range."""
    dtype = jnp.promote_types(jnp.result_type(*jax.tree.leaves(params)), jnp.float32)

    def step(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        counts, loss_sum = carry
        place = i * batch_size + jnp.arange(batch_size, dtype=jnp.int32)
        mask = place < count
        index = start + jnp.where(mask, place, 0)
        batch = Batch(pool.inputs[index], pool.labels[index], mask)
        outputs = task.apply(params, batch.inputs, None)
        losses = jnp.where(mask, task.losses(outputs, batch.labels), 0)
        if task.predictions is not None:
            losses = losses * task.predictions(batch.labels).astype(losses.dtype)
        return counts + _counts(task, jnp.argmax(outputs, -1), batch), loss_sum + losses.sum().astype(dtype)

    shape = (2,) if task.language else (task.num_classes, task.num_classes)
    empty = (jnp.zeros(shape, jnp.int32), jnp.zeros((), dtype))
    return jax.lax.fori_loop(0, -(-count // batch_size), step, empty)


def _counts(task: Task, guesses: Array, batch: Batch) -> Array:
    if not task.language:  # a vocabulary's confusion matrix would not fit
        return confusion_matrix(batch.labels, guesses, batch.mask, task.num_classes)
    there = batch.mask.reshape(batch.mask.shape + (1,) * (batch.labels.ndim - 1)) & (batch.labels >= 0)
    return jnp.stack([(there & (guesses == batch.labels)).sum(dtype=jnp.int32), there.sum(dtype=jnp.int32)])
