"""Two known clusters of clients with quadratic losses, for rules that should find out who is like whom.

Client c has ``f_c(w) = 1/2 ||w - m_c||^2``, one example ``m_c`` near its cluster's centre.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedjax_layers import ops
from fedjax_layers.clients import LocalSolver, Setting
from fedjax_layers.types import Cohort, Pool, Ranges, Task

CLIENTS, DIM = 8, 6
CLUSTER = np.array([0, 1, 0, 1, 0, 1, 0, 1])
CENTRES = np.array([[1.0, -1, 1, -1, 1, -1], [-1.0, 1, -1, 1, -1, 1]])
MEANS = CENTRES[CLUSTER] + 0.2 * np.random.default_rng(5).normal(size=(CLIENTS, DIM))


def _apply(params, inputs, key):
    del key
    both = jnp.concatenate([params[0]["w"], params[1]["w"]])
    return both[None] - inputs


def _losses(outputs, labels):
    del labels
    return (outputs**2).sum(-1) / 2


def _loss(params, batch, key):
    return jnp.where(batch.mask, _losses(_apply(params, batch.inputs, key), batch.labels), 0).sum()


def make_task():
    """Two layers of half the coordinates each; every client starts at the origin."""
    start = [{"w": jnp.zeros(DIM // 2)}, {"w": jnp.zeros(DIM // 2)}]
    return Task(lambda _: start, _apply, _losses, _loss, ops.layer_map(start), 1)


def make_trainer(task, learning_rate=0.3, steps=2):
    """Two full steps."""
    return Setting(task, CLIENTS, 1).bind(LocalSolver(optax.sgd(learning_rate), batch_size=1, steps=steps))


def make_cohort():
    """Everybody."""
    ids = jnp.arange(CLIENTS, dtype=jnp.int32)
    pool = Pool(jnp.asarray(MEANS), jnp.zeros(CLIENTS, jnp.int32))
    return Cohort(ids, jnp.ones(CLIENTS), Ranges(ids, jnp.ones(CLIENTS, jnp.int32)), pool, in_order=True)


def within_weights(make_algorithm, rounds):
    """What clients give to their own cluster, oneself left out, as a share of what they give others, by round."""
    task = make_task()
    algorithm = make_algorithm(make_trainer(task))
    state = algorithm.init(jax.random.key(0), task.init(jax.random.key(1)))
    step, shares = jax.jit(algorithm.round), []
    same = (CLUSTER[:, None] == CLUSTER) & ~np.eye(CLIENTS, dtype=bool)
    for t in range(rounds):
        state, info = step(jax.random.key(t), state, make_cohort())
        alpha = np.asarray(info.extra["alpha"]).mean(1)  # over layers
        others = np.where(np.eye(CLIENTS, dtype=bool), 0, alpha)
        shares.append((others * same).sum() / others.sum())
    return shares
