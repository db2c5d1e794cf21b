"""The jitted parts of a run on the host, each of which gets the rows and examples of only some clients."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers.clients import Setting, keys
from fedjax_layers.engine.evaluation.evaluate import merged
from fedjax_layers.engine.evaluation.interval_scores import (
    Audience,
    by_split,
    global_test_scores,
    observer,
    pooled_test_scores,
    score_served,
    trained_scores,
)
from fedjax_layers.engine.intervals import Build, and_keep, bound, heard, round_keys, round_row
from fedjax_layers.engine.on_host.rows import map_rows, rows_of
from fedjax_layers.engine.placement.sharding import constrain_state
from fedjax_layers.engine.plan import Plan
from fedjax_layers.engine.programs.build import build_program
from fedjax_layers.types import Array, Cohort, Key, Models, Observer, Params, Personal, Pool, Ranges


@dataclasses.dataclass(frozen=True)
class Frame:
    """The static part of a run on the host beside its plan.

    Attributes:
      clients: C, the number of clients.
      largest: number of examples of the largest client, in validation and test.
      setting: the setting to which local solvers are bound.
      in_order: whether all clients take part in every round, in order.
    """

    clients: int
    largest: tuple[int, ...]
    setting: Setting
    in_order: bool = False


class Those(NamedTuple):
    """Some clients and their examples, as programs get them.

    Attributes:
      ids: ``[n]`` int32, the clients.
      weight: ``[n]``, their weights, as in a cohort.
      train: ``[n]``, the ranges of their training examples in the pool.
      scored: ``[n, 2]``, the ranges of their validation and test examples.
      pool: the pool with their examples.
    """

    ids: Array
    weight: Array
    train: Ranges
    scored: Ranges
    pool: Pool

    def cohort(self, watch: Observer | None, *, alone: bool, in_order: bool = False) -> Cohort:
        """Make a cohort of them; ``alone`` says that the state on the device holds only their rows."""
        places = jnp.arange(len(self.ids), dtype=jnp.int32) if alone else None
        return Cohort(self.ids, self.weight, self.train, self.pool, watch, places, in_order=alone or in_order)


@build_program(static=(1, 2, 3))
def first_rows(
    build: Build, plan: Plan, setting: Setting, number: int, hyper: Any, key: Key, params: Params, at: Array
) -> tuple[Any, list[Array]]:
    """Make the state before the first round with empty per-client leaves, and these leaves from client ``at`` on.

    The latter are ``[number, ...]``, so that all clients' rows never exist at once; all clients start equal.
    """
    state = bound(build, setting, hyper).init(jax.random.fold_in(key, keys.STATE), params)
    rows = [jax.lax.dynamic_slice_in_dim(x, at, number) for x in rows_of(state)]
    return constrain_state(map_rows(lambda x: x[:0], state), plan.axis), rows


@build_program(static=(1, 2), donated=(3,))
def play_round(
    build: Build, plan: Plan, frame: Frame, state: Any, hyper: Any, key: Key, those: Those, t: Array, due: Array
) -> tuple[Any, dict[str, Array], dict[str, Array]]:
    """Run round ``t``: return the state, its record, and where ``due`` the trained models' scores."""
    watch = None
    if "trained" in plan.evaluated_models:
        watch = observer(plan, those.scored, those.pool, frame.largest, due)
    cohort = those.cohort(watch, alone="state" in plan.on_host, in_order=frame.in_order)
    state, info = bound(build, frame.setting, hyper).round(round_keys(key, t)[1], state, cohort)
    scores = trained_scores(heard(cohort, info), info.observed) if info.observed else {}
    return constrain_state(state, plan.axis), round_row(cohort, info), scores


@build_program(static=(1,))
def overview(build: Build, setting: Setting, state: Any, hyper: Any, ids: Array, counted: Array) -> tuple[Array, Any]:
    """Return whether one of these clients needs the overview's sums, and the sums over the counted ones ``[n]``."""
    models = _personal(build, setting, state, hyper)
    if models is None or models.overview is None:
        return jnp.bool_(False), ()
    return models.overview.wanted(models.rows), models.total(ids, counted, jnp.bool_(True))


