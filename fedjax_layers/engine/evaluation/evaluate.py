"""Scoring of models on every client's own examples, inside jit."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers.clients.stacked import where_rows
from fedjax_layers.engine.evaluation.score_names import ATTACK_SUCCESS
from fedjax_layers.ops import ClientAxis, Term, Visit, visit_clients
from fedjax_layers.ops.metrics import ClassScorer
from fedjax_layers.ops.metrics.classes import BY_CLASS
from fedjax_layers.types import Array, Batch, Params, Personal, Pool, Ranges, Scorer, Task

SPLITS = ("val", "test")
_BATCH = 256  # number of a client's examples that are scored at once


class Found(NamedTuple):
    """Sums over P sets of examples, before means are taken; leaves ``[P, ...]``.

    Attributes:
      tally: the scorer's tally.
      loss: the sum of the losses of all predictions.
      predictions: int32, the number of predictions.
      fooled: ``[P, 2]`` int32, the examples of other classes than the trigger's target: those predicted as the target
        with the trigger on them, and all of them. ``()`` for a task without a trigger.
    """

    tally: Any
    loss: Array
    predictions: Array
    fooled: Any = ()


def evaluate(
    task: Task,
    params: Params | Personal,
    pool: Pool,
    ranges: Ranges,
    *,
    stacked: bool,
    largest: int | tuple[int, ...],
    axis: ClientAxis = ClientAxis(),
    batch_size: int = _BATCH,
    pooled: bool = False,
    which: Array | None = None,
    by_class: bool = True,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Score each client's model, or one model for all, on each client's examples.

    Args:
      task: the task, which gives outputs, losses and the scorer; dropout is off.
      params: see :func:`score_clients`, also for arguments that are not explained here.
      pool: the examples.
      ranges: ``[K]`` or ``[K, P]``.
      stacked: whether ``params`` holds a model for each client.
      largest: bounds on the sizes of the sets.
      axis: width and devices.
      batch_size: number of examples scored at once per client.
      pooled: whether all clients' examples are also scored as one set, by the scores that add up over clients (not
        ranks).
      which: the number of each client's model among several.
      by_class: whether the scores of each class are returned, too.

    Returns:
      The scores of the task's scorer and its further metrics: each of the ranges' shape, NaN for a set without
      examples; and the pooled ones, each ``[]``, or ``[P]`` (an empty dict unless asked for).

    Raises:
      ValueError: the labels are not of the scorer's kind.
    """
    counted = jnp.ones(len(ranges.start), bool) if pooled else None
    options: dict[str, Any] = {"stacked": stacked, "largest": largest, "axis": axis, "batch_size": batch_size}
    scores, found = score_clients(
        task, params, pool, ranges, **options, which=which, by_class=by_class, counted=counted
    )
    total = pooled_scores(task, found) if pooled else {}
    if ranges.start.ndim > 1:
        return scores, total
    return {name: x[:, 0] for name, x in scores.items()}, {name: x[0] for name, x in total.items()}


