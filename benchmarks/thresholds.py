"""256 thresholds of PLayer-FL on the Fashion-MNIST CNN as one sweep, beside runs by themselves.

    python benchmarks/thresholds.py --data-dir DATA [--out benchmarks/results/thresholds.json]

The setting is the laptop preset of experiments/playerfl_fmnist.py. Goals: one program; at most (layers + 1) runs' time
and 20 per cent, since only so many cuts are possible; every row within 1e-5 of its separate run. A run's time is the
median of the warm separate runs that the rows are compared with (``--check`` of them, evenly over the thresholds; 256
are all). The sweep's time has everything in it but loading JAX: data, compilation, rows.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
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
from fedjax_layers.sweeps.configs import swept_runs
from fedjax_layers.sweeps.request import SweepRequest, product, spaced
from fedjax_layers.sweeps.results import row_of
from fedjax_layers.sweeps.widths import Programs

TOLERANCE, SLACK = 1e-5, 1.2


def config_of(rounds: int, limit: int) -> RunConfig:
    """PLayer-FL on five clients; the network at an eighth of its width."""
    return RunConfig(
        algorithm="player_fl",
        algorithm_options={"threshold": 1.5},
        dataset="fashion_mnist",
        data_options={"limit": limit, "alpha": 0.5, "stratified": False},
        partition="dirichlet",
        clients=5,
        model_options={"width": 0.125},
        batch_size=32,
        learning_rate=1e-3,
        optimizer="amsgrad",
        keep_optimizer=True,
        rounds=rounds,
        evaluated_models="trained",
        client_width="1",
    )


def main() -> None:
    """Measure, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--limit", type=int, default=10_000, help="images")
    parser.add_argument("--settings", type=int, default=256)
    parser.add_argument("--check", type=int, default=5, help="rows compared with runs by themselves")
    parser.add_argument("--devices", type=int, default=2, help="CPU devices, as the command line has one per core")
    parser.add_argument("--data-dir")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", options.devices)
    found = measure(options)
    worth = f"{found['runs_worth']:.1f} runs' worth (goal {found['allowed']:.1f})"
    run = statistics.median(found["run_seconds"])
    print(f"{options.settings} thresholds: {found['sweep_seconds']:.0f} s; a run {run:.1f} s: {worth}")
    print(f"programs: {found['programs']}; cuts: {found['cuts']}")
    print(f"largest difference of {found['compared']}: {found['difference']:.1e}")
    if options.out:
        sizes = {"rounds": options.rounds, "images": options.limit, "settings": options.settings}
        options.out.write_text(json.dumps({"environment": environment(), **sizes, **found}, indent=1) + "\n")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The sweep's seconds, those of some of its runs by themselves, and how far their rows are apart."""
    base = config_of(options.rounds, options.limit)
    settings = product(threshold=spaced(0.05, 50, options.settings, log=True))
    runs = swept_runs(SweepRequest(settings), functools.partial(with_setting, base))
    began = time.perf_counter()
    programs = Programs()
    rows = run_sweep(runs, programs, options.data_dir)
    seconds = time.perf_counter() - began
    experiment = prepare(base, options.data_dir)
    execute(experiment)
    places = np.unique(np.linspace(0, len(runs) - 1, options.check).round().astype(int))
    alone = [run_alone(vary(experiment, runs[place].config), rows[place]) for place in places]
    run_seconds = [took for took, _ in alone]
    return {
        "sweep_seconds": seconds,
        "run_seconds": run_seconds,
        "runs_worth": seconds / statistics.median(run_seconds),
        "allowed": SLACK * (experiment.plan.task.layers.num_layers + 1),
        "programs": programs.compiled,
        "cuts": sorted({row["num_shared_layers"] for row in rows}),
        "compared": len(alone),
        "difference": max(difference for _, difference in alone),
    }


def run_alone(one: Experiment, row: dict[str, Any]) -> tuple[float, float]:
    """Seconds of a run by itself, and its largest difference from its row of the sweep."""
    began = time.perf_counter()
    _, history = execute(one)
    took = time.perf_counter() - began
    expected = row_of(
        history,
        one.plan.task.layers,
        one.data.sizes["train"],
        scored_model=one.config.scored_model,
        scored_round=one.config.scored_round,
        unseen=one.data.unseen,
    )
    return took, max(abs(row[name] - value) for name, value in expected.items())


if __name__ == "__main__":
    main()
