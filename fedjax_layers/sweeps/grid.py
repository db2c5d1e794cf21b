"""The settings of a sweep: products, pairs, draws and ranges of values by name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Setting = dict[str, Any]
_SPEC = "low:high:number or low:high:number:log, or values separated by commas"
_ENDS = "low:high or low:high:log, or values separated by commas"

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
    lengths = {name: len(chosen) for name, chosen in values.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{n} of {name}" for name, n in lengths.items())
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
            _check_ends(name, chosen)
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
    if number < 1:
        raise ValueError(f"range: expected at least 1 number, got {number}")
    if number > MOST_RUNS:
        raise ValueError(f"range: expected at most {MOST_RUNS} numbers, got {number}")
    _check_ends("range", Ends(low, high, log))
    found = np.geomspace(low, high, number) if log else np.linspace(low, high, number)
    return [float(x) for x in found]


class Values(NamedTuple):
    """The values of one name as a command line gives them, and whether it gave a range, one of equal ratios."""

    values: list[Any] | Ends
    is_range: bool
    log: bool = False


def parse_values(name: str, text: str) -> Values:
    """``low:high:number``, ``low:high:number:log``, or values separated by commas: numbers, true, false or text.

    Raises:
      ValueError: of another form, or with ends that are no numbers.
    """
    if ":" not in text:
        return Values(_listed(name, text), False)
    parts = text.split(":")
    if len(parts) not in (3, 4) or parts[3:] not in ([], ["log"]) or not parts[2].isdecimal():
        raise ValueError(f"{name}: expected {_SPEC}, got {text!r}")
    low, high = (_number(name, part, text) for part in parts[:2])
    try:
        found = spaced(low, high, int(parts[2]), log=len(parts) == 4)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    # Whole numbers stay whole, so that counts may be ranges too; an option that takes any number makes them its own.
    whole = all(x.is_integer() for x in found) and not set(".e") & set("".join(parts[:2]).lower())
    return Values([int(x) for x in found] if whole else list(found), True, len(parts) == 4)


def parse_ends(name: str, text: str) -> Values:
    """``low:high``, ``low:high:log``, or values separated by commas, to draw from.

    Raises:
      ValueError: of another form, or with ends that are no numbers.
    """
    if ":" not in text:
        return Values(_listed(name, text), False)
    parts = text.split(":")
    if len(parts) not in (2, 3) or parts[2:] not in ([], ["log"]):
        raise ValueError(f"{name}: expected {_ENDS}, got {text!r}")
    ends = Ends(_number(name, parts[0], text), _number(name, parts[1], text), len(parts) == 3)
    _check_ends(name, ends)
    return Values(ends, True, ends.log)


def plain(text: str) -> Any:
    """A value as written: true or false, a whole number, a number, or text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _listed(name: str, text: str) -> list[Any]:
    values = [plain(part) for part in text.split(",") if part]
    if not values:
        raise ValueError(f"{name}: expected at least one value, got {text!r}")
    return values


def _number(name: str, part: str, text: str) -> float:
    try:
        return float(part)
    except ValueError:
        raise ValueError(f"{name}: expected numbers as the ends of the range, got {part!r} in {text!r}") from None


def _check_values(values: Mapping[str, Sequence[Any]]) -> None:
    for name, chosen in values.items():
        if not len(chosen):
            raise ValueError(f"{name}: expected at least one value, got none")


def _check_ends(name: str, ends: Ends) -> None:
    if not (math.isfinite(ends.low) and math.isfinite(ends.high)):
        raise ValueError(f"{name}: expected finite ends, got {ends.low:g} and {ends.high:g}")
    if ends.log and min(ends.low, ends.high) <= 0:
        raise ValueError(f"{name}: expected positive ends for equal ratios, got {ends.low:g} and {ends.high:g}")
