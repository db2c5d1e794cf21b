"""pFedMe (Dinh et al. 2020): a global model learnt through Moreau envelopes, and a personal model per client."""

from __future__ import annotations

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge

from fedjax_layers.algorithms.factory import factory
from fedjax_layers.algorithms.novel import rows_or, welcome_by_server
from fedjax_layers.algorithms.objectives.tether import tethered_gradient
from fedjax_layers.algorithms.sharing.round import init_sharing, round_info, server_phase, sharing_pass
from fedjax_layers.algorithms.sharing.state import Own, SharingState
from fedjax_layers.clients import Client, ClientVisit, LocalOptions, StepGradient, Trainer, refuse_own_steps, train
from fedjax_layers.ops import Term, permfl_client_step
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Batch, Cohort, Key, Params, RoundInfo, RoundMemory, Task


@factory()
def pfedme(
    trainer: Trainer,
    *,
    lam: Annotated[Traced[float], Ge(0)] = 15.0,
    inner_steps: Annotated[int, Ge(1)] = 5,
    inner_learning_rate: Annotated[Traced[float], Ge(0)] = 0.05,
    beta: Annotated[Traced[float], Ge(0)] = 1.0,
    published_local_model: bool = False,
    published_no_inner_loop: bool = False,
) -> Algorithm:
    """Solve on each client for a ``theta`` near its local ``w``, move ``w`` towards it, and average all w.

    It minimises the mean of ``F_c(w) = min_theta f_c(theta) + lam/2 * ||theta - w||^2``. On each step's batch the inner
    solver takes ``inner_steps`` steps of that minimum, from where the step before ended (from w in a round's first
    step), as the authors' code does; then ``w`` takes a step of the trainer's optimiser, plain SGD in the paper, on
    the envelope's gradient ``lam * (w - theta)``. The server mixes ``x <- (1 - beta) * x + beta * mean w``, where all
    clients of the cohort count by their weight.

    The personal model is ``theta`` of a client's last step, in ``trained`` scores too; a client that never took part
    gets the global model, from which its theta would start. The authors' code means to evaluate theta, but its list of
    personal parameters is another name of the model into which w is copied before the evaluation, so that its personal
    scores are those of the local w. It also adds a decay of 0.001 * theta to the inner steps, which neither the paper
    nor this code has. The reported loss is f(theta) at the start of the inner steps on each batch.

    Args:
      trainer: how each client trains; its optimiser steps the local w.
      lam: strength of the pull between the personal model theta and the local model w, per unit of squared distance.
        15 is the authors' default. May be traced, like all numbers but the next.
      inner_steps: steps towards the personal model on each batch. 5 is the authors' default.
      inner_learning_rate: step size towards the personal model, stable below 2 / (lam + curvature). The authors' code
        takes 0.01 to 0.1, by data set.
      beta: the server's step towards the mean of the local models; 1 is the mean, and above 1 it goes beyond it. 1 is
        the authors' default.
      published_local_model: keep and serve the local model w instead of the personal model theta; the training is the
        same.
      published_no_inner_loop: repeat PLayer-FL's code, which has no local model w: each client trains its theta, kept
        from round to round, by the trainer's optimiser on ``f(theta) + lam/2 * ||theta - x||^2``, with one step a
        batch and the server's x of the round's start; the server averages the thetas. Its ``lam`` is 0.1.

    Returns:
      The algorithm; it offers personal models and the global one.

    Raises:
      ValueError: a model with batch normalisation; ``inner_steps`` below 1.
    """
    refuse_own_steps(trainer, "pfedme")
    everything = np.ones(trainer.task.layers.num_layers, bool)
    envelope = envelope_gradient(trainer.task, lam, inner_steps, inner_learning_rate)
    server_step = optax.sgd(beta)  # on the pseudo-gradient x - mean w

    def init(key: Key, params: Params) -> SharingState:
        del key
        return init_sharing(trainer, params, personal=True, server_optimizer=server_step)

    def round_(key: Key, state: SharingState, cohort: Cohort) -> tuple[SharingState, RoundInfo]:
        options = LocalOptions(scale=trainer.scale_of(state.round), step_gradient=envelope)

        def visit(client: Client, own: Own) -> ClientVisit:
            if published_no_inner_loop:
                tethered = options._replace(step_gradient=tethered_gradient(trainer.task, client.shared, lam))
                result = train(trainer, key, client, own.model, opt_state=own.opt_state, options=tethered)
            else:
                result = train(trainer, key, client, client.shared, opt_state=own.opt_state, options=options)
            kept_local = published_local_model or published_no_inner_loop
            personal = result.params if kept_local else result.carried
            return ClientVisit(personal, result.loss, Term(result.sent, client.share), Own(personal, result.opt_state))

        phase = sharing_pass(trainer, key, state, cohort, visit)
        state = server_phase(trainer, key, state, phase, everything, server_step)
        return state, round_info(trainer, phase.passed, phase.cohort, everything)

    return Algorithm(
        init,
        round_,
        personal=lambda state: rows_or(state.clients, state.seen, state.server),
        global_model=lambda state: state.server,
        welcome=welcome_by_server,
        memory=RoundMemory(visit=5, server=1),
    )


def envelope_gradient(task: Task, lam: float | Array, steps: int, rate: float | Array) -> StepGradient:
    """Make the gradient ``lam * (w - theta)`` of the loss's Moreau envelope at w; theta is carried on.

    Args:
      task: the task with the loss f.
      lam: strength of the envelope's pull.
      steps: number of gradient steps on ``f(theta) + lam/2 * ||theta - w||^2`` per batch.
      rate: size of these steps.

    Source: Dinh et al. 2020, Algorithm 1.
    """

    def compute(params: Params, batches: tuple[Batch, ...], key: Key, theta: Params) -> tuple[Array, Params, Params]:
        def step(theta: Params, _: None) -> tuple[Params, Array]:
            # All steps use one key, so that they minimise one function also with dropout.
            loss, grads = jax.value_and_grad(task.loss)(theta, batches[0], key)
            return permfl_client_step(theta, grads, params, alpha=rate, lam=lam), loss

        theta, losses = jax.lax.scan(step, theta, None, length=steps)
        return losses[0], jax.tree.map(lambda w, t: jnp.asarray(lam, w.dtype) * (w - t), params, theta), theta

    return StepGradient(compute, begin=lambda params: params)
