"""Seeded damage to what a run has written: its records, its checkpoints and its saved models."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_bytes
import fuzz_commands
import fuzz_values
import jax
import numpy as np
from fuzz_watch import Bad

from fedjax_layers.cli import main
from fedjax_layers.engine.checkpoint import Checkpoints
from fedjax_layers.engine.history.files import HistoryFiles
from fedjax_layers.engine.history.history import History
from fedjax_layers.experiment.records.run_directory import RunDirectory

Case = tuple[str, Callable[[], object]]
_FLAGS = "run fedavg --dataset heart --model logistic_regression --rounds 3 --batch-size 128 --client-width all"


@functools.cache
def _run() -> Path:
    """Make a finished run, once."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-run-", dir=Path.cwd())) / "run"
    with contextlib.redirect_stdout(io.StringIO()):
        code = main([*_FLAGS.split(), "--save-model", "--out", str(folder)])
    assert code == 0, "the run that is to be damaged could not be made"
    return folder


def _damaged(rng: random.Random, folder: Path, pattern: str = "*") -> tuple[str, Path]:
    """Copy the run, and damage one of its files."""
    place = folder / "run"
    shutil.copytree(_run(), place)
    files = sorted(path for path in place.rglob(pattern) if path.is_file() and path.name != ".lock")
    path = rng.choice(files)
    told = str(path.relative_to(place))
    if path.suffix == ".json" and rng.random() < 0.5:
        content = fuzz_values.changed(rng, json.loads(path.read_text()))
        path.write_bytes(fuzz_values.written(content).encode("utf-8", "surrogatepass"))
        return f"{told}: another value", place
    return f"{told}: {fuzz_bytes.mutated(rng, path, text=path.suffix in ('.json', '.jsonl'))}", place


def inspect(rng: random.Random, folder: Path) -> Case:
    """A damaged run is looked at."""
    told, _ = _damaged(rng, folder, rng.choice(["summary.json", "clients.npz", "*.json"]))
    words = ["inspect", "run", *rng.choice([[], ["--csv"], ["--scored-model", "trained"]])]
    return told, lambda: fuzz_commands.command(words)


def resume(rng: random.Random, folder: Path) -> Case:
    """A damaged run is to be continued."""
    told, _ = _damaged(rng, folder, rng.choice(["*.json", "config.json", "manifest.json"]))
    return told, lambda: fuzz_commands.command(["run", "--out", "run", "--resume"])


def start(rng: random.Random, folder: Path) -> Case:
    """A damaged run's model is the start of another run."""
    told, _ = _damaged(rng, folder, rng.choice(["*.safetensors", "config.json"]))
    words = [*_FLAGS.split(), "--init-from", "run"]
    return told, lambda: fuzz_commands.command(words)


def records(rng: random.Random, folder: Path) -> Case:
    """A damaged run's records are read."""
    told, place = _damaged(rng, folder, rng.choice(["*.jsonl", "*.parquet", "*.npz"]))

    def read() -> None:
        run = RunDirectory(place)
        run.read_rounds()
        run.read_clients()
        files = HistoryFiles(run.history)
        History.open(files)
        list(files.clients())

    return told, read


@functools.cache
def _saved() -> tuple[Path, Any]:
    """Save two checkpoints, once."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-saved-", dir=Path.cwd())) / "checkpoints"
    state = {"a": jax.numpy.arange(40.0), "b": {"c": jax.numpy.arange(6)}}
    checkpoints = Checkpoints(folder)
    for rounds in (1, 2):
        checkpoints.save(rounds, jax.tree.map(lambda x, r=rounds: x + r, state))
    checkpoints.close()
    return folder, state


def checkpoint(rng: random.Random, folder: Path) -> Case:
    """A damaged checkpoint is restored: with the numbers that were saved, or not at all."""
    saved, state = _saved()
    place = folder / "checkpoints"
    shutil.copytree(saved, place)
    path = rng.choice(sorted(path for path in place.rglob("*") if path.is_file()))
    told = f"{path.relative_to(place)}: {fuzz_bytes.mutated(rng, path, text=path.name in ('_METADATA', 'metadata'))}"

    def restore() -> None:
        checkpoints = Checkpoints(place)
        try:
            found = checkpoints.restore(state)
        finally:
            checkpoints.close()
        if found is None:
            raise Bad("no checkpoint was found, though one of two is whole")
        wanted = jax.tree.map(lambda x: np.asarray(x) + found[0], state)
        if not all(map(np.array_equal, jax.tree.leaves(found[1]), jax.tree.leaves(wanted))):
            raise Bad(f"other numbers were restored for round {found[0]}")

    return told, restore


checkpoint.share = 2.0  # type: ignore[attr-defined]
KINDS: dict[str, Any] = {f"run: {make.__name__}": make for make in (inspect, resume, start, records, checkpoint)}
