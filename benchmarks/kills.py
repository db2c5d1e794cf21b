"""Kills of real runs, comparisons and sweeps with SIGKILL at random moments, and the results after they were resumed.

    python benchmarks/kills.py [--kills 8] [--seed 0] [--only NAME,...] [--out benchmarks/results/kills.json]

Each command of ``COMMANDS`` is run once without a kill. Then it is started in another folder with ``--resume``, killed,
and started again, until it was killed ``--kills`` times; a last start brings it to its end. All results of the two
folders must then be the same to the last bit: the lines, the clients' scores, the history, the saved models, the
tables, and the summary but for its times. The moments are drawn with ``--seed``, in turn from five phases, see
``PHASES``. A process that ends before its moment counts as no kill, and the folder is begun anew after it was compared.

In the killed processes a checkpoint is due every fifth of a second, and not every 20 seconds as usual, so that kills
hit saves too; the process that is not killed has the usual clock. The project has no runs of several processes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kills_compare import differences

PHASES = ("starting", "training and evaluating", "saving", "compiling", "finishing")
COMMON = "--dataset heart --batch-size 128 --client-width all --eval-every 2"
RUN = f"{COMMON} --cohort 3 --rounds 400 --save-model"
COMMANDS = {  # name: command; its first part names the family
    "one model: fedavg with a server optimiser": f"run fedavg {RUN} --server-optimizer adam",
    "last local phase: local_adaptation": f"run local_adaptation {RUN} --finish-epochs 20",
    "prefix: fedper, state on the host": f"run fedper {RUN} --on-host data,state",
    "layer scores: player_fl": f"run player_fl {RUN}",
    "server's choice of blocks: fedtlu": f"run fedtlu {RUN}",
    "two phases: fedrep": f"run fedrep {RUN}",
    "second model: ditto": f"run ditto {RUN}",
    "mixed models: apfl": f"run apfl {RUN}",
    "clusters: al2gd": f"run al2gd {RUN}",
    "tiers: permfl": f"run permfl {RUN} --num-teams 2",
    "groups: demlearn": f"run demlearn {RUN}",
    "hypernetworks: pfedla": f"run pfedla {RUN}",
    "one hypernetwork: pfedhn": f"run pfedhn {RUN}",
    "others' models: fedfomo": f"run fedfomo {RUN}",
    "comparison": f"compare fedper,ditto,permfl {COMMON} --rounds 200 --seeds 2 --save-model",
    "sweep": f"sweep fedprox {COMMON} --rounds 200 --vary mu=0.01:1:40:log --seeds 2 --run-width 4",
    "sweep in turn": f"sweep fedper {COMMON} --rounds 100 --vary personal_layers=1,2,3 --seeds 6 --run-width 1",
}
_MAIN = "import sys; from fedjax_layers.cli import main; sys.exit(main(sys.argv[1:]))"
_LONGEST = 300.0  # seconds for which a moment is waited for


def start(command: str, folder: Path, *flags: str, often: bool) -> subprocess.Popen[str]:
    """Start a command of the command line in a process of its own."""
    words = [sys.executable, "-c", _MAIN, *command.split(), "--out", str(folder), *flags]
    words += ["--save-every", "0.2"] * (often and not command.startswith("sweep"))  # a sweep saves after every run
    root = str(Path(__file__).parent.parent)
    variables = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": root}
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=variables)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process, and return what went wrong."""
    _, told = process.communicate(timeout=1200)
    return f"exit code {process.returncode}: {told[-300:]}" if process.returncode or "Traceback" in told else ""


def lines(folder: Path) -> int:
    """Count the lines of all records in a folder."""
    return sum(Path(path).read_bytes().count(b"\n") for path in files(folder, ("rounds.jsonl", "rows.jsonl")))


def saves(folder: Path) -> set[str]:
    """Return the checkpoints of a folder, unfinished ones included, and the unfinished files of records."""
    found = set()
    for place, folders, names in os.walk(folder):  # which passes over what is renamed meanwhile
        found.update(os.path.join(place, name) for name in names if name.endswith(".tmp"))
        if os.path.basename(place) == "checkpoints":
            found.update(os.path.join(place, name) for name in folders)
            folders.clear()
    return found


def manifests(folder: Path) -> list[int]:
    """Return when the manifests of a folder were written, which happens before the first round is compiled."""
    return [os.stat(path).st_mtime_ns for path in files(folder, ("manifest.json",))]


def files(folder: Path, wanted: tuple[str, ...]) -> list[str]:
    """Find the files of these names."""
    return sorted(os.path.join(place, name) for place, _, names in os.walk(folder) for name in names if name in wanted)


