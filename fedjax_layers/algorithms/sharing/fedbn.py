"""FedBN (Li et al. 2021): all layers are averaged except batch normalisation, which stays with each client."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.sharing.fixed_sharing import fixed_sharing
from fedjax_layers.algorithms.sharing.state import SharingState
from fedjax_layers.clients import Trainer
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, BatchNorm, Cohort, Key, LayerMap, RoundInfo


@factory(objectives=True)
def fedbn(
    trainer: Trainer,
    *,
    local_affine: Traced[bool] = True,
    local_statistics: Traced[bool] = True,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Average all leaves but those of ``BatchNorm``: scales, offsets and running statistics are the client's own.

    With ``local_affine=False`` it is SiloBN (Andreux et al. 2020); with ``local_statistics=False`` as well it is
    FedAvg, which averages running statistics like weights. A mask per layer cannot separate a norm from the convolution
    of the same layer, so the mask is one of a finer layer map (:func:`norm_layers`), used in this algorithm alone;
    reports are by the model's layers. A layer of which some leaves are sent counts as sent, so that reported bytes
    include its norms' few vectors (less than 0.01 % of ``bn_cnn`` at full width).

    Clients are weighted by ``cohort.weight``; FedBN's code, whose clients have equally many examples, weights them
    equally.

    Args:
      trainer: how each client trains; its task has batch normalisation.
      local_affine: whether each client keeps the scales and offsets of its normalisation layers. May be traced.
      local_statistics: whether each client keeps the running means and variances of its normalisation layers.
      server_optimizer: as in :func:`fedavg`.

    Returns:
      The algorithm; it offers personal models only. A client that never took part gets the mean of the others' norms,
      since a test client of another site needs some and the paper defines none.

    Raises:
      ValueError: a model without batch normalisation.

    Source: Li et al. 2021 (arXiv 2102.07623), Algorithm 1.
    """
    task = trainer.task
    if task.batch_norm is None:
        raise ValueError("task: expected a model with BatchNorm, such as bn_cnn, found none; FedBN is fedavg there")
    finer = norm_layers(task.layers, task.batch_norm)
    own = (local_affine, local_statistics)
    array = jnp if any(isinstance(flag, jax.core.Tracer) for flag in own) else np
    shared = array.concatenate(
        [np.ones(task.layers.num_layers, bool), ~array.stack([array.asarray(f, bool) for f in own])]
    )
    trainer = dataclasses.replace(trainer, task=task._replace(layers=finer))
    inner = fixed_sharing(trainer, shared=shared, server_optimizer=server_optimizer)
    parts = _parts(task.layers, finer)

    def round_(key: Key, state: SharingState, cohort: Cohort) -> tuple[SharingState, RoundInfo]:
        state, info = inner.round(key, state, cohort)
        sent, received = (jnp.stack([n[p].max() for p in parts]) for n in (info.sent, info.received))
        return state, dataclasses.replace(info, sent=sent, received=received)

    return inner._replace(round=round_)


def norm_layers(layers: LayerMap, norm: BatchNorm) -> LayerMap:
    """Add two layers to a layer map, L for the norms' scales and offsets and L + 1 for their running statistics.

    These leaves move out of the layers that they belonged to, which stay the same otherwise, so that a mask ``[L + 2]``
    switches the norms separately.
    """
    first, kinds = layers.num_layers, ("batch_norm_affine", "batch_norm_statistics")
    numbers = (
        first if affine else first + 1 if statistic else layer
        for layer, affine, statistic in zip(layers.leaf_layers, norm.affine, norm.statistics, strict=True)
    )
    return dataclasses.replace(
        layers,
        leaf_layers=tuple(numbers),
        names=layers.names + kinds,
        blocks=(*layers.blocks, layers.num_blocks, layers.num_blocks + 1),
        block_names=layers.block_names + kinds,
    )


def _parts(layers: LayerMap, finer: LayerMap) -> list[np.ndarray]:
    """List for each layer the finer layers that contain its leaves."""
    pairs = set(zip(layers.leaf_layers, finer.leaf_layers, strict=True))
    return [np.array(sorted(part for own, part in pairs if own == layer)) for layer in range(layers.num_layers)]
