"""How many runs are computed at once: one after another, or as many as a short timing of real rounds finds fastest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from fedjax_layers.engine.intervals import Inputs
from fedjax_layers.engine.memory.process import free_memory
from fedjax_layers.sweeps.branches import Group
from fedjax_layers.sweeps.programs import Program

WIDTHS = (8, 32, 128, 512)  # runs per device that are tried
_WORTHWHILE = 15.0  # seconds of work, below which compiling more programs does not pay
_SAMPLE = 0.5  # seconds of a run by itself that are timed, where an interval takes longer
_LONGEST = 40.0  # seconds that timing one candidate may take, were it no faster than the best so far
_SHARE_OF_MEMORY = 0.8


class Choice(NamedTuple):
    """The program that computes the runs, and a JSON-able record of why."""

    program: Program
    record: dict[str, Any]


def pinned_width(make: Callable[[int], Program], runs: Sequence[Inputs], width: int, memory: int | None) -> Choice:
    """The program of this width, or of the largest half, quarter ... of it that fits.

    Args:
      make: ``width -> program``; width 1 computes one run after another.
      runs: some of them.
      width: runs per device.
      memory: bytes that it may take on one device; ``None`` if that is not known.
    """
    while True:
        program = make(width)
        needed = _needed(program, runs)
        if width == 1 or memory is None or needed <= memory:
            how = {"how": "pinned", "memory_bytes": needed, "usable_bytes": memory}
            return Choice(program, {"width": width, "runs_at_once": program.size} | how)
        width //= 2


def choose_width(
    make: Callable[[int], Program], runs: Sequence[Inputs], intervals: int, number: int, memory: int | None
) -> Choice:
    """Time some rounds and an evaluation of the runs, one after another and at growing widths, and take the fastest.

    One run after another gives the numbers of a single run to the last bit, and compiles nothing that a single run does
    not. Wider programs are tried where there is much to do. A program is not timed if it would not fit into memory or
    would take too long, and no wider one is tried after the first that is slower.

    Args:
      make: as for :func:`pinned_width`.
      runs: those that one call may compute at once.
      intervals: evaluations of each run.
      number: runs in all.
      memory: as for :func:`pinned_width`.

    Returns:
      The choice and its record: seconds per run by width.
    """
    best = make(1)
    needed = {1: _needed(best, runs)}
    interval = best.plan.eval_every
    rounds = max(1, min(interval, int(_SAMPLE / max(_seconds(best, runs, 1), 1e-9))))
    seconds = {1: _seconds(best, runs, rounds)}
    work = seconds[1] * intervals * number * interval / rounds
    for width in WIDTHS if work > _WORTHWHILE else ():
        program = make(width)
        if program.size >= 2 * len(runs) or min(seconds.values()) * program.size > _LONGEST:
            break
        needed[width] = _needed(program, runs)
        if memory is not None and needed[width] > memory:
            break
        seconds[width] = _seconds(program, runs, rounds)
        if seconds[width] > min(seconds.values()):
            break
        best = program
    chosen = min(seconds, key=lambda width: seconds[width])
    record = {
        "width": chosen,
        "runs_at_once": best.size,
        "how": "measured",
        "rounds_timed": rounds,
        "seconds_per_run": {str(width): round(found, 6) for width, found in seconds.items()},
        "memory_bytes": needed[chosen],
        "usable_bytes": memory,
    }
    return Choice(best, record)


def usable_memory() -> int | None:
    """Bytes that one device may take, of those that are free now; ``None`` if that is not known."""
    free = free_memory()
    if free is None:
        return None
    shared_by = jax.local_device_count() if jax.default_backend() == "cpu" else 1
    return int(_SHARE_OF_MEMORY * free / shared_by)


def _filled(program: Program, runs: Sequence[Inputs]) -> Any:
    return program.put([runs[i % len(runs)] for i in range(program.size)])


def _needed(program: Program, runs: Sequence[Inputs]) -> int:
    stack = _filled(program, runs)
    return program.planned_bytes(stack, program.start(stack))


def _seconds(program: Program, runs: Sequence[Inputs], rounds: int) -> float:
    """Seconds per run of so many rounds and an evaluation, after one that reads everything for the first time."""
    stack = _filled(program, runs)
    state = program.start(stack)
    state, _, _ = program.interval(stack, state, 0, 1)
    began = time.perf_counter()
    program.interval(stack, state, 1, rounds)
    return (time.perf_counter() - began) / min(program.size, len(runs))


class Programs:
    """The programs of a sweep, each made once, and the width that was chosen for each kind of run.

    Args:
      width: runs per device; ``None`` measures.
      remembered: the record of an earlier start of the same sweep, whose widths are kept, since the last bits of the
        results depend on them.
      say: told of each choice: the kind of run and its record.

    Attributes:
      record: by kind of run, what was chosen and why.
    """

    def __init__(
        self,
        width: int | None = None,
        remembered: Mapping[str, Mapping[str, Any]] | None = None,
        say: Callable[[str, dict[str, Any]], None] = lambda *_: None,
    ) -> None:
        self.width, self.remembered, self._say = width, remembered or {}, say
        self._made: dict[Any, Program] = {}
        self.record: dict[str, dict[str, Any]] = {}

    @property
    def compiled(self) -> int:
        """Programs of an interval compiled so far."""
        return sum(len(program.compiled) for program in self._made.values())

    def choose(self, group: Group, same_seed: bool) -> Program:
        """The program for the runs of a group; ``same_seed`` tells that each of its streams has one seed."""

        def make(width: int) -> Program:
            key = (group.static, same_seed, width)
            if key not in self._made:
                self._made[key] = group.program(width, same_seed)
            return self._made[key]

        kind = group.kind
        if kind in self.record:
            return make(self.record[kind]["width"])
        together = [run.inputs for run in group.runs if run.stream == group.runs[0].stream]
        pinned = self.width or self.remembered.get(kind, {}).get("width") or (1 if group.exact else None)
        if pinned is not None:  # places beyond the last run would only repeat it
            choice = pinned_width(make, together, min(pinned, group.number), usable_memory())
        else:
            intervals = -(-min(run.rounds for run in group.runs) // group.plan.eval_every)
            choice = choose_width(make, together, intervals, group.number, usable_memory())
        self.record[kind] = choice.record | dict(group.facts)
        self._say(kind, self.record[kind])
        return choice.program
