"""The display of what a command does: a bar on a terminal, elsewhere a line at least every two seconds, or nothing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fedjax_layers.cli.output import EVERYTHING, Output
from fedjax_layers.report.fitted_table import Fitted

BEAT_SECONDS = 1.5  # between two lines, where nothing else is printed
_SLOWER = 400  # a long run prints less often: this many lines in as long as it has run so far
_LONGEST_BEAT = 60.0
_LOOK_SECONDS = 0.1


def print_table(console: Console, found: Fitted) -> None:
    """Print a table, and the lines under it unwrapped."""
    console.print(found.table)
    for line in found.lines:
        console.print(line, soft_wrap=True)


class Status:
    """What a command does now, shown inside a ``with`` block until the next :meth:`say` or :meth:`show`.

    Attributes:
      console: the console that shows it.
      output: what the command prints at its end.
    """

    def __init__(self, console: Console, output: Output = EVERYTHING) -> None:
        self.console, self.output = console, output
        self._has_bar = console.is_terminal and not console.is_dumb_terminal and not output.quiet
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
            disable=not self._has_bar,
        )
        self._task = self._bar.add_task("starting", total=None, detail="")
        self._ended = threading.Event()
        self._beat = threading.Thread(target=self._keep_beating, name="status", daemon=True)

    def __enter__(self) -> Status:
        if self._has_bar:
            self._bar.start()
        elif not self.output.quiet:
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

    def print_result(self, content: Mapping[str, Any], folder: Path | None = None) -> None:
        """End the display and print what a script reads on stdout, see :meth:`Output.print_result`."""
        self.stop()
        self.output.print_result(content, folder)

    def complain(self, text: str) -> None:
        """Print an error on stderr that is printed in other words where the command is not quiet."""
        if self.output.quiet:
            print(f"fedjax-layers: {text}", file=sys.stderr)  # noqa: T201

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
        if not self._has_bar:
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
