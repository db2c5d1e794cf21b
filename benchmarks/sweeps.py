"""A sweep beside the same runs one by one: 64 values of FedProx's mu with 8 seeds, logistic regression, 100 clients.

    python benchmarks/sweeps.py --data-dir DATA [--out benchmarks/results/sweeps.json]

Three sides, asked in turn in every repeat: the sweep (all 512 runs, its compilation and measuring included); separate
warm runs of the same engine in this process (every eighth setting with every seed: data loaded, program compiled,
client axis measured beforehand); separate processes (two). Goals: the sweep at least 2 times as fast as warm runs, and
at least 20 times as fast as processes. Medians over repeats of the seconds per run.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fedjax_layers.experiment.config.named_options import with_setting
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.environment import environment
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import Experiment, prepare, vary
from fedjax_layers.sweeps.config_sweep import run_sweep
from fedjax_layers.sweeps.configs import SweptRun, swept_runs
from fedjax_layers.sweeps.request import SweepRequest, product, spaced
from fedjax_layers.sweeps.widths import Programs

GOALS = {"warm": 2.0, "processes": 20.0}
FLAGS = (
    "--dataset fashion_mnist --limit 10000 --clients 100 --partition-seed 0 --model logistic_regression --rounds 50 "
    "--eval-every 5 --batch-size 20"
)
BASE = RunConfig(
    algorithm="fedprox",
    dataset="fashion_mnist",
    data_options={"limit": 10_000},
    clients=100,
    partition_seed=0,
    model="logistic_regression",
    rounds=50,
    eval_every=5,
    batch_size=20,
)


def grid(settings: int, seeds: int) -> list[SweptRun]:
    """The runs: seeds draw start, cohorts and batches; the partition is one."""
    values = product(mu=spaced(1e-4, 10, settings, log=True))
    request = SweepRequest(values, range(seeds), ("start", "sampling"))
    return swept_runs(request, functools.partial(with_setting, BASE))


def sweep_side(runs: list[SweptRun], data_dir: str | None) -> tuple[float, list[dict[str, Any]], dict[str, Any]]:
    """Seconds per run of the whole sweep, its rows and how it was computed."""
    began = time.perf_counter()
    programs = Programs()
    rows = run_sweep(runs, programs, data_dir)
    return (time.perf_counter() - began) / len(runs), rows, next(iter(programs.record.values()))


def warm_side(runs: list[SweptRun], experiment: Experiment) -> tuple[float, list[float]]:
    """Seconds per run of separate runs, and their scores."""
    began = time.perf_counter()
    scores = []
    for run in runs:
        summary, _ = execute(vary(experiment, run.config))
        scores.append(summary["personal"]["macro_f1"]["mean"])
    return (time.perf_counter() - began) / len(runs), scores


def process_side(runs: list[SweptRun], data_dir: str | None) -> float:
    """Seconds per run of processes of their own, one after the other."""
    began = time.perf_counter()
    where = ["--data-dir", data_dir] if data_dir else []
    for run in runs:
        with tempfile.TemporaryDirectory() as folder:
            mu = str(run.config.algorithm_options["mu"])
            own = ["--mu", mu, "--seed", str(run.seed), "--out", f"{folder}/run"]
            code = "import sys; from fedjax_layers.cli import main; sys.exit(main())"
            command = [sys.executable, "-c", code, "run", "fedprox", *FLAGS.split(), *where, *own]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) / len(runs)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--devices", type=int, default=2, help="CPU devices, as the command line has one per core")
    parser.add_argument("--data-dir")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", options.devices)
    runs = grid(options.settings, options.seeds)
    some = [run for run in runs if run.number // options.seeds % 8 == 0]
    experiment = prepare(some[0].config, options.data_dir)
    execute(experiment)  # compiled and warm from here on
    seconds: dict[str, list[float]] = {"sweep": [], "warm": [], "processes": []}
    for _ in range(options.repeats):
        taken, rows, record = sweep_side(runs, options.data_dir)
        seconds["sweep"].append(taken)
        taken, scores = warm_side(some, experiment)
        seconds["warm"].append(taken)
        seconds["processes"].append(process_side(some[:2], options.data_dir))
        print(" ".join(f"{side} {1000 * times[-1]:.0f} ms" for side, times in seconds.items()), flush=True)
    found = np.array([rows[run.number]["personal/test/macro_f1"] for run in some])
    difference = float(np.abs(found - np.array(scores)).max())
    medians = {side: statistics.median(times) for side, times in seconds.items()}
    for side, goal in GOALS.items():
        print(f"{side} / sweep: {medians[side] / medians['sweep']:.1f} (goal {goal:g})")
    print(f"{len(runs)} runs: {medians['sweep'] * len(runs):.0f} s; largest difference in macro-F1: {difference:.1e}")
    print(record)
    if options.out:
        content = {
            "environment": environment(),
            "runs": len(runs),
            "seconds_per_run": seconds,
            "program": record,
            "difference": difference,
        }
        options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