def wait(process: subprocess.Popen[str], reached: Any) -> bool:
    """Wait until ``reached`` says so; return False if the process ended before."""
    deadline = time.monotonic() + _LONGEST
    while not reached():
        if process.poll() is not None:
            return False
        if time.monotonic() > deadline:
            raise TimeoutError("the moment did not come")
        time.sleep(0.002)
    return True


def moment(phase: str, process: subprocess.Popen[str], folder: Path, rng: random.Random, total: int) -> bool:
    """Wait for a moment of a phase; return False if the process ended before."""
    if phase == "starting":
        return not wait_seconds(process, rng.uniform(0, 6))
    if phase == "compiling":
        before = manifests(folder)
        return wait(process, lambda: manifests(folder) != before) and not wait_seconds(process, rng.uniform(0, 3))
    if phase == "saving":
        number, seen = rng.randint(1, 4), saves(folder)

        def another() -> bool:
            nonlocal number, seen
            now = saves(folder)
            number, seen = number - bool(now - seen), now
            return number <= 0

        return wait(process, another) and not wait_seconds(process, rng.choice([0, 0.003, 0.02, 0.1]))
    if phase == "finishing":
        return wait(process, lambda: lines(folder) >= total) and not wait_seconds(process, rng.uniform(0, 1.0))
    goal = lines(folder) + rng.randint(1, max(2, total // 6))
    return wait(process, lambda: lines(folder) >= min(goal, total)) and not wait_seconds(process, rng.uniform(0, 0.2))


def wait_seconds(process: subprocess.Popen[str], seconds: float) -> bool:
    """Wait; return whether the process ended meanwhile."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
        return True
    return False


def series(command: str, whole: Path, folder: Path, kills: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Kill a command in a new folder and resume it until its end; yield one record per kill, then one of the result."""
    total, count = lines(whole), 0
    phases = [phase for phase in PHASES if phase != "compiling" or not command.startswith("sweep")]
    order = rng.sample(phases, len(phases))
    while count < kills:
        phase = order[count % len(order)]
        cold = ("--compilation-cache", "off") if phase == "compiling" else ()
        process = start(command, folder, "--resume", *cold, often=True)
        if moment(phase, process, folder, rng, total):
            process.kill()
            process.communicate()
            count += 1
            yield {"kill": phase, "lines": lines(folder)}
        else:
            yield {"wrong": finish(process)}
            yield {"wrong": "; ".join(differences(whole, folder))}
            shutil.rmtree(folder)
    yield {"wrong": finish(start(command, folder, "--resume", often=True))}
    yield {"wrong": "; ".join(differences(whole, folder)), "compared": True}


def harness(names: Sequence[str], kills: int, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run the series of all commands; yield the figures of each."""
    for name in names:
        rng, began, phases, wrong = random.Random(f"{seed} {name}"), time.monotonic(), Counter[str](), []
        with tempfile.TemporaryDirectory(prefix="kills-") as place:
            whole = Path(place) / "whole"
            told = finish(start(COMMANDS[name], whole, often=False))
            if told:
                wrong.append(f"unkilled: {told}")
            else:
                for record in series(COMMANDS[name], whole, Path(place) / "part", kills, rng):
                    phases.update([record["kill"]] if "kill" in record else [])
                    wrong += [record["wrong"]] if record.get("wrong") else []
        seconds = round(time.monotonic() - began)
        print(f"{name}: {phases.total()} kills, {seconds} s, {wrong or 'all results equal'}", flush=True)
        yield name, {"command": COMMANDS[name], "kills": dict(phases), "wrong": wrong, "seconds": seconds}


def figures_of(found: dict[str, Any], seed: int) -> dict[str, Any]:
    """Sum up the figures of all commands."""
    from fedjax_layers.experiment.records.environment import environment  # noqa: PLC0415  (JAX is slow to import)

    total = Counter[str]()
    for one in found.values():
        total.update(one["kills"])
    wrong = sum(len(one["wrong"]) for one in found.values())
    facts = {"kills": total.total(), "by_phase": dict(total), "commands": len(found), "wrong": wrong, "seed": seed}
    return facts | {"by_command": found, "environment": environment()}


def main() -> None:
    """Run the harness, and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=8, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="parts of the names of commands, separated by commas")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    asked = options.only.split(",") if options.only else [""]
    names = [name for name in COMMANDS if any(part in name for part in asked)]
    found: dict[str, Any] = {}
    record: dict[str, Any] = {}
    for name, figures in harness(names, options.kills, options.seed):
        found[name] = figures
        record = figures_of(found, options.seed)
        if options.out:
            options.out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps({name: record[name] for name in ("kills", "by_phase", "wrong")}))
    sys.exit(bool(record["wrong"]))


if __name__ == "__main__":
    main()
