"""Seconds of all layer metrics on the Fashion-MNIST CNN with five clients, each with a model of its own.

    python benchmarks/layer_metrics.py --data-dir DATA [--out benchmarks/results/layer_metrics.json]

Goal: under 60 s on two cores, warm, that is, for the second call with the same task. The models are freshly drawn, one
for each client; their values do not change the work.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import jax
import numpy as np

import fedjax_layers as fl
from fedjax_layers.experiment.records.environment import environment

GOAL_SECONDS = 60


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data-dir")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    data = fl.data.load("fashion_mnist", clients=options.clients, alpha=0.5, data_dir=options.data_dir)
    task = fl.task(fl.models.build_model("player_fmnist_cnn", data.num_classes), data)
    models = jax.vmap(task.init)(jax.random.split(jax.random.key(0), options.clients))
    seconds, cores = [], []
    for _ in range(options.repeats + 1):
        began, worked = time.perf_counter(), time.process_time()
        found = fl.layer_profile(task, models, data, examples=options.examples)
        seconds.append(time.perf_counter() - began)
        cores.append(time.process_time() - worked)
    warm = statistics.median(seconds[1:])
    for name, values in found.means().items():
        print(f"{name:18}", np.array2string(values, precision=3))
    work = statistics.median(cores[1:])
    print(f"first call {seconds[0]:.1f} s, warm {warm:.1f} s (goal {GOAL_SECONDS}), {work:.1f} s of all cores together")
    print(f"load before: {load:.1f}")
    if options.out:
        sizes = {"clients": options.clients, "examples": options.examples, "parameters": sum(task.layers.sizes)}
        figures = {"first_seconds": seconds[0], "warm_seconds": seconds[1:], "warm_core_seconds": cores[1:]}
        figures |= {"load_before": load}
        options.out.write_text(json.dumps({"environment": environment(), **sizes, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
