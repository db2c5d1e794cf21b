"""FedRep (Collins et al. 2021): tune the own head on the common representation, then the representation under it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from fedjax_layers import keys
from fedjax_layers.algorithms.novel import welcome_by_mean, welcoming, within_sharing
from fedjax_layers.algorithms.numbers import numbers_for_all
from fedjax_layers.algorithms.sharing import (
    SharingState,
    init_sharing,
    put_clients,
    round_info,
    served_models,
    server_phase,
    take_clients,
)
from fedjax_layers.local_training import Epochs, LocalOptions, LocalResult, Steps, Trainer, train_cohort
from fedjax_layers.ops import prefix_mask
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Models, Params, RoundInfo, per_client


@struct.dataclass
class FedRepState:
    """State between rounds.

    Attributes:
      sharing: models, and the optimiser states of the representation's phase.
      head_opt: optimiser states of the head's phase ``[C, ...]``, or ``()``.
    """

    sharing: SharingState
    head_opt: Any = per_client()


@numbers_for_all()
def fedrep(
    trainer: Trainer,
    *,
    head_layers: int | Array = 1,
    head_epochs: Epochs = 10,
    head_steps: Steps | None = None,
    server_optimizer: optax.GradientTransformation | None = None,
) -> Algorithm:
    """Each client trains its head ``h_c`` under the common ``phi``, then ``phi`` under its head; phi is averaged.

    A round has two phases on freshly shuffled examples: ``h_c <- h_c - lr * grad_h f_c(phi, h_c)`` with phi as
    received, then ``phi_c <- phi_c - lr * grad_phi f_c(phi_c, h_c)`` with the new head. Each phase has an optimiser
    state of its own, fresh every round or kept by the client from round to round (``keep_optimizer``); the other
    phase's gradients never enter it. In the authors' code one fresh SGD goes through both, whose momenta are per
    layer: for it that is the same. That code also tunes all clients' heads once more after the last round; here
    nobody is trained outside a round, and a client that never took part is served the mean of the others' heads; in
    the paper it trains a head of its own, which is what its adapted score says. The
    loss reported is the mean over the steps of both phases.

    Args:
      trainer: how each client trains the representation; the authors' default is one epoch, SGD with momentum 0.5.
      head_layers: layers of the head, counted from the output; may be traced. 0 is FedAvg, L is local training.
      head_epochs: epochs of the head in a round, before the representation's; 10 is the paper's.
      head_steps: steps of the head instead.
      server_optimizer: of the representation, as in :func:`fedavg`.

    Returns:
      The algorithm; it offers personal models only.

    Raises:
      ValueError: epochs or steps of the head below 1.

    Source: Collins et al. 2021, Algorithm 1, with local epochs of SGD for both parts as in its experiments.
    """
    num_layers = trainer.task.layers.num_layers
    body = prefix_mask(num_layers - head_layers, num_layers)
    tuner = trainer.phase("head", epochs=head_epochs, steps=head_steps)

    def init(key: Key, params: Params) -> FedRepState:
        del key
        sharing = init_sharing(trainer, params, personal=True, server_optimizer=server_optimizer)
        return FedRepState(sharing, tuner.init_optimizer(params))

    def round_(key: Key, state: FedRepState, cohort: Cohort) -> tuple[FedRepState, RoundInfo]:
        old = state.sharing
        head_key = jax.random.fold_in(key, keys.HEAD)  # the clients' ids are folded into it and into the round's
        scale = trainer.scale_of(old.round)
        own, head_opt, body_opt = take_clients((old.clients, state.head_opt, old.client_opt), cohort)
        head_only, body_only = LocalOptions(jnp.logical_not(body), scale), LocalOptions(body, scale)
        tuned = train_cohort(
            tuner, head_key, cohort, server=old.server, own=own, shared=body, opt_state=head_opt, options=head_only
        )
        result = train_cohort(trainer, key, cohort, own=tuned.params, opt_state=body_opt, options=body_only)
        sharing = server_phase(trainer, key, old, cohort, result, body, server_optimizer)
        kept = put_clients(state.head_opt, cohort, tuned.opt_state)
        return FedRepState(sharing, kept), _report(((tuner, tuned), (trainer, result)), cohort, body)

    algorithm = Algorithm(init, round_, lambda state: Models(personal=served_models(trainer, state.sharing, body)))
    return welcoming(algorithm, within_sharing(welcome_by_mean))


def _report(phases: tuple[tuple[Trainer, LocalResult], ...], cohort: Cohort, shared: Array) -> RoundInfo:
    """The report of the last phase, with the steps of all phases and the mean loss over them."""
    infos = [round_info(trainer, result, cohort, shared) for trainer, result in phases]
    counts = [
        jnp.asarray(trainer.num_steps(cohort.train.count, cohort.ids), infos[0].loss.dtype) for trainer, _ in phases
    ]
    total = sum(n * info.loss for n, info in zip(counts, infos, strict=True))
    steps = sum((info.steps for info in infos), jnp.int32(0))
    return dataclasses.replace(infos[-1], steps=steps, loss=total / jnp.maximum(sum(counts), 1))
