"""Scoring models on every client's own examples, inside jit."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers.ops import ClientAxis, map_clients
from fedjax_layers.scoring import ClassScorer
from fedjax_layers.types import Array, Batch, Params, Pool, Ranges, Scorer, Task

SPLITS = ("val", "test")


class _Found(NamedTuple):
    """What is known of a set of examples, before means are taken; leaves ``[K, ...]`` of K clients.

    Attributes:
      tally: the scorer's.
      loss: sum of the losses of all predictions.
      predictions: how many there are, int32.
    """

    tally: Any
    loss: Array
    predictions: Array


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
      task: gives outputs, losses and how they are scored; dropout is off.
      params: leaves ``[K, ...]`` if ``stacked``, else one model, or with ``which`` several, ``[T, ...]``.
      pool: the examples.
      ranges: ``[K]``, each client's rows; or ``[K, P]``, several sets of rows, each scored by itself.
      stacked: see ``params``.
      largest: rows of the largest set, a bound on the batch.
      axis: how the clients are mapped.
      batch_size: examples scored at once per client.
      pooled: also score all clients' examples as one set, by what adds up over clients: not by ranks.
      which: ``[K]`` integers, each client's model among several (its team's).

    Returns:
      The scores of the task's scorer and its own metrics: each of the ranges' shape, NaN for a set without examples;
      and the pooled ones, each ``[]``, or ``[P]`` (an empty dict unless asked for).

    Raises:
      ValueError: the labels are not of the scorer's kind.
    """
    scorer = scorer_of(task)
    batch_size = max(1, min(batch_size, largest))
    batches = max(1, -(-largest // batch_size))

    def one(row: Any, common: Any) -> tuple[_Found, dict[str, Array]]:
        own, place, start, count = row
        model, pool = common
        if place is not None:
            model = jax.tree.map(lambda x: x[place], model)
        model = own if stacked else model

        def score(place: tuple[Array, Array]) -> tuple[_Found, dict[str, Array]]:
            return _score_client(task, model, pool, place, (batches, batch_size))

        return jax.lax.map(score, (start, count)) if start.ndim else score((start, count))

    rows = (params if stacked else (), which, ranges.start, ranges.count)
    shared = (() if stacked else params, pool)
    found, whole = map_clients(one, rows, shared=(shared,), axis=axis)
    total = {}
    if pooled:
        merge = (
            jax.vmap(functools.partial(_merge, scorer), 1)
            if ranges.start.ndim > 1
            else functools.partial(_merge, scorer)
        )
        total = _scores(scorer, merge(found))
    return _scores(scorer, found) | whole, total


def scorer_of(task: Task) -> Scorer:
    """The task's scorer; classes where it names none."""
    return ClassScorer(task.num_classes) if task.scorer is None else task.scorer


def _merge(scorer: Scorer, found: _Found) -> _Found:
    """Several sets, along axis 0, as one."""
    return _Found(scorer.merge(found.tally), found.loss.sum(0), found.predictions.sum(0, dtype=jnp.int32))


def _scores(scorer: Scorer, found: _Found) -> dict[str, Array]:
    """Scores that follow from sums. The NaN loss of a diverged model is infinite: NaN means that nothing is there."""
    number = found.predictions.astype(found.loss.dtype)
    loss = found.loss / jnp.maximum(number, 1)
    loss = jnp.where(jnp.isnan(loss), jnp.inf, loss)
    return scorer.scores(found.tally, jnp.where(number > 0, loss, jnp.nan))


def _score_client(
    task: Task, params: Params, pool: Pool, place: tuple[Array, Array], shape: tuple[int, int]
) -> tuple[_Found, dict[str, Array]]:
    """One model on the rows ``start .. start + count`` of ``place``, in up to ``shape`` batches of so many rows."""
    scorer, (start, count), (batches, size) = scorer_of(task), place, shape
    dtype = jnp.promote_types(jnp.result_type(*jax.tree.leaves(params)), jnp.float32)
    keep = scorer.keeps_rows or bool(task.metrics)

    def take(places: Array) -> Batch:
        mask = places < count
        index = start + jnp.where(mask, places, 0)
        return Batch(pool.inputs[index], pool.labels[index], mask)

    def score(i: Array) -> tuple[_Found, Array]:
        batch = take(i * size + jnp.arange(size, dtype=jnp.int32))
        outputs = task.apply(params, batch.inputs, None)
        total, number = (jnp.zeros((), dtype), jnp.int32(0)) if scorer.joint else _loss(task, outputs, batch, dtype)
        return _Found(scorer.tally(outputs, batch.labels, batch.mask), total, number), outputs

    def step(i: Array, carry: tuple[_Found, Any]) -> tuple[_Found, Any]:
        before, kept = carry
        new, outputs = score(i)
        if keep:
            kept = jax.lax.dynamic_update_slice_in_dim(kept, outputs, i * size, 0)
        return _merge(scorer, jax.tree.map(lambda a, b: jnp.stack([a, b]), before, new)), kept

    found, outputs = jax.eval_shape(score, jnp.int32(0))
    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), found)
    rows = jnp.zeros((batches * size, *outputs.shape[1:]), outputs.dtype) if keep else ()
    if batches > 1:
        found, rows = jax.lax.fori_loop(0, -(-count // size), step, (empty, rows))
    else:
        found, rows = score(jnp.int32(0))
    if not keep:
        return found, {}
    places = jnp.arange(batches * size, dtype=jnp.int32)
    mask = places < count
    labels = pool.labels[start + jnp.where(mask, places, 0)]
    whole = scorer.whole(rows, labels, mask)
    for name, metric in task.metrics:
        whole[name] = jnp.where(count > 0, metric(rows, labels, mask), jnp.nan)
    return found, whole


def _loss(task: Task, outputs: Array, batch: Batch, dtype: Any) -> tuple[Array, Array]:
    """Summed loss of the batch's predictions, and their number."""
    losses = jnp.where(batch.mask, task.losses(outputs, batch.labels), 0)
    if task.predictions is None:
        return losses.sum().astype(dtype), batch.mask.sum(dtype=jnp.int32)
    each = jnp.where(batch.mask, task.predictions(batch.labels), 0)
    return (losses * each.astype(losses.dtype)).sum().astype(dtype), each.sum(dtype=jnp.int32)
