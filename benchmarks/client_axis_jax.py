"""Worker of ``client_axis.py``: one FedAvg round of this package, timed on request (JSON lines on stdin and stdout)."""

from __future__ import annotations

import json
import sys
import time

import jax

jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from workloads import BATCH, WORKLOADS, Workload  # noqa: E402

from fedjax_layers import algorithms, models  # noqa: E402
from fedjax_layers.clients import LocalSolver, Setting  # noqa: E402
from fedjax_layers.data import Preprocess  # noqa: E402
from fedjax_layers.engine.placement.sharding import replicate  # noqa: E402
from fedjax_layers.engine.placement.width import device_mesh  # noqa: E402
from fedjax_layers.ops import ClientAxis  # noqa: E402
from fedjax_layers.types import Cohort, Pool, Ranges  # noqa: E402

MODULES = {
    "cnn": lambda conv: models.build_model("fedavg_cnn", 10, conv=conv),
    "mlp": lambda conv: models.build_model("mlp", 10, hidden=(200, 200)),
    "logistic": lambda conv: models.build_model("logistic_regression", 10),
}


def make_round(name: str, workload: Workload, width: int | None, conv: str):
    """A jitted round on random images (speed does not depend on them), and its arguments."""
    task = models.task(MODULES[name](conv), (28, 28, 1), 10, preprocess=Preprocess(1 / 255, 0.1307, 0.3081))
    clients, per_client = workload.clients, workload.steps * BATCH
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (clients * per_client, 28, 28, 1), np.uint8)
    labels = rng.integers(0, 10, clients * per_client, np.int32)
    axis = ClientAxis(width, device_mesh())
    trainer = Setting(task, clients, per_client, uniform=True, axis=axis).bind(LocalSolver(optax.sgd(0.01), BATCH))
    algorithm = algorithms.fedavg(trainer)
    start = jnp.arange(clients, dtype=jnp.int32) * per_client
    count = jnp.full(clients, per_client, jnp.int32)
    pool = Pool(jnp.asarray(images), jnp.asarray(labels))
    cohort = Cohort(jnp.arange(clients), count.astype(jnp.float32), Ranges(start, count), pool, in_order=True)
    cohort = replicate(cohort, axis)  # on every device once, as a run has it
    state = replicate(algorithm.init(jax.random.key(0), task.init(jax.random.key(1))), axis)

    def step(state, cohort, t):
        state, info = algorithm.round(jax.random.fold_in(jax.random.key(2), t), state, cohort)
        return state, info.loss.mean()

    return jax.jit(step), state, cohort


def main() -> None:
    """Serve requests: ``{"workload", "width", "conv"}`` prepares, and every call times one round."""
    ready = {}
    for line in sys.stdin:
        request = json.loads(line)
        key = (request["workload"], request["width"], request["conv"])
        if key not in ready:
            began = time.perf_counter()
            step, state, cohort = make_round(key[0], WORKLOADS[key[0]], key[1], key[2])
            state, _ = jax.block_until_ready(step(state, cohort, 0))
            jax.block_until_ready(step(state, cohort, 0))
            ready[key] = (step, state, cohort, time.perf_counter() - began)
        step, state, cohort, compiled = ready[key]
        began = time.perf_counter()
        for t in range(WORKLOADS[key[0]].rounds):
            state, loss = step(state, cohort, t)
        jax.block_until_ready((state, loss))
        print(json.dumps({"seconds": time.perf_counter() - began, "compile_seconds": compiled}), flush=True)


if __name__ == "__main__":
    main()
