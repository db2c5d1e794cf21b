"""Layers from the units of a model in call order: each norm goes with the layer that it follows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Unit:
    """A module with parameters of its own.

    Attributes:
      path: the module's path.
      leaves: paths of its own parameters.
      norm: whether it normalises.
      wraps: whether it normalises the weights of a module inside it.
    """

    path: Path
    leaves: list[Path]
    norm: bool
    wraps: bool


def group_layers(units: Sequence[Unit]) -> tuple[tuple[str, ...], ...]:
    """Group units, which come in call order, into layers.

    Args:
      units: the units that have parameters.

    Returns:
      One entry per layer: regular expressions that match its modules' paths, or its leaves' paths where the module's
      own path would match its children too. See :func:`fedjax_layers.models.call_order` for the rules.
    """
    layers: list[list[str]] = []
    waiting: list[str] = []
    last: Path | None = None
    for unit in units:
        path = unit.path
        has_children = any(len(o.path) > len(path) and o.path[: len(path)] == path for o in units)
        exact = has_children or not path
        patterns = ["/".join(map(re.escape, p)) for p in (unit.leaves if exact else [path])]
        before = last is not None and last[: len(path) - 1] == path[:-1]  # a layer of the same parent came earlier
        if unit.wraps or (unit.norm and not has_children and not before):
            waiting += patterns
        elif unit.norm and not has_children and not waiting:
            layers[-1] += patterns
        else:
            layers.append(patterns + waiting)
            waiting, last = [], path
    if waiting:
        layers.append(waiting)
    return tuple(tuple(entry) for entry in layers)
