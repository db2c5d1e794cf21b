"""Clients whose losses are quadratics with one Hessian: minimisers, envelopes and trajectories in closed form.

Client c has ``f_c(w) = 1/2 (w - m_c)' A (w - m_c)`` up to a constant, ``m_c`` the mean of its examples. One batch
holds all examples of a client, so an epoch is one step with the full gradient.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax

from fedjax_layers import ops
from fedjax_layers.clients import LocalSolver, Setting
from fedjax_layers.types import Cohort, Observer, Pool, Ranges, Task
from tests import toy

A = np.array([[2.0, 0.3, -0.4], [0.3, 1.0, 0.2], [-0.4, 0.2, 0.5]])
EYE = np.eye(3)
START = np.array([0.5, -1.0, 2.0])
COUNTS = np.array([5, 2])
SHARES = COUNTS / COUNTS.sum()
EXAMPLES = np.random.default_rng(3).normal(size=(7, 3)) + np.repeat([[2.0, 0.0, -1.0], [-3.0, 1.0, 1.0]], COUNTS, 0)
MEANS = [EXAMPLES[:5].mean(0), EXAMPLES[5:].mean(0)]


def _apply(params, inputs, key):
    del key
    return params[0]["w"] - inputs


def _losses(outputs, labels):
    del labels
    return jnp.einsum("bi,ij,bj->b", outputs, A, outputs) / 2


def _loss(params, batch, key):
    losses = _losses(_apply(params, batch.inputs, key), batch.labels)
    return jnp.where(batch.mask, losses, 0).sum() / batch.mask.sum()


def make_task():
    """The quadratic as a task; every client starts at ``START``."""
    params = [{"w": jnp.asarray(START)}]
    return Task(lambda _: [{"w": jnp.asarray(START)}], _apply, _losses, _loss, ops.layer_map(params), 1)


def make_trainer(task, *, learning_rate, epochs=1, **changes):
    """Plain SGD, one full batch an epoch."""
    trainer = Setting(task, 2, 5).bind(LocalSolver(optax.sgd(learning_rate), batch_size=8, epochs=epochs))
    return dataclasses.replace(trainer, **changes)


def make_cohort():
    """Both clients."""
    starts = np.concatenate([[0], np.cumsum(COUNTS)[:-1]])
    train = Ranges(jnp.asarray(starts, jnp.int32), jnp.asarray(COUNTS, jnp.int32))
    pool = Pool(jnp.asarray(EXAMPLES), jnp.zeros(len(EXAMPLES), jnp.int32))
    return Cohort(jnp.arange(2), jnp.asarray(COUNTS, jnp.float32), train, pool, Observer(toy.trained_model))