@build_program(static=(1, 2))
def score_part(
    build: Build, plan: Plan, frame: Frame, state: Any, hyper: Any, those: Audience, total: Any
) -> tuple[dict[str, Array], Any]:
    """Score some clients' served models; return the scores, and their part of the pooled scores."""
    algorithm, state = bound(build, frame.setting, hyper), _of_those(plan, state, those.ids)
    return score_served(plan, those, algorithm, state, frame.largest, clients=frame.clients, total=total)


@build_program(static=(1,))
def pool_parts(build: Build, plan: Plan, found: list[Any]) -> dict[str, Array]:
    """Score the global model on all counted examples together, from the results of the parts of the clients."""
    del build
    return pooled_test_scores(plan.task, merged(plan.task, jax.tree.map(lambda *x: jnp.stack(x), *found)))


@build_program(static=(1, 2, 3))
def score_global_test(
    build: Build, plan: Plan, frame: Frame, largest: int, state: Any, hyper: Any, pool: Pool, test: Ranges
) -> dict[str, Array]:
    """Score the global model on the global test set; empty without a global model."""
    algorithm = bound(build, frame.setting, hyper)
    if algorithm.global_model is None:
        return {}
    return global_test_scores(plan, algorithm.global_model(state), pool, test, largest)


@build_program(static=(1, 2, 3))
def finish_part(
    build: Build, plan: Plan, frame: Frame, keep: bool, state: Any, hyper: Any, key: Key, those: Those
) -> tuple[dict[str, Array], Params | None]:
    """Score some clients' models after the last local phase; return the models ``[n, ...]``, too, if ``keep``."""
    algorithm = bound(build, frame.setting, hyper)
    assert algorithm.finish is not None  # checked by the caller
    scoring = observer(plan, those.scored, those.pool, frame.largest)
    cohort = those.cohort(and_keep(scoring) if keep else scoring, alone=True)
    found = algorithm.finish(key, _of_those(plan, state, those.ids), cohort)
    scores, final = found if keep else (found, None)
    return by_split("", scores), final


@build_program(static=(1, 2))
def adapt_part(
    build: Build, plan: Plan, frame: Frame, state: Any, hyper: Any, key: Key, those: Those, total: Any
) -> dict[str, Array]:
    """Score clients that never took part after a round's local training, as in :func:`adapt_interval`."""
    algorithm, state = bound(build, frame.setting, hyper), _of_those(plan, state, those.ids)
    if algorithm.welcome is not None:
        assert algorithm.personal is not None  # their served models
        state = algorithm.welcome(state, algorithm.personal(state).completed(total).shared, those.ids)
    watch = observer(plan, those.scored, those.pool, frame.largest)
    _, info = algorithm.round(key, state, those.cohort(watch, alone=True))
    return by_split("", info.observed)


@build_program(static=(1,))
def personal_models(build: Build, setting: Setting, state: Any, hyper: Any, ids: Array, total: Any) -> Params:
    """Build the served models of clients ``ids [n]``, whose rows the state holds, leaves ``[n, ...]``."""
    models = _personal(build, setting, state, hyper)
    assert models is not None  # checked by the caller
    return models.completed(total).stacked(ids)


@build_program(static=(1,))
def common_models(build: Build, setting: Setting, state: Any, hyper: Any) -> Models:
    """Return a state's global and team models."""
    return bound(build, setting, hyper)._replace(personal=None).models(state)


def _personal(build: Build, setting: Setting, state: Any, hyper: Any) -> Personal | None:
    personal = bound(build, setting, hyper).personal
    return None if personal is None else personal(state)


def _of_those(plan: Plan, state: Any, ids: Array) -> Any:
    """Return the state with only the rows of clients ``ids``, which are taken here if it is on the device."""
    return state if "state" in plan.on_host else map_rows(lambda x: x[ids], state)
