"""Separation of the values that a user gave from those that were filled in, in a complete config."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from fedjax_layers import algorithms
from fedjax_layers.options import Mark, Option, options_of

BY_DEFAULT = "by_default"


def as_asked(content: Mapping[str, Any]) -> dict[str, Any]:
    """Remove from a config the values that its field ``by_default`` names, and that field.

    A run of the result is bit-for-bit the same, since an option that is not given is no traced number. An option whose
    default has changed since is kept.

    Args:
      content: the content of a ``config.json``, complete or not.

    Raises:
      ValueError: ``by_default`` is no list of names of values that are there, or a value is nested too deeply.
    """
    try:
        asked = copy.deepcopy(dict(content))
    except RecursionError as error:
        raise ValueError("config: expected fields of plain values, got one that is nested too deeply") from error
    name = asked.get("algorithm", "")
    factory = algorithms.registry.get(name) if isinstance(name, str) else None
    usual = {} if factory is None else options_of(factory)
    filled_in = asked.pop(BY_DEFAULT, [])
    if not isinstance(filled_in, list) or not all(isinstance(name, str) for name in filled_in):
        raise ValueError(f"{BY_DEFAULT}: expected a list of names, got {filled_in!r}")
    for name in filled_in:
        home, _, option = name.partition(".")
        if not option:
            asked[home] = None
            continue
        if not isinstance(asked.get(home), dict) or option not in asked[home]:
            raise ValueError(f"{BY_DEFAULT}: expected names of options that are there, got {name!r}")
        if home != "algorithm_options" or not _moved(asked[home][option], usual.get(option)):
            del asked[home][option]
    return asked


def _moved(value: Any, option: Option | None) -> bool:
    """Return whether an option's default has changed since; a default that the data decide counts as unchanged."""
    if option is None or option.has(Mark.FROM_DATA):
        return option is None
    return bool(value != (list(option.default) if isinstance(option.default, tuple) else option.default))
