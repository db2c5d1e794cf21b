"""Errors for unknown names, which suggest the nearest known one."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Protocol

_LISTED = 60  # of more names than these only the nearest are listed


def flag_of(name: str) -> str:
    """Return the flag of a field or option: ``--batch-size``."""
    return "--" + name.replace("_", "-")


@contextlib.contextmanager
def renamed(names: Mapping[str, str]) -> Iterator[None]:
    """Give arguments other names in errors raised inside the block, those of the fields from which they are taken.

    A ``ValueError`` begins with the name of an argument; names of several words are replaced wherever they stand.
    """
    try:
        yield
    except ValueError as error:
        head, colon, rest = str(error).partition(": ")
        for name in (name for name in names if "_" in name):
            rest = re.sub(rf"\b{name}\b", names[name], rest)
        raise type(error)(f"{names.get(head, head)}{colon}{rest}") from error


def unknown_name(argument: str, name: object, known: Iterable[str]) -> ValueError:
    """Make the error for a name outside ``known``: one line with the argument, known names, and the nearest of them."""
    options = sorted(known)
    near = difflib.get_close_matches(str(name), options, n=5, cutoff=0.5)
    listed = [*near, f"... ({len(options)} names)"] if near and len(options) > _LISTED else options
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"{argument}: expected one of {', '.join(listed) or 'nothing'}, got {name!r}{hint}")


class Declared(Protocol):
    """An option, as far as :func:`check_options` needs it."""

    @property
    def required(self) -> bool:
        """Whether a value must be given."""


def check_options(owner: str, given: Collection[str], known: Mapping[str, Declared]) -> None:
    """Check that every given option is known, and that every required option is given.

    Args:
      owner: what has these options, named in the message, e.g. ``"partition 'dirichlet'"``.
      given: names of the given options.
      known: the owner's options by name, see :func:`fedjax_layers.options.options_of`.

    Raises:
      ValueError: a name in ``given`` is unknown, or an option without default is missing.
    """
    for name in given:
        if name not in known:
            raise unknown_name(f"option of {owner}", name, known)
    for name, option in sorted(known.items()):
        if option.required and name not in given:
            raise ValueError(f"option of {owner}: expected a value for {name!r}, got none")
