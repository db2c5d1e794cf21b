"""Ditto (Li et al. 2021): FedAvg, and for each client a personal model that is pulled to the global one."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt
from flax import struct

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.novel import rows_or, welcome_by_server, within_sharing
from fedjax_layers.algorithms.sharing.round import (
    Own,
    SharingState,
    init_sharing,
    round_info,
    server_phase,
    sharing_pass,
)
from fedjax_layers.clients import Client, ClientVisit, Epochs, LocalOptions, StepGradient, Steps, Trainer, train
from fedjax_layers.clients.running_statistics import refuse_statistics
from fedjax_layers.ops import Term
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Batch, Cohort, Key, Params, RoundInfo, RoundMemory, Task, per_client


@struct.dataclass
class DittoState:
    """State between rounds.

    Attributes:
      sharing: the global model, the optimiser states of its training, and as ``clients`` the personal models.
      personal_opt: optimiser states of the personal models ``[C, ...]``, or ``()``.
    """

    sharing: SharingState
    personal_opt: Any = per_client()


@factory()
def ditto(
    trainer: Trainer,
    *,
    lam: Annotated[Traced[float], Ge(0)] = 0.1,
    personal_epochs: Annotated[Epochs | None, Gt(0)] = None,
    personal_steps: Steps | None = None,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Train ``w`` by FedAvg, and each client's model by ``v_c <- v_c - lr * [grad f_c(v_c) + lam * (v_c - w)]``.

    In a round every client of the cohort trains a copy of w, which is averaged, and its own v_c, which never leaves it
    and is pulled to the w that it received. Both use the same batches, as in the authors' code. The ``trained`` scores
    and the loss (without the pull) are of v_c. A client that never took part gets the global model, from which its v_c
    would start.

    Args:
      trainer: how each client trains both of them; kept optimiser states are one for w and one for v_c.
      lam: strength of the pull of the personal model to the global one, per unit of squared distance; 0 is local
        training beside FedAvg. PLayer-FL's tables have 0.1. May be traced.
      personal_epochs: local epochs of the personal model in a round, where they differ from the global model's.
      personal_steps: local steps of the personal model in a round, in place of epochs.
      server_optimizer: of the global model, as in :func:`fedavg`.

    Returns:
      The algorithm; it offers personal models and the global one.

    Raises:
      ValueError: a model with batch normalisation; both personal epochs and steps, or one of them below 1.
    """
    everything = np.ones(trainer.task.layers.num_layers, bool)
    refuse_statistics(trainer.task, "ditto")
    own = trainer
    if personal_epochs is not None or personal_steps is not None:
        if personal_epochs is not None and personal_steps is not None:
            found = f"{personal_epochs} and {personal_steps}"
            raise ValueError(f"personal_epochs, personal_steps: expected one of them, got {found}")
        own = trainer.phase("personal", epochs=personal_epochs, steps=personal_steps)

    def init(key: Key, params: Params) -> DittoState:
        del key
        sharing = init_sharing(trainer, params, personal=True, server_optimizer=server_optimizer)
        return DittoState(sharing, own.init_optimizer(params))

    def round_(key: Key, state: DittoState, cohort: Cohort) -> tuple[DittoState, RoundInfo]:
        old = state.sharing
        plain = LocalOptions(scale=trainer.scale_of(old.round))
        tethered = plain._replace(step_gradient=tethered_gradient(trainer.task, old.server, lam))

        def visit(client: Client, kept: Own) -> ClientVisit:
            common = train(trainer, key, client, client.shared, opt_state=kept.opt_state, options=plain)
            local = train(own, key, client, kept.model, opt_state=kept.extra, options=tethered)
            row = Own(local.params, common.opt_state, local.opt_state)
            return ClientVisit(local.params, local.loss, Term(common.sent, client.share), row)

        phase = sharing_pass(trainer, key, old, cohort, visit, extra=state.personal_opt)
        new = server_phase(trainer, key, old, phase, everything, server_optimizer)
        info = round_info(own, phase.passed, phase.cohort, everything)
        steps = info.steps + round_info(trainer, phase.passed, phase.cohort, everything).steps
        return DittoState(new, phase.passed.store.extra), dataclasses.replace(info, steps=steps)

    return Algorithm(
        init,
        round_,
        personal=lambda state: rows_or(state.sharing.clients, state.sharing.seen, state.sharing.server),
        global_model=lambda state: state.sharing.server,
        welcome=within_sharing(welcome_by_server),
        memory=RoundMemory(visit=4, states=3, server=1),
    )


def tethered_gradient(task: Task, centre: Params, lam: float | Array) -> StepGradient:
    """Make the gradient of ``f(v) + lam/2 * ||v - centre||^2``, with one centre for all clients; the loss is f alone.

    Args:
      task: the task with the loss f.
      centre: params of one model.
      lam: strength of the pull.

    Source: Li et al. 2021, Algorithm 1.
    """

    def objective(params: Params, batches: tuple[Batch, ...], key: Key) -> Array:
        loss = task.loss(params, batches[0], key)
        squares = [jnp.square(gap).sum() for gap in jax.tree.leaves(jax.tree.map(jnp.subtract, params, centre))]
        return loss + (jnp.asarray(lam, squares[0].dtype) / 2 * sum(squares)).astype(loss.dtype)

    def compute(params: Params, batches: tuple[Batch, ...], key: Key, carried: Any) -> tuple[Array, Params, Any]:
        loss, grads = jax.value_and_grad(task.loss)(params, batches[0], key)
        pulled = jax.tree.map(lambda g, v, w: g + jnp.asarray(lam, g.dtype) * (v - w), grads, params, centre)
        return loss, pulled, carried

    return StepGradient(compute, objective=objective)
