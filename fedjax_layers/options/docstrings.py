"""Readers of docstrings: the entry of each argument, and the first sentence of a text."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

_SECTIONS = ("Args:", "Attributes:")
_ENTRY = re.compile(r"( *)\**(\w+)(?: \([^)]*\))?: *(.*)")

_ROLE = re.compile(r":func:`~?([^`]*)`")


def described(function: Callable[..., Any]) -> dict[str, str]:
    """Read each argument's entry in a Google-style docstring, without mark-up and line breaks.

    If the docstring says "arguments as :func:`other`", the entries of the other function are added.

    Args:
      function: a function, or a class with an ``Attributes:`` section.
    """
    plain = function.func if isinstance(function, functools.partial) else function
    text = inspect.getdoc(plain) or ""
    return _borrowed(plain, text) | {name: without_markup(" ".join(lines)) for name, lines in _entries(text).items()}


def _borrowed(function: Any, text: str) -> dict[str, str]:
    role = _ROLE.search(text)
    if "rguments as" not in text or role is None:
        return {}
    other = getattr(function, "__globals__", {}).get(role[1].rpartition(".")[2])
    return {} if other is None or other is function else described(other)


def _entries(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    inside, margin, name = False, 0, ""
    for line in text.splitlines():
        if line.strip() in _SECTIONS:
            inside, margin = True, 0
        elif line and not line.startswith(" "):
            inside = False
        elif inside and line.strip():
            entry = _ENTRY.fullmatch(line)
            if entry and (not margin or len(entry[1]) == margin):
                margin, name = len(entry[1]), entry[2]
                found[name] = [entry[3]]
            elif name:
                found[name].append(line.strip())
    return found


def sentences(text: str) -> tuple[str, str]:
    """Return the text before its first full stop, and the sentences after it."""
    first, *others = re.split(r"\.(?:\s|$)", text, maxsplit=1)
    return first, " ".join(others)


def without_markup(text: str) -> str:
    """Remove double backticks, and replace a role like ``:func:`a.b``` by its last name, here ``b``."""
    text = re.sub(r":\w+:`~?([^`]*)`", lambda role: role[1].rpartition(".")[2], text)
    return text.replace("``", "").strip()
