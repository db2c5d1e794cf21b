"""The scores that a period of rounds ends with: each client's models, and those that several share."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.scoring.classes import BY_CLASS
from fedjax_layers.simulation.evaluation import SPLITS, evaluate, score_model
from fedjax_layers.simulation.federation import Federation
from fedjax_layers.simulation.plan import Plan
from fedjax_layers.types import Algorithm, Array, Cohort, Observer, Params, Personal, Ranges, Task

_CLASS_SCORES = 20_000


def observer_of(plan: Plan, source: Federation, slots: int, due: Array | bool = True) -> Observer:
    """Scores every model that is trained, of ``slots`` clients, on its client's validation and test examples."""
    ranges, largest = _scored(source)
    look = functools.partial(_look, plan.task, largest, _by_class(plan.task, slots))
    return Observer(look, (source.pool, ranges), due)


def _look(task: Task, largest: tuple[int, ...], by_class: bool, params: Params, ident: Array, data: Any) -> Any:
    pool, ranges = data
    sets = jax.tree.map(lambda x: x[ident], ranges)
    return score_model(task, params, pool, sets, largest, by_class)


def trained_scores(cohort: Cohort, observed: dict[str, Array], prefix: str = "trained/") -> dict[str, Array]:
    """What :func:`observer_of` found, by ``{prefix}{split}/{metric}``, ``[K]`` each, and ``{prefix}ids``."""
    return by_split(prefix, observed) | {f"{prefix}ids": jnp.where(cohort.weight > 0, cohort.ids, -1)}


def evaluate_all(plan: Plan, source: Federation, algorithm: Algorithm, state: Any) -> dict[str, Array]:
    """Scores of what is served, ``{moment}/{split}/{metric}``, ``[C]`` each, or ``[]`` where clients are pooled.

    Beside them ``examples``, ``[C]``, what their means over clients are weighted by.
    """
    scores: dict[str, Array] = {"examples": source.train.count.at[jnp.asarray(source.unseen, int)].set(0)}
    if "served" not in plan.moments:
        return scores
    if algorithm.personal is not None:
        scores |= score_each(plan, source, algorithm.personal(state), "served/")
    if algorithm.teams is not None:
        models, team_of = algorithm.teams(state)
        scores |= score_each(plan, source, models, "team/", which=team_of)
    if algorithm.global_model is not None:
        scores |= _global_scores(plan, source, algorithm.global_model(state))
        scores |= _global_test_scores(plan, source, algorithm.global_model(state))
    return scores


def score_each(
    plan: Plan, source: Federation, models: Personal | Params, prefix: str, which: Array | None = None
) -> dict[str, Array]:
    """Scores of each client's model, or with ``which [C]`` its team's, by ``{prefix}{split}/{metric}``, ``[C]``."""
    ranges, largest = _scored(source)
    by_class = _by_class(plan.task, source.num_clients)
    options: dict[str, Any] = {"stacked": which is None, "which": which, "largest": largest, "by_class": by_class}
    found, _ = evaluate(plan.task, models, source.pool, ranges, axis=plan.axis, **options)
    return by_split(prefix, found)


def _global_scores(plan: Plan, source: Federation, params: Params) -> dict[str, Array]:
    """The global model on each client's examples, ``global/{split}/{metric}`` ``[C]``, and on all together.

    The latter, ``pooled/test/{metric}`` ``[]``, leaves out clients that never take part: they are scored apart.
    """
    unseen = source.unseen
    ranges, largest = _scored(source)
    by_class = _by_class(plan.task, source.num_clients)
    options: dict[str, Any] = {"stacked": False, "largest": largest, "axis": plan.axis, "by_class": by_class}

    def score(ranges: Ranges, pooled: bool = False) -> tuple[dict[str, Array], dict[str, Array]]:
        return evaluate(plan.task, params, source.pool, ranges, pooled=pooled, **options)

    if isinstance(unseen, tuple):
        per_client, total = score(ranges, pooled=True)
    else:
        per_client, total = score(Ranges(ranges.start, ranges.count.at[unseen].set(0)), pooled=True)
        apart, _ = score(jax.tree.map(lambda x: x[unseen], ranges))
        per_client = {name: x.at[unseen].set(apart[name]) for name, x in per_client.items()}
    test = {f"pooled/test/{name}": x[SPLITS.index("test")] for name, x in total.items()}
    return by_split("global/", per_client) | test


def _scored(source: Federation) -> tuple[Ranges, tuple[int, ...]]:
    """Ranges ``[C, 2]`` of the splits that are scored, and the size of each one's largest client."""
    found = [source.split(split) for split in SPLITS]
    ranges = jax.tree.map(lambda *x: jnp.stack(x, -1), *(ranges for ranges, _ in found))
    return ranges, tuple(largest for _, largest in found)


def _by_class(task: Task, clients: int) -> bool:
    """Whether scores by class are given: of more than ``_CLASS_SCORES`` clients and classes they would fill a run."""
    return clients * task.num_classes <= _CLASS_SCORES


def by_split(prefix: str, scores: dict[str, Array]) -> dict[str, Array]:
    """Scores ``[K, 2, ...]`` as ``{prefix}{split}/{name}``, ``[K, ...]`` each; by class of test examples alone."""
    return {
        f"{prefix}{split}/{name}": x[:, i]
        for i, split in enumerate(SPLITS)
        for name, x in scores.items()
        if name not in BY_CLASS or split == "test"
    }


def _global_test_scores(plan: Plan, source: Federation, params: Params) -> dict[str, Array]:
    """The global model on the global test set, ``pooled/global_test/{metric}``, ``[]`` each; nothing without one."""
    largest = source.largest[-1]
    if not largest:
        return {}
    as_client, _ = evaluate(plan.task, params, source.pool, source.global_test, stacked=False, largest=largest)
    return {f"pooled/global_test/{name}": x[0] for name, x in as_client.items()}
