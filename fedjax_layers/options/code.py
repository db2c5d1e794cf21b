"""Values of options that name code: a Python file, or something in a file or a module."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from fedjax_layers.options.names import unknown_name


def names_code(text: str) -> bool:
    """Return whether a text is of the form ``package.module:name`` or ``path/to/file.py:name``."""
    return ":" in text


def named_code(argument: str, text: str) -> Any:
    """Return the function or class that ``package.module:name`` or ``path/to/file.py:name`` names.

    Modules are looked for in the current folder, too, and a file may import its neighbours.

    Args:
      argument: the option, for messages.
      text: the name.

    Raises:
      ValueError: there is no such file or module, it fails, or it has no function or class of this name.
    """
    where, _, name = text.rpartition(":")
    if not where or not name:
        raise ValueError(f"{argument}: expected package.module:name or path/to/file.py:name, got {text!r}")
    module = run_file(argument, where) if where.endswith(".py") else _imported(argument, where)
    if not hasattr(module, name):
        own = [n for n, x in vars(module).items() if callable(x) and getattr(x, "__module__", "") == module.__name__]
        raise unknown_name(f"{argument}: {where}", name, own)
    found = getattr(module, name)
    if not callable(found):
        raise ValueError(f"{argument}: expected a function or a class named {name} in {where}, got {found!r}")
    return found


def run_file(argument: str, file: str) -> ModuleType:
    """Run a Python file as a module, once for each path.

    Args:
      argument: the option, for messages.
      file: path of the file.

    Raises:
      ValueError: there is no such file, or it fails.
    """
    if "\0" in file:
        raise ValueError(f"{argument}: expected a path, got {file!r}")
    path = Path(file).expanduser().resolve()
    name = f"fedjax_layers_{argument}_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ValueError(f"{argument}: expected a Python file, got {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # get_type_hints looks annotations up here
    try:
        with _importable(path.parent):
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        found = f"{type(error).__name__} in {file}: {error}"
        raise ValueError(f"{argument}: expected a file that runs, got {found}") from error
    return module


def _imported(argument: str, name: str) -> ModuleType:
    try:
        with _importable(Path.cwd()):
            return importlib.import_module(name)
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        raise ValueError(f"{argument}: expected a module that can be imported, got {name!r}, {found}") from error


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules in a folder be imported, as those beside a script are."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))
