"""Choice of the client axis's width by a short timing on the real shapes."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.clients import Client, ClientVisit, Trainer, one_pass, train
from fedjax_layers.engine.announce import Say, say_nothing
from fedjax_layers.ops import ClientAxis, Term
from fedjax_layers.types import Cohort, Key, Params

_PROBE_STEPS = 2
_PROBE_SLOTS = 256
_REPEATS = 3
_PATIENCE = 0.5  # seconds of one candidate's run, after which it is not timed again
_BUDGET = 5.0  # seconds for all candidates after the first one
_WIDER_COMPILES = 1.5  # assumed ratio of another candidate's compile time to the longest so far
_MOST_SAVED = 0.8  # assumed largest share of a run's time that another candidate can save
_MEMORY_PER_DEVICE = 2 * 2**30  # bytes that a candidate's vectorised copies may take


class AxisChoice(NamedTuple):
    """The chosen axis, and a JSON-able record of what was measured."""

    axis: ClientAxis
    record: dict[str, Any]


def device_mesh(num_devices: int | None = None) -> jax.sharding.Mesh | None:
    """Make a mesh of all local devices (or the first few) with the axis ``clients``; ``None`` for a single device."""
    devices = jax.local_devices()[:num_devices]
    if len(devices) == 1:
        return None
    return jax.make_mesh(
        (len(devices),), ("clients",), axis_types=(jax.sharding.AxisType.Auto,), devices=tuple(devices)
    )


def pinned_axis(width: int | None, num_devices: int | None = None) -> AxisChoice:
    """Make a choice without measuring: a width (``None`` means all), on all local devices or the first few."""
    axis = ClientAxis(width, device_mesh(num_devices))
    return AxisChoice(axis, {"chosen": _name(axis), "how": "pinned", "width": width, "devices": axis.num_devices})


def recorded_axis(record: Mapping[str, Any], how: str = "taken from the run's manifest") -> AxisChoice | None:
    """Make the choice of a manifest's record; ``None`` where it needs more devices than there are."""
    if record["devices"] > jax.local_device_count():
        return None
    axis = ClientAxis(record["width"], device_mesh(record["devices"]))
    return AxisChoice(axis, {**record, "how": how})


