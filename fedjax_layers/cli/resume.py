"""Continuation of the run in a run directory, whose config decides and with which given flags must agree."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fedjax_layers.cli.routing import pairs
from fedjax_layers.cli.usage import UsageError
from fedjax_layers.engine.checkpoint import saved_rounds
from fedjax_layers.experiment.config.asked import as_asked
from fedjax_layers.experiment.config.named_options import routed, with_options
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.config_hash import refuse_changed_config
from fedjax_layers.experiment.records.run_directory import RunDirectory, first_difference, to_json
from fedjax_layers.storage import DAMAGE, reading

MAY_DIFFER = ("rounds", "store")


def is_resumed(options: argparse.Namespace) -> bool:
    """Return whether ``--resume`` finds a run in ``--out``; otherwise a new run starts."""
    return bool(options.resume and options.out and (Path(options.out) / "config.json").is_file())


def resumed_config(
    options: argparse.Namespace, content: Mapping[str, Any], folder: Path, beside: Collection[str] = ()
) -> RunConfig:
    """Make the config of the run in ``folder``, with the number of rounds asked for now.

    Args:
      options: the command's options, in which ``given`` names the fields that the user gave.
      content: the content of the run's ``config.json``.
      folder: the run directory.
      beside: other algorithms of the command, whose options are ignored here.

    Raises:
      UsageError: a flag does not agree with the config, or fewer rounds are asked for than are done.
    """
    if all((folder / name).is_file() for name in ("config.json", "manifest.json")):
        refuse_changed_config(folder, content, RunDirectory(folder).read("manifest"))
    try:
        stored = RunConfig.from_mapping(content)
    except DAMAGE as error:
        raise UsageError(f"{folder}: cannot resume, its config.json is not one of this version: {error}") from error
    fields = {field.name for field in dataclasses.fields(RunConfig)}
    given = {name: getattr(options, name) for name in options.given & fields - {"algorithm", *MAY_DIFFER}}
    for name, value in given.items():
        _agree(name, content.get(name), to_json(value), folder)
    try:
        new = routed(pairs(options.unknown), stored, beside=beside)
        asked = with_options(stored, new)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for home, values in new.items():
        for name in values:
            _agree(name, content[home].get(name), to_json(getattr(asked, home)[name]), folder)
    rounds = options.rounds if "rounds" in options.given else stored.rounds
    store = options.store if "store" in options.given else stored.store  # may differ, as the state is in the checkpoint
    config = dataclasses.replace(stored, rounds=rounds, store=store)
    _enough_rounds(folder, config)
    return config


def resumed_content(folder: Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the complete config of a comparison's run if it has started, else the ``config`` that was asked for.

    Raises:
      UsageError: the two differ in more than what may differ.
    """
    if not (folder / "config.json").is_file():
        return config
    content = RunDirectory(folder).read("config")
    with reading(folder / "config.json"):
        asked, own = ({**as_asked(one), **dict.fromkeys(MAY_DIFFER)} for one in (config, content))
    if (found := first_difference(own, asked)) is not None:
        raise UsageError(f"{folder / 'config.json'}: expected the config that the comparison's has for it, {found}")
    return content


def _agree(name: str, has: Any, wants: Any, folder: Path) -> None:
    if has != wants:
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"{flag}: expected none, or {has!r} as the run in {folder} has it, got {wants!r}")


def _enough_rounds(folder: Path, config: RunConfig) -> None:
    done = saved_rounds(folder / "checkpoints")
    if config.rounds < done:
        raise UsageError(
            f"--rounds: expected at least the {done} that the run in {folder} has done, got {config.rounds}"
        )
