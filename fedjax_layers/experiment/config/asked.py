"""What somebody asked for in a complete config, and what was filled in."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from fedjax_layers import algorithms
from fedjax_layers.options import Mark, Option, options_of

BY_DEFAULT = "by_default"


def as_asked(content: Mapping[str, Any]) -> dict[str, Any]:
    """A config as it was asked for: without the values that its field ``by_default`` names, and without that field.

    A run of it is the same to the last bit, since an option that is not asked for is no traced number. An option whose
    default is another one by now stays.

    Args:
      content: of a ``config.json``, complete or not.
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
    """Whether an option's default is another one by now; the data's, if they decide it, is the same."""
    if option is None or option.has(Mark.FROM_DATA):
        return option is None
    return bool(value != (list(option.default) if isinstance(option.default, tuple) else option.default))
