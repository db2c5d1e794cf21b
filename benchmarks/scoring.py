"""FedTLU's scoring beside the round that it is part of, for the six-layer transformer.

python benchmarks/scoring.py [--width 128] [--out benchmarks/results/scoring.json]

100 clients, ten of them per round, one epoch of 4 steps of 16 windows of 64 tokens each. Goal: scoring and choosing
take at most 2 % of a round, and one pass over the parameters. Asked in turn: the round of FedAvg, that of FedTLU, and
scoring alone on the aggregate. "Passes" are the bytes that the compiled scoring reads and writes over those of the
aggregate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedjax_layers import ClientAxis, LocalSolver, algorithms, models
from fedjax_layers.clients import Setting
from fedjax_layers.experiment.records.environment import environment
from fedjax_layers.ops import block_score, top_k_mask, update_score
from fedjax_layers.types import Cohort, Params, Pool, Ranges, Task

CLIENTS, COHORT, EXAMPLES, BATCH, LENGTH, VOCABULARY = 100, 10, 64, 16, 64, 2_000
KEY = jax.random.key(0)


def make_task(width: int) -> Task:
    """The six-layer language model."""
    module = models.build_model("transformer", VOCABULARY, num_embeddings=VOCABULARY, width=width, length=LENGTH)
    return models.task(
        module,
        (LENGTH,),
        VOCABULARY,
        preprocess=models.as_stored,
        sample_dtype=jnp.uint16,
        blocks=1,
        kind="language_modelling",
    )


def make_cohort() -> Cohort:
    """Ten clients with as many random windows; speed does not depend on what they say."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, VOCABULARY, (COHORT * EXAMPLES, LENGTH + 1))
    pool = Pool(jnp.asarray(tokens[:, :-1], jnp.uint16), jnp.asarray(tokens[:, 1:], jnp.int32))
    start = jnp.arange(COHORT, dtype=jnp.int32) * EXAMPLES
    ranges = Ranges(start, jnp.full(COHORT, EXAMPLES, jnp.int32))
    return Cohort(jnp.arange(COHORT, dtype=jnp.int32), jnp.full(COHORT, float(EXAMPLES)), ranges, pool)


def make_sides(width: int) -> tuple[dict[str, Any], int, float]:
    """Compiled functions without arguments, the parameters' bytes, and the passes of scoring over them."""
    task, cohort = make_task(width), make_cohort()
    trainer = Setting(task, CLIENTS, EXAMPLES, uniform=True, axis=ClientAxis(1)).bind(
        LocalSolver(optax.adam(1e-3), BATCH)
    )
    params = jax.jit(task.init)(KEY)
    sides: dict[str, Any] = {}
    for name, options in (("fedavg", {}), ("fedtlu", {"k": 1})):
        algorithm = algorithms.registry[name](trainer, **options)
        state = algorithm.init(KEY, params)
        sides[f"round of {name}"] = _bound(jax.jit(algorithm.round), KEY, state, cohort)

    def choose(delta: Params) -> jax.Array:
        return top_k_mask(block_score(update_score(delta, task.layers, excess=True), task.layers), 1)

    delta = jax.tree.map(lambda x: 1e-3 * jax.random.normal(KEY, x.shape), params)
    compiled = jax.jit(choose).lower(delta).compile()
    sides["scoring"] = _bound(compiled, delta)
    size = sum(x.nbytes for x in jax.tree.leaves(params))
    return sides, size, float((compiled.cost_analysis() or {}).get("bytes accessed", float("nan"))) / size


def _bound(fn: Any, *args: Any) -> Any:
    return lambda: jax.block_until_ready(fn(*args))


def main() -> None:
    """Time the sides in turn; print and store medians and the share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    sides, size, passes = make_sides(options.width)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(options.repeats + 1):
        for name, side in sides.items():
            began = time.perf_counter()
            side()
            if repeat:  # the first call compiles
                times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(found) for name, found in times.items()}
    share = medians["scoring"] / medians["round of fedtlu"]
    result = {
        "width": options.width,
        "parameters": size // 4,
        "seconds": times,
        "medians": medians,
        "share": share,
        "passes": passes,
        "environment": environment(),
    }
    for name, median in medians.items():
        print(f"{name:16} {1e3 * median:9.2f} ms")
    print(f"scoring is {share:.3%} of a round (goal 2 %); {passes:.2f} passes over {size / 2**20:.1f} MiB")
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
