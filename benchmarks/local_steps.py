"""Where the time of a convolution's local step goes: from a bare loop of the same step to a run through ``simulate``.

    python benchmarks/local_steps.py --out benchmarks/results/local_steps.json

Each side does the same steps of plain SGD, one client after another on one device, with more around them than the one
before: a loop over steps whose batches lie ready; batches gathered from the pool; local training of one client; the
pass over clients with its sums; a round of FedAvg; ``simulate``. All are asked in turn, and a figure is the median over
the repeats of steps per second. Beside it stands the share of the machine's speed at a large matrix product that the
step's own products reach.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from partitions import machine

import fedjax_layers as fl
from fedjax_layers.clients import ClientVisit, Setting, Trainer, one_pass, train, train_client
from fedjax_layers.ops import Term
from fedjax_layers.types import Batch, Cohort, Pool, Ranges

KEY, RATE = jax.random.key(0), 0.01
SIDES = ("bare", "gathered", "client", "pass", "round", "simulate")


class FashionCNN(nn.Module):
    """The network for 28×28 images that federated learning's first paper uses."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """``[B, 28, 28, 1] -> [B, 10]``."""
        for features in (32, 64):
            x = nn.max_pool(nn.relu(nn.Conv(features, (5, 5))(x)), (2, 2), (2, 2))
        return nn.Dense(10)(nn.relu(nn.Dense(512)(x.reshape(x.shape[0], -1))))


class CifarCNN(nn.Module):
    """The network of pfl-research's CIFAR-10 benchmark, without dropout."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """``[B, 32, 32, 3] -> [B, 10]``."""
        for features in (32, 64):
            x = nn.relu(nn.Conv(features, (3, 3), padding="VALID")(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        return nn.Dense(10)(nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1))))


class Workload(NamedTuple):
    """Clients, their local steps, examples of a batch; multiplications and additions of a step's products."""

    module: nn.Module
    shape: tuple[int, ...]
    clients: int
    steps: int
    batch: int
    operations: int


# Forward, and twice that backward; the first convolution has no gradient of its input.
WORKLOADS = {
    "fashion": Workload(
        FashionCNN(),
        (28, 28, 1),
        8,
        5,
        20,
        2 * 20 * (2 * 28 * 28 * 25 * 32 + 3 * (14 * 14 * 800 * 64 + 3136 * 512 + 5120)),
    ),
    "cifar": Workload(
        CifarCNN(),
        (32, 32, 3),
        10,
        5,
        10,
        2 * 10 * (2 * 30 * 30 * 27 * 32 + 3 * (28 * 28 * 288 * 64 + 12544 * 128 + 1280)),
    ),
}


def make_sides(work: Workload) -> dict[str, Callable[[], Any]]:
    """A function without arguments for each side, not compiled yet."""
    rng = np.random.default_rng(0)
    each, total = work.steps * work.batch, work.clients * work.steps
    task = fl.task(work.module, work.shape, 10, sample_dtype=jnp.uint8)
    images = jnp.asarray(rng.integers(0, 256, (work.clients * each, *work.shape), np.uint8))
    pool = Pool(images, jnp.asarray(rng.integers(0, 10, work.clients * each, np.int32)))
    start, count = jnp.arange(work.clients, dtype=jnp.int32) * each, jnp.full(work.clients, each, jnp.int32)
    axis, solver = fl.ClientAxis(1), fl.LocalSolver(optax.sgd(RATE), batch_size=work.batch)
    trainer = Setting(task, work.clients, each, uniform=True, axis=axis).bind(solver)
    params = jax.block_until_ready(jax.jit(task.init)(KEY))
    cohort = Cohort(jnp.arange(work.clients), count.astype(jnp.float32), Ranges(start, count), pool, in_order=True)
    algorithm, method = fl.algorithms.fedavg(trainer), fl.algorithms.fedavg(solver)
    state = algorithm.init(KEY, params)
    none, no_test = jnp.zeros_like(start), jnp.zeros(1, jnp.int32)
    data = fl.DeviceData(
        pool,
        cohort.train,
        Ranges(start, none),
        Ranges(start, none),
        Ranges(no_test, no_test),
        (each, 0, 0, 0),
        uniform=True,
    )
    ready = jax.tree.map(lambda x: x.reshape(total, work.batch, *x.shape[1:]), pool)

    def build(_: Any) -> fl.Method:
        return method

    bare, gathered, client, whole = (jax.jit(fn) for fn in _loops(work, trainer))
    one_round = jax.jit(lambda state, cohort: algorithm.round(KEY, state, cohort)[0])
    found = (
        lambda: bare(params, ready),
        lambda: gathered(params, pool),
        lambda: client(params, cohort),
        lambda: whole(params, cohort),
        lambda: one_round(state, cohort),
        lambda: fl.simulate(build, task, data, rounds=1, axis=axis, evaluated_models=("served",)).state,
    )
    return dict(zip(SIDES, found, strict=True))


