"""What a sweep is asked for: settings, the seeds that each of them runs with, and how the runs are computed."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fedjax_layers.options import unknown_name

T = TypeVar("T")
Setting = dict[str, Any]
SEEDED = ("start", "partition", "sampling")
"""What a run's seed may decide: the start of the models, the partition, and cohorts with local training."""
MOST_RUNS = 100_000  # of one sweep or comparison: each one's config is in memory and in its record


def check_number_of_runs(settings: int, seeds: int = 1) -> None:
    """Refuse more runs than a sweep can hold.

    Args:
      settings: how many.
      seeds: runs of each.

    Raises:
      ValueError: there are more than :data:`MOST_RUNS`.
    """
    if settings * seeds > MOST_RUNS:
        found = f"{settings} settings" + (f" with {seeds} seeds each" if seeds != 1 else "")
        raise ValueError(f"grid: expected at most {MOST_RUNS} runs, got {found}")


def product(**values: Sequence[Any]) -> list[Setting]:
    """Every combination of the values, the last name changing fastest.

    Raises:
      ValueError: a name without values, or more combinations than a sweep can hold.
    """
    _check_values(values)
    check_number_of_runs(math.prod(map(len, values.values())))
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


def zipped(**values: Sequence[Any]) -> list[Setting]:
    """The first values of all names together, the second ones, and so on.

    Raises:
      ValueError: a name without values, or names with different numbers of them.
    """
    _check_values(values)
    if len({len(chosen) for chosen in values.values()}) > 1:
        found = ", ".join(f"{len(chosen)} of {name}" for name, chosen in values.items())
        raise ValueError(f"grid: expected as many values of each name, got {found}")
    return [dict(zip(values, chosen, strict=True)) for chosen in zip(*values.values(), strict=True)]


class Ends(NamedTuple):
    """An interval to draw from, on a linear or logarithmic scale."""

    low: float
    high: float
    log: bool = False


def drawn(number: int, seed: int = 0, **values: Ends | Sequence[Any]) -> list[Setting]:
    """So many settings at random, of each name independently: from an interval, or one of the values.

    Raises:
      ValueError: fewer than one setting, a name without values, or an interval that is none.
    """
    if number < 1:
        raise ValueError(f"grid: expected at least 1 setting to draw, got {number}")
    check_number_of_runs(number)
    rng = np.random.default_rng(seed)
    columns = {}
    for name, chosen in values.items():
        if isinstance(chosen, Ends):
            check_ends(name, chosen)
            low, high = (math.log(x) for x in chosen[:2]) if chosen.log else chosen[:2]
            points = rng.uniform(low, high, number)
            columns[name] = (np.exp(points) if chosen.log else points).tolist()
        else:
            _check_values({name: chosen})
            columns[name] = [chosen[i] for i in rng.integers(len(chosen), size=number)]
    return zipped(**columns)


def spaced(low: float, high: float, number: int, *, log: bool = False) -> list[float]:
    """Numbers from ``low`` to ``high`` with equal steps, or equal ratios.

    Raises:
      ValueError: fewer than one number, ends that are not finite, or for ratios not positive.
    """
    if not 1 <= number <= MOST_RUNS:
        bound = "at least 1 number" if number < 1 else f"at most {MOST_RUNS} numbers"
        raise ValueError(f"range: expected {bound}, got {number}")
    check_ends("range", Ends(low, high, log))
    found = np.geomspace(low, high, number) if log else np.linspace(low, high, number)
    return [float(x) for x in found]


def check_ends(name: str, ends: Ends) -> None:
    """Refuse ends that are not finite, or for equal ratios not positive."""
    if not (math.isfinite(ends.low) and math.isfinite(ends.high)):
        raise ValueError(f"{name}: expected finite ends, got {ends.low:g} and {ends.high:g}")
    if ends.log and min(ends.low, ends.high) <= 0:
        raise ValueError(f"{name}: expected positive ends for equal ratios, got {ends.low:g} and {ends.high:g}")


