"""A sharing rule and an objective joined into one algorithm.

The rule decides which layers are averaged; the objective decides what clients minimise and what is kept for that. The
server's step (mean, optimiser or robust rule) is a third choice that neither makes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from fedjax_layers.algorithms.factory import Method
from fedjax_layers.algorithms.novel import rows_or, seen_or, with_one
from fedjax_layers.algorithms.sharing.state import SharingState
from fedjax_layers.clients import LocalObjective, Trainer
from fedjax_layers.clients.stacked import where_rows
from fedjax_layers.types import Algorithm, Array, Params, Personal


def composed(method: Method[Algorithm], objective: LocalObjective) -> Method[Algorithm]:
    """Return a method whose clients train on an objective, and whose layers are shared as before.

    Args:
      method: a method that shares layers and trains on the plain loss: its factory has ``objectives``.
      objective: what clients minimise, one of :mod:`fedjax_layers.algorithms.objectives` or your own.

    Raises:
      ValueError: once it is bound, a method that does not take objectives, or an objective that does not fit.
    """
    return Method(method.solver, with_objective(method.make, objective))


def with_objective(rule: Callable[[Trainer], Algorithm], objective: LocalObjective) -> Callable[[Trainer], Algorithm]:
    """Make the function ``trainer -> Algorithm`` for a rule and an objective; see :func:`composed`."""

    def make(trainer: Trainer) -> Algorithm:
        if trainer.objective is not None:
            raise ValueError(f"objective: expected one, got {trainer.objective.name} and {objective.name}")
        objective.check(trainer)
        algorithm = rule(dataclasses.replace(trainer, objective=objective))
        visit, states, server = objective.memory
        old = algorithm.memory
        memory = old._replace(visit=old.visit + visit, states=old.states + states, server=old.server + server)
        algorithm = algorithm._replace(memory=memory)
        return algorithm if objective.own is None else _with_own_models(algorithm, objective)

    return make


def _with_own_models(rule: Algorithm, objective: LocalObjective) -> Algorithm:
    """Let each client use the model that its objective keeps; a client never seen uses what the rule serves."""
    if rule.finish is not None:
        raise ValueError(
            f"objective: expected none that gives clients models of their own ({objective.name}) where clients train "
            "once more after the last round"
        )
    own, with_own = objective.own, objective.with_own
    assert own is not None  # the caller asks
    assert with_own is not None  # it comes with ``own``

    def personal(state: Any) -> Personal:
        sharing = sharing_of(state)
        models = own(sharing.objective)
        if rule.personal is None:
            return rows_or(models, sharing.seen, sharing.server)  # type: ignore[arg-type]  # rows are kept: not None
        served = rule.personal(state)

        def build(row: Any, shared: Any, ident: Array) -> Params:
            model, seen, below = row
            return seen_or(seen, model, served.build(below, shared, ident))

        overview = served.overview and served.overview._replace(
            wanted=lambda rows: served.overview.wanted(rows[2]),  # type: ignore[union-attr]
            sums=lambda rows, *which: served.overview.sums(rows[2], *which),  # type: ignore[union-attr]
        )
        return Personal((models, sharing.seen, served.rows), served.shared, build, overview)

    def welcome(state: Any, shared: Any, ids: Array) -> Any:
        sharing = sharing_of(state)
        models = own(sharing.objective)
        if rule.personal is None:
            models = with_one(models, sharing.seen, shared)  # type: ignore[arg-type]
        else:
            served = rule.personal(state)
            others = jax.vmap(lambda row, ident: served.build(row, shared, ident))(served.rows, ids)
            models = where_rows(sharing.seen, models, others)  # type: ignore[arg-type]
            state = state if rule.welcome is None else rule.welcome(state, shared, ids)
        return _replaced(state, objective=with_own(sharing.objective, models))

    return rule._replace(personal=personal, welcome=welcome)


def sharing_of(state: Any) -> SharingState:
    """Return the part of a rule's state that all sharing rules have: the state itself, or its field ``sharing``."""
    return state if isinstance(state, SharingState) else state.sharing


def _replaced(state: Any, **fields: Any) -> Any:
    sharing = dataclasses.replace(sharing_of(state), **fields)
    return sharing if isinstance(state, SharingState) else dataclasses.replace(state, sharing=sharing)
