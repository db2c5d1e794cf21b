"""Choosing the width of the client axis by a short timing on the real shapes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.local_training import Trainer, train_cohort
from fedjax_layers.ops import ClientAxis
from fedjax_layers.types import Cohort, Key, Params

_PROBE_STEPS = 2
_PROBE_SLOTS = 256
_REPEATS = 3
_PATIENCE = 1.0  # seconds of one candidate, after which it is not timed again
_LONGEST = 4.0  # seconds that the steps of one chunk may take, one client after another
_MEMORY_PER_DEVICE = 2 * 2**30  # bytes that a candidate's vectorised copies may take


class AxisChoice(NamedTuple):
    """The chosen axis, and a JSON-able record of what was measured."""

    axis: ClientAxis
    record: dict[str, Any]


def device_mesh(num_devices: int | None = None) -> jax.sharding.Mesh | None:
    """A mesh of all local devices (or the first few) with the axis ``clients``; ``None`` for a single device."""
    devices = jax.local_devices()[:num_devices]
    if len(devices) == 1:
        return None
    return jax.make_mesh(
        (len(devices),), ("clients",), axis_types=(jax.sharding.AxisType.Auto,), devices=tuple(devices)
    )


def pinned_axis(width: int | None, num_devices: int | None = None) -> AxisChoice:
    """A choice that is not measured: a width (``None`` is all), on all local devices or the first few."""
    axis = ClientAxis(width, device_mesh(num_devices))
    return AxisChoice(axis, {"chosen": _name(axis), "how": "pinned", "width": width, "devices": axis.num_devices})


def recorded_axis(record: Mapping[str, Any]) -> AxisChoice | None:
    """The choice that a run's manifest records; ``None`` where this machine has fewer devices than it used."""
    if record["devices"] > jax.local_device_count():
        return None
    axis = ClientAxis(record["width"], device_mesh(record["devices"]))
    return AxisChoice(axis, {**record, "how": "taken from the run's manifest"})


def choose_axis(trainer: Trainer, key: Key, params: Params, cohort: Cohort) -> AxisChoice:
    """Time two local steps at each candidate width, on one device and on all, and take the fastest.

    The time per step is measured; what a round costs follows from the clients' numbers of steps, since clients
    vectorised together all wait for the one with most steps. Left out are candidates whose copies of parameters,
    gradients and what a step works with would not fit, and those of so many slow steps that timing them would take
    long: what vectorising saves is the overhead, which slow steps have little of.

    Args:
      trainer: as in the run; its ``axis`` is ignored.
      key: any key.
      params: one model.
      cohort: a cohort of the run.

    Returns:
      The choice and its record: seconds per round by candidate, predicted.
    """
    counts = np.asarray(cohort.train.count)
    steps = np.array([int(trainer.num_steps(int(n))) for n in counts])
    seconds: dict[str, float] = {}
    axes: dict[str, ClientAxis] = {}
    copies = 4 * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(params))
    alone = 0.0  # seconds of a step of one client by itself: the first candidate
    for mesh in [None] if device_mesh() is None else [None, device_mesh()]:
        for width in _widths(len(counts), 1 if mesh is None else mesh.size):
            long = width * _PROBE_STEPS * alone > _LONGEST
            if width > 1 and (long or width * copies > _MEMORY_PER_DEVICE):
                continue
            axis = ClientAxis(width, mesh)
            name = _name(axis)
            step, working = _time_step(trainer, axis, key, params, cohort)
            seconds[name] = step * padded_steps(steps, axis)
            axes[name] = axis
            if not alone:
                alone, copies = step, max(copies, working)
    best = min(seconds, key=lambda name: seconds[name])
    record = {
        "chosen": best,
        "how": "measured",
        "width": axes[best].width,
        "devices": axes[best].num_devices,
        "predicted_seconds_per_round": {k: round(v, 6) for k, v in seconds.items()},
    }
    return AxisChoice(axes[best], record)


def padded_steps(steps: np.ndarray, axis: ClientAxis) -> float:
    """Steps that the busiest device computes for clients ``[K]`` in their order, idle ones included.

    Places left over repeat the first client, as :func:`fedjax_layers.ops.map_clients` fills them.
    """
    share = -(-len(steps) // axis.num_devices)
    width = min(axis.width or share, share)
    extra = np.full(share * axis.num_devices - len(steps), steps[0])
    own = np.concatenate([steps, extra]).reshape(axis.num_devices, share)
    filled = np.concatenate([own, np.repeat(own[:, :1], -share % width, axis=1)], axis=1)
    chunks = filled.reshape(axis.num_devices, -1, width)
    return float((chunks.max(-1) * width).sum(-1).max())


def _name(axis: ClientAxis) -> str:
    return f"width {axis.width or 'all'}, {axis.num_devices} device{'s' if axis.num_devices > 1 else ''}"


def _widths(slots: int, devices: int) -> list[int]:
    share = max(1, min(-(-slots // devices), _PROBE_SLOTS))
    return sorted({w for w in (1, 4, 16, 64) if w < share} | {share})


def _time_step(trainer: Trainer, axis: ClientAxis, key: Key, params: Params, cohort: Cohort) -> tuple[float, int]:
    """Seconds per client-step that one device is busy, and the bytes that it works with besides its arguments."""
    slots = min(cohort.ids.shape[0], max(_PROBE_SLOTS, 1), 4 * (axis.width or 1) * axis.num_devices)
    few = dataclasses.replace(
        cohort,
        ids=cohort.ids[:slots],
        weight=jnp.ones_like(cohort.weight[:slots]),
        train=jax.tree.map(lambda x: x[:slots], cohort.train),
        everyone=False,
    )
    short = dataclasses.replace(trainer, axis=axis, epochs=None, steps=_PROBE_STEPS, keep_optimizer=False)
    run = jax.jit(lambda k, p, c: train_cohort(short, k, c, server=p).params).lower(key, params, few).compile()
    jax.block_until_ready(run(key, params, few))
    times: list[float] = []
    while len(times) < _REPEATS and sum(times) < _PATIENCE:
        start = time.perf_counter()
        jax.block_until_ready(run(key, params, few))
        times.append(time.perf_counter() - start)
    working = int(getattr(run.memory_analysis(), "temp_size_in_bytes", 0))
    return min(times) / (padded_steps(np.full(slots, _PROBE_STEPS), axis)), working
