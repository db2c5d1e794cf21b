"""FedBN (Li et al. 2021): everything is averaged but batch normalisation, which stays with its client."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.sharing.fixed_sharing import fixed_sharing
from fedjax_layers.algorithms.sharing.round import SharingState
from fedjax_layers.clients import Trainer
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, BatchNorm, Cohort, Key, LayerMap, RoundInfo


@factory()
def fedbn(
    trainer: Trainer,
    *,
    local_affine: Traced[bool] = True,
    local_statistics: Traced[bool] = True,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """FedAvg over all leaves but those of ``BatchNorm``: scales, offsets and running statistics are the client's own.

    Only the statistics local is SiloBN (Andreux et al. 2020); neither is FedAvg, whose mean takes running statistics
    like weights. Masks per layer cannot tell a norm from the convolution that it follows and is one layer with, so
    the mask is one of a finer layer map (:func:`norm_layers`), of this algorithm alone: what is reported are the
    model's layers. A layer of which a part moves counts as moved, so that bytes include its norms' few vectors (less
    than 0.01 % of ``bn_cnn`` at full width).

    Clients weigh as in ``cohort.weight``; FedBN's code, whose clients hold equally many examples, weighs them equally.

    Args:
      trainer: how each client trains; its task has batch normalisation.
      local_affine: whether each client keeps the scales and offsets of its normalisation layers. May be traced.
      local_statistics: whether each client keeps the running means and variances of its normalisation layers.
      server_optimizer: as in :func:`fedavg`.

    Returns:
      The algorithm; it offers personal models only. A client that never took part is served the mean of
      the others' norms, as a test client of another site needs some and the paper has none for it.

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
    """The layer map with two more layers, L and L + 1: the norms' scales and offsets, and their running statistics.

    They leave the layers that they followed, for which nothing else changes, so that a mask ``[L + 2]`` switches the
    norms on their own.
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
    """For each layer the finer ones that its leaves are in."""
    pairs = set(zip(layers.leaf_layers, finer.leaf_layers, strict=True))
    return [np.array(sorted(part for own, part in pairs if own == layer)) for layer in range(layers.num_layers)]