def score_clients(
    task: Task,
    params: Params | Personal,
    pool: Pool,
    ranges: Ranges,
    *,
    stacked: bool,
    largest: int | tuple[int, ...],
    axis: ClientAxis = ClientAxis(),
    batch_size: int = _BATCH,
    which: Array | None = None,
    by_class: bool = True,
    ids: Array | None = None,
    counted: Array | None = None,
) -> tuple[dict[str, Array], Any]:
    """Score each client's model, or one model for all, on each client's examples, and sum what is to be pooled.

    Args:
      task: gives outputs, losses and how they are scored; dropout is off.
      params: leaves ``[K, ...]`` if ``stacked``, or a :class:`Personal` that builds each client's model; else one
        model, or several, ``[T, ...]``, with ``which``.
      pool: the examples.
      ranges: ``[K]``, each client's rows; or ``[K, P]``, several sets of rows, each scored by itself, in one pass over
        the client's examples.
      stacked: see ``params``.
      largest: number of rows of the largest client's set, or of each of the P sets, which bounds the loop.
      axis: how the clients are mapped.
      batch_size: examples scored at once per client.
      which: ``[K]`` integers, the number of each client's model among several (its team's, say).
      by_class: also give the scores of each class.
      ids: ``[K]`` int32, the clients; ``None`` means all in order.
      counted: ``[K]`` bool, the clients whose examples are pooled; ``None`` pools none.

    Returns:
      The scores of the task's scorer and its further metrics, ``[K, P]`` each, NaN for a set without examples; and a
      :class:`Found` of the pooled sets, which :func:`merged` joins with those of other clients, or ``()``.

    Raises:
      ValueError: the labels are not of the scorer's kind.
    """
    scorer = scorer_of(task)
    several = ranges.start.ndim > 1
    sets = jax.tree.map(lambda x: x if several else x[:, None], ranges)
    bounds = largest if isinstance(largest, tuple) else (largest,) * sets.start.shape[1]
    models = params.completed() if isinstance(params, Personal) else Personal(params, (), lambda row, *_: row)
    idents = jnp.arange(len(sets.start), dtype=jnp.int32) if ids is None else ids

    def one(_: Any, own: Any, ident: Array, place: Any, sets: Ranges, shared: Any, pool: Pool) -> Visit:
        model = models.build(own, shared, ident) if stacked else shared
        if place is not None:
            model = jax.tree.map(lambda x: x[place], model)
        found, whole = _score_sets(task, model, pool, sets, bounds, batch_size)
        scores = _named(scorer, found, whole, by_class)
        if counted is not None and scorer.adds_up:
            return Visit((scores, ()), Term(found))
        return Visit((scores, () if counted is None else found))

    rows = (models.rows if stacked else (), idents, which, Ranges(*sets))
    shared = (models.shared if stacked else params, pool)
    (scores, kept), sums, _ = visit_clients(one, *rows, present=counted, shared=shared, axis=axis)
    if counted is None or scorer.adds_up:
        return scores, sums
    return scores, merged(task, where_rows(counted, kept, jax.tree.map(jnp.zeros_like, kept)))


def merged(task: Task, found: Found) -> Found:
    """Merge the :class:`Found` of several parts of the clients, leaves ``[n, P, ...]``, into one."""
    return _merge(scorer_of(task), found)


def pooled_scores(task: Task, found: Found) -> dict[str, Array]:
    """Compute the scores of pooled examples, ``[P]`` each."""
    return _scores(scorer_of(task), found)


def score_model(
    task: Task, params: Params, pool: Pool, sets: Ranges, largest: tuple[int, ...], by_class: bool = True
) -> dict[str, Array]:
    """Score one client's model on its sets of examples ``[P]``: scores by name, ``[P]`` each, as :func:`evaluate`."""
    found, whole = _score_sets(task, params, pool, sets, largest, _BATCH)
    return _named(scorer_of(task), found, whole, by_class)


def scorer_of(task: Task) -> Scorer:
    """Return the task's scorer; that of classes where the task names none."""
    return ClassScorer(task.num_classes) if task.scorer is None else task.scorer


def _merge(scorer: Scorer, found: Found) -> Found:
    """Merge n parts of each of P sets, leaves ``[n, P, ...]``."""
    tally = jax.vmap(scorer.merge, 1)(found.tally) if jax.tree.leaves(found.tally) else found.tally
    fooled = jax.tree.map(lambda x: x.sum(0, dtype=jnp.int32), found.fooled)
    return Found(tally, found.loss.sum(0), found.predictions.sum(0, dtype=jnp.int32), fooled)


def _scores(scorer: Scorer, found: Found) -> dict[str, Array]:
    """Compute the scores that follow from sums. A diverged model's NaN loss becomes infinite; NaN means no example."""
    number = found.predictions.astype(found.loss.dtype)
    loss = found.loss / jnp.maximum(number, 1)
    loss = jnp.where(jnp.isnan(loss), jnp.inf, loss)
    scores = scorer.scores(found.tally, jnp.where(number > 0, loss, jnp.nan))
    if isinstance(found.fooled, tuple):
        return scores
    hits, others = (found.fooled[..., i].astype(loss.dtype) for i in range(2))
    return scores | {ATTACK_SUCCESS: jnp.where(others > 0, hits / jnp.maximum(others, 1), jnp.nan)}


def _named(scorer: Scorer, found: Found, whole: dict[str, Array], by_class: bool) -> dict[str, Array]:
    scores = _scores(scorer, found) | whole
    return {name: x for name, x in scores.items() if by_class or name not in BY_CLASS}


