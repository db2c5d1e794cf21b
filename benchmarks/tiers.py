"""PerMFL's three tiers beside FedAvg with the same number of device steps; goal: at least 0.9 times its speed.

python benchmarks/tiers.py [--out benchmarks/results/tiers.json]

1,000 devices in 100 unequal teams, logistic regression 784-10, batches of 20, K = 5 team rounds of L = 10 steps;
FedAvg makes 50 steps. Both sides are asked in turn at the same widths, and the best width of each is compared. On one
device: XLA's CPU backend runs two devices' programs at once or one after the other, by chance (docs/client_axis.md).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedjax_layers import ClientAxis, LocalSolver, algorithms, models
from fedjax_layers.clients import Setting
from fedjax_layers.experiment.records.environment import environment
from fedjax_layers.types import Cohort, Pool, Ranges

DEVICES, TEAMS, EXAMPLES, BATCH = 1_000, 100, 60, 20
TEAM_ROUNDS, STEPS = 5, 10
WIDTHS = (1, 10, 100)
GOAL = 0.9


def make_cohort() -> Cohort:
    """All devices, each with as many random pictures; speed does not depend on what they show."""
    rng = np.random.default_rng(0)
    pool = Pool(
        jnp.asarray(rng.integers(0, 256, (DEVICES * EXAMPLES, 28, 28, 1), np.uint8)),
        jnp.asarray(rng.integers(0, 10, DEVICES * EXAMPLES, np.int32)),
    )
    start = jnp.arange(DEVICES, dtype=jnp.int32) * EXAMPLES
    ranges = Ranges(start, jnp.full(DEVICES, EXAMPLES, jnp.int32))
    ids = jnp.arange(DEVICES, dtype=jnp.int32)
    return Cohort(ids, jnp.full(DEVICES, float(EXAMPLES)), ranges, pool, in_order=True)


def unequal_teams() -> np.ndarray:
    """Each device's team: sizes from 1 on, growing linearly."""
    shares = np.arange(1, TEAMS + 1) / (TEAMS * (TEAMS + 1) / 2)
    extra = np.floor(shares * (DEVICES - TEAMS)).astype(int)
    extra[-1] += DEVICES - TEAMS - extra.sum()
    return np.repeat(np.arange(TEAMS), 1 + extra)


def make_round(name: str, axis: ClientAxis):
    """The jitted round, its start and a counter of its traces."""
    module = models.build_model("logistic_regression", 10)
    task = models.task(module, (28, 28, 1), 10, sample_dtype=jnp.uint8)
    steps = STEPS if name == "permfl" else STEPS * TEAM_ROUNDS
    setting = Setting(task, DEVICES, EXAMPLES, uniform=True, axis=axis)
    trainer = setting.bind(LocalSolver(optax.sgd(0.01), BATCH, steps=steps))
    if name == "permfl":
        algorithm = algorithms.permfl(trainer, team_of=unequal_teams(), num_teams=TEAMS, team_rounds=TEAM_ROUNDS)
    else:
        algorithm = algorithms.fedavg(trainer)
    state = algorithm.init(jax.random.key(0), task.init(jax.random.key(1)))
    chex.clear_trace_counter()
    step = jax.jit(chex.assert_max_traces(algorithm.round, n=1), donate_argnums=1)
    return step, state


def measure(repeats: int) -> dict[str, dict[str, list[float]]]:
    """Client-steps per second of each side and width, in turn."""
    speeds: dict[str, dict[str, list[float]]] = {"permfl": {}, "fedavg": {}}
    cohort = make_cohort()
    for width in WIDTHS:
        axis = ClientAxis(width)
        sides = {name: make_round(name, axis) for name in speeds}
        states = {name: state for name, (_, state) in sides.items()}
        for repeat in range(repeats + 1):  # the first compiles
            for name, (step, _) in sides.items():
                began = time.perf_counter()
                states[name], info = step(jax.random.key(repeat), states[name], cohort)
                jax.block_until_ready(states[name])
                if repeat:
                    speed = int(info.steps) / (time.perf_counter() - began)
                    speeds[name].setdefault(str(width), []).append(speed)
    return speeds


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    speeds = measure(options.repeats)
    best = {}
    for name, widths in speeds.items():
        for width, found in widths.items():
            print(f"{name:8} width {width:>4}: {statistics.median(found):12,.0f} client-steps/s")
        best[name] = max(statistics.median(found) for found in widths.values())
    print(f"permfl / fedavg: {best['permfl'] / best['fedavg']:.2f} (goal {GOAL}), one compilation each")
    if options.out:
        options.out.write_text(json.dumps({"environment": environment(), "speeds": speeds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
