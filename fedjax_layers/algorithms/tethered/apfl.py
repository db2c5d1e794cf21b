"""APFL (Deng et al. 2020): FedAvg's model w, and for each client a mixture of w with a model of its own."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge, Le
from flax import struct

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.novel import seen_or, welcome_by_server, within_sharing
from fedjax_layers.algorithms.sharing.round import init_sharing, round_info, server_phase, sharing_pass
from fedjax_layers.algorithms.sharing.state import Own, SharingState
from fedjax_layers.clients import Client, ClientVisit, LocalOptions, StepGradient, Trainer, refuse_own_steps, train
from fedjax_layers.ops import Term, layer_map
from fedjax_layers.options import Mark
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import (
    Algorithm,
    Array,
    Batch,
    Cohort,
    Key,
    Params,
    Personal,
    RoundInfo,
    RoundMemory,
    Task,
    per_client,
)


@struct.dataclass
class Pair:
    """The params that a client trains, ``w``, ``v`` and ``personal_weight []``; stacked ``[K, ...]`` in a cohort."""

    w: Params
    v: Params
    personal_weight: Any  # an array, or a shape or label in trees that describe a Pair


@struct.dataclass
class ApflState:
    """State between rounds.

    Attributes:
      sharing: the global model w, the clients' models v as ``clients``, and the optimiser states of both.
      personal_weight: each client's weight of v, ``[C]``.
    """

    sharing: SharingState
    personal_weight: Array = per_client()


@factory()
def apfl(
    trainer: Trainer,
    *,
    personal_weight: Annotated[Traced[float], Ge(0), Le(1), Mark.PER_CLIENT] = 0.5,
    adaptive: bool = False,
    personal_weight_rate: Annotated[Traced[float], Ge(0)] = 0.1,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Train the global ``w`` by FedAvg, and for each client a ``v_c`` for its mixture ``a * v_c + (1 - a) * w``.

    A local step uses one batch, and starts where the step before ended: ``w_c <- w_c - lr * grad f_c(w_c)`` and
    ``v_c <- v_c - lr * a * grad f_c(m_c)`` at ``m_c = a * v_c + (1 - a) * w_c``. The factor a makes it the derivative
    by v_c, as in the paper's Algorithm 1. FedJAX's APFL leaves the factor out, and learns a weight for each tensor on
    every batch. The authors' code mixes the outputs of two networks instead of their weights, which is the same for
    linear models only and gives no single personal model; it steps w_c before v_c, and adds ``0.02 * a`` to the
    derivative by a. There is no switch for these.

    With ``adaptive``, a client's a takes one step in each round that it attends, on the first batch as in the authors'
    code: ``a <- clip(a - personal_weight_rate * <grad f_c(m_c), v_c - w>, 0, 1)`` with v_c and w as the round began.
    The new a counts from the second local step on. While v_c equals w, a does not change.

    The ``trained`` scores and the loss are of m_c, with the client's own w_c. The personal model mixes v_c with the
    averaged w, also for absent clients. A client that never took part gets w.

    Args:
      trainer: how each client trains; w_c and v_c have an optimiser state each, fresh or kept.
      personal_weight: weight of the personal model in what a client serves, the paper's alpha, at the start: one
        number, or one for each client ``[C]``. May be traced. 0 is FedAvg, 1 local training beside FedAvg.
      adaptive: let each client learn its own weight.
      personal_weight_rate: step size of a client's weight. May be traced. The paper takes that of the models, and as
        theirs it follows the trainer's ``learning_rate_factor``.
      server_optimizer: of w, as in :func:`fedavg`.

    Returns:
      The algorithm; it offers personal models and the global one. Each round reports ``personal_weight``, the mean of
      a over the clients that took part.

    Raises:
      ValueError: ``personal_weight`` outside [0, 1], a negative ``personal_weight_rate``, or a model with batch
        normalisation.

    Source: Deng et al., arXiv 2003.13461, Algorithm 1, and its update of alpha.
    """
    if jnp.shape(personal_weight) not in ((), (trainer.num_clients,)):
        found = f"got shape {jnp.shape(personal_weight)}"
        raise ValueError(f"personal_weight: expected a number or {trainer.num_clients} of them, {found}")
    refuse_own_steps(trainer, "apfl")
    everything = np.ones(trainer.task.layers.num_layers, bool)
    both = _train_both(trainer)

    def init(key: Key, params: Params) -> ApflState:
        del key
        dtype = jnp.result_type(*jax.tree.leaves(params))
        start = Pair(params, params, jnp.zeros((), dtype))  # one client's pair, as its optimiser gets it
        sharing = init_sharing(trainer, params, personal=True, server_optimizer=server_optimizer)
        sharing = dataclasses.replace(sharing, client_opt=both.init_optimizer(start))
        return ApflState(sharing, jnp.broadcast_to(jnp.asarray(personal_weight, dtype), (trainer.num_clients,)))

    def round_(key: Key, state: ApflState, cohort: Cohort) -> tuple[ApflState, RoundInfo]:
        old = state.sharing
        scale = trainer.scale_of(old.round)
        rate = jnp.asarray(personal_weight_rate, state.personal_weight.dtype)
        if scale is not None:
            rate *= scale.astype(rate.dtype)
        options = LocalOptions(scale=scale, step_gradient=mixed_gradient(trainer.task, rate if adaptive else None))

        def visit(client: Client, own: Own) -> ClientVisit:
            start = Pair(client.shared, own.model, own.extra)
            result = train(both, key, client, start, opt_state=own.opt_state, options=options)
            share, _ = result.carried
            mixed = mix(share, result.params.v, result.params.w)
            row = Own(result.params.v, result.opt_state, share)
            return ClientVisit(mixed, result.loss, Term(result.sent.w, client.share), row, share)

        phase = sharing_pass(trainer, key, old, cohort, visit, extra=state.personal_weight)
        new = server_phase(trainer, key, old, phase, everything, server_optimizer)
        present = phase.cohort.weight > 0
        mean = jnp.where(present, phase.passed.out, 0).sum() / jnp.maximum(present.sum(), 1).astype(
            state.personal_weight.dtype
        )
        info = round_info(trainer, phase.passed, phase.cohort, everything, personal_weight=mean)
        return ApflState(new, phase.passed.store.extra), info

    def personal(state: ApflState) -> Personal:
        def build(row: Any, w: Params, _: Array) -> Params:
            share, v, seen = row
            return mix(share, seen_or(seen, v, w), w)

        return Personal((state.personal_weight, state.sharing.clients, state.sharing.seen), state.sharing.server, build)

    return Algorithm(
        init,
        round_,
        personal,
        global_model=lambda state: state.sharing.server,
        welcome=within_sharing(welcome_by_server),
        memory=RoundMemory(visit=5, states=2.5, server=1),
    )


