"""The first rounds of a run, computed again and compared with its records."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from fedjax_layers.engine.announce import Say, say_nothing
from fedjax_layers.engine.history.files import HistoryFiles
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.placement.width import AxisChoice, pinned_axis, recorded_axis
from fedjax_layers.engine.run_loop import run_intervals, start_state
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.config_hash import refuse_changed_config
from fedjax_layers.experiment.records.environment import SETTINGS
from fedjax_layers.experiment.records.run_directory import RunDirectory, to_json
from fedjax_layers.experiment.records.same_run import TOLERANCE, other_environment, other_inputs
from fedjax_layers.experiment.records.summary import round_record
from fedjax_layers.experiment.setup.attack import attackers_of
from fedjax_layers.experiment.setup.prepare import Experiment, prepare
from fedjax_layers.storage import DAMAGE, StorageError, reading


class Difference(NamedTuple):
    """One number that was computed otherwise than it is stored; ``None`` for one that is missing."""

    place: str
    stored: float | None
    computed: float | None

    @property
    def relative(self) -> float | None:
        """The difference relative to the stored number."""
        if self.stored is None or self.computed is None:
            return None
        return abs(self.computed - self.stored) / abs(self.stored) if self.stored else float("inf")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of a verification.

    Attributes:
      rounds: number of rounds, or of a sweep's runs, that were compared.
      rtol: relative tolerance; 0 means bit for bit.
      inputs: what differs of data and settings, so that nothing was computed.
      environment: what differs of releases and devices.
      difference: the first number that differs.
    """

    rounds: int
    rtol: float = 0.0
    inputs: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    difference: Difference | None = None

    @property
    def same(self) -> bool:
        """Whether the numbers repeat."""
        return not self.inputs and self.difference is None


def verify_run(
    directory: RunDirectory,
    data_dir: str | None = None,
    *,
    rounds: int | None = None,
    rtol: float | None = None,
    say: Say = say_nothing,
) -> Verdict:
    """Compute the first rounds of a run again, and compare them with its records; nothing is written.

    Args:
      directory: of the run, which need not have ended.
      data_dir: folder of the data files.
      rounds: how many rounds; ``None`` means up to the first evaluation.
      rtol: relative tolerance of the numbers in ``rounds.jsonl``. With 0 every recorded number is compared, bit for
        bit. ``None`` is 0 in the run's environment, and :data:`TOLERANCE` in another one.
      say: called with what starts.

    Raises:
      ValueError: no evaluated round is recorded, or fewer than ``rounds``.
      StorageError: a record cannot be read, or the config was changed.
    """
    manifest, config = directory.read_manifest(), stored_config(directory)
    refuse_changed_config(directory.path, directory.read("config"), manifest)
    with reading(directory.history):
        stored = History.open(HistoryFiles(directory.history))
    evaluated = _evaluated(stored)
    if not len(evaluated):
        raise ValueError(f"{directory.path}: expected the records of an evaluated round, found none")
    if rounds is not None and rounds > stored.rounds_done:
        raise ValueError(f"--rounds: expected at most the {stored.rounds_done} recorded, got {rounds}")
    last = int(evaluated[0]) if rounds is None else rounds
    with run_settings(manifest):
        experiment = prepare(config, data_dir, run_axis(manifest), say=say)
        inputs, environment = other_inputs(manifest, experiment.data), other_environment(manifest)
        rtol = rtol if rtol is not None else TOLERANCE if environment else 0.0
        if inputs:
            return Verdict(last, rtol, tuple(inputs), tuple(environment))
        say(f"computing the first {last} rounds")
        computed, lines = _first_rounds(experiment, last)
    known = {line["round"]: line for line in directory.read_rounds()}
    found = [] if rtol else list(_other_numbers(stored, computed, last))
    found += _other_lines({n: line for n, line in known.items() if n <= last}, lines, rtol)
    return Verdict(last, rtol, (), tuple(environment), min(found, key=lambda pair: pair[0])[1] if found else None)


def stored_config(directory: RunDirectory) -> RunConfig:
    """Read the config of a run.

    Raises:
      StorageError: the file is damaged, or was written by another version.
    """
    try:
        return RunConfig.from_mapping(directory.read("config"))
    except DAMAGE as error:
        told = f"expected the config of a run of this version, got: {error}"
        raise StorageError(f"{directory.path / 'config.json'}: {told}") from error


