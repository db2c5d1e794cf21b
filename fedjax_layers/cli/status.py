"""The display of what a command does: a bar on a terminal, elsewhere a line at least every two seconds."""

from __future__ import annotations

import threading
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fedjax_layers.report.fitted_table import Fitted

BEAT_SECONDS = 1.5  # between two lines, where nothing else is printed
_SLOWER = 400  # a long run prints less often: this many lines in as long as it has run so far
_LONGEST_BEAT = 60.0
_LOOK_SECONDS = 0.1


def make_console() -> Console:
    """Make a console as wide as the terminal; for files and pipes, wide enough for whole tables."""
    plain: Any = {"highlight": False, "markup": False, "emoji": False}  # names are printed as they are
    console = Console(**plain)
    return console if console.is_terminal else Console(**plain, width=110)


def print_table(console: Console, found: Fitted) -> None:
    """Print a table, and the lines under it unwrapped."""
    console.print(found.table)
    for line in found.lines:
        console.print(line, soft_wrap=True)


class Status:
    """What a command does now, shown inside a ``with`` block until the next :meth:`say` or :meth:`show`.

    Attributes:
      console: the console that shows it.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = self._printed = self._since = time.perf_counter()
        self._text = ""  # nothing is shown before the first say(), since a command may print a file's content
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None, detail="")
        self._ended = threading.Event()
        self._beat = threading.Thread(target=self._keep_beating, name="status", daemon=True)

    def __enter__(self) -> Status:
        if self.console.is_terminal:
            self._bar.start()
        else:
            self._beat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Show no more progress, since results follow."""
        self._ended.set()
        self._bar.stop()
        if self._beat.is_alive():
            self._beat.join()

    def say(self, text: str) -> None:
        """Show what is done now."""
        self.show(text, text)

    def show(self, text: str, line: str, *, detail: str = "", done: float = 0, total: float | None = None) -> None:
        """Show the progress of what is done.

        Args:
          text: what is done, shown before the bar.
          line: the same with the bar's information, shown where there is no bar.
          detail: details shown after the bar.
          done: the amount done, out of ``total``.
          total: the whole amount; ``None`` where it is not known.
        """
        self._text, self._since = line, time.perf_counter()
        self._bar.update(self._task, description=text, detail=detail, completed=done, total=total)

    def print_line(self) -> None:
        """Print the present line, unless there is a bar."""
        if not self.console.is_terminal:
            self._printed = time.perf_counter()
            self.console.print(self._text, markup=False, soft_wrap=True)

    def _keep_beating(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            now = time.perf_counter()
            beat = min(max(BEAT_SECONDS, (now - self._started) / _SLOWER), _LONGEST_BEAT)
            if self._text and now - self._printed >= beat:
                self._printed = now
                waited = now - self._since
                for_seconds = f" ({waited:.0f} s)" if waited >= 1 else ""
                self.console.print(f"{self._text}{for_seconds}", markup=False, soft_wrap=True)
