"""pFedLA's server beside its clients: mixing and learning the weights against five local steps, and peak memory.

python benchmarks/mixing.py [--clients 1000] [--out benchmarks/results/mixing.json]

LeNet-5 on 28x28, all clients in every round, hypernetworks of the usual size (embedding 100, trunk 3 x 100, one head
per layer). Goals at 1,000 clients: mixing + learning costs no more than local training of 5 steps of batch 20, and the
round's memory stays within 2 x (pool + hypernetworks). Each side is asked in turn; memory is that of whole rounds in a
process of its own, over what that held before the state was made.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedjax_layers import ClientAxis, models
from fedjax_layers.algorithms.mixing.pfedla import hyper_rule
from fedjax_layers.algorithms.mixing.round import Mixing
from fedjax_layers.algorithms.mixing.rule_learning import learn, pulled_back_update
from fedjax_layers.clients import LocalSolver, Setting, train_cohort
from fedjax_layers.experiment.records.environment import environment
from fedjax_layers.types import Cohort, Pool, Ranges

EXAMPLES, BATCH, STEPS = 40, 20, 5
KEY = jax.random.key(0)


def make_cohort(clients: int) -> Cohort:
    """All clients with as many random pictures; speed does not depend on what they show."""
    rng = np.random.default_rng(0)
    pool = Pool(
        jnp.asarray(rng.integers(0, 256, (clients * EXAMPLES, 28, 28, 1), np.uint8)),
        jnp.asarray(rng.integers(0, 10, clients * EXAMPLES, np.int32)),
    )
    start = jnp.arange(clients, dtype=jnp.int32) * EXAMPLES
    ids = jnp.arange(clients, dtype=jnp.int32)
    ranges = Ranges(start, jnp.full(clients, EXAMPLES, jnp.int32))
    return Cohort(ids, jnp.full(clients, float(EXAMPLES)), ranges, pool, in_order=True)


def make_mixing(clients: int) -> Mixing:
    """The algorithm at its defaults."""
    task = models.task(models.build_model("lenet5", 10), (28, 28, 1), 10, sample_dtype=jnp.uint8)
    setting = Setting(task, clients, EXAMPLES, uniform=True, axis=ClientAxis(1))
    trainer = setting.bind(LocalSolver(optax.sgd(0.01), BATCH, steps=STEPS))
    return Mixing(trainer, hyper_rule(trainer, task.layers.num_layers), optax.sgd(0.005), task.layers)


def size_of(tree: object) -> int:
    """Bytes of all arrays."""
    return sum(x.nbytes for x in jax.tree.leaves(tree))


def time_parts(clients: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of local training, mixing and learning, in turn."""
    mixing, cohort = make_mixing(clients), make_cohort(clients)
    state = jax.jit(mixing.init)(KEY, mixing.trainer.task.init(KEY))
    state = dataclasses.replace(  # another model for each client, as after some rounds
        state, models=jax.tree.map(lambda x: x + 0.01 * jax.random.normal(KEY, x.shape), state.models)
    )
    train = jax.jit(lambda pool: train_cohort(mixing.trainer, KEY, cohort, own=pool))
    mix = jax.jit(lambda state: mixing.start(state, cohort.ids, state.rules, state.models))

    def teach(state, start, result, kept):
        return learn(mixing, state, cohort, pulled_back_update(mixing, state, cohort, start, result, kept)).rules

    taught = jax.jit(teach)
    times: dict[str, list[float]] = {"local training": [], "mixing": [], "learning": []}
    for repeat in range(repeats + 1):  # the first compiles

        def clock(name, call, *args, repeat=repeat):
            began = time.perf_counter()
            out = jax.block_until_ready(call(*args))
            if repeat:
                times[name].append(time.perf_counter() - began)
            return out

        start, _, kept = clock("mixing", mix, state)
        result = clock("local training", train, start)
        clock("learning", taught, state, start, result, kept)
    return times


def measure_memory(clients: int) -> dict[str, int]:
    """Bytes of pool and hypernetworks, and the process's peak above what it held before."""
    mixing, cohort = make_mixing(clients), make_cohort(clients)
    step = jax.jit(mixing.round, donate_argnums=1)
    shapes = jax.eval_shape(mixing.init, KEY, jax.eval_shape(mixing.trainer.task.init, KEY))
    compiled = step.lower(KEY, shapes, cohort).compile()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # compiling had a peak of its own
    state = jax.jit(mixing.init)(KEY, mixing.trainer.task.init(KEY))
    for round_ in range(2):
        state, _ = compiled(jax.random.key(round_), state, cohort)
    jax.block_until_ready(state)
    peak = resident("VmHWM") - before
    return {"pool": size_of(state.models), "hypernetworks": size_of(state.rules), "peak": peak}


def resident(field: str) -> int:
    """Bytes of memory that this process has (VmRSS) or had at most (VmHWM); Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="print the memory of one round, as JSON, and stop")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(measure_memory(options.clients)))
        return
    times = time_parts(options.clients, options.repeats)
    seconds = {name: statistics.median(found) for name, found in times.items()}
    for name, value in seconds.items():
        print(f"{name:15} {value:8.3f} s")
    server = seconds["mixing"] + seconds["learning"]
    print(f"server / clients: {server / seconds['local training']:.2f} (goal at 1,000 clients: at most 1)")
    own = [sys.executable, __file__, "--memory", "--clients", str(options.clients)]
    memory = json.loads(subprocess.run(own, capture_output=True, text=True, check=True).stdout)
    held = memory["pool"] + memory["hypernetworks"]
    print(
        f"memory of a round / (pool + hypernetworks): {memory['peak'] / held:.2f} of {held / 2**20:,.0f} MiB (goal 2)"
    )
    if options.out:
        record = {"environment": environment(), "clients": options.clients, "seconds": times, "memory": memory}
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
