"""The cuts that PLayer-FL would find without learning anything, computed beside a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers import algorithms
from fedjax_layers.data import ClientData
from fedjax_layers.local_training import Trainer
from fedjax_layers.simulation.periods import Inputs, round_keys, start_params
from fedjax_layers.simulation.sampling import draw_cohort


def control_cuts(
    trainer: Trainer, inputs: Inputs, clients: ClientData, options: Mapping[str, Any], seed: int
) -> dict[str, int]:
    """The cuts at initialisation, with permuted labels and by weight count.

    Args:
      trainer: the run's.
      inputs: the run's; start, cohort and keys are those of its first round.
      clients: the run's data on the host.
      options: the algorithm's options; those that are fields of ``CutRule`` are used.
      seed: of the permutation.

    Returns:
      Name to number of layers shared.
    """
    names = {f.name for f in dataclasses.fields(algorithms.CutRule)}
    rule = algorithms.CutRule(**{k: v for k, v in options.items() if k in names})
    draw_key, round_key = round_keys(inputs.key, jnp.int32(0))
    source = inputs.federation
    cohort = draw_cohort(inputs.sampling, draw_key, jnp.int32(0), source.train, source.pool, inputs.weights)
    labels = jnp.asarray(permuted_labels(clients, seed))
    params = start_params(trainer.task, inputs.key)
    run = jax.jit(lambda k, p, c, y: algorithms.cut_controls(trainer, k, p, c, y, rule))
    return {name: int(cut) for name, cut in run(round_key, params, cohort, labels).items()}


def permuted_labels(clients: ClientData, seed: int) -> np.ndarray:
    """The pool's labels ``[N]``, permuted within each client's split."""
    rng = np.random.default_rng(seed)
    labels = clients.labels.copy()
    for start, count in clients.ranges.values():
        owner = np.repeat(np.arange(clients.num_clients), count)
        rows = np.concatenate([np.arange(s, s + n) for s, n in zip(start, count, strict=True)])
        order = np.lexsort((rng.random(len(rows)), owner))
        labels[rows] = clients.labels[rows[order]]
    return labels
