"""One round of FedAvg with a model of GPT-2's size, clients one after another: its memory in model sizes.

    python benchmarks/large_model.py --out benchmarks/results/large_model.json

The architecture is GPT-2 small (124 million parameters, head tied to the embedding) with random weights; every client
takes two steps of plain SGD on one random sequence each. Nothing personal is kept, so a round should hold no more
models for a hundred clients than for two. Each number of clients is a process of its own, whose peak is read from the
system (VmHWM; Linux only).

Goals: at most 24 GB; at most 6 model sizes beside what the process holds before the round is compiled.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from partitions import machine
from population import peak

CLIENTS = (2, 100)
STEPS = 2
TOKENS = 64  # of a sequence
GPT2 = {"num_classes": 50257, "num_embeddings": 50257, "length": 1024, "layers": 12, "width": 768, "heads": 12}
MOST_BYTES, MOST_MODELS = 24e9, 6


def run(clients: int, tokens: int) -> dict:
    """One round in this process."""
    import jax  # noqa: PLC0415  (not by the parent)
    import jax.numpy as jnp  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415
    import optax  # noqa: PLC0415

    import fedjax_layers as fl  # noqa: PLC0415
    from fedjax_layers.models.transformer import Transformer  # noqa: PLC0415

    rng = np.random.default_rng(0)
    words = jnp.asarray(rng.integers(0, GPT2["num_embeddings"], (clients * STEPS, tokens + 1), np.int32))
    model = Transformer(**GPT2, tied=True, padding=None)
    task = fl.task(
        model,
        (tokens,),
        GPT2["num_classes"],
        preprocess=fl.models.as_stored,
        sample_dtype=jnp.int32,
        kind="language_modelling",
    )
    start = jnp.arange(clients, dtype=jnp.int32) * STEPS
    train, none = fl.Ranges(start, jnp.full(clients, STEPS)), fl.Ranges(start, jnp.zeros(clients, jnp.int32))
    pool = fl.Pool(words[:, :-1], words[:, 1:])
    data = fl.DeviceData(pool, train, none, none, fl.Ranges(start[:1], none.count[:1]), (STEPS, 0, 0, 0), uniform=True)
    method = fl.algorithms.fedavg(fl.LocalSolver(optax.sgd(0.01), batch_size=1))
    params = jax.block_until_ready(jax.jit(task.init)(jax.random.key(0)))
    model_bytes, before, began = sum(x.nbytes for x in jax.tree.leaves(params)), peak(), time.perf_counter()
    result = fl.simulate(
        method, task, data, rounds=1, start=params, axis=fl.ClientAxis(1), evaluated_models=("served",)
    )
    jax.block_until_ready(result.state)
    return {
        "clients": clients,
        "model_bytes": model_bytes,
        "before_bytes": before,
        "peak_bytes": peak(),
        "seconds": time.perf_counter() - began,
        "loss": float(result.history.rounds["loss"][0]),
        "jax": jax.__version__,
    }


def main() -> None:
    """Print a line per number of clients, and how it stands to the goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", nargs="+", type=int, default=CLIENTS)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run(options.clients[0], options.tokens)))
        return
    rows, missed = [], []
    for clients in options.clients:
        command = [sys.executable, __file__, "--child", "--clients", str(clients), "--tokens", str(options.tokens)]
        row = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        models = (row["peak_bytes"] - row["before_bytes"]) / row["model_bytes"]
        rows.append({**row, "models": models})
        print(
            f"{clients:>4} clients: {row['seconds']:.0f} s with compiling, peak {row['peak_bytes'] / 1e9:.1f} GB, "
            f"{models:.1f} models of {row['model_bytes'] / 1e9:.2f} GB beside what was there before",
            flush=True,
        )
        if row["peak_bytes"] > MOST_BYTES or models > MOST_MODELS:
            missed.append(f"{clients} clients hold {models:.1f} models, {row['peak_bytes'] / 1e9:.1f} GB")
    print("\n".join(f"MISSED: {line}" for line in missed) or "All goals met.")
    if options.out:
        facts = {"machine": machine(), "model": GPT2, "tokens": options.tokens, "steps": STEPS}
        options.out.write_text(json.dumps({**facts, "rows": rows, "missed": missed}, indent=1) + "\n")


if __name__ == "__main__":
    main()