def mix(share: Array, v: Params, w: Params) -> Params:
    """Compute ``share * v + (1 - share) * w``, which is exactly v at 1 and w at 0."""
    return jax.tree.map(lambda x, y: share.astype(x.dtype) * x + (1 - share).astype(x.dtype) * y, v, w)


def mixed_gradient(task: Task, rate: Array | None) -> StepGradient:
    """Make the gradients of a :class:`Pair`, of f at w and of f at the mixture by v; the weight of v is carried on.

    Args:
      task: the task with the loss f; the reported loss is that of the mixture.
      rate: step size ``[]`` of the weight in the first step, by the derivative of f at the mixture; ``None`` means 0.

    Source: Deng et al., arXiv 2003.13461, Algorithm 1.
    """

    def compute(params: Pair, batches: tuple[Batch, ...], key: Key, carried: Any) -> tuple[Array, Pair, Any]:
        share, first = carried
        at_w = jax.grad(task.loss)(params.w, batches[0], key)

        def mixed_loss(v: Params, share: Array) -> Array:
            return task.loss(mix(share, v, params.w), batches[0], key)

        loss, (by_v, by_share) = jax.value_and_grad(mixed_loss, argnums=(0, 1))(params.v, share)
        if rate is not None:
            moved = jnp.clip(share - rate * by_share, 0, 1)
            share = jnp.where(first, moved, share)
        return loss, Pair(at_w, by_v, jnp.zeros_like(share)), (share, jnp.bool_(False))

    return StepGradient(compute, begin=lambda params: (params.personal_weight, jnp.bool_(True)))


def _train_both(trainer: Trainer) -> Trainer:
    """Make the trainer of a :class:`Pair`: its layers are w, v and the weight; w and v have an optimiser each."""
    shapes = jax.eval_shape(trainer.task.init, jax.random.key(0))
    layers = layer_map(Pair(shapes, shapes, jax.ShapeDtypeStruct((), jnp.float32)), order=("w", "v", "personal_weight"))
    optimizer = optax.partition(
        {"model": trainer.optimizer, "own": trainer.optimizer, "weight": optax.set_to_zero()},
        Pair("model", "own", "weight"),
        mask_compatible_extra_args=True,
    )
    return dataclasses.replace(trainer, task=trainer.task._replace(layers=layers), optimizer=optimizer)