def _score_sets(
    task: Task, params: Params, pool: Pool, sets: Ranges, largest: tuple[int, ...], batch_size: int
) -> tuple[Found, dict[str, Array]]:
    """Score one model on the rows of P sets, which are concatenated and scored batch by batch."""
    scorer = scorer_of(task)
    keep = scorer.keeps_rows or bool(task.metrics)
    rows = sum(max(1, n) for n in largest)
    size = min(batch_size, rows)
    batches = -(-rows // size)
    first = jnp.cumsum(sets.count) - sets.count  # position of each set's first row in the concatenation

    def score(i: Array) -> tuple[Found, Array]:
        place = i * size + jnp.arange(size, dtype=jnp.int32) - first[:, None]  # [P, B]
        masks = (place >= 0) & (place < sets.count[:, None])
        index = sets.start[0] + jnp.where(masks, sets.start[:, None] + place - sets.start[0], 0).sum(0, dtype=jnp.int32)
        batch = Batch(pool.inputs[index], pool.labels[index], masks.any(0))
        outputs = task.apply(params, batch.inputs, None)
        found = _tallies(task, scorer, outputs, batch, masks, params)
        return found._replace(fooled=_fooled(task, params, batch, masks)), outputs

    def step(i: Array, carry: tuple[Found, Any]) -> tuple[Found, Any]:
        before, kept = carry
        new, outputs = score(i)
        if keep:
            kept = jax.lax.dynamic_update_slice_in_dim(kept, outputs, i * size, 0)
        return _merge(scorer, jax.tree.map(lambda a, b: jnp.stack([a, b]), before, new)), kept

    if batches > 1:
        found, outputs = jax.eval_shape(score, jnp.int32(0))
        empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), found)
        kept = jnp.zeros((batches * size, *outputs.shape[1:]), outputs.dtype) if keep else ()
        found, kept = jax.lax.fori_loop(0, -(-sets.count.sum() // size), step, (empty, kept))
    else:
        found, kept = score(jnp.int32(0))
    return found, _whole(task, scorer, kept, pool, sets, largest) if keep else {}


def _tallies(task: Task, scorer: Scorer, outputs: Array, batch: Batch, masks: Array, params: Params) -> Found:
    """Sum over a batch's rows in each of P sets, ``masks [P, B]``."""
    dtype = jnp.promote_types(jnp.result_type(*jax.tree.leaves(params)), jnp.float32)
    tally = jax.vmap(lambda mask: scorer.tally(outputs, batch.labels, mask))(masks)
    if scorer.joint:
        return Found(tally, jnp.zeros(len(masks), dtype), jnp.zeros(len(masks), jnp.int32))
    losses = task.losses(outputs, batch.labels)
    each = jnp.ones(len(batch.mask), jnp.int32) if task.predictions is None else task.predictions(batch.labels)
    weighted = losses if task.predictions is None else losses * each.astype(losses.dtype)
    loss = jnp.where(masks, weighted, 0).sum(1).astype(dtype)
    return Found(tally, loss, jnp.where(masks, each, 0).sum(1, dtype=jnp.int32))


def _fooled(task: Task, params: Params, batch: Batch, masks: Array) -> Any:
    """Count the rows of each of P sets that a trigger fools, and those that it could fool, see :class:`Found`."""
    if task.trigger is None:
        return ()
    predicted = jnp.argmax(task.apply(params, task.trigger(batch.inputs), None), -1)
    others = masks & (batch.labels != task.trigger.target)
    hits = others & (predicted == task.trigger.target)
    return jnp.stack([hits, others], -1).sum(1, dtype=jnp.int32)


def _whole(
    task: Task, scorer: Scorer, outputs: Array, pool: Pool, sets: Ranges, largest: tuple[int, ...]
) -> dict[str, Array]:
    """Compute the scores that do not add up for each of P sets; ``outputs`` are those of all sets' rows in order."""
    found: list[dict[str, Array]] = []
    before = jnp.int32(0)
    for p, bound in enumerate(largest):
        start, count = sets.start[p], sets.count[p]
        places = jnp.arange(max(1, bound), dtype=jnp.int32)
        mask = places < count
        labels = pool.labels[start + jnp.where(mask, places, 0)]
        rows = jax.lax.dynamic_slice_in_dim(outputs, before, len(places))
        whole = scorer.whole(rows, labels, mask)
        for name, metric in task.metrics:
            whole[name] = jnp.where(count > 0, metric(rows, labels, mask), jnp.nan)
        found.append(whole)
        before = before + count
    return jax.tree.map(lambda *x: jnp.stack(x), *found)
