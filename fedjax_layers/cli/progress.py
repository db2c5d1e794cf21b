"""The progress of a run or a sweep, shown by a :class:`~fedjax_layers.cli.status.Status`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedjax_layers.cli.interrupt import Interrupt
from fedjax_layers.cli.status import Status
from fedjax_layers.engine.evaluation.score_names import LOWER_IS_BETTER, headline
from fedjax_layers.engine.history.history import History
from fedjax_layers.report.wording import HEADLINES


class RoundsProgress:
    """The progress of one run, called after each evaluation with (rounds done, history)."""

    def __init__(self, status: Status, label: str, rounds: int) -> None:
        self._status, self._label, self._rounds = status, label, rounds
        self._started = time.perf_counter()
        self._first: int | None = None
        self._latest = ""

    def say(self, text: str) -> None:
        """Show what is done outside the rounds."""
        self._status.say(f"{self._label}: {text}")

    def __call__(self, done: int, history: History) -> None:
        """Show the rounds done, the speed, and the latest validation score."""
        self._latest = _latest(history)
        self.at(done)
        if done == self._rounds:
            self._status.print_line()

    def at(self, done: int) -> None:
        """Show the rounds done and the speed, between two evaluations, beside the latest score there is."""
        now = time.perf_counter()
        if self._first is None:
            self._first, self._started = done, now  # the first rounds are left out: they are mostly compilation
        rate = (done - self._first) / max(now - self._started, 1e-9)
        parts = [speed_of(rate, "rounds", "a round") if done > self._first else "compiled"]
        if rate > 0 and done < self._rounds:
            parts.append(f"{spoken_seconds((self._rounds - done) / rate)} left")
        parts += [self._latest] if self._latest else []
        detail = ", ".join([f"{done}/{self._rounds}", *parts])
        line = ", ".join([f"{self._label}: round {done} of {self._rounds}", *parts])
        self._status.show(self._label, line, detail=detail, done=done, total=self._rounds)


class SweepProgress:
    """The progress of a sweep over its runs."""

    def __init__(self, status: Status, runs: int, rounds: int, interrupt: Interrupt) -> None:
        self._status, self._runs, self._rounds, self._interrupt = status, runs, rounds, interrupt
        self._started = time.perf_counter()
        self._done = 0
        self._best: list[Mapping[str, Any]] = []  # the row of the best run so far
        interrupt.grace = 0  # until a round has ended there is nothing to wait for
        status.say(f"0 of {runs} runs, compiling")

    def tick(self, done: int, branches: int) -> bool:
        """Show the progress of the present runs; return True if the user asked to stop."""
        self._interrupt.grace = 1
        self._show(f"round {done} of {self._rounds}" + (f" of {branches} runs" if branches > 1 else ""))
        return self._interrupt.asked

    def finished(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add to the number of runs that have ended."""
        self._done = min(self._done + len(rows), self._runs)
        self._best = _best([*self._best, *rows])
        self._show("")
        if self._done == self._runs:
            self._status.print_line()

    def _show(self, now: str) -> None:
        took = time.perf_counter() - self._started
        rate = self._done / max(took, 1e-9)
        parts = [speed_of(rate, "runs", "a run")] if self._done else []
        if 0 < self._done < self._runs:
            parts.append(f"{spoken_seconds((self._runs - self._done) / rate)} left")
        for row in self._best:
            metric = headline(_validated([row]))
            parts.append(f"best validation {HEADLINES[metric]} {row[f'personal/val/{metric}']:.3f}")
        parts += [now] if now else []
        line = ", ".join([f"{self._done} of {self._runs} runs", spoken_seconds(took), *parts])
        detail = ", ".join([f"{self._done}/{self._runs}", *parts])
        self._status.show("runs", line, detail=detail, done=self._done, total=self._runs)


def _best(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the row with the best finite validation score, alone in a list, which is empty where there is none."""
    if not (metrics := _validated(rows)):
        return []
    metric = headline(metrics)
    name, sign = f"personal/val/{metric}", -1 if metric in LOWER_IS_BETTER else 1
    scored = [row for row in rows if row.get(name) is not None and np.isfinite(row[name])]
    return sorted(scored, key=lambda row: sign * row[name])[-1:]


def _validated(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the names of the validation scores in rows of a sweep."""
    return {name.split("/")[2] for row in rows for name in row if name.startswith("personal/val/")}


def speed_of(rate: float, many: str, one: str) -> str:
    """Write things per second, or seconds for one where that is the larger number."""
    return f"{rate:.1f} {many}/s" if rate >= 1 else f"{spoken_seconds(1 / max(rate, 1e-9))} {one}"


def spoken_seconds(seconds: float) -> str:
    """Write a time in the largest unit of which there are at least two."""
    units = {"h": 3600, "min": 60, "s": 1}
    unit = next((unit for unit, size in units.items() if seconds >= 2 * size), "s")
    number = seconds / units[unit]
    return f"{number:.1f} {unit}" if number < 10 else f"{number:.0f} {unit}"


def _latest(history: History) -> str:
    for scored_model in ("trained", "served"):
        for metric, shown in HEADLINES.items():
            values = history.latest.get(f"{scored_model}/val/{metric}")
            if values is not None and np.isfinite(values).any():
                return f"validation {shown} {np.nanmean(values):.3f}"
    return ""
