"""Runs of a sweep, and which of them are computed together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any, NamedTuple

from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.intervals import Inputs

_MANY_SETTINGS = 8  # with a seed, from which on runs are vectorised over settings and not over seeds

Over = Callable[[History], str | None]


def never(*_: Any) -> None:
    """No reason to end a run, or to stop."""


class Run(NamedTuple):
    """One run of a sweep.

    Attributes:
      number: its place in the sweep.
      inputs: its traced part.
      rounds: how many.
      family: runs of one family differ in ``setting`` alone.
      setting: what the decision reads; ``None`` where there is none.
      stream: runs of one stream may be computed at once; others are kept apart.
      over: ``history -> why it ends before its rounds are done``, or ``None``.
    """

    number: int
    inputs: Inputs
    rounds: int
    family: Hashable
    setting: Any = None
    stream: Hashable = None
    over: Over = never


class Outcome(NamedTuple):
    """Why a run ended (``finished``, or what ``over`` or the stopping rule said), and its history."""

    why: str
    history: History


def share_seeds(runs: Sequence[Run], seeds: Sequence[Hashable]) -> tuple[list[Run], bool]:
    """Runs in streams of one seed each where there are many settings, so that a call's runs see the same batches.

    Args:
      runs: of one program on the same data.
      seeds: what decides each run's key and start.

    Returns:
      The runs, and whether they are in such streams.
    """
    families: dict[Hashable, set[Hashable]] = {}
    for run, seed in zip(runs, seeds, strict=True):
        families.setdefault(seed, set()).add(run.family)
    shared = min(map(len, families.values())) >= _MANY_SETTINGS
    return [run._replace(stream=seed if shared else None) for run, seed in zip(runs, seeds, strict=True)], shared


def families_of(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs by family, families in the order of their first run."""
    families: dict[Hashable, list[Run]] = {}
    for run in runs:
        families.setdefault(run.family, []).append(run)
    return list(families.values())


def needed_runs(runs: Sequence[Run], size: int, there: Collection[int]) -> list[Run]:
    """Runs that are computed where those numbered ``there`` are done, ``size`` families at once."""
    if size == 1:
        return [run for run in runs if run.number not in there]
    chunks = chunks_of(families_of(runs), size, lambda family: family[0].stream)
    needed = [chunk for chunk in chunks if any(run.number not in there for family in chunk for run in family)]
    return [run for chunk in needed for family in chunk for run in family]


def chunks_of(items: Sequence[Any], size: int, stream_of: Callable[[Any], Hashable]) -> list[list[Any]]:
    """Items in groups of ``size``, each of one stream."""
    streams: dict[Hashable, list[Any]] = {}
    for item in items:
        streams.setdefault(stream_of(item), []).append(item)
    return [own[i : i + size] for own in streams.values() for i in range(0, len(own), size)]
