"""Help of a command: its flags in groups, with the options of the parts that are named beside ``--help``."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fedjax_layers import data
from fedjax_layers.algorithms import ALONE, registry
from fedjax_layers.cli.flags import help_line, metavar_of
from fedjax_layers.cli.routing import pairs
from fedjax_layers.experiment.config.fields import GROUPS
from fedjax_layers.experiment.config.owners import LOADING, Owner, owner, owners
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.options import Option, flag_of, unknown_name

_REGISTRIES = {"feature_shift": data.FEATURE_SHIFTS}  # options whose values are names in a registry
_SECTION = {"model": "model", "algorithm": "algorithm", "team_formation": "algorithm"}  # all others are in data


def owners_shown(options: argparse.Namespace) -> list[Owner]:
    """List the owners whose options a command's help shows: those that it names, else the defaults.

    Raises:
      ValueError: it names an unknown algorithm, partition or model.
    """
    names = algorithms_of(options)
    has_model = hasattr(options, "model")  # `data show` has no model
    config = RunConfig(
        algorithm=(names or [ALONE])[0],
        dataset=options.dataset,
        partition=options.partition,
        model=options.model if has_model else None,
    )
    for name in names:
        if name not in registry:
            raise unknown_name("algorithm", name, registry)
    shift = dict(pairs(options.unknown)).get("--feature-shift")
    _, *others = owners(config, getattr(options, "team_formation", None), shift)
    return [
        *(owner("algorithm", name) for name in names),
        *(o for o in others if has_model or o.field == "data_options"),
    ]


def algorithms_of(options: argparse.Namespace) -> list[str]:
    """List the algorithms that a command names."""
    several = getattr(options, "algorithms", None)
    if several is not None:
        return [name for name in several.split(",") if name]
    return [options.algorithm] if hasattr(options, "algorithm") else []


def add_groups(parser: argparse.ArgumentParser, shown: Sequence[Owner]) -> dict[str, Any]:
    """Add a group of flags for each group of fields, and after each the groups of these owners; return the former.

    :func:`add_owners` fills the latter when all fields have been added.
    """
    groups: dict[str, Any] = {}
    for section in GROUPS:
        groups[section] = parser.add_argument_group(section)
        for one in shown:
            if one is not LOADING and _SECTION.get(one.prefix, "data") == section:
                groups[one.who] = parser.add_argument_group(one.who)
    return groups


def add_owners(parser: argparse.ArgumentParser, groups: Mapping[str, Any], shown: Sequence[Owner]) -> None:
    """Add the options of these owners to their groups; an option that several of them have gets a prefix."""
    fields = set(parser._option_string_actions)
    for one in shown:
        prefix = one.who.rpartition(" ")[2] if one.prefix == "algorithm" else one.prefix
        for name, option in one.options.items():
            several = sum(name in other.options for other in shown) > 1
            flag = flag_of(name)
            flag = f"{flag_of(prefix)}.{flag[2:]}" if several or flag in fields else flag
            _add_option(groups[one.who], flag, option)


def choices_of(option: Option) -> Collection[str]:
    """List the names that an option may have; none where it takes other values."""
    return _REGISTRIES.get(option.name) or option.choices


def _add_option(group: Any, flag: str, option: Option) -> None:
    """Add an option, with the first sentence of its docstring entry as help."""
    line = help_line(option.help, choices_of(option), None if option.required else option.default, option.bounds)
    line = line.replace("[default: none]", "[required]") if option.required else line
    metavar = metavar_of(option, choices_of(option))
    if metavar:
        group.add_argument(flag, metavar=metavar, help=line, default=argparse.SUPPRESS)
