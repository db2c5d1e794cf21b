"""How fast clients are trained: widths of the client axis, devices and convolutions, beside a PyTorch loop.

    python benchmarks/client_axis.py --torch-python TORCH_ENV/bin/python --out benchmarks/results

All sides are children of this process, wait for its word, and are asked in turn, so that a noisy moment falls on each.
A figure is the median over the repeats of client-steps per second of a whole FedAvg round (shuffle, gather, normalise,
train, average); warm-up and compilation are apart. Without ``--torch-python`` the peer is left out.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))
from workloads import BATCH, WORKLOADS

HERE = Path(__file__).parent
SETTLE_SECONDS = 0.3  # idle threads of the side asked before keep spinning for a while
GOALS = {"cnn": 1.0, "mlp": 2.5, "logistic": 10.0}  # ours over the PyTorch loop


class Side:
    """One child process that times rounds when asked."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE)

    def ask(self, request: dict) -> dict:
        """Time one round."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: the worker ended (exit {self._process.wait()})")
        return json.loads(line)

    def close(self) -> None:
        """End the child."""
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Measure, print the table, store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", help="interpreter of an environment that has PyTorch")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2], help="host devices of the JAX sides")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads of the PyTorch sides")
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--smoke", action="store_true", help="one repeat of the smallest workload")
    parser.add_argument("--out", type=Path, help="folder for client_axis_WORKLOAD.json")
    options = parser.parse_args()
    if options.smoke:
        options.repeats, options.workloads, options.devices = 1, ["logistic"], [1]
    sides = {d: Side(f"jax, {d} device(s)", [sys.executable, "client_axis_jax.py", str(d)]) for d in options.devices}
    torch = {}
    if options.torch_python:
        torch = {t: Side("torch", [options.torch_python, "client_axis_torch.py", str(t)]) for t in options.threads}
    for name in options.workloads:
        rows = measure(name, sides, torch, options.repeats)
        report(name, rows)
        if options.out:
            store(options.out / f"client_axis_{name}.json", rows, options.repeats)
    for side in (*sides.values(), *torch.values()):
        side.close()


def store(path: Path, rows: list[dict], repeats: int) -> None:
    """Write one workload's figures with what they stand on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine(), "repeats": repeats, "batch": BATCH, "rows": rows}, indent=1)
    path.write_text(text + "\n")


def measure(name: str, sides: dict[int, Side], torch: dict[int, Side], repeats: int) -> list[dict]:
    """Every variant of one workload, asked in turn."""
    workload = WORKLOADS[name]
    convs = ("auto", "native") if name == "cnn" else ("auto",)
    asks = {
        f"{conv + ' conv, ' if name == 'cnn' else ''}width {width or 'all'}, {d} device(s)": (
            side,
            {"workload": name, "width": width, "conv": conv},
        )
        for conv in convs
        for width in workload.widths
        for d, side in sides.items()
    } | {f"PyTorch loop, {t} thread(s)": (side, {"workload": name}) for t, side in torch.items()}
    seconds: dict[str, list[float]] = {variant: [] for variant in asks}
    for _ in range(repeats):
        for variant, (side, request) in asks.items():
            time.sleep(SETTLE_SECONDS)
            seconds[variant].append(side.ask(request)["seconds"])
    steps = workload.clients * workload.steps * workload.rounds
    return [
        {
            "workload": name,
            "variant": variant,
            "client_steps_per_second": steps / statistics.median(times),
            "fastest": steps / min(times),
            "slowest": steps / max(times),
        }
        for variant, times in seconds.items()
    ]


def report(name: str, rows: list[dict]) -> None:
    """Print one workload's table and its ratios."""
    workload = WORKLOADS[name]
    print(f"\n{name}: {workload.clients} clients × {workload.steps} steps × batch {BATCH}")
    for row in rows:
        spread = f"({row['slowest']:,.0f} .. {row['fastest']:,.0f})"
        print(f"  {row['variant']:44} {row['client_steps_per_second']:10,.1f} client-steps/s  {spread}")
    peers = [r["client_steps_per_second"] for r in rows if "PyTorch" in r["variant"]]
    ours = max(
        r["client_steps_per_second"] for r in rows if "PyTorch" not in r["variant"] and "native" not in r["variant"]
    )
    if peers:
        print(f"  best of ours / best PyTorch loop: {ours / max(peers):.2f} (goal {GOALS[name]})")
    scans = {r["variant"]: r["client_steps_per_second"] for r in rows}
    native = scans.get("native conv, width 1, 1 device(s)")
    if native:
        same = scans["auto conv, width 1, 1 device(s)"]
        print(f"  ours / native conv, both in a scan on 1 device: {same / native:.1f} (goal 8)")


def machine() -> dict:
    """What the figures stand on."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    return {
        "cpu": next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor()),
        "cores": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "platform": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("jax", "jaxlib", "flax", "optax", "fedjax-layers")},
    }


if __name__ == "__main__":
    main()
