"""Errors for flags that were given but have no effect."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fedjax_layers.cli.flags import flag_fields
from fedjax_layers.cli.usage import UsageError
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.options import flag_of


def refuse_unused(options: argparse.Namespace, configs: Sequence[RunConfig], varied: Collection[str] = ()) -> None:
    """Raise ``UsageError`` for a flag that has no effect in any run of the command.

    Args:
      options: the command's options, in which ``given`` names the flags that the user wrote.
      configs: the configs of its runs.
      varied: fields that a sweep varies, which count as given.

    Raises:
      UsageError: there is such a flag; the message says what it needs.
    """
    given = options.given | set(varied)
    for field in flag_fields():
        needs = field.metadata["needs"]
        if needs is not None and field.name in given and not any(needs.met(config) for config in configs):
            raise UsageError(f"{flag_of(field.name)}: it changes nothing here, it needs {needs.what}")


def without_effect(
    options: argparse.Namespace, configs: Sequence[RunConfig], varied: Collection[str] = ()
) -> dict[str, list[str]]:
    """List the flags that change nothing for some of the algorithms that a command runs, with these algorithms.

    A flag with an algorithm's name as prefix, as ``--fedprox.mu``, is meant for it alone and is not listed.

    Args:
      options: the command's options.
      configs: the configs of its runs, of several algorithms; at least one of them uses each flag.
      varied: names that a sweep varies.
    """
    one_of_each = {config.algorithm: config for config in configs}.values()
    fields = {field.name: field.metadata["needs"] for field in flag_fields()}
    own = [flag[2:].partition("=")[0].replace("-", "_") for flag in options.unknown if flag.startswith("--")]
    found = {}
    for name in dict.fromkeys([*(options.given & fields.keys()), *varied, *own]):
        used = [_uses(config, name, fields, options) for config in one_of_each]
        if any(used) and not all(used):
            idle = [config.algorithm for config, uses in zip(one_of_each, used, strict=True) if not uses]
            found[flag_of(name)] = idle
    return found


def _uses(config: RunConfig, name: str, fields: Mapping[str, Any], options: argparse.Namespace) -> bool:
    """Return whether a field or option of this name has an effect in a run."""
    if name not in fields:
        return name in {**config.algorithm_options, **config.team_options}
    needs = fields[name]
    left_out = getattr(config, name) is None and getattr(options, name, None) is not None
    return not left_out and (needs is None or needs.met(config))


def effect_lines(idle: Mapping[str, Sequence[str]]) -> list[str]:
    """Say in one sentence what :func:`without_effect` found; no line where it found nothing."""
    told = [f"{flag} for {' and '.join(algorithms)}" for flag, algorithms in sorted(idle.items())]
    return [f"Without effect: {'; '.join(told)}."] if told else []


def refuse_varied(options: argparse.Namespace, settings: Sequence[Mapping[str, Any]]) -> None:
    """Raise ``UsageError`` for a flag that is given though every setting of a sweep has its own value.

    Raises:
      UsageError: there is such a flag.
    """
    everywhere = [name for name in settings[0] if all(name in setting for setting in settings)]
    given = {flag.partition("=")[0] for flag in options.unknown if flag.startswith("--")}
    given |= {flag_of(name) for name in options.given}
    for name in everywhere:
        flag = flag_of(name)
        if flag in given:
            shown = name if name == "algorithm" else flag
            raise UsageError(f"{shown}: expected it once, got it beside the values that the sweep gives it")


def refuse_given(options: argparse.Namespace, names: Collection[str], command: str) -> None:
    """Raise ``UsageError`` for flags that a command decides itself or does not use.

    Raises:
      UsageError: one of ``names`` was given, as a field or as an option.
    """
    others = {flag.partition("=")[0] for flag in options.unknown if flag.startswith("--")}
    for name in names:
        if name in options.given or flag_of(name) in others:
            got = f", got {getattr(options, name)}" if hasattr(options, name) else ""
            raise UsageError(f"{flag_of(name)}: expected none for {command}{got}")
