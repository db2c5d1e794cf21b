"""Quadratic losses as a task of the package: each client's one example holds its Hessian and its centre."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedjax_layers.algorithms import permfl
from fedjax_layers.clients import LocalSolver, Setting
from fedjax_layers.models.task import task_from_functions
from fedjax_layers.types import Array, Cohort, Key, Params, Pool, Ranges, Task
from tests.reference.quadratics import Round

NUMBERS = ("client_lambda", "team_lambda", "gamma", "beta", "eta", "team_rounds")


@functools.cache
def make_task(dim: int, bend: float = 0.0) -> Task:
    """The loss of an example ``[d + 1, d]``, rows of ``A`` and then the centre; params are ``{"x": [d]}``.

    ``bend`` adds ``bend * sum log cosh x``, whose curvature lies in (0, bend].
    """

    def init(key: Key) -> Params:
        del key
        return {"x": jnp.zeros(dim)}

    def apply(params: Params, inputs: Array, key: Key | None) -> Array:
        del key
        away = params["x"] - inputs[:, -1]
        curved = bend * jnp.logaddexp(params["x"], -params["x"]).sum()
        return jnp.einsum("bi,bij,bj->b", away, inputs[:, :-1], away)[:, None] / 2 + curved

    def losses(outputs: Array, labels: Array) -> Array:
        del labels
        return outputs[:, 0]

    return task_from_functions(init, apply, losses, [".*"], 1)


def make_cohort(hessians: Array, centres: Array) -> Cohort:
    """All clients, one example each."""
    clients = len(centres)
    inputs = jnp.concatenate([hessians, centres[:, None]], axis=1)
    ids = jnp.arange(clients, dtype=jnp.int32)
    pool = Pool(inputs, jnp.zeros(clients, jnp.int32))
    return Cohort(ids, jnp.ones(clients), Ranges(ids, jnp.ones(clients, jnp.int32)), pool, in_order=True)


def permfl_round(one: Round, x: Any, *, bend: float = 0.0) -> Any:
    """The package's state after one round of PerMFL from ``x [d]``, or from each of ``x [S, d]``.

    All coefficients are traced: other numbers, of losses too, compile nothing, another number of client steps does.
    """
    losses = one.losses
    numbers = {n: getattr(one, n) for n in NUMBERS}
    task = make_task(np.shape(x)[-1], bend)
    data = (losses.hessians, losses.centres, losses.team_of.astype(np.int32))
    return _after(np.asarray(x), data, numbers, one.alpha, task, int(one.steps), losses.num_teams)


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def _after(x: Array, data: Any, numbers: dict[str, Any], alpha: Array, task: Task, steps: int, num_teams: int) -> Any:
    hessians, centres, team_of = data
    cohort = make_cohort(hessians, centres)
    clients = cohort.ids.shape[0]
    trainer = Setting(task, clients, 1, uniform=True).bind(LocalSolver(optax.sgd(alpha), 1, steps=steps))
    algorithm = permfl(trainer, team_of=team_of, num_teams=num_teams, **numbers)
    key = jax.random.key(0)  # an example is a full batch: nothing depends on the key

    def from_start(start: Array) -> Any:
        return algorithm.round(key, algorithm.init(key, {"x": start}), cohort)[0]

    return from_start(x) if x.ndim == 1 else jax.vmap(from_start)(x)
