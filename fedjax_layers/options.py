"""Errors for names that are not known, each suggesting the nearest one that is."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any

_LISTED = 60  # names, beyond which the nearest ones tell more than all of them


def unknown_name(argument: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name outside ``known``: one line with argument, found, nearest and expected."""
    options = sorted(known)
    near = difflib.get_close_matches(str(name), options, n=5, cutoff=0.5)
    listed = [*near, f"... ({len(options)} names)"] if near and len(options) > _LISTED else options
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"{argument}: expected one of {', '.join(listed) or 'nothing'}, got {name!r}{hint}")


def options_of(fn: Callable[..., Any]) -> set[str]:
    """Names of the keyword-only parameters of ``fn``: what a user may set."""
    return {p.name for p in inspect.signature(fn).parameters.values() if p.kind is p.KEYWORD_ONLY}


def defaults_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """Defaults of the keyword-only parameters of ``fn`` that have one."""
    parameters = (p for p in inspect.signature(fn).parameters.values() if p.kind is p.KEYWORD_ONLY)
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def check_options(owner: str, given: Collection[str], fn: Callable[..., Any]) -> None:
    """Refuse an option that ``fn`` does not take, and ask for one that it needs.

    Args:
      owner: what ``fn`` is, for the message, e.g. ``"partition 'dirichlet'"``.
      given: names of the options that are to be passed.
      fn: function whose keyword-only parameters are the options.

    Raises:
      ValueError: a name in ``given`` is no option of ``fn``, or an option without default is missing.
    """
    known = options_of(fn)
    for name in given:
        if name not in known:
            raise unknown_name(f"option of {owner}", name, known)
    for name in sorted(known - set(given) - set(defaults_of(fn))):
        raise ValueError(f"option of {owner}: expected a value for {name!r}, got none")
