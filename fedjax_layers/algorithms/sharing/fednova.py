"""FedNova (Wang et al. 2020): updates are divided by how far each client's steps reach before they are averaged."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.objectives.variates import refuse_varying_step
from fedjax_layers.algorithms.sharing.round import init_sharing, round_info, server_phase, sharing_pass
from fedjax_layers.algorithms.sharing.state import Own, Phase, SharingState
from fedjax_layers.clients import Client, ClientVisit, LocalOptions, Trainer, train
from fedjax_layers.clients.running_statistics import with_statistics
from fedjax_layers.ops import Term
from fedjax_layers.ops.optimizer_update import update_with
from fedjax_layers.ops.prox import with_proximal_term
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Params, RoundInfo, Task


@factory()
def fednova(
    trainer: Trainer,
    *,
    normaliser: Literal["solver", "steps"] = "solver",
    effective_steps: Literal["normalisers", "steps"] = "normalisers",
    mu: Annotated[Traced[float], Ge(0)] = 0.0,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Average updates per unit of local progress: ``w <- w - tau_eff * sum_i p_i (w - w_i) / a_i``.

    In FedAvg a client that takes more local steps moves the server further, and pulls it to its own optimum. Here
    ``a_i`` says how far the steps of client i reach in units of one step: ``tau_i`` for plain SGD, more with momentum,
    less with a proximal term. It is not taken from formulas but read from the solver: the optimiser is run on one
    number with a gradient of 1 for as many steps as the client takes, and the way is divided by that of the first
    step. For SGD, with momentum, a schedule, weight decay or a proximal term, this is the paper's ``||a_i||_1``, in
    which the learning rate cancels. So there is no option for the momentum, which could contradict the solver's. The
    momentum of a round is counted from zero, also where ``keep_optimizer`` keeps that of the last one.

    How many steps a client takes follows from the solver's epochs and its examples, or from its own epochs or steps.
    Running statistics of batch norms are averaged as in :func:`fedavg`. With equal work for all this is FedAvg, unless
    ``effective_steps="steps"``.

    Args:
      trainer: how each client trains, with plain SGD or SGD with momentum.
      normaliser: ``a_i``: ``"solver"`` reads it from the optimiser as above; ``"steps"`` is ``tau_i`` whatever the
        optimiser is, which admits Adam and the like.
      effective_steps: ``tau_eff``: ``"normalisers"`` is ``sum_i p_i a_i``, ``"steps"`` is ``sum_i p_i tau_i``, which
        the authors' code takes where there is a proximal term.
      mu: strength of a pull to the round's global model as in :func:`fedprox`. 0, without it, is the authors' default.
        May be traced.
      server_optimizer: as in :func:`fedavg`; the authors' server momentum is ``optax.sgd(1.0, momentum=rho)``.

    Returns:
      The algorithm; it offers the global model. Every round reports ``effective_steps``, tau_eff.

    Raises:
      ValueError: an unknown choice; with ``normaliser="solver"``, an optimiser without a fixed step (plain SGD and SGD
        with momentum have one), or one that does not treat all layers alike.

    Source: Wang et al. 2020 (arXiv 2007.07481), FedNova.
    """
    trainer = dataclasses.replace(trainer, optimizer=with_proximal_term(trainer.optimizer, mu))
    if normaliser == "solver":
        _refuse(trainer)
    everything = np.ones(trainer.task.layers.num_layers, bool)

    def init(key: Key, params: Params) -> SharingState:
        del key
        return init_sharing(trainer, params, personal=False, server_optimizer=server_optimizer)

    def round_(key: Key, state: SharingState, cohort: Cohort) -> tuple[SharingState, RoundInfo]:
        scale = trainer.scale_of(state.round)

        def visit(client: Client, own: Own) -> ClientVisit:
            options = LocalOptions(scale=scale)
            result = train(trainer, key, client, client.shared, opt_state=own.opt_state, options=options)
            steps = jnp.asarray(trainer.num_steps(client.count, client.ident, client.faults.work))
            reach = way(trainer.optimizer, steps, scale) if normaliser == "solver" else steps.astype(float)
            sent = rescaled_update(trainer.task, client.shared, result.sent, 1 / jnp.where(steps > 0, reach, 1))
            row = own._replace(opt_state=result.opt_state)
            return ClientVisit(result.params, result.loss, Term(sent, client.share), row, (reach, steps))

        phase = sharing_pass(trainer, key, state, cohort, visit)
        factor = _mean(phase, phase.passed.out[effective_steps == "steps"])
        mean = rescaled_update(trainer.task, state.server, phase.mean, factor)
        state = server_phase(trainer, key, state, phase._replace(mean=mean), everything, server_optimizer)
        scalars = (phase.cohort.weight > 0).sum(dtype=jnp.int32)
        told: dict[str, Any] = {"sent_scalars": scalars, "effective_steps": factor}
        return state, round_info(trainer, phase.passed, phase.cohort, everything, **told)

    return Algorithm(init, round_, global_model=lambda state: state.server)


def way(optimizer: optax.GradientTransformation, steps: int | Array, scale: Array | None = None) -> Array:
    """Run an optimiser on one number with a gradient of 1; return how far it comes, in units of its first step.

    Args:
      optimizer: the optimiser; a proximal term pulls back to where the number began.
      steps: number of steps ``[]``.
      scale: factor ``[]`` on every update; ``None`` means 1.

    Returns:
      ``[]``; 0 for no steps, and the number of steps where the optimiser does not move at all.
    """
    origin = jnp.zeros((), float)

    def step(i: Array, carry: Any) -> Any:
        place, state, first = carry
        update, state = update_with(optimizer, jnp.ones_like(place), state, place, anchor=origin, objective=None)
        moved = place + (update if scale is None else update * scale.astype(update.dtype))
        return moved, state, jnp.where(i == 0, moved, first)

    carry = (origin, optimizer.init(origin), origin)
    place, _, first = jax.lax.fori_loop(0, steps, step, carry)
    stands = first == 0
    return jnp.where(stands, jnp.asarray(steps, place.dtype), place / jnp.where(stands, 1, first))


def rescaled_update(task: Task, start: Params, trained: Params, factor: Array) -> Params:
    """Return ``start + factor * (trained - start)``, with the running statistics of ``trained``."""
    moved = jax.tree.map(lambda s, x: s + factor.astype(s.dtype) * (x - s), start, trained)
    return with_statistics(task, moved, trained)


def _mean(phase: Phase, values: Array) -> Array:
    """Average ``values [K]`` by the weights of the clients that were heard; 1 where there is none."""
    weight = phase.cohort.weight.astype(float)
    total = weight.sum()
    mean = (jnp.where(weight > 0, values, 0) * weight).sum() / jnp.where(total > 0, total, 1)
    return jnp.where(total > 0, mean, 1)


def _refuse(trainer: Trainer) -> None:
    """Raise ``ValueError`` for an optimiser whose way is not that of one number."""
    refuse_varying_step(trainer, "fednova")
    try:
        jax.eval_shape(lambda: way(trainer.optimizer, 1))
    except ValueError as error:
        told = str(error).partition("\n")[0]
        raise ValueError(f"optimizer: expected one that treats all layers alike for fednova, got {told}") from None
