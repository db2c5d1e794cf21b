"""The scores at the end of an interval of rounds, of each client's models and of models that several share."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers.engine.device_data import DeviceData
from fedjax_layers.engine.evaluation.evaluate import SPLITS, evaluate, pooled_scores, score_clients, score_model
from fedjax_layers.engine.plan import Plan
from fedjax_layers.ops.metrics.classes import BY_CLASS
from fedjax_layers.types import Algorithm, Array, Cohort, Observer, Params, Pool, Ranges, Task

_CLASS_SCORES = 20_000  # clients times classes; above, scores by class would dominate the size of an evaluation


class Audience(NamedTuple):
    """Some clients with the examples on which models are scored.

    Attributes:
      ids: ``[n]`` int32, the clients.
      ranges: ``[n, 2]``, their validation and test examples in the pool.
      pool: the examples.
      counted: ``[n]`` bool, the clients whose test examples count among those of all clients together.
    """

    ids: Array
    ranges: Ranges
    pool: Pool
    counted: Array


def observer_of(plan: Plan, source: DeviceData, ids: Array, due: Array | bool = True) -> Observer:
    """Make the observer that scores the models trained by clients ``ids [K]`` on their validation and test examples."""
    ranges, largest = scored(source)
    return observer(plan, jax.tree.map(lambda x: x[ids], ranges), source.pool, largest, due)


def observer(plan: Plan, ranges: Ranges, pool: Pool, largest: tuple[int, ...], due: Array | bool = True) -> Observer:
    """Make that observer from the slots' ranges ``[K, 2]`` in a pool."""
    by_class = _by_class(plan.task, len(ranges.start))
    return Observer(functools.partial(_look, plan.task, largest, by_class), ranges, pool, due)


def _look(task: Task, largest: tuple[int, ...], by_class: bool, params: Params, sets: Ranges, pool: Pool) -> Any:
    return score_model(task, params, pool, sets, largest, by_class)


def trained_scores(cohort: Cohort, observed: dict[str, Array]) -> dict[str, Array]:
    """Name the results of :func:`observer_of`, ``trained/{split}/{metric}``, ``[K]`` each, and add ``trained/ids``."""
    return by_split("trained/", observed) | {"trained/ids": jnp.where(cohort.weight > 0, cohort.ids, -1)}


def evaluate_all(plan: Plan, source: DeviceData, algorithm: Algorithm, state: Any) -> dict[str, Array]:
    """Score all served models, ``{scored_model}/{split}/{metric}``, ``[C]`` each, or ``[]`` where clients are pooled.

    The result also has ``examples``, ``[C]``, the weights of means over clients.
    """
    unseen = jnp.asarray(source.unseen, int)
    scores: dict[str, Array] = {"examples": source.train.count.at[unseen].set(0)}
    if "served" not in plan.evaluated_models:
        return scores
    ranges, largest = scored(source)
    ids = jnp.arange(source.num_clients, dtype=jnp.int32)
    all_clients = Audience(ids, ranges, source.pool, jnp.ones(ids.shape, bool).at[unseen].set(False))
    found, total = score_served(plan, all_clients, algorithm, state, largest, clients=source.num_clients)
    scores |= found | pooled_test_scores(plan.task, total)
    if algorithm.global_model is not None and source.largest[-1]:
        params = algorithm.global_model(state)
        scores |= global_test_scores(plan, params, source.pool, source.global_test, source.largest[-1])
    return scores


def score_served(
    plan: Plan,
    those: Audience,
    algorithm: Algorithm,
    state: Any,
    largest: tuple[int, ...],
    *,
    clients: int,
    total: Any = None,
) -> tuple[dict[str, Array], Any]:
    """Score some clients' served models, ``{scored_model}/{split}/{metric}``, ``[n]`` each.

    Args:
      plan: the run's plan.
      those: the clients.
      algorithm: the algorithm, which builds the models.
      state: the state with the rows of these clients.
      largest: number of examples of the largest client of all, in validation and test.
      clients: C, the number of all clients.
      total: the algorithm's overview sums over all clients; ``None`` where ``those`` are all clients.

    Returns:
      The scores; and the global model's sums over counted examples, for :func:`pooled_test_scores`.
    """
    scores: dict[str, Array] = {}
    options: dict[str, Any] = {
        "largest": largest, "by_class": _by_class(plan.task, clients), "axis": plan.axis, "ids": those.ids,
    }  # fmt: skip
    examples = those.pool, those.ranges
    if algorithm.personal is not None:
        models = algorithm.personal(state).completed(total)
        scores |= by_split("served/", score_clients(plan.task, models, *examples, stacked=True, **options)[0])
    if algorithm.teams is not None:
        teams, team_of = algorithm.teams(state)
        which = team_of[those.ids]
        found, _ = score_clients(plan.task, teams, *examples, stacked=False, which=which, **options)
        scores |= by_split("team/", found)
    if algorithm.global_model is None:
        return scores, ()
    params = algorithm.global_model(state)
    found, sums = score_clients(plan.task, params, *examples, stacked=False, counted=those.counted, **options)
    return scores | by_split("global/", found), sums


def pooled_test_scores(task: Task, total: Any) -> dict[str, Array]:
    """Score the global model on all clients' test examples together, ``pooled/test/{metric}``, ``[]`` each.

    Clients that never take part are left out, as they are scored separately. Without a global model the result is
    empty.
    """
    if isinstance(total, tuple) and not total:
        return {}
    return {f"pooled/test/{name}": x[SPLITS.index("test")] for name, x in pooled_scores(task, total).items()}


def scored(source: DeviceData) -> tuple[Ranges, tuple[int, ...]]:
    """Return the ranges ``[C, 2]`` of the scored splits, and the size of each split's largest client."""
    found = [source.split(split) for split in SPLITS]
    ranges = jax.tree.map(lambda *x: jnp.stack(x, -1), *(ranges for ranges, _ in found))
    return ranges, tuple(largest for _, largest in found)


def _by_class(task: Task, clients: int) -> bool:
    """Return whether scores by class are computed, which large federations omit."""
    return clients * task.num_classes <= _CLASS_SCORES


def by_split(prefix: str, scores: dict[str, Array]) -> dict[str, Array]:
    """Split scores ``[K, 2, ...]`` into ``{prefix}{split}/{name}``, ``[K, ...]`` each; by class only for test."""
    return {
        f"{prefix}{split}/{name}": x[:, i]
        for i, split in enumerate(SPLITS)
        for name, x in scores.items()
        if name not in BY_CLASS or split == "test"
    }


def global_test_scores(plan: Plan, params: Params, pool: Pool, test: Ranges, largest: int) -> dict[str, Array]:
    """Score the global model on the global test set, a range ``[1]``: ``pooled/global_test/{metric}``, ``[]`` each."""
    as_client, _ = evaluate(plan.task, params, pool, test, stacked=False, largest=largest)
    return {f"pooled/global_test/{name}": x[0] for name, x in as_client.items()}
