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
    """
    asked = copy.deepcopy(dict(content))
    factory = algorithms.registry.get(asked.get("algorithm", ""))
    usual = {} if factory is None else options_of(factory)
    for name in asked.pop(BY_DEFAULT, []):
        home, _, option = name.partition(".")
        if not option:
            asked[home] = None
        elif home != "algorithm_options" or not _moved(asked[home][option], usual.get(option)):
            del asked[home][option]
    return asked


def _moved(value: Any, option: Option | None) -> bool:
    """Return whether an option's default has changed since; a default that the data decide counts as unchanged."""
    if option is None or option.has(Mark.FROM_DATA):
        return option is None
    return bool(value != (list(option.default) if isinstance(option.default, tuple) else option.default))
