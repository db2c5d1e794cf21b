"""Control decisions: what an algorithm would decide without learning, computed beside a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.algorithms import registry
from fedjax_layers.algorithms.report import Controls
from fedjax_layers.data import ClientData
from fedjax_layers.data.federated.leaks import range_rows
from fedjax_layers.data.packing import aligned_empty, blocks, frozen
from fedjax_layers.engine.intervals import Inputs, cohort_of, common_start, round_keys, setting_of, without_examples
from fedjax_layers.engine.on_host import first_cohort
from fedjax_layers.engine.placement.sharding import replicate
from fedjax_layers.engine.plan import Plan
from fedjax_layers.engine.programs.build import build_program
from fedjax_layers.experiment.setup.builder import Builder
from fedjax_layers.types import Cohort

_ROWS_AT_ONCE = 2**20  # bounds the row numbers held beside the labels


def control_decisions(
    controls: Controls, builder: Builder, plan: Plan, inputs: Inputs, clients: ClientData, seed: int
) -> dict[str, int]:
    """Compute the algorithm's control decisions from the first round's key, start and cohort.

    Args:
      controls: the algorithm's declaration of its controls.
      builder: the run's builder.
      plan: the run's plan.
      inputs: the run's inputs, of which the first round's start, cohort and keys are used.
      clients: the run's data on the host.
      seed: seed of the permutation of labels.

    Returns:
      The decisions by name.
    """
    hyper = dict(inputs.hyper) | {"options": _taken(controls, inputs.hyper["options"])}
    # Other options are removed, so that runs that differ only in them share the program.
    builder = dataclasses.replace(builder, options=tuple(_taken(controls, dict(builder.options)).items()))
    inputs = inputs._replace(hyper=hyper)
    permuted: Any = permuted_labels(clients, seed)
    if inputs.device_data.on_host:
        pool = inputs.device_data.pool._replace(labels=permuted)
        other = inputs._replace(device_data=dataclasses.replace(inputs.device_data, pool=pool))
        cohort, labels = first_cohort(inputs), first_cohort(other).pool.labels  # copied in the same order
        found = _decisions(builder, plan, *replicate((without_examples(inputs), labels, cohort), plan.axis))
    else:
        labels = replicate(jax.device_put(permuted, may_alias=True), plan.axis)
        found = _decisions(builder, plan, inputs, labels, None)
    return {name: int(decision) for name, decision in found.items()}


@build_program(static=(1,))
def _decisions(
    builder: Builder, plan: Plan, inputs: Inputs, labels: jax.Array, cohort: Cohort | None
) -> Mapping[str, jax.Array]:
    options = dict(builder.options) | inputs.hyper["options"]
    controls = _declared(builder.algorithm)
    trainer = builder.make_trainer(inputs.hyper, setting_of(plan, inputs.device_data))
    draw_key, round_key = round_keys(inputs.key, jnp.int32(0))
    cohort = cohort_of(inputs, draw_key, jnp.int32(0)) if cohort is None else cohort
    return controls.compute(trainer, round_key, common_start(trainer.task, inputs), cohort, labels, options)


def _declared(algorithm: str) -> Controls:
    report = registry[algorithm].report
    assert report is not None
    assert report.controls is not None
    return report.controls


def _taken(controls: Controls, options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in controls.options}


def permuted_labels(clients: ClientData, seed: int) -> np.ndarray:
    """Permute the pool's labels ``[N]`` within each client's split."""
    rng = np.random.default_rng(seed)
    labels = aligned_empty(clients.labels.shape, clients.labels.dtype)
    labels[:] = clients.labels
    for start, count in clients.ranges.values():
        for some in blocks(count, _ROWS_AT_ONCE):
            owner = np.repeat(np.arange(some.start, some.stop), count[some])
            rows = range_rows(start[some].astype(np.int64), count[some].astype(np.int64))
            order = np.lexsort((rng.random(len(rows)), owner))
            labels[rows] = clients.labels[rows[order]]
    return frozen(labels)
