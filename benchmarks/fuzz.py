"""Bad input, by the thousand: files, configs and command lines that are wrong in a seeded way, and what came of each.

    python benchmarks/fuzz.py [--cases 12000] [--seed 0] [--only PART,...] [--out benchmarks/results/fuzz.json]

Every case is made by its number, the seed and the kind alone, so that ``--only KIND --number N`` repeats one. A case is
fine if it is read, or refused in one line that says what was expected: an error of ours where a reader is called, exit
code 2 where a command is. It fails if there is another exception, if it takes more than 60 seconds or 4 GiB, or if
another file was changed. Everything happens in one process and in one temporary folder; no round is trained.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import fuzz_bytes
import fuzz_watch
from fuzz_watch import Outcome, judged

FINE = ("ok", "refused")
Prepare = Callable[[random.Random, Path], tuple[str, Callable[[], object]]]


def kinds() -> dict[str, Prepare]:
    """Return the kinds of cases: from a generator and a folder, make a description and the function to be judged."""
    import fuzz_bombs  # noqa: PLC0415  (JAX, which is slow to import, comes with these)
    import fuzz_commands  # noqa: PLC0415
    import fuzz_files  # noqa: PLC0415
    import fuzz_odd  # noqa: PLC0415
    import fuzz_own  # noqa: PLC0415
    import fuzz_records  # noqa: PLC0415

    def of_file(target: fuzz_files.Target) -> Prepare:
        def prepare(rng: random.Random, folder: Path) -> tuple[str, Callable[[], object]]:
            path = target.make(folder)
            told = fuzz_bytes.mutated(rng, path, text=target.text)
            return told, lambda: target.read(path)

        return prepare

    files = {f"file: {name}": of_file(target) for name, target in (fuzz_files.TARGETS | fuzz_own.TARGETS).items()}
    return (
        files
        | fuzz_own.KINDS
        | fuzz_odd.KINDS
        | fuzz_bombs.KINDS
        | fuzz_records.KINDS
        | fuzz_commands.KINDS_OF_COMMANDS
    )


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """Make a folder with a place for each case and one that nothing may change, and go there."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        root, before = Path(name).resolve(), Path.cwd()
        guarded = root / "guarded"
        (guarded / "deep").mkdir(parents=True)
        (guarded / "deep" / "mine.txt").write_text("mine")
        (guarded / "mine.csv").write_text("a,b\n1,2\n")
        (guarded / "mine.npz").write_bytes(b"mine")
        variables = {"FEDJAX_LAYERS_CACHE": str(root / "cache"), "TFDS_DATA_DIR": str(root / "tfds")}
        with mock.patch.dict(os.environ, variables):
            os.environ.pop("FEDJAX_LAYERS_DATA", None)
            os.chdir(root)
            try:
                yield root
            finally:
                os.chdir(before)


def run_case(prepare: Prepare, kind: str, seed: int, number: int, root: Path) -> tuple[str, Outcome]:
    """Make and judge one case in a new folder, which is deleted afterwards."""
    rng = random.Random(f"{seed} {kind} {number}")
    with tempfile.TemporaryDirectory(prefix="case-", dir=root, ignore_cleanup_errors=True) as name:
        told, case = prepare(rng, Path(name))
        os.chdir(name)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                return told, judged(case, root / "guarded")
        finally:
            os.chdir(root)


def campaign(
    total: int, seed: int, only: str | None = None, number: int | None = None, say: Callable[[str], object] = print
) -> dict[str, Any]:
    """Run ``total`` cases, spread over the kinds, or one of each kind; return the counts and the failures."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    failures: list[dict[str, Any]] = []
    slowest = 0.0
    with workplace() as root:
        chosen = {k: p for k, p in kinds().items() if only is None or any(part in k for part in only.split(","))}
        shares = {kind: getattr(prepare, "share", 1.0) for kind, prepare in chosen.items()}
        numbers = {kind: max(1, round(total * share / sum(shares.values()))) for kind, share in shares.items()}
        for kind, prepare in chosen.items():
            began = time.perf_counter()
            for i in range(numbers[kind]) if number is None else [number]:
                told, outcome = run_case(prepare, kind, seed, i, root)
                counts[kind][outcome.kind] += 1
                slowest = max(slowest, outcome.seconds)
                if outcome.kind not in FINE:
                    failures.append({"kind": kind, "number": i, "case": told[:300], **outcome._asdict()})
                    say(f"{kind} {i}: {outcome.kind}: {outcome.told[:300]} ({told[:200]})")
                elif number is not None:
                    say(f"{kind} {i}: {outcome} ({told})")
            say(f"{kind}: {dict(counts[kind])}, {time.perf_counter() - began:.1f} s")
    outcomes = Counter[str]()
    for one in counts.values():
        outcomes.update(one)
    return {
        "cases": outcomes.total(),
        "outcomes": dict(outcomes),
        "failures": failures,
        "slowest_seconds": round(slowest, 2),
        "limits": {"seconds": fuzz_watch.MOST_SECONDS, "bytes": fuzz_watch.MOST_BYTES},
        "seed": seed,
        "by_kind": {kind: dict(one) for kind, one in counts.items()},
    }


def main() -> None:
    """Run the campaign, and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="parts of the names of kinds, separated by commas")
    parser.add_argument("--number", type=int, help="run this case alone")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    out = options.out and options.out.absolute()
    found = campaign(options.cases, options.seed, options.only, options.number)
    from fedjax_layers.experiment.records.environment import environment  # noqa: PLC0415

    record = found | {"command": " ".join(sys.argv), "environment": environment()}
    if out:
        out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps({name: found[name] for name in ("cases", "outcomes", "slowest_seconds")}))
    sys.exit(bool(found["failures"]))


if __name__ == "__main__":
    main()
