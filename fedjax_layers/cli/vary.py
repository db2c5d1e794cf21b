"""From the texts of ``--vary`` and ``--grid`` to the settings of a sweep."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fedjax_layers.algorithms import registry
from fedjax_layers.storage import read_given_json
from fedjax_layers.sweeps.request import Ends, check_ends, drawn, product, spaced, zipped


class Values(NamedTuple):
    """The values of one name as a command line gives them, and whether it gave a range, one of equal ratios.

    Listed values are texts: what type they have is for the option to say.
    """

    values: list[Any] | Ends
    is_range: bool
    log: bool = False


class Varied(NamedTuple):
    """The settings of a sweep, and the names that were given as ranges, each with whether it has equal ratios."""

    settings: list[dict[str, Any]]
    ranges: dict[str, bool]


def varied(options: argparse.Namespace) -> Varied:
    """What the flags of a sweep ask for.

    Raises:
      ValueError: text of another form, a range that is none, or no setting at all.
      OSError: the file of ``--grid`` cannot be read.
    """
    found = {} if options.grid is None else _read_grid(options.grid)
    if isinstance(found, list):
        if options.vary or options.zip or options.random is not None:
            raise ValueError(f"--grid: expected no --vary, --zip or --random beside the settings in {options.grid}")
        settings, ranges = found, {}
    else:
        specs = _specs(options, found)
        values = {name: spec.values for name, spec in specs.items()}
        ranges = {name: spec.log for name, spec in specs.items() if spec.is_range}
        if options.random is not None:
            settings = drawn(options.random, options.seed, **values)
        else:
            settings = (zipped if options.zip else product)(**values)
    if not any(settings):
        raise ValueError("grid: expected --vary NAME=SPEC or a --grid file with at least one setting, got none")
    return Varied([_joined(setting, options) for setting in settings], ranges)


def _joined(setting: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Join a setting's algorithm with the flags ``--sharing`` and ``--objective``, as the command's own is joined."""
    for name in ("objective", "sharing"):
        if name in setting:
            raise ValueError(f"--vary {name}: expected --vary algorithm=player_fl,player_fl+fedprox,... in its place")
    parts = {name: getattr(options, name, None) for name in ("sharing", "objective")}
    if "algorithm" not in setting or not any(parts.values()):
        return setting
    return setting | {"algorithm": registry.combination(setting["algorithm"], **parts)}


def _specs(options: argparse.Namespace, found: Mapping[str, Any]) -> dict[str, Values]:
    """What is varied, by name."""
    texts = {name: value for name, value in found.items() if isinstance(value, str)}
    specs = {name: Values(value, False) for name, value in found.items() if name not in texts}
    for text in options.vary:
        name, equals, spec = text.partition("=")
        name = name.replace("-", "_")
        if not equals or not name:
            raise ValueError(f"--vary: expected NAME=SPEC, got {text!r}")
        if name in specs | texts:
            raise ValueError(f"--vary: expected each name once, got {name!r} again")
        texts[name] = spec
    ends = options.random is not None
    return specs | {name: parse_spec(f"--vary {name}", spec, ends=ends) for name, spec in texts.items()}


def _read_grid(path: str) -> list[dict[str, Any]] | dict[str, Any]:
    """A JSON file's settings, or values by name."""
    try:
        content = read_given_json(Path(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"--grid: {error}") from None
    if isinstance(content, list) and all(isinstance(setting, dict) for setting in content):
        return [{name.replace("-", "_"): value for name, value in setting.items()} for setting in content]
    if not isinstance(content, dict):
        raise ValueError(f"--grid: expected a list of settings, or names with their values, in {path}")
    several = {name: value if isinstance(value, list | str) else [value] for name, value in content.items()}
    return {name.replace("-", "_"): value for name, value in several.items()}


def parse_spec(name: str, text: str, *, ends: bool = False) -> Values:
    """``low:high:number``, ``low:high:number:log``, or values separated by commas; ``ends`` leaves out the number.

    Raises:
      ValueError: of another form, or with ends that are no numbers.
    """
    low, *rest = text.split(":")
    if not rest:
        values = [part for part in text.split(",") if part]
        if not values:
            raise ValueError(f"{name}: expected at least one value, got {text!r}")
        return Values(values, False)
    high, number, log = rest[0], rest[1:2], rest[2:]
    if ends:
        number, log = ["1"], rest[1:]
    if not number or not number[0].isdecimal() or log not in ([], ["log"]):
        form = "low:high" if ends else "low:high:number"
        raise ValueError(f"{name}: expected {form} or {form}:log, or values separated by commas, got {text!r}")
    found = Ends(_number(name, low, text), _number(name, high, text), bool(log))
    if ends:
        check_ends(name, found)
        return Values(found, True, found.log)
    try:
        points = spaced(found.low, found.high, int(number[0]), log=found.log)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    # Whole numbers stay whole, so that counts may be ranges too; an option that takes any number makes them its own.
    whole = all(x.is_integer() for x in points) and not set(".e") & set(f"{low}{high}".lower())
    return Values([int(x) for x in points] if whole else list(points), True, found.log)


def _number(name: str, part: str, text: str) -> float:
    try:
        return float(part)
    except ValueError:
        raise ValueError(f"{name}: expected numbers as the ends of the range, got {part!r} in {text!r}") from None
