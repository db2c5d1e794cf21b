"""Seconds and memory to load a data set, the first time (decoded) and later (memory-mapped).

    python benchmarks/loading.py --data-dir DATA --out loading.json

Goal: Fashion-MNIST for the second time in less than 1 s, with no more memory than its arrays (10 % are allowed for).
Every load is a process of its own that has imported the package; a new cache folder makes the first one decode. Memory
is the peak of what the process holds (VmHWM) beyond what it held before the load, every array having been read once, so
that mapped pages count. Figures are medians over ``--repeats``. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from partitions import machine

NAMES = ("fashion_mnist", "cifar10", "beijing_air", "wikitext2")
GOAL_SECONDS = {"fashion_mnist": 1.0}  # for the second load
GOAL_MEMORY = {"fashion_mnist": 1.1}  # times the arrays' bytes, for the second load
MIB = 2**20


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, help="data sets")
    parser.add_argument("--data-dir", default=os.environ.get("FEDJAX_LAYERS_DATA"), help="folder of the data files")
    parser.add_argument("--repeats", type=int, default=5, help="first and second loads of each set")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def peak() -> int:
    """Most bytes that this process has held so far, mapped files included."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])


def load(name: str, data_dir: str) -> dict:
    """Load one set in this process and read all its arrays."""
    from fedjax_layers.data import load_dataset  # noqa: PLC0415  (not by the parent)

    Path("/proc/self/clear_refs").write_text("5")  # what importing took at its peak and gave back does not count
    before = peak()
    began = time.perf_counter()
    data = load_dataset(name, data_dir)
    seconds = time.perf_counter() - began
    loaded = peak()
    fields = (data.inputs, data.labels, data.clients, data.strata, data.example_ids, data.official_test)
    arrays = [array for array in fields if array is not None]
    for array in arrays:
        np.max(array)
    return {
        "examples": len(data),
        "seconds": seconds,
        "array_bytes": sum(array.nbytes for array in arrays),
        "peak_bytes_loaded": loaded - before,
        "peak_bytes_read": peak() - before,
    }


def child(name: str, data_dir: str, cache: str) -> dict:
    """The figures of one load, from a process of its own."""
    command = [sys.executable, __file__, name, "--data-dir", data_dir, "--child"]
    environment = {**os.environ, "FEDJAX_LAYERS_CACHE": cache}
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)


def measure(name: str, data_dir: str, repeats: int) -> dict:
    """First and second loads, in turn."""
    loads: dict[str, list[dict]] = {"first": [], "second": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            for found in loads.values():  # in this order
                found.append(child(name, data_dir, cache))
    medians = {
        which: {key: statistics.median(figures[key] for figures in found) for key in found[0]}
        for which, found in loads.items()
    }
    return {"name": name, "loads": loads, **medians}


def main() -> None:
    """Print a line per data set, and how it stands to the goals."""
    args = parse()
    if not args.data_dir:
        sys.exit("--data-dir: expected the folder of the data files, or FEDJAX_LAYERS_DATA to name it")
    if args.child:
        print(json.dumps(load(args.names[0], args.data_dir)))
        return
    print(f"{'':16}{'examples':>10}{'seconds':>18}{'arrays':>10}{'peak beyond the interpreter, MiB':>36}")
    print(f"{'data set':16}{'':>10}{'first':>9}{'second':>9}{'MiB':>10}{'first':>12}{'second':>12}{'of arrays':>12}")
    rows = []
    for name in args.names:
        row = measure(name, args.data_dir, args.repeats)
        rows.append(row)
        first, second = row["first"], row["second"]
        share = second["peak_bytes_read"] / second["array_bytes"]
        print(
            f"{name:16}{int(second['examples']):>10,}{first['seconds']:>9.2f}{second['seconds']:>9.2f}"
            f"{second['array_bytes'] / MIB:>10.1f}{first['peak_bytes_read'] / MIB:>12.1f}"
            f"{second['peak_bytes_read'] / MIB:>12.1f}{share:>12.2f}",
            flush=True,
        )
    for row in (row for row in rows if row["name"] in GOAL_SECONDS):
        seconds, share = row["second"]["seconds"], row["second"]["peak_bytes_read"] / row["second"]["array_bytes"]
        goals = GOAL_SECONDS[row["name"]], GOAL_MEMORY[row["name"]]
        met = "met" if seconds < goals[0] and share <= goals[1] else "MISSED"
        print(f"{row['name']}: {seconds:.2f} s (goal {goals[0]} s), {share:.2f} × the arrays (goal {goals[1]}): {met}")
    if args.out:
        args.out.write_text(json.dumps({"machine": machine(), "repeats": args.repeats, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
