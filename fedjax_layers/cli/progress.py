"""The progress of a run or a sweep, shown by a :class:`~fedjax_layers.cli.status.Status`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedjax_layers.cli.interrupt import Interrupt
from fedjax_layers.cli.status import Status
from fedjax_layers.engine.history.history import History
from fedjax_layers.report.wording import HEADLINES


class RoundsProgress:
    """The progress of one run, called after each evaluation with (rounds done, history)."""

    def __init__(self, status: Status, label: str, rounds: int) -> None:
        self._status, self._label, self._rounds = status, label, rounds
        self._started = time.perf_counter()
        self._first: int | None = None

    def say(self, text: str) -> None:
        """Show what is done outside the rounds."""
        self._status.say(f"{self._label}: {text}")

    def __call__(self, done: int, history: History) -> None:
        """Show the rounds done, the speed, and the latest validation score."""
        now = time.perf_counter()
        if self._first is None:
            self._first, self._started = done, now  # the first interval is left out: it is mostly compilation
        rate = (done - self._first) / max(now - self._started, 1e-9)
        speed = _speed(rate) if done > self._first else "compiled"
        left = f", {(self._rounds - done) / rate:.0f} s left" if rate > 0 and done < self._rounds else ""
        detail = f"{done}/{self._rounds}, {speed}{left}, {_latest(history)}"
        line = f"{self._label}: round {done} of {self._rounds}, {speed}{left}, {_latest(history)}"
        self._status.show(self._label, line, detail=detail, done=done, total=self._rounds)
        if done == self._rounds:
            self._status.print_line()


class SweepProgress:
    """The progress of a sweep over its runs."""

    def __init__(self, status: Status, runs: int, rounds: int, interrupt: Interrupt) -> None:
        self._status, self._runs, self._rounds, self._interrupt = status, runs, rounds, interrupt
        self._started = time.perf_counter()
        self._done = 0
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
        self._show("")
        if self._done == self._runs:
            self._status.print_line()

    def _show(self, now: str) -> None:
        took = time.perf_counter() - self._started
        left = f", {took / self._done * (self._runs - self._done):.0f} s left" if 0 < self._done < self._runs else ""
        where = f", {now}" if now else ""
        line = f"{self._done} of {self._runs} runs, {took:.0f} s{left}{where}"
        detail = f"{self._done}/{self._runs}{left}{where}"
        self._status.show("runs", line, detail=detail, done=self._done, total=self._runs)


def _speed(rate: float) -> str:
    """Write rounds per second, or seconds per round where that is the larger number."""
    return f"{rate:.1f} rounds/s" if rate >= 1 else f"{1 / max(rate, 1e-9):.1f} s a round"


def _latest(history: History) -> str:
    for scored_model in ("trained", "served"):
        for metric, shown in HEADLINES.items():
            values = history.latest.get(f"{scored_model}/val/{metric}")
            if values is not None and np.isfinite(values).any():
                return f"validation {shown} {np.nanmean(values):.3f}"
    return ""
