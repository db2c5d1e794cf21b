"""From a thousand to a million clients: microseconds per client and round, and the most memory that a run holds.

    python benchmarks/population.py --out benchmarks/results/population.json

Every client has 25 examples of 60 features and ten classes (``synthetic``), the model is a logistic regression, all
clients take part in every round. Each row is a process of its own, so that its memory is that run's alone: the peak of
what it holds (VmHWM; Linux only) beside the bytes of its examples and of the algorithm's state. A figure is the median
over the intervals after the first one, which compiles; an interval is five rounds and the
evaluation of all clients. Rows of ``--out`` that this call does not measure stay as they are.

Goals: from the fewest to the most clients the time per client grows by at most 1.2 ×; the peak is at most 1.5 × (data +
state) + 1 GB. A million clients take 6 GB of data, and half an hour for each algorithm on two cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from partitions import machine

ALGORITHMS = ("fedavg", "fedper", "player_fl", "permfl")
CLIENTS = (1_000, 10_000, 100_000, 1_000_000)
EXAMPLES = 25
PERIODS = 2  # measured
ROUNDS = 5  # of an interval
WIDTH = 64
GROWTH = 1.2  # times the microseconds of the fewest clients
SHARE, BESIDE = 1.5, 1e9  # peak: times data and state, and bytes beside


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithms", nargs="+", default=ALGORITHMS)
    parser.add_argument("--clients", nargs="+", type=int, default=CLIENTS, help="numbers of clients")
    parser.add_argument("--width", type=int, default=WIDTH, help="clients vectorised at once on each device")
    parser.add_argument("--smoke", action="store_true", help="200 clients of the first algorithm")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.smoke:
        options.algorithms, options.clients = options.algorithms[:1], [200]
    return options


def peak() -> int:
    """Most bytes that this process has held so far."""
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])


def run(algorithm: str, clients: int, width: int) -> dict:
    """Compute some intervals in this process."""
    import jax  # noqa: PLC0415  (not by the parent)

    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))  # as the command line has it
    from fedjax_layers.engine.history.history import History  # noqa: PLC0415
    from fedjax_layers.engine.run_loop import run_intervals, start_state  # noqa: PLC0415
    from fedjax_layers.experiment.config.run_config import RunConfig  # noqa: PLC0415
    from fedjax_layers.experiment.setup.prepare import prepare  # noqa: PLC0415

    config = RunConfig(
        algorithm,
        dataset="synthetic",
        clients=clients,
        data_options={"min_samples": EXAMPLES, "max_samples": EXAMPLES},
        model="logistic_regression",
        client_width=str(width),
        rounds=ROUNDS * (1 + PERIODS),
        eval_every=ROUNDS,
    )
    began = time.perf_counter()
    experiment = prepare(config)
    loading, state = time.perf_counter() - began, start_state(experiment.builder, experiment.plan, experiment.inputs)
    data, held = (sum(x.nbytes for x in jax.tree.leaves(tree)) for tree in (experiment.inputs.device_data.pool, state))
    ends = [time.perf_counter()]
    intervals = run_intervals(experiment.builder, experiment.plan, experiment.inputs, state, History(), config.rounds)
    del state  # it is given up to the first interval
    ends += [time.perf_counter() for _ in intervals]
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    return {
        "algorithm": algorithm,
        "clients": clients,
        "microseconds": 1e6 * statistics.median(seconds[1:]) / ROUNDS / clients,
        "seconds_of_periods": seconds,
        "seconds_to_load": loading,
        "data_bytes": data,
        "state_bytes": held,
        "forecast_bytes": experiment.memory.total,
        "peak_bytes": peak(),
        "devices": len(jax.devices()),
        "jax": jax.__version__,
    }


def child(algorithm: str, clients: int, options: argparse.Namespace) -> dict | None:
    """The figures of a run in a process of its own; ``None`` if that ended without any."""
    command = [sys.executable, __file__, "--child", "--algorithms", algorithm, "--clients", str(clients)]
    command += ["--width", str(options.width)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def goal(row: dict) -> float:
    """The most bytes that a row's run should hold."""
    return SHARE * (row["data_bytes"] + row["state_bytes"]) + BESIDE


def misses(row: dict, rows: list[dict]) -> Iterator[str]:
    """How a row misses the goals, beside the row of the fewest clients with its algorithm."""
    what = f"{row['algorithm']} with {row['clients']:,} clients"
    if row["peak_bytes"] > goal(row):
        yield f"{what} holds {row['peak_bytes'] / goal(row):.2f} × its goal"
    first = min((other for other in rows if other["algorithm"] == row["algorithm"]), key=lambda row: row["clients"])
    if row["microseconds"] > GROWTH * first["microseconds"]:
        yield f"{what} takes {row['microseconds'] / first['microseconds']:.2f} × the time per client"


def main() -> None:
    """Print a line per algorithm and number of clients, and how they stand to the goals."""
    options = parse()
    if options.child:
        print(json.dumps(run(options.algorithms[0], options.clients[0], options.width)))
        return
    columns = "".join(f"{name:>10}" for name in ("data", "state", "forecast", "peak", "goal"))
    print(f"{'algorithm':12}{'clients':>10}{'µs/client':>11}{columns}  (GB)")
    rows, missed = [], []
    for algorithm in options.algorithms:
        for clients in sorted(options.clients):
            row = child(algorithm, clients, options)
            if row is None:
                missed.append(f"{algorithm} with {clients:,} clients did not end")
                continue
            rows.append(row)
            sizes = [row[f"{name}_bytes"] / 1e9 for name in ("data", "state", "forecast", "peak")] + [goal(row) / 1e9]
            print(
                f"{algorithm:12}{clients:>10,}{row['microseconds']:>11.2f}"
                + "".join(f"{size:>10.2f}" for size in sizes),
                flush=True,
            )
    if options.out and options.out.exists():
        measured = {(row["algorithm"], row["clients"]) for row in rows}
        before = json.loads(options.out.read_text())["rows"]
        rows = sorted(
            rows + [row for row in before if (row["algorithm"], row["clients"]) not in measured],
            key=lambda row: (row["algorithm"], row["clients"]),
        )
    missed += [line for row in rows for line in misses(row, rows)]
    print("\n".join(f"MISSED: {line}" for line in missed) or "All goals met.")
    if options.out:
        facts = {"machine": machine(), "width": options.width, "rounds_of_a_period": ROUNDS, "examples": EXAMPLES}
        options.out.write_text(json.dumps({**facts, "rows": rows, "missed": missed}, indent=1) + "\n")


if __name__ == "__main__":
    main()
