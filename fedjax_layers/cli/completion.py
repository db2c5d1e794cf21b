"""``fedjax-layers completion SHELL``: print the script by which a shell completes commands, flags and names.

The script holds all words itself: no Python is started while a user types.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fedjax_layers import data
from fedjax_layers.algorithms import registry
from fedjax_layers.cli.commands import make_commands
from fedjax_layers.cli.flags import flag_fields, metavar_of
from fedjax_layers.cli.help import choices_of
from fedjax_layers.cli.usage import UsageError
from fedjax_layers.engine.evaluation.score_names import SCORED
from fedjax_layers.experiment.config.owners import Owner, all_owners
from fedjax_layers.options import Option, flag_of

_OF_RUNS = ("run", "compare", "sweep", "pretrain", "doctor")  # commands that take the options of all parts of a run
_NAMES: Mapping[str, Iterable[Any]] = {
    "algorithm": registry,
    "algorithms": registry,  # names with commas: the first one is completed
    "names": data.DATASETS,
    "dataset": data.DATASETS,
    "scored_model": SCORED,
}


def command(options: argparse.Namespace) -> int:
    """Print the script; return 0."""
    try:
        import shtab  # noqa: PLC0415  (nothing else needs it)
    except ImportError as error:
        raise UsageError("completion: it takes shtab, pip install shtab") from error
    if options.unknown:
        raise UsageError(f"completion: expected no flags, got {options.unknown[0]!r}")
    print(shtab.complete(completed_parser(shtab.FILE, shtab.DIRECTORY), options.shell))  # noqa: T201
    return 0


def completed_parser(file: Any, folder: Any) -> argparse.ArgumentParser:
    """Make the parser of all commands with the flags of all parts of a run, and the names that arguments may have.

    Args:
      file: what shtab takes as the mark of an argument that is the path of a file.
      folder: the same for a folder.
    """
    commands = make_commands()
    for name, parsers in commands.of.items():
        shown = parsers[-1]  # of `data`, only `data show` describes a part of a run
        if name in _OF_RUNS or name == "data":
            _add_options(shown, [one for one in all_owners() if name in _OF_RUNS or one.field == "data_options"])
        for action in (action for parser in parsers for action in parser._actions):
            if action.metavar in ("DIR", "FILE") or action.dest in ("folder", "parts", "out"):
                action.complete = file if action.metavar == "FILE" else folder  # type: ignore[attr-defined]
            elif found := _choices(action):
                action.choices = found
    return commands.whole


def _choices(action: argparse.Action) -> list[str]:
    """List the names that an argument may have; none where it takes other values, or none."""
    fields = {field.name: field.metadata["choices"] for field in flag_fields()}
    if action.nargs == 0 or action.choices is not None or isinstance(action, argparse.BooleanOptionalAction):
        return []
    return [str(name) for name in (_NAMES.get(action.dest) or fields.get(action.dest) or ())]


def _add_options(parser: argparse.ArgumentParser, owners: Iterable[Owner]) -> None:
    """Add the options of all these owners, each once, with the owners in its help."""
    group = parser.add_argument_group("options of the parts of a run")
    for flag, several in _by_flag(owners).items():
        if flag in parser._option_string_actions:
            continue
        whose = ", ".join(one.who.split()[-1] for one, _ in several)
        (_, option), names = several[0], {name for _, one in several for name in choices_of(one)}
        text = f"{option.help} ({whose})".replace("%", "%%")
        group.add_argument(flag, choices=sorted(names) or None, help=text, default=argparse.SUPPRESS)


def _by_flag(owners: Iterable[Owner]) -> dict[str, list[tuple[Owner, Option]]]:
    found: dict[str, list[tuple[Owner, Option]]] = {}
    for one, option in _options(owners):
        found.setdefault(flag_of(option.name), []).append((one, option))
    return found


def _options(owners: Iterable[Owner]) -> Iterator[tuple[Owner, Option]]:
    for one in owners:
        yield from ((one, option) for option in one.options.values() if metavar_of(option))