def _check_values(values: Mapping[str, Sequence[Any]]) -> None:
    for name, chosen in values.items():
        if not len(chosen):
            raise ValueError(f"{name}: expected at least one value, got none")


def settings_of(grid: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]) -> list[Setting]:
    """Return the settings of a grid: given one by one, or all combinations of the values of each name.

    Raises:
      ValueError: a name without a value.
    """
    if isinstance(grid, Mapping):
        return product(**{name: np.atleast_1d(values).tolist() for name, values in grid.items()})
    return [dict(setting) for setting in grid]


@dataclasses.dataclass(frozen=True)
class Stopping:
    """When a run ends before its rounds are done.

    Attributes:
      rungs: rounds after which settings are compared; each is taken at the first evaluation not before it.
      keep: share of the running settings that continue after a rung, rounded up.
      diverged: whether a run ends once neither training nor any client's model on validation examples has a finite
        loss; it keeps what it scored until then.

    Raises:
      ValueError: rungs below 1 or not going up, ``keep`` not between 0 and 1.

    Source: successive halving, Jamieson and Talwalkar 2016; synchronous, the mean over seeds is compared.
    """

    rungs: tuple[int, ...] = ()
    keep: float = 0.5
    diverged: bool = True

    def __post_init__(self) -> None:
        if any(b <= a for a, b in zip((0, *self.rungs), self.rungs, strict=False)):
            raise ValueError(f"rungs: expected rounds of at least 1 that go up, got {list(self.rungs)}")
        if not 0 < self.keep < 1:
            raise ValueError(f"keep: expected a share between 0 and 1, got {self.keep}")


class Shard(NamedTuple):
    """Part ``part`` (from 0) of ``parts`` of a sweep; runs of one part follow each other in the grid."""

    part: int = 0
    parts: int = 1

    def own(self, runs: Sequence[T]) -> list[T]:
        """The runs of this part."""
        low, high = (len(runs) * i // self.parts for i in (self.part, self.part + 1))
        return list(runs[low:high])


@dataclasses.dataclass(frozen=True)
class SweepRequest:
    """Every setting with every seed, and how these runs are computed; a Python call and a command make the same one.

    Attributes:
      settings: mappings of names to values.
      seeds: each setting has one run per seed.
      seeds_vary: what a seed decides, of :data:`SEEDED`; what is left out is the same in all runs.
      width: how many runs each device computes at once; 1 computes one run after another, with the numbers of a single
        run to the last bit; ``None`` measures which number is fastest.
      stopping: which runs end before their rounds are done.
      shard: the part of the runs that is computed here.

    Raises:
      ValueError: no setting, no seeds or one twice, more runs than a sweep can hold, ``seeds_vary`` of another name,
        ``width`` below 1, or a part of a sweep whose settings are compared.
    """

    settings: Sequence[Mapping[str, Any]]
    seeds: Sequence[int] = (0,)
    seeds_vary: Sequence[str] = SEEDED
    width: int | None = None
    stopping: Stopping = Stopping()
    shard: Shard = Shard()

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(self.seeds))
        if not self.settings:
            raise ValueError("grid: expected at least one setting, got none")
        check_number_of_runs(len(self.settings), len(self.seeds))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: expected different numbers, got {list(self.seeds)}")
        for what in self.seeds_vary:
            if what not in SEEDED:
                raise unknown_name("seeds_vary", what, SEEDED)
        if self.width is not None and self.width < 1:
            raise ValueError(f"width: expected at least 1, got {self.width}")
        part, parts = self.shard
        if self.stopping.rungs and parts > 1:
            raise ValueError(f"shard: expected none beside rungs, where all settings are compared, got {part}/{parts}")

    @property
    def names(self) -> list[str]:
        """The names of all settings."""
        return list(dict.fromkeys(name for setting in self.settings for name in setting))

    def runs(self) -> list[tuple[int, Setting, int]]:
        """Number, setting and seed of all runs, seeds within settings."""
        pairs = itertools.product(self.settings, self.seeds)
        return [(number, dict(setting), seed) for number, (setting, seed) in enumerate(pairs)]
