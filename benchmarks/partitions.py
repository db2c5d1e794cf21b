"""Time to partition, by scheme and size; goals: Dirichlet 2 s at 10,000 clients, two classes each 5 s at 100,000.

    python benchmarks/partitions.py --out partitions.json

One machine, one process, NumPy only. Every figure is the median over ``--repeats`` calls after one unmeasured call. A
dash: the scheme gives every client every class, for which the clients of that size are too small.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np

from fedjax_layers.data.partitions import PARTITIONS

CLASSES = 10
SIZES = {"60,000 / 1,000": (60_000, 1_000), "60,000 / 10,000": (60_000, 10_000), "1,000,000 / 100,000": (10**6, 10**5)}
LEAST = {"min_size": 1}
PARAMS: dict[str, dict] = {  # what lets a scheme run at every size
    "classes_per_client": {**LEAST, "classes": 2},
    "classes_per_team": LEAST,
    "dirichlet": LEAST,
    "dirichlet_lognormal": LEAST,
    "natural_teams": LEAST,
    "permfl": {"chunk": 2, "extra": (3, 6)},
    "pfedla_1": {"classes": 2},
    "pfedla_2": {"share": 0.3},
    "quantity_dirichlet": LEAST,
    "quantity_lognormal": LEAST,
    "quantity_zipf": LEAST,
    "two_level": {**LEAST, "teams": 100},
}
GOALS = {("dirichlet", "60,000 / 10,000"): 2.0, ("classes_per_client", "1,000,000 / 100,000"): 5.0}


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="measured calls")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser.parse_args()


def natural_clients(name: str, examples: int, clients: int) -> np.ndarray:
    """Natural clients ``[N]`` that suit a scheme."""
    rows = np.arange(examples)
    return {"natural": rows % clients, "natural_grouped": rows // 2, "natural_teams": rows % 100}[name]


def seconds(name: str, labels: np.ndarray, clients: int, repeats: int) -> list[float]:
    """Measured calls of one scheme, after one that is not."""
    params = dict(PARAMS.get(name, {}))
    if name.startswith("natural"):
        params["clients"] = natural_clients(name, len(labels), clients)
    times = []
    for seed in range(repeats + 1):
        began = time.perf_counter()
        PARTITIONS[name](labels, clients, seed, **params)
        times.append(time.perf_counter() - began)
    return times[1:]


def machine() -> dict:
    """What the figures stand on."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    return {
        "cpu": next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor()),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def main() -> None:
    """Time every registered scheme at every size; print medians, and how they stand to the goals."""
    args = parse()
    rows = []
    print(
        f"{'scheme':20}"
        + "".join(f"{size:>22}" for size in SIZES)
        + f"   (examples / clients, {CLASSES} classes, seconds)"
    )
    for name in PARTITIONS:
        cells = []
        for size, (examples, clients) in SIZES.items():
            if name == "pfedla_2" and examples < 2 * CLASSES * clients:
                cells.append("–")
                continue
            labels = np.random.default_rng(0).permutation(np.arange(examples) % CLASSES)
            times = seconds(name, labels, clients, args.repeats)
            cells.append(f"{statistics.median(times):.4f}")
            goal = GOALS.get((name, size))
            rows.append({"scheme": name, "examples": examples, "clients": clients, "seconds": times, "goal": goal})
        print(f"{name:20}" + "".join(f"{cell:>22}" for cell in cells), flush=True)
    for row in rows:
        if row["goal"]:
            median = statistics.median(row["seconds"])
            print(f"{row['scheme']} at {row['clients']:,} clients: {median:.3f} s (goal {row['goal']} s)")
    if args.out:
        args.out.write_text(json.dumps({"machine": machine(), "params": PARAMS, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
