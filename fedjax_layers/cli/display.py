"""What a person sees: a progress bar on a terminal, plain lines elsewhere, and the table of results."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fedjax_layers.simulation.history import History
from fedjax_layers.simulation.scoring import LOWER_IS_BETTER, headline

_LINE_SECONDS = 10.0
_HEADLINES = {"macro_f1": "macro-F1", "perplexity": "perplexity", "mae": "MAE", "concordance": "C-index"}
_BESIDE = {"macro_f1": "accuracy", "perplexity": "accuracy", "mae": "r2", "concordance": None}  # in the next column
_COLUMNS = {"accuracy": "accuracy", "r2": "R²"}


class Interrupt:
    """Ctrl-C asks the run to stop after the current period; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def make_console() -> Console:
    """A console as wide as the terminal; files and pipes get room for the whole table."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=110)


@contextmanager
def graceful_interrupt() -> Iterator[Interrupt]:
    """Handle Ctrl-C gracefully inside the block."""
    handler = Interrupt()
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield handler
    finally:
        signal.signal(signal.SIGINT, before)


class RoundsProgress:
    """Progress of one run, called after each evaluation with (rounds done, history)."""

    def __init__(self, console: Console, label: str, rounds: int, interrupt: Interrupt) -> None:
        self._console, self._label, self._rounds, self._interrupt = console, label, rounds, interrupt
        self._started = self._printed = time.perf_counter()
        self._first: int | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[score]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(label, total=rounds, rate="compiling", score="")

    def __enter__(self) -> RoundsProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, history: History) -> bool:
        """Show where the run is; True if the user asked it to stop."""
        now = time.perf_counter()
        score = _latest(history)
        if self._first is None:
            self._first, self._started = done, now  # the first period's time is mostly compilation
        rate = (done - self._first) / max(now - self._started, 1e-9)
        speed = f"{rate:.1f} rounds/s" if done > self._first else "compiled"
        self._bar.update(self._task, completed=done, rate=speed, score=score)
        if not self._console.is_terminal and (done == self._rounds or now - self._printed > _LINE_SECONDS):
            left = f", {(self._rounds - done) / rate:.0f} s left" if rate > 0 and done < self._rounds else ""
            self._console.print(f"{self._label}: round {done} of {self._rounds}, {speed}{left}, {score}")
            self._printed = now
        return self._interrupt.asked


class SweepProgress:
    """Progress of a sweep over its runs."""

    def __init__(self, console: Console, runs: int, rounds: int, interrupt: Interrupt) -> None:
        self._console, self._runs, self._rounds, self._interrupt = console, runs, rounds, interrupt
        self._started = self._printed = time.perf_counter()
        self._done = 0
        self._bar = Progress(
            TextColumn("runs"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("runs", total=runs, rate="compiling", now="")

    def __enter__(self) -> SweepProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tick(self, done: int, branches: int) -> bool:
        """Show where the running branches are; True if the user asked to stop."""
        now = f"round {done} of {self._rounds}" + (f" of {branches} runs" if branches > 1 else "")
        self._bar.update(self._task, now=now)
        self._line(now)
        return self._interrupt.asked

    def finished(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count runs that have ended."""
        self._done = min(self._done + len(rows), self._runs)
        rate = f"{self._done / max(time.perf_counter() - self._started, 1e-9):.2g} runs/s"
        self._bar.update(self._task, completed=self._done, rate=rate)
        self._line("", last=self._done == self._runs)

    def _line(self, now: str, *, last: bool = False) -> None:
        seconds = time.perf_counter()
        if self._console.is_terminal or not (last or seconds - self._printed > _LINE_SECONDS):
            return
        took = seconds - self._started
        left = f", {took / self._done * (self._runs - self._done):.0f} s left" if 0 < self._done < self._runs else ""
        where = f", {now}" if now else ""
        self._console.print(f"{self._done} of {self._runs} runs, {took:.0f} s{left}{where}")
        self._printed = seconds


def _latest(history: History) -> str:
    evaluations = history.evaluations
    for moment in ("trained", "served"):
        for metric, shown in _HEADLINES.items():
            values = evaluations.get(f"{moment}/val/{metric}")
            if values is not None and np.isfinite(values[-1]).any():
                return f"validation {shown} {np.nanmean(values[-1]):.3f}"
    return ""


