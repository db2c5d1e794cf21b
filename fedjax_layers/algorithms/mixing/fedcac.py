"""FedCAC (Wu et al. 2023): each client's critical parameters are mixed with those of clients whose are the same."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Le
from flax import struct

from fedjax_layers.algorithms.factory import factory
from fedjax_layers.algorithms.novel import rows_or
from fedjax_layers.algorithms.sharing.round import init_sharing, round_info, server_phase, sharing_pass
from fedjax_layers.algorithms.sharing.state import Own, Phase, SharingState
from fedjax_layers.clients import Client, ClientVisit, LocalOptions, Trainer, train
from fedjax_layers.clients.running_statistics import weights_only
from fedjax_layers.clients.stacked import copies, where_rows
from fedjax_layers.clients.store import put_clients
from fedjax_layers.ops import Term, mix_layers, mix_pullback, regroup
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Params, Personal, RoundInfo, RoundMemory, per_client


@struct.dataclass
class FedCacState:
    """State between rounds.

    Attributes:
      sharing: the models and optimiser states; the clients' models are their custom ones, see :func:`fedcac`.
      masks: each client's critical parameters, bool leaves ``[C, ...]``.
    """

    sharing: SharingState
    masks: Params = per_client()


@factory(aggregates=False)
def fedcac(
    trainer: Trainer,
    *,
    critical_share: Annotated[Traced[float], Ge(0), Le(1)] = 0.5,
    collaboration_rounds: Annotated[Traced[float], Gt(0)] = 170.0,
) -> Algorithm:
    """Take critical parameters from a mix of like clients' models, and all others from the mean of all.

    After local training from ``s_i`` to ``w_i``, a parameter's criticality is ``|(w_i - s_i) * w_i|``, and in every
    tensor the ``floor(critical_share * size)`` most critical ones are marked. The overlap ``O_ij`` of two clients is
    the share of marks that they have in common. In the t-th round, t from 1, the custom model ``c_i`` is the plain mean
    of the client's own model and of those of all j with ``O_ij >= mean + t / collaboration_rounds * (max - mean)``,
    mean and maximum over all pairs of the cohort. The threshold grows, so that ever fewer clients collaborate: in round
    ``collaboration_rounds`` only the pairs of largest overlap do, and then nobody, unless all overlaps are equal. The
    client's next round starts from ``c_i`` where it has a mark, and from the server's model, FedAvg's mean, elsewhere.

    Overlaps are those within the round's cohort. An absent client keeps its marks and its custom model, beside which it
    gets the newest server's model. (A public library compares with the stored marks of all clients.) The personal model
    is the next round's start; a client that never took part gets the server's model. Of equally critical parameters
    the first in the tensor are marked. Running statistics of batch norms are never marked.

    Args:
      trainer: how each client trains.
      critical_share: share of each tensor that is critical, tau; a tensor of a single number has no mark below 1. The
        paper has 0.5. May be traced, like the next one. 0 is FedAvg.
      collaboration_rounds: round after which critical parameters are the client's own, beta. The paper has 170 on
        CIFAR.

    Returns:
      The algorithm; it offers personal models and the global one. Every round reports ``overlap``, the mean overlap of
      two clients of the cohort, ``overlap_threshold``, and ``partners``, the mean number of others in a custom model.

    Raises:
      ValueError: a number out of range.

    Source: Wu et al. 2023 (arXiv 2309.11103).
    """
    layers = trainer.task.layers
    everything = np.ones(layers.num_layers, bool)
    words = -(-sum(int(np.prod(shape)) for shape in layers.leaf_shapes) // 32)  # of 32 marks each

    def init(key: Key, params: Params) -> FedCacState:
        del key
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, bool), params)
        return FedCacState(init_sharing(trainer, params, personal=True), copies(nothing, trainer.num_clients))

    def round_(key: Key, state: FedCacState, cohort: Cohort) -> tuple[FedCacState, RoundInfo]:
        options = LocalOptions(scale=trainer.scale_of(state.sharing.round))

        def visit(client: Client, own: Own) -> ClientVisit:
            start = where_marked(own.extra, own.model, client.shared)
            result = train(trainer, key, client, start, opt_state=own.opt_state, options=options)
            change = jax.tree.map(lambda w, s: (w - s) * w, result.params, start)
            marks = weights_only(trainer.task, most_critical(change, critical_share))
            row = Own(own.model, result.opt_state, marks)
            return ClientVisit(result.params, result.loss, Term(result.sent, client.share), row, (result.sent, marks))

        phase = sharing_pass(trainer, key, state.sharing, cohort, visit, extra=state.masks)
        custom, extra = custom_models(trainer, phase, state.sharing.round + 1, collaboration_rounds)
        sharing = server_phase(trainer, key, state.sharing, phase, everything)
        sharing = dataclasses.replace(sharing, clients=put_clients(sharing.clients, phase.cohort, custom))
        scalars = words * (phase.cohort.weight > 0).sum(dtype=jnp.int32)
        info = round_info(trainer, phase.passed, phase.cohort, everything, sent_scalars=scalars, **extra)
        return FedCacState(sharing, phase.passed.store.extra), info

    def personal(state: FedCacState) -> Personal:
        sharing = state.sharing
        served = rows_or(sharing.clients, sharing.seen, sharing.server)  # type: ignore[arg-type]  # rows are kept

        def build(row: Any, server: Params, ident: Array) -> Params:
            marks, custom = row
            return where_marked(marks, served.build(custom, server, ident), server)

        return Personal((state.masks, served.rows), sharing.server, build)

    return Algorithm(
        init, round_, personal, global_model=lambda state: state.sharing.server, memory=RoundMemory(visit=4, slot=2)
    )


def where_marked(marks: Params, on: Params, off: Params) -> Params:
    """Take the marked numbers from ``on``, the others from ``off``."""
    return jax.tree.map(jnp.where, marks, on, off)


def most_critical(criticality: Params, share: float | Array) -> Params:
    """Mark in every tensor the ``floor(share * size)`` numbers of largest absolute value.

    Args:
      criticality: params.
      share: share of each tensor, 0 to 1.

    Returns:
      A tree of bool like the params; of equal numbers, the first are marked.
    """

    def one(x: Array) -> Array:
        number = jnp.floor(jnp.asarray(share, jnp.float32) * x.size).astype(jnp.int32)
        order = jnp.argsort(-jnp.abs(x).ravel())
        chosen = jnp.zeros(x.size, bool).at[order].set(jnp.arange(x.size) < number)
        return chosen.reshape(x.shape)

    return jax.tree.map(one, criticality)


def overlaps(masks: Params, present: Array, trainer: Trainer) -> Array:
    """Compute the shares of marks that two clients have in common, ``[K, K]``; 1 where there is no mark."""
    marks = jax.tree.map(lambda x: jnp.where(x, 1.0, 0.0).astype(jnp.float32), masks)
    marks = where_rows(present, marks, jax.tree.map(jnp.zeros_like, marks))
    common = mix_pullback(marks, marks, regroup(trainer.task.layers, "model"), trainer.axis)[:, 0]
    number = jnp.diagonal(common)
    return jnp.where(number[:, None] > 0, common / jnp.maximum(number, 1)[:, None], 1)


def partners(overlap: Array, present: Array, progress: Array) -> tuple[Array, Array, Array]:
    """Decide whose models are mixed.

    Args:
      overlap: ``[K, K]``.
      present: ``[K]`` bool; the others collaborate with nobody.
      progress: ``[]``, the number of the round over ``collaboration_rounds``.

    Returns:
      ``[K, K]`` bool without the diagonal, the mean overlap ``[]`` of two clients, and the threshold ``[]``.
    """
    pairs = present[:, None] & present[None] & ~jnp.eye(len(present), dtype=bool)
    most = jnp.where(pairs, overlap, 0).max()
    mean = jnp.where(pairs, overlap, 0).sum() / jnp.maximum(pairs.sum(), 1)
    # A mean of equal numbers may differ from them in the last bit, and no pair may fail by rounding alone.
    mean = jnp.clip(mean, jnp.where(pairs, overlap, most).min(), most)
    threshold = jnp.where(progress == 1, most, mean + progress.astype(mean.dtype) * (most - mean))
    return pairs & (overlap >= threshold), mean, threshold


def custom_models(
    trainer: Trainer, phase: Phase, turn: Array, collaboration_rounds: float | Array
) -> tuple[Params, dict[str, Array]]:
    """Mix each client's model with its partners', ``[K, ...]``; and what the round reports of this.

    Args:
      trainer: the trainer.
      phase: the pass, with models and marks ``[K, ...]`` as output.
      turn: the number of the round, from 1.
      collaboration_rounds: the round after which nobody collaborates.
    """
    models, masks = phase.passed.out
    present = phase.cohort.weight > 0
    models = where_rows(present, models, jax.tree.map(jnp.zeros_like, models))  # 0 * NaN is NaN
    progress = turn.astype(jnp.float32) / jnp.asarray(collaboration_rounds, jnp.float32)
    chosen, mean, threshold = partners(overlaps(masks, present, trainer), present, progress)
    heard = chosen | jnp.eye(len(present), dtype=bool)
    weights = heard / heard.sum(1, keepdims=True).astype(float)
    mixed = mix_layers(models, weights[:, None], regroup(trainer.task.layers, "model"), trainer.axis)
    members = jnp.maximum(present.sum(), 1)
    return mixed, {"overlap": mean, "overlap_threshold": threshold, "partners": chosen.sum() / members}
