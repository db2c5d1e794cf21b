"""What somebody asked for in a complete config, and what was filled in."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from fedjax_layers import algorithms
from fedjax_layers.options import defaults_of

BY_DEFAULT = "by_default"
FROM_DATA = ("num_teams",)  # options of an algorithm whose usual value the data decide


def as_asked(content: Mapping[str, Any]) -> dict[str, Any]:
    """A config as it was asked for: without the values that its field ``by_default`` names, and without that field.

    A run of it is the same to the last bit, since an option that is not asked for is no traced number. An option whose
    default is another one by now stays.

    Args:
      content: of a ``config.json``, complete or not.
    """
    asked = copy.deepcopy(dict(content))
    factory = algorithms.registry.get(asked.get("algorithm", ""))
    usual = {} if factory is None else defaults_of(factory)
    for name in asked.pop(BY_DEFAULT, []):
        home, _, option = name.partition(".")
        if not option:
            asked[home] = None
        elif not (
            home == "algorithm_options" and option not in FROM_DATA and _moved(asked[home][option], usual, option)
        ):
            del asked[home][option]
    return asked


def _moved(value: Any, usual: Mapping[str, Any], option: str) -> bool:
    now = usual.get(option)
    return bool(value != (list(now) if isinstance(now, tuple) else now))