@contextlib.contextmanager
def run_settings(manifest: Mapping[str, Any]) -> Iterator[None]:
    """Use the settings of JAX's numbers that a manifest records, inside the block."""
    before = {name: getattr(jax.config, f"jax_{name}") for name in SETTINGS}
    recorded = {**before, **manifest.get("jax_settings", {})}
    try:
        for name in SETTINGS:
            jax.config.update(f"jax_{name}", recorded[name])
        yield
    finally:
        for name, value in before.items():
            jax.config.update(f"jax_{name}", value)


def run_axis(manifest: Mapping[str, Any]) -> AxisChoice:
    """Make the client axis that a manifest records, on the devices there are if these are fewer."""
    record = manifest["client_axis"]
    return recorded_axis(record) or pinned_axis(record["width"])


def _first_rounds(experiment: Experiment, rounds: int) -> tuple[History, dict[int, dict[str, Any]]]:
    """Compute rounds; return their history and, by round, what ``rounds.jsonl`` would hold of the evaluations."""
    builder, plan, inputs = experiment.builder, experiment.plan, experiment.inputs
    history, lines = History(), {}
    attackers = attackers_of(experiment.config, experiment.data)
    state = start_state(builder, plan, inputs, experiment.config.store)
    for done, _, _ in run_intervals(builder, plan, inputs, state, history, rounds):
        lines[done] = to_json(round_record(history, experiment.data.unseen, attackers))
    return history, lines


def _evaluated(history: History) -> np.ndarray:
    """Return the rounds ``[E]`` that were evaluated, without the evaluation after a last local phase."""
    facts = history.evaluations
    return facts["round"][~facts["finished"]] if len(facts) else np.zeros(0, int)


def _other_numbers(stored: History, computed: History, last: int) -> Iterator[tuple[int, Difference]]:
    """Find the first number that differs of each array, with its round."""
    for name in dict.fromkeys([*stored.rounds, *computed.rounds]):
        pair = (history.rounds.get(name) for history in (stored, computed))
        yield from _other(name, "layer", np.arange(1, last + 1), *(None if x is None else x[:last] for x in pair))
    grid = _evaluated(stored)
    grid = grid[grid <= last]
    at = np.searchsorted(_evaluated(computed), grid)
    for name in dict.fromkeys([*stored.evaluations, *computed.evaluations]):
        pair = (history.evaluations.get(name) for history in (stored, computed))
        had, has = pair
        rows = None if had is None else had[: len(grid)], None if has is None else has[at]
        yield from _other(name, "client", grid, *rows)


def _other(
    name: str, axis: str, rounds: np.ndarray, had: np.ndarray | None, has: np.ndarray | None
) -> Iterator[tuple[int, Difference]]:
    """Find the first number that differs in two arrays ``[R, ...]``, equal NaNs being the same."""
    if had is None or has is None or had.shape != has.shape:
        yield int(rounds[0]), Difference(f"round {rounds[0]}, {name}", None, None)
        return
    has = has.astype(had.dtype)  # bfloat16 is stored as float32
    same = (had == has) | (np.isnan(had) & np.isnan(has))
    if not same.all():
        row, *inner = (int(i) for i in np.argwhere(~same)[0])
        where = f" of {axis} {inner[0]}" if inner else ""
        place = f"round {rounds[row]}, {name}{where}"
        yield int(rounds[row]), Difference(place, *(float(x[(row, *inner)]) for x in (had, has)))


def _other_lines(
    stored: Mapping[int, Mapping[str, Any]], computed: Mapping[int, Mapping[str, Any]], rtol: float
) -> Iterator[tuple[int, Difference]]:
    """Find the first number that differs by more than ``rtol`` of each line of ``rounds.jsonl``."""
    for number, line in stored.items():
        again = computed.get(number, {})
        for name in dict.fromkeys([*line, *again]):
            found = Difference(f"round {number}, {name} in rounds.jsonl", line.get(name), again.get(name))
            if differs(found, rtol):
                yield number, found
                break


def differs(found: Difference, rtol: float) -> bool:
    """Return whether two numbers differ by more than a relative tolerance, or one of them is missing."""
    if found.stored == found.computed:
        return False
    return not rtol or found.relative is None or found.relative > rtol
