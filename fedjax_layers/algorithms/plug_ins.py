"""Algorithms from outside the package: from the entry points of installed packages, or from a file."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any

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
    if "\0" in file:
        raise ValueError(f"algorithm_file: expected a path, got {file!r}")
    path = Path(file).expanduser().resolve()
    module_name = f"fedjax_layers_algorithm_{path.stem}"
    known = sys.modules.get(module_name)
    if known is None or getattr(known, "__file__", None) != str(path):
        known = _run(path, module_name, file)
    own = {n: x for n, x in vars(known).items() if is_factory(x) and getattr(x, "__module__", "") == module_name}
    if not own:
        raise ValueError(f"algorithm_file: expected a function with @factory() in {file}, found none")
    for name, found in own.items():
        _add(registry, name, found, file)
    return list(own)


def _run(path: Path, module_name: str, file: str) -> Any:
    spec = importlib.util.spec_from_file_location(module_name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ValueError(f"algorithm_file: expected a Python file, got {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # get_type_hints looks annotations up here
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        found = f"{type(error).__name__} in {file}: {error}"
        raise ValueError(f"algorithm_file: expected a file that runs, got {found}") from error
    return module


def _add(registry: dict[str, Any], name: str, found: Any, where: str) -> None:
    if not is_factory(found):
        raise ValueError(f"algorithm {name!r} of {where}: expected a function with @factory(), got {found!r}")
    if registry.setdefault(name, found) is not found:
        raise ValueError(f"algorithm {name!r} of {where}: expected a name that is not taken")