def _loops(work: Workload, trainer: Trainer) -> tuple[Callable[..., Any], ...]:
    """The sides below a round, as functions of params and data."""
    task, total, size = trainer.task, work.clients * work.steps, work.batch

    def step(params: Any, batch: Pool) -> Any:
        grads = jax.grad(task.loss)(params, Batch(batch.inputs, batch.labels, jnp.ones(size, bool)), None)
        return jax.tree.map(lambda p, g: p - RATE * g, params, grads)

    def bare(params: Any, ready: Pool) -> Any:
        return jax.lax.fori_loop(0, total, lambda i, p: step(p, jax.tree.map(lambda x: x[i], ready)), params)

    def gathered(params: Any, pool: Pool) -> Any:
        def one(i: Any, params: Any) -> Any:
            rows = i * size + jnp.arange(size)
            return step(params, jax.tree.map(lambda x: x[rows], pool))

        return jax.lax.fori_loop(0, total, one, params)

    def client(params: Any, cohort: Cohort) -> Any:
        def one(c: Any, params: Any) -> Any:
            data = (cohort.train.start[c], cohort.train.count[c], cohort.pool)
            return train_client(trainer, jax.random.fold_in(KEY, c), params, (), params, data).params

        return jax.lax.fori_loop(0, work.clients, one, params)

    def whole(params: Any, cohort: Cohort) -> Any:
        def visit(client: Any, _: Any) -> ClientVisit:
            result = train(trainer, KEY, client, client.shared)
            return ClientVisit(result.params, result.loss, Term(result.params, client.share))

        return one_pass(trainer, cohort, visit, shared=params).sums

    return bare, gathered, client, whole


def seconds_of(fn: Callable[[], Any]) -> float:
    """Of one call, to its end."""
    began = time.perf_counter()
    jax.block_until_ready(fn())
    return time.perf_counter() - began


def matmul_speed(repeats: int, size: int = 2048) -> float:
    """Operations per second of a large matrix product."""
    square = jnp.ones((size, size))
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(square))
    return 2 * size**3 / statistics.median(seconds_of(lambda: product(square)) for _ in range(repeats))


def main() -> None:
    """Print a table for each workload."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    speed, rows = matmul_speed(options.repeats), []
    print(f"a large matrix product: {speed / 1e9:.0f} GFLOP/s")
    for name, work in WORKLOADS.items():
        sides = make_sides(work)
        for fn in sides.values():
            seconds_of(fn)
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(options.repeats):
            for side, fn in sides.items():
                times[side].append(seconds_of(fn))
        for side, taken in times.items():
            rate = work.clients * work.steps / statistics.median(taken)
            share = rate * work.operations / speed
            rows.append({"workload": name, "side": side, "steps_per_second": rate, "share_of_product": share})
            print(f"{name:8} {side:9} {rate:7.1f} steps/s, {share:.0%} of the large product's speed")
    if options.out:
        facts = {"machine": machine(), "jax": jax.__version__, "repeats": options.repeats, "matmul": speed}
        options.out.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
