"""The parsing of a command line into options, and of options into the config of a run."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fedjax_layers.algorithms import add_algorithm_file, registry
from fedjax_layers.cli.commands import Commands, make_commands
from fedjax_layers.cli.flags import flag_fields, homes_expanded, parse_noting_given
from fedjax_layers.cli.help import owners_shown
from fedjax_layers.cli.overview import ASKED
from fedjax_layers.cli.routing import pairs, split_unknown
from fedjax_layers.cli.usage import UsageError
from fedjax_layers.data.sources.own.detect import OWN, resolve
from fedjax_layers.experiment.config.named_options import routed, split_setting, with_options
from fedjax_layers.experiment.config.owners import Owner
from fedjax_layers.experiment.config.run_config import RunConfig

_NOTHING_ELSE: tuple[list[str], ...] = ([], ["run"], ["data"], ["completion"])  # incomplete commands, which print help


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the options of one command.

    ``given`` names the options that the user wrote; ``unknown`` holds flags of an algorithm, data set or model.

    Raises:
      UsageError: a value has the wrong type, or no command has an argument.
    """
    arguments = homes_expanded(arguments)
    if any(word in ASKED for word in arguments) or list(arguments) in _NOTHING_ELSE:
        _print_help([word for word in arguments if word not in ASKED])
    options = _parse(arguments, make_commands())
    _name_reader(options)
    return options


def config_of(
    options: argparse.Namespace,
    algorithm: str,
    *,
    beside: Collection[str] = (),
    setting: Mapping[str, Any] = {},
    **changes: Any,
) -> RunConfig:
    """Make the config that the flags describe for one algorithm.

    Args:
      options: the result of :func:`parse`.
      algorithm: the algorithm's name in the registry.
      beside: other algorithms of the command, whose options are ignored here.
      setting: fields and options by name with other values than the flags give, perhaps the algorithm.
      **changes: further fields.

    Raises:
      UsageError: a flag or name is unknown (the nearest is suggested), or a number is out of range.
    """
    values = {f.name: getattr(options, f.name) for f in flag_fields() if hasattr(options, f.name)}
    fields, others = split_setting(setting)
    values |= {"algorithm": algorithm} | changes | fields
    try:
        plain = RunConfig(**values)
        formation = getattr(options, "team_formation", None)
        own = routed([*pairs(options.unknown), *others.items()], plain, team_formation=formation, beside=beside)
        if plain.team_formation is None:  # this algorithm, one of several, has no teams
            own.pop("team_options", None)
        return with_options(plain, own)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _parse(arguments: Sequence[str], commands: Commands) -> argparse.Namespace:
    name = arguments[0] if arguments else ""
    own_parsers = [commands.whole, *commands.of.get(name, [])]
    beside = commands.of["run"] if name == "data" else []  # flags of a run are recognised, and refused for data
    known = {flag for sub in [*own_parsers, *beside] for flag in sub._option_string_actions}
    own, unknown = split_unknown(arguments, known)
    options = parse_noting_given(commands.whole, own_parsers, own)
    options.unknown = unknown
    if getattr(options, "algorithm_file", None) is not None:
        try:
            add_algorithm_file(options.algorithm_file)
        except ValueError as error:
            raise UsageError(str(error)) from error
    _join_parts(options)
    if options.command in ("merge", "verify", "report") and unknown:
        raise UsageError(f"{options.command}: expected no flags but its own, got {unknown[0]!r}")
    return options


def _join_parts(options: argparse.Namespace) -> None:
    """Replace each algorithm by its combination with the flags ``--sharing`` and ``--objective``.

    Raises:
      UsageError: a name is unknown, or the combination has no meaning.
    """
    parts = {name: getattr(options, name, None) for name in ("sharing", "objective")}
    if not any(parts.values()):
        return
    try:
        if hasattr(options, "algorithms"):
            names = [registry.combination(name, **parts) for name in options.algorithms.split(",") if name]
            options.algorithms = ",".join(names)
        else:
            options.algorithm = registry.combination(options.algorithm, **parts)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _name_reader(options: argparse.Namespace) -> None:
    """Replace the data set ``own`` by the reader that fits the data, so that a run records this reader and its options.

    Raises:
      UsageError: no path is given, nothing is there, or no reader fits.
    """
    if getattr(options, "dataset", None) != OWN:
        return
    try:
        given = {flag.removeprefix("--"): value for flag, value in pairs(options.unknown)}
        options.dataset, left = resolve(OWN, given)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    options.unknown = [f"--{name}={value}" for name, value in left.items()]


def _print_help(words: Sequence[str]) -> None:
    """Print the help of a command, with the options of the parts that it names, and end the program.

    Raises:
      UsageError: it names an unknown part.
    """
    shown: list[Owner] = []
    if words and (words[0] in ("run", "compare", "sweep", "pretrain", "doctor") or words[:2] == ["data", "show"]):
        try:
            options = _parse(words, make_commands())
            if any(word.startswith(("--path", "--data.path")) for word in options.unknown):
                _name_reader(options)
            shown = owners_shown(options)
        except ValueError as error:
            raise UsageError(str(error)) from error
    commands = words[:2] if words[:1] == ["data"] and len(words) > 1 else words[:1]
    make_commands(shown).whole.parse_args([*commands, "--help"])
