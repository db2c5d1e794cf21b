"""Rounds per second with data, state, both or nothing on the host.

    python benchmarks/on_host.py --out benchmarks/results/on_host.json

Of 10,000 clients with 50 examples of 60 features and ten classes (``synthetic``) a hundred take part in a round, by
FedPer, which keeps a layer for each client. On a CPU nothing is gained by it: the figures say what drawing, copying and
writing back cost where the arithmetic is small. The variants are asked in turn; medians over the turns.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from pathlib import Path

import jax
from partitions import machine

VARIANTS = ((), ("data",), ("state",), ("data", "state"))
MODELS = ("logistic_regression", "mlp")


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--cohort", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=100, help="rounds of an interval; the first one compiles")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="few clients and rounds of one model")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    if options.smoke:
        options.clients, options.cohort, options.rounds, options.turns = 40, 4, 2, 1
    return options


def rounds_per_second(model: str, on_host: tuple[str, ...], options: argparse.Namespace) -> float:
    """Of the second interval of a run."""
    from fedjax_layers.engine.history.history import History  # noqa: PLC0415
    from fedjax_layers.engine.run_loop import run_intervals, start_state  # noqa: PLC0415
    from fedjax_layers.experiment.config.run_config import RunConfig  # noqa: PLC0415  (after the number of devices is set)
    from fedjax_layers.experiment.setup.prepare import prepare  # noqa: PLC0415

    config = RunConfig(
        "fedper",
        dataset="synthetic",
        clients=options.clients,
        data_options={"min_samples": 50, "max_samples": 50},
        model=model,
        cohort=options.cohort,
        client_width="16",
        evaluated_models="trained",
        rounds=2 * options.rounds,
        eval_every=options.rounds,
        on_host=on_host,
    )
    experiment = prepare(config)
    state = start_state(experiment.builder, experiment.plan, experiment.inputs)
    intervals = run_intervals(experiment.builder, experiment.plan, experiment.inputs, state, History(), config.rounds)
    ends = [time.perf_counter() for _ in intervals]
    return options.rounds / (ends[1] - ends[0])


def main() -> None:
    """Print a line per model and variant."""
    options = parse()
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    rows = []
    for model in MODELS[: 1 if options.smoke else None]:
        found: dict[tuple[str, ...], list[float]] = {variant: [] for variant in VARIANTS}
        for _, variant in itertools.product(range(options.turns), VARIANTS):
            found[variant].append(rounds_per_second(model, variant, options))
        for variant, speeds in found.items():
            rows.append(
                {"model": model, "on_host": variant, "rounds_per_second": statistics.median(speeds), "all": speeds}
            )
            print(
                f"{model:22}{', '.join(variant) or 'nothing':14}{statistics.median(speeds):8.1f} rounds/s", flush=True
            )
    if options.out:
        about = machine() | {"jax": jax.__version__, "clients": options.clients, "cohort": options.cohort}
        options.out.write_text(json.dumps(about | {"load": os.getloadavg()[1], "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
