"""FedLP (Zhu et al. 2023): each client sends each layer with a probability; a layer is averaged over who sent it."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.sharing.round import init_sharing, round_info, server_phase, sharing_pass
from fedjax_layers.algorithms.sharing.state import Own, Phase, SharingState
from fedjax_layers.clients import Client, ClientVisit, LocalOptions, Trainer, keys, train
from fedjax_layers.ops import Term, select
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Cohort, Key, LayerMap, Params, RoundInfo


@factory(aggregates=False)
def fedlp(
    trainer: Trainer,
    *,
    keep_probability: Annotated[Traced[float] | tuple[float, ...], Ge(0), Le(1)] = 0.7,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Train all layers, send each with a probability, and average each over the clients that sent it.

    A layer that nobody sends keeps the server's values exactly. This is the paper's homogeneous scheme, in which all
    clients train the whole model. One coin for each client, layer and round decides about all leaves of the layer, as
    the paper's text has it; the published code tosses one for each tensor. Clients are weighted by ``cohort.weight``
    (the published code weights them equally), so that with probability 1 this is :func:`fedavg`.

    Args:
      trainer: how each client trains.
      keep_probability: the probability with which a client sends a layer, one number or one for each layer. May be
        traced. PLayer-FL's comparison has 0.7, the authors' code 1, which is FedAvg.
      server_optimizer: as in :func:`fedavg`, of the layers that somebody sent.

    Returns:
      The algorithm; it offers the global model.

    Raises:
      ValueError: a number of probabilities that is neither one nor the number of layers.

    Source: Zhu et al. 2023 (arXiv 2303.06360), the homogeneous scheme.
    """
    layers = trainer.task.layers
    rate = jnp.asarray(keep_probability)
    if rate.shape not in ((), (layers.num_layers,)):
        expected = f"one number, or one for each of {layers.num_layers} layers"
        raise ValueError(f"keep_probability: expected {expected}, got shape {rate.shape}")

    def init(key: Key, params: Params) -> SharingState:
        del key
        return init_sharing(trainer, params, personal=False, server_optimizer=server_optimizer)

    def round_(key: Key, state: SharingState, cohort: Cohort) -> tuple[SharingState, RoundInfo]:
        options = LocalOptions(scale=trainer.scale_of(state.round))

        def visit(client: Client, own: Own) -> ClientVisit:
            result = train(trainer, key, client, client.shared, opt_state=own.opt_state, options=options)
            kept = drawn_layers(key, client.ident, rate, layers.num_layers)
            sent = select(kept, layers, result.sent, jax.tree.map(jnp.zeros_like, result.sent))
            row = Own(model=own.model, opt_state=result.opt_state)
            return ClientVisit(result.params, result.loss, Term(sent, client.share), row, kept)

        phase = sharing_pass(trainer, key, state, cohort, visit)
        mean, sent = mean_of_sent(layers, phase)
        state = server_phase(trainer, key, state, phase._replace(mean=mean), sent > 0, server_optimizer)
        info = round_info(trainer, phase.passed, phase.cohort, np.ones(layers.num_layers, bool))
        return state, dataclasses.replace(info, sent=sent)

    return Algorithm(init, round_, global_model=lambda state: state.server)


def drawn_layers(key: Key, ident: Array, rate: Array, num_layers: int) -> Array:
    """Draw the layers that a client sends in the round of ``key``, bool ``[L]``; ``rate`` is ``[]`` or ``[L]``."""
    own = jax.random.fold_in(jax.random.fold_in(key, keys.KEPT_LAYERS), ident)
    return jax.random.uniform(own, (num_layers,)) < rate


def mean_of_sent(layers: LayerMap, phase: Phase) -> tuple[Params, Array]:
    """Turn a mean in which layers that were not sent are zeros into one over the clients that sent each layer.

    Args:
      layers: the layer map.
      phase: the pass, with bool ``[K, L]`` as output: the layers that each slot sent.

    Returns:
      The mean, which means nothing for a layer that nobody sent, and the number of clients that sent each layer
      ``[L]`` int32.
    """
    weight = phase.cohort.weight[:, None].astype(float)
    heard = weight > 0
    sent = heard & phase.passed.out
    part = jnp.where(sent, weight, 0).sum(0) / jnp.where(heard.any(), weight.sum(), 1)
    # Sums of the same numbers in another order may differ from 1 in the last bit.
    part = jnp.where((sent == heard).all(0) | (part == 0), 1, part)
    mean = jax.tree.map(lambda layer, x: x / part[layer].astype(x.dtype), layers.tree, phase.mean)
    return mean, sent.sum(0, dtype=jnp.int32)
