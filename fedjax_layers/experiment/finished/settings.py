"""The settings of runs as flat lists: which of them a user gave, and how a value is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fedjax_layers.experiment.config.asked import BY_DEFAULT, as_asked
from fedjax_layers.experiment.config.run_config import RunConfig

_BESIDE = ("seed", BY_DEFAULT, "client_width", "on_host", "store", "save_model")  # these change no number of a run
_SEEDED = ("start_seed", "partition_seed")  # the run's seed, where they are filled in


def flat_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """List a config's fields, and its parts' options as ``part.option``, without the seed and what changes no number.

    Args:
      config: the content of a ``config.json``.
    """
    flat: dict[str, Any] = {}
    filled_in = config.get(BY_DEFAULT, ())
    for name, value in config.items():
        if name in _BESIDE or (name in _SEEDED and name in filled_in):
            continue
        if isinstance(value, Mapping):
            flat |= {f"{name.removesuffix('_options')}.{key}": one for key, one in value.items()}
        else:
            flat[name] = value
    return flat


def given_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """List those settings of :func:`flat_config` that differ from the usual ones; the algorithm is left out."""
    usual = {field.name: field.default for field in dataclasses.fields(RunConfig)} | {"scored_model": "trained"}
    asked = flat_config(as_asked(config))
    return {
        name: value
        for name, value in asked.items()
        if name != "algorithm" and value is not None and shown(value) != shown(usual.get(name, ...))
    } | {"dataset": asked.get("dataset")}


def shown(value: Any) -> str:
    """Write a value of a config as a user would."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(map(shown, value)) or "none"
    return "none" if value is None else str(value)
