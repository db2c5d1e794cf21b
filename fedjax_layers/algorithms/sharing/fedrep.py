"""FedRep (Collins et al. 2021): each client trains its own head, then the shared layers below it."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt
from flax import struct

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.novel import sharing_models, welcome_by_mean_of_layers, within_sharing
from fedjax_layers.algorithms.sharing.prefix import prefix
from fedjax_layers.algorithms.sharing.round import (
    init_sharing,
    kept_part,
    round_info,
    server_phase,
    sharing_pass,
    start_from,
    summed_part,
)
from fedjax_layers.algorithms.sharing.state import Own, SharingState
from fedjax_layers.clients import Client, ClientVisit, Epochs, LocalOptions, Steps, Trainer, keys, train
from fedjax_layers.ops import Term
from fedjax_layers.options import Mark
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Cohort, Key, Params, RoundInfo, per_client


@struct.dataclass
class FedRepState:
    """State between rounds.

    Attributes:
      sharing: the models, and the optimiser states of the representation's phase.
      head_opt: the optimiser states of the head's phase ``[C, ...]``, or ``()``.
    """

    sharing: SharingState
    head_opt: Any = per_client()


@factory()
def fedrep(
    trainer: Trainer,
    *,
    head_layers: Annotated[Traced[int], Ge(0), Mark.LAYERS] = 1,
    head_epochs: Annotated[Epochs, Gt(0)] = 10,
    head_steps: Steps | None = None,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Train each client's head ``h_c`` on the common ``phi``, then ``phi`` below that head; average phi.

    A round has two phases on freshly shuffled examples: ``h_c <- h_c - lr * grad_h f_c(phi, h_c)`` with phi as
    received, then ``phi_c <- phi_c - lr * grad_phi f_c(phi_c, h_c)`` with the new head. Each phase has an optimiser
    state of its own, fresh every round or kept by the client from round to round (``keep_optimizer``); the gradients of
    the other phase never enter it. The authors' code uses one fresh SGD for both phases, which is the same, since its
    momenta are per layer. That code also tunes all clients' heads once more after the last round; here no client is
    trained outside a round. A client that never took part gets the mean of the others' heads; in the paper it trains a
    head of its own, which here is its adapted score. The reported loss is the mean over the steps of both phases.

    Args:
      trainer: how each client trains the representation; the authors' default is one epoch, SGD with momentum 0.5.
      head_layers: number of layers in the head, counted from the output. May be traced, where clients then keep whole
        models. 0 is FedAvg, L is local training.
      head_epochs: local epochs in which the head alone is trained, before the other layers; the paper's number is 10.
      head_steps: local steps in which the head alone is trained, in place of ``head_epochs``.
      server_optimizer: of the representation, as in :func:`fedavg`.

    Returns:
      The algorithm; it offers personal models only.

    Raises:
      ValueError: epochs or steps of the head below 1.

    Source: Collins et al. 2021, Algorithm 1, with local epochs of SGD for both parts as in its experiments.
    """
    layers = trainer.task.layers
    body = prefix(layers.num_layers - head_layers, layers.num_layers)
    tuner = trainer.phase("head", epochs=head_epochs, steps=head_steps)

    def init(key: Key, params: Params) -> FedRepState:
        del key
        personal = ~body if isinstance(body, np.ndarray) else True
        sharing = init_sharing(trainer, params, personal=personal, server_optimizer=server_optimizer)
        return FedRepState(sharing, tuner.init_optimizer(params))

    def round_(key: Key, state: FedRepState, cohort: Cohort) -> tuple[FedRepState, RoundInfo]:
        old = state.sharing
        head_key = jax.random.fold_in(key, keys.HEAD)  # the clients' ids are folded into it and into the round's
        scale = trainer.scale_of(old.round)
        head_only, body_only = LocalOptions(jnp.asarray(~body), scale), LocalOptions(jnp.asarray(body), scale)

        def visit(client: Client, own: Own) -> ClientVisit:
            params = start_from(layers, client.shared, own.model, body)
            tuned = train(tuner, head_key, client, params, opt_state=own.extra, options=head_only)
            result = train(trainer, key, client, tuned.params, opt_state=own.opt_state, options=body_only)
            row = Own(kept_part(result.params, own.model), result.opt_state, tuned.opt_state)
            steps = [t.num_steps(client.count, client.ident, client.faults.work) for t in (tuner, trainer)]
            counts = [jnp.asarray(n, result.loss.dtype) for n in steps]
            loss = (counts[0] * tuned.loss + counts[1] * result.loss) / jnp.maximum(counts[0] + counts[1], 1)
            summed = summed_part(trainer, result.sent, client.shared, body)
            return ClientVisit(result.params, loss, Term(summed, client.share), row)

        phase = sharing_pass(trainer, key, old, cohort, visit, extra=state.head_opt)
        sharing = server_phase(trainer, key, old, phase, body, server_optimizer)
        info = round_info(trainer, phase.passed, phase.cohort, body)
        steps = info.steps + round_info(tuner, phase.passed, phase.cohort, body).steps
        return FedRepState(sharing, phase.passed.store.extra), dataclasses.replace(info, steps=steps)

    private = trainer.privacy is not None
    personal = lambda state: sharing_models(layers, state.sharing, body, private=private)  # noqa: E731
    welcome = None if private else within_sharing(welcome_by_mean_of_layers)
    return Algorithm(init, round_, personal, welcome=welcome)
