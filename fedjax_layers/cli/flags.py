"""Flags of the config's fields: their types, their help, and the set of those that were given."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import re
import typing
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from fedjax_layers.experiment.config.run_config import RunConfig, config_options
from fedjax_layers.options import Option, flag_of, value_of

_TAKEN_ELSEWHERE = ("algorithm", "algorithm_options", "data_options", "model_options", "team_options")
_METAVARS = {int: "N", float: "X", str: "NAME", bool: "true|false", os.PathLike: "PATH"}
_PATHS = {"path", "test_path", "prepared", "partition_file", "algorithm_file", "init_from", "store"}
_SHORT = 24  # characters of listed choices, up to which they are the placeholder themselves


def flag_fields() -> list[dataclasses.Field[Any]]:
    """List the fields of the config that are flags."""
    return [f for f in dataclasses.fields(RunConfig) if f.name not in _TAKEN_ELSEWHERE]


def path_of(text: str) -> str:
    """Read a path of the command line, with ``~`` as the user's home."""
    return os.path.expanduser(text)


def homes_expanded(arguments: Sequence[str]) -> list[str]:
    """Replace ``~/`` at the start of any value by the user's home, which shells do for some values only."""
    return [
        re.sub(r"(?:(?<=^)|(?<==))~[^/\s]*/", lambda found: path_of(found[0]), token, count=1) for token in arguments
    ]


def add_field(parser: Any, field: dataclasses.Field[Any]) -> None:
    """Add the flag of one field to a parser or one of its groups."""
    declared = config_options()[field.name]
    kind = type_of(declared)
    default = field.metadata["unset"] or field.default
    text = help_line(declared.help, field.metadata["choices"], default, declared.bounds)
    if kind is bool:
        action: Any = argparse.BooleanOptionalAction
        parser.add_argument(flag_of(field.name), action=action, default=field.default, help=text)
    else:
        metavar = field.metadata["metavar"] or metavar_of(declared, field.metadata["choices"])
        parser.add_argument(flag_of(field.name), type=kind, default=field.default, metavar=metavar, help=text)


def help_line(text: str, choices: Iterable[Any], default: Any, bounds: str = "") -> str:
    """Make a line of help: the text, the allowed values, and the default."""
    named = [str(choice) for choice in choices]
    listed = f"; one of {', '.join(named[:-1])} or {named[-1]}" if len(named) > 1 else ""
    within = f" ({bounds})" if bounds else ""
    return f"{text}{listed}{within} [default: {_spoken(default)}]".replace("%", "%%")


def type_of(option: Option) -> Any:
    """Return the function that converts the text of a flag to its value."""
    kinds = [kind for kind in option.kinds if kind is not type(None)]
    several = [typing.get_args(kind)[0] for kind in kinds if typing.get_origin(kind) is tuple]
    if several == [str]:
        return name_list
    if several:
        return functools.partial(numbers if len(kinds) == 1 else number_or_numbers, kind=several[0])
    return kinds[0] if len(kinds) == 1 else value_of


def metavar_of(option: Option, choices: Collection[Any] = ()) -> str:
    """Return the placeholder for a value in help: a number, names, a path, or the choices where they are short.

    It is empty for an option that no text can give, such as an optimiser, which only Python takes.
    """
    listed = "|".join(map(str, choices))
    if choices and len(listed) <= _SHORT and not any(typing.get_origin(kind) is tuple for kind in option.kinds):
        return listed
    return "PATH" if option.name in _PATHS else _placeholder(option.hint)


def _placeholder(hint: Any) -> str:
    kinds = [k for k in (typing.get_args(hint) or (hint,)) if k is not type(None)]
    if typing.get_origin(hint) is typing.Literal:
        return "NAME"
    if typing.get_origin(hint) is tuple:
        one = _placeholder(kinds[0])
        return f"{one},{one},..."
    if typing.get_origin(hint) is not None or type(hint).__name__ == "UnionType":
        return next((found for kind in kinds if (found := _placeholder(kind))), "")
    return _METAVARS.get(hint, "")


def numbers(text: str, kind: type[int] | type[float]) -> tuple[float, ...]:
    """Read numbers separated by commas."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        spoken = "whole numbers" if kind is int else "numbers"
        raise argparse.ArgumentTypeError(f"expected {spoken} separated by commas, got {text!r}") from None


def number_or_numbers(text: str, kind: type[int] | type[float]) -> float | tuple[float, ...]:
    """Read a number, an int if it is written as one, or several."""
    if "," in text:
        return numbers(text, kind)
    (one,) = numbers(text, kind)
    return int(text) if text.strip().lstrip("+-").isdecimal() else one


def name_list(text: str) -> tuple[str, ...]:
    """Read names separated by commas."""
    return tuple(part for part in text.split(",") if part)


def parse_noting_given(
    parser: argparse.ArgumentParser, subs: Sequence[argparse.ArgumentParser], own: Sequence[str]
) -> argparse.Namespace:
    """Parse arguments, and store in ``given`` the names of those that the user gave."""
    usual: dict[str, Any] = {}
    for action in (action for sub in subs for action in sub._actions):
        if action.dest not in ("help", "version", argparse.SUPPRESS) and action.default is not argparse.SUPPRESS:
            usual[action.dest] = action.default
            action.default = argparse.SUPPRESS
    found = vars(parser.parse_args(own))
    return argparse.Namespace(**usual | found, given=frozenset(found))


def _spoken(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return ",".join(map(_spoken, value)) or "none"
    return "none" if value is None or value == "" else str(value)