def choose_axis(
    trainer: Trainer, key: Key, params: Params, cohort: Cohort, *, rounds: float = math.inf, say: Say = say_nothing
) -> AxisChoice:
    """Time two local steps at a few widths, on one device and on all, and take the fastest.

    The time per step is measured; the time of a round follows from the clients' numbers of steps, since clients that
    are vectorised together all wait for the one with most steps. The first candidate is always timed: one client after
    another on every device, or on an accelerator as many at once as fit. The others share a few seconds. A candidate is
    left out if compiling and running it would take longer than the rest of that time, or than it could save in the run,
    or if its copies of parameters, gradients and intermediate values would not fit.

    Args:
      trainer: the run's trainer, of which ``axis`` is ignored.
      key: any key.
      params: one model.
      cohort: a cohort of the run.
      rounds: number of rounds of the run.
      say: called with the name of each candidate before it is compiled.

    Returns:
      The choice and its record: the predicted seconds per round of each candidate.
    """
    counts = np.asarray(cohort.train.count)
    ids = np.asarray(cohort.ids)
    steps = np.array([int(trainer.num_steps(int(n), int(c))) for n, c in zip(counts, ids, strict=True)])
    seconds: dict[str, float] = {}
    axes: dict[str, ClientAxis] = {}
    copies = 4 * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(params))
    slowest, step, end, long_enough = 0.0, 0.0, math.inf, True
    for axis in _candidates(len(counts)):
        width = axis.width or len(counts)
        if width > 1 and width * copies > _MEMORY_PER_DEVICE:
            continue
        if seconds:
            expected = _WIDER_COMPILES * slowest + 2 * width * _PROBE_STEPS * step
            saved = _MOST_SAVED * rounds * min(seconds.values())
            if time.perf_counter() + expected > end:
                continue
            if expected > saved:
                long_enough = False
                continue
        name = _name(axis)
        say(f"measuring the client axis: {name}")
        timing = _time_step(trainer, axis, key, params, cohort)
        if not seconds:
            step, copies = timing.step, max(copies, timing.working // width)
            end = time.perf_counter() + _BUDGET
        slowest = max(slowest, timing.compiling)
        seconds[name], axes[name] = timing.step * padded_steps(steps, axis), axis
    best = min(seconds, key=lambda name: seconds[name])
    record = {
        "chosen": best,
        "how": "measured",
        "width": axes[best].width,
        "devices": axes[best].num_devices,
        "predicted_seconds_per_round": {k: round(v, 6) for k, v in seconds.items()},
        "rounds": None if long_enough else rounds,  # a longer run would have measured more
    }
    return AxisChoice(axes[best], record)


def _candidates(slots: int) -> list[ClientAxis]:
    """List candidates, the most promising first: all devices before one; on a CPU narrow first, with "all" second."""
    mesh = device_mesh()
    widths = _widths(slots, 1 if mesh is None else mesh.size)
    on_cpu = jax.default_backend() == "cpu"
    ordered = sorted(widths, key=lambda w: (w != widths[0], w != widths[-1], w)) if on_cpu else widths[::-1]
    found = [ClientAxis(width, mesh) for width in ordered]
    if mesh is None:
        return found
    alone = [ClientAxis(width) for width in _widths(slots, 1)]
    return alone[:1] + found if slots == 1 else found + alone


def padded_steps(steps: np.ndarray, axis: ClientAxis) -> float:
    """Count the steps that the busiest device computes for clients ``[K]`` in their order, idle ones included.

    Padding repeats the first client, as in :func:`fedjax_layers.ops.map_clients`.
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


class _Timing(NamedTuple):
    """Seconds of one device per client-step, seconds of compiling, and bytes needed in addition to arguments."""

    step: float
    compiling: float
    working: int


def _train_some(trainer: Trainer, key: Key, params: Params, cohort: Cohort) -> Params:
    """Train locally as in a round, which keeps only the sum of the models."""

    def visit(client: Client, _: Any) -> ClientVisit:
        result = train(trainer, key, client, client.shared)
        return ClientVisit(result.params, result.loss, Term(result.sent, client.share))

    return one_pass(trainer, cohort, visit, shared=params).sums


def _time_step(trainer: Trainer, axis: ClientAxis, key: Key, params: Params, cohort: Cohort) -> _Timing:
    """Time several chunks on each device, or a single one if it is slow."""
    width = axis.width or 1
    slots = min(cohort.ids.shape[0], _PROBE_SLOTS, 4 * width * axis.num_devices)
    share = -(-slots // axis.num_devices)
    few = dataclasses.replace(
        cohort,
        ids=cohort.ids[:slots],
        weight=jnp.ones_like(cohort.weight[:slots]),
        train=jax.tree.map(lambda x: x[:slots], cohort.train),
        in_order=False,
    )
    first = (np.arange(slots) % share) < width  # a chunk per device: the others have no steps
    one_chunk = dataclasses.replace(few, weight=few.weight * first)
    changes: dict[str, Any] = {"epochs": None, "steps": _PROBE_STEPS, "keep_optimizer": False, "uniform": False}
    short = dataclasses.replace(trainer, axis=axis, **changes)
    begun = time.perf_counter()
    run = jax.jit(functools.partial(_train_some, short)).lower(key, params, few).compile()
    compiling = time.perf_counter() - begun
    working = int(getattr(run.memory_analysis(), "temp_size_in_bytes", 0))

    def seconds(some: Cohort, clients: np.ndarray) -> float:
        start = time.perf_counter()
        jax.block_until_ready(run(key, params, some))
        return (time.perf_counter() - start) / max(padded_steps(_PROBE_STEPS * clients, axis), 1)

    cold = time.perf_counter()
    step = seconds(one_chunk, first)
    if time.perf_counter() - cold > _PATIENCE:
        return _Timing(step, compiling, working)
    times: list[float] = []
    cold = time.perf_counter()
    while len(times) < _REPEATS and time.perf_counter() - cold < _PATIENCE:
        times.append(seconds(few, np.ones(slots)))
    return _Timing(min(times), compiling, working)
