"""Algorithms from outside the package: from the entry points of installed packages, or from a file."""

from __future__ import annotations

import importlib.metadata
import warnings
from typing import Any

from fedjax_layers.options.code import run_file

GROUP = "fedjax_layers.algorithms"
"""Entry points of this group name factories: ``my_average = "my_package.my_average:my_average"``."""


def is_factory(value: Any) -> bool:
    """Return whether a value is a factory, made by :func:`fedjax_layers.algorithms.factory`."""
    return callable(value) and hasattr(value, "report") and hasattr(value, "decision")


def add_installed(registry: dict[str, Any]) -> None:
    """Add the algorithms of all installed packages; one that cannot be loaded is left out with a warning."""
    for point in importlib.metadata.entry_points(group=GROUP):
        try:
            found = point.load()
        except Exception as error:
            warnings.warn(f"algorithm {point.name!r} of {point.value}: {type(error).__name__}: {error}", stacklevel=2)
            continue
        _add(registry, point.name, found, point.value)


def add_file(registry: dict[str, Any], file: str) -> list[str]:
    """Run a Python file and add the algorithms that it defines.

    Args:
      registry: the registry of algorithms.
      file: path of the file.

    Returns:
      The names of the algorithms, which are those of the functions.

    Raises:
      ValueError: there is no such file, it has no algorithm, it fails, or a name is taken already.
    """
    module = run_file("algorithm_file", file)
    own = {n: x for n, x in vars(module).items() if is_factory(x) and getattr(x, "__module__", "") == module.__name__}
    if not own:
        raise ValueError(f"algorithm_file: expected a function with @factory() in {file}, found none")
    for name, found in own.items():
        _add(registry, name, found, file)
    return list(own)


def _add(registry: dict[str, Any], name: str, found: Any, where: str) -> None:
    if not is_factory(found):
        raise ValueError(f"algorithm {name!r} of {where}: expected a function with @factory(), got {found!r}")
    if registry.setdefault(name, found) is not found:
        raise ValueError(f"algorithm {name!r} of {where}: expected a name that is not taken")
