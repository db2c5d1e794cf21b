"""The scores that a period of rounds ends with: each client's models, and those that several share."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.scoring.classes import BY_CLASS
from fedjax_layers.simulation.evaluation import SPLITS, evaluate
from fedjax_layers.simulation.federation import Federation
from fedjax_layers.simulation.plan import Plan
from fedjax_layers.types import Array, Models, Params, Ranges

_CLASS_SCORES = 20_000


def evaluate_all(plan: Plan, source: Federation, models: Models, last: Any) -> dict[str, Array]:
    """Scores by name: ``{moment}/{split}/{metric}``, ``[C]``, or ``[K]`` for ``trained`` with its ``trained/ids``.

    Beside them ``examples``, ``[C]``, what their means over clients are weighted by.
    """
    scores: dict[str, Array] = {"examples": source.train.count.at[jnp.asarray(source.unseen, int)].set(0)}

    def add(prefix: str, params: Any, stacked: bool, rows: Any = slice(None), which: Any = None) -> None:
        ranges, largest = _scored(source, rows)
        per_client, _ = evaluate(
            plan.task, params, source.pool, ranges, stacked=stacked, largest=largest, axis=plan.axis, which=which
        )
        scores.update(_by_split(f"{prefix}/", per_client))

    if last:
        ids, weight, trained = last
        add("trained", trained, stacked=True, rows=ids)
        scores["trained/ids"] = jnp.where(weight > 0, ids, -1)
    if "served" in plan.moments and models.personal is not None:
        add("served", models.personal, stacked=True)
    if "served" in plan.moments and models.team is not None:
        add("team", models.team, stacked=False, which=models.team_of)
    if "served" in plan.moments and models.global_model is not None:
        scores |= _global_scores(plan, source, models.global_model)
        scores |= _global_test_scores(plan, source, models.global_model)
    return scores


def _global_scores(plan: Plan, source: Federation, params: Params) -> dict[str, Array]:
    """The global model on each client's examples, ``global/{split}/{metric}`` ``[C]``, and on all together.

    The latter, ``pooled/test/{metric}`` ``[]``, leaves out clients that never take part: they are scored apart.
    """
    unseen = source.unseen
    ranges, largest = _scored(source)
    score = functools.partial(evaluate, plan.task, params, source.pool, stacked=False, largest=largest, axis=plan.axis)
    if isinstance(unseen, tuple):
        per_client, total = score(ranges, pooled=True)
    else:
        per_client, total = score(Ranges(ranges.start, ranges.count.at[unseen].set(0)), pooled=True)
        apart, _ = score(jax.tree.map(lambda x: x[unseen], ranges))
        per_client = {name: x.at[unseen].set(apart[name]) for name, x in per_client.items()}
    test = {f"pooled/test/{name}": x[SPLITS.index("test")] for name, x in total.items()}
    return _by_split("global/", per_client) | test


def _scored(source: Federation, rows: Any = slice(None)) -> tuple[Ranges, int]:
    """Ranges ``[K, 2]`` of the splits that are scored, and the size of the largest: one program scores them all."""
    found = [source.split(split) for split in SPLITS]
    ranges = jax.tree.map(lambda *x: jnp.stack(x, -1)[rows], *(ranges for ranges, _ in found))
    return ranges, max(largest for _, largest in found)


def _by_split(prefix: str, scores: dict[str, Array]) -> dict[str, Array]:
    """Scores ``[K, 2, ...]`` as ``{prefix}{split}/{name}``, ``[K, ...]`` each; those by class of test examples alone.

    Of more than ``_CLASS_SCORES`` clients and classes there are none by class: all evaluations of a run are kept.
    """
    return {
        f"{prefix}{split}/{name}": x[:, i]
        for i, split in enumerate(SPLITS)
        for name, x in scores.items()
        if name not in BY_CLASS or (split == "test" and x[:, 0].size <= _CLASS_SCORES)
    }


def _global_test_scores(plan: Plan, source: Federation, params: Params) -> dict[str, Array]:
    """The global model on the global test set, ``pooled/global_test/{metric}``, ``[]`` each; nothing without one."""
    largest = source.largest[-1]
    if not largest:
        return {}
    as_client, _ = evaluate(plan.task, params, source.pool, source.global_test, stacked=False, largest=largest)
    return {f"pooled/global_test/{name}": x[0] for name, x in as_client.items()}


def score_each(plan: Plan, source: Federation, stacked: Params, rows: Any = slice(None)) -> dict[str, Array]:
    """Scores of one model per client on its own examples, by ``{split}/{metric}``, ``[K]`` each."""
    ranges, largest = _scored(source, rows)
    per_client, _ = evaluate(plan.task, stacked, source.pool, ranges, stacked=True, largest=largest, axis=plan.axis)
    return _by_split("", per_client)