def results_table(summaries: Sequence[Mapping[str, Any]], title: str) -> Table:
    """One row per run: the personal models' scores over clients (± their spread), incentive, bytes and cut.

    The runs are all of one kind of task.
    """
    metric = headline(summaries[0]["personal"])
    sign = -1 if metric in LOWER_IS_BETTER else 1
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    beside = _BESIDE[metric]
    columns = (_HEADLINES[metric], *([_COLUMNS[beside]] if beside else []), "loss")
    columns += (*(["worst F1"] if metric == "macro_f1" else []), "better off", "MB up", "cut")
    table.add_column("algorithm", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    means = [s["personal"][metric]["mean"] for s in summaries]
    best = max((sign * mean for mean in means if mean is not None), default=None)
    for s, found in zip(summaries, means, strict=True):
        mean = f"{_number(found, '.3f')} ± {_number(s['personal'][metric]['std'], '.3f')}"
        table.add_row(
            s["algorithm"],
            f"[bold]{mean}[/bold]" if found is not None and sign * found == best and len(summaries) > 1 else mean,
            *([_number(s["personal"][beside]["mean"], ".3f")] if beside else []),
            _number(s["personal"]["loss"]["mean"], ".3f"),
            *([_number(s["personal"][metric]["min"], ".3f")] if metric == "macro_f1" else []),
            _number(s["incentive"], ".0%"),
            f"{s['bytes_up'] / 1e6:.2f}",
            "" if s["cut"] is None else f"{s['cut']:.3g} of {len(s['layers'])}",
        )
    return table


def ranking_table(ranking: Sequence[Mapping[str, Any]], names: Sequence[str], title: str) -> Table:
    """One row per setting of a sweep, best by validation first."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in (*names, "validation", "test", "runs", "ended"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in ranking:
        setting = [f"{x:.4g}" if isinstance(x, float) else str(x) for x in (line[name] for name in names)]
        spread = f" ± {_number(line['test_std'], '.3f')}" if line["runs"] > 1 else ""
        test = f"{_number(line['test'], '.3f')}{spread}"
        ended = ", ".join(why if n == line["runs"] else f"{n} {why}" for why, n in line["why"].items())
        table.add_row(*setting, _number(line["validation"], ".3f"), test, str(line["runs"]), ended)
    return table


def _number(value: float | None, spec: str) -> str:
    return "–" if value is None else format(value, spec)


def team_lines(summary: Mapping[str, Any]) -> list[str]:
    """The scores of the teams' models, each on its own clients, as a plain sentence."""
    scores = summary["team"]
    if scores is None:
        return []
    metric = headline(scores)
    found, beside = scores[metric], _BESIDE[metric]
    also = f", {_COLUMNS[beside]} {_number(scores[beside]['mean'], '.3f')}" if beside else ""
    who = f"Team models of {summary['algorithm']}, {summary['teams']:g} team{'s' if summary['teams'] > 1 else ''}"
    spread = f"{_number(found['mean'], '.3f')} ± {_number(found['std'], '.3f')}"
    return [f"{who}: {_HEADLINES[metric]} {spread} over clients{also}"]


def cut_lines(summary: Mapping[str, Any]) -> list[str]:
    """PLayer-FL's cut with the cuts that no learning explains, as plain sentences."""
    controls = summary.get("control_cuts")
    if controls is None:
        return []
    names = summary["layers"][: summary["cut"]]
    same = all(cut == summary["cut"] for cut in controls.values())
    verdict = (
        "The same as all three controls: on this model the cut follows from the layer sizes, not from the data."
        if same
        else "It differs from a control: see docs/playerfl.md for what that can mean."
    )
    return [
        f"PLayer-FL shares {summary['cut']} of {len(summary['layers'])} layers ({', '.join(names) or 'none'}).",
        f"Control cuts: {controls['initialisation']} at initialisation, {controls['permuted_labels']} with permuted "
        f"labels, {controls['weight_count']} by weight count. {verdict}",
    ]
