"""Errors for flags that were given but have no effect."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence

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
