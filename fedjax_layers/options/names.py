"""Errors for names that are not known, each suggesting the nearest one that is."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

_LISTED = 60  # names, beyond which the nearest ones tell more than all of them


def flag_of(name: str) -> str:
    """The flag of a field or option: ``--batch-size``."""
    return "--" + name.replace("_", "-")


def unknown_name(argument: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name outside ``known``: one line with argument, found, nearest and expected."""
    options = sorted(known)
    near = difflib.get_close_matches(str(name), options, n=5, cutoff=0.5)
    listed = [*near, f"... ({len(options)} names)"] if near and len(options) > _LISTED else options
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"{argument}: expected one of {', '.join(listed) or 'nothing'}, got {name!r}{hint}")


class Declared(Protocol):
    """What is to be known of an option here."""

    @property
    def required(self) -> bool:
        """Whether a value has to be given."""


def check_options(owner: str, given: Collection[str], known: Mapping[str, Declared]) -> None:
    """Refuse an option that is not known, and ask for one that is needed.

    Args:
      owner: whose options they are, for the message, e.g. ``"partition 'dirichlet'"``.
      given: names of the options that are to be passed.
      known: its options by name, see :func:`fedjax_layers.options.options_of`.

    Raises:
      ValueError: a name in ``given`` is not known, or an option without default is missing.
    """
    for name in given:
        if name not in known:
            raise unknown_name(f"option of {owner}", name, known)
    for name, option in sorted(known.items()):
        if option.required and name not in given:
            raise ValueError(f"option of {owner}: expected a value for {name!r}, got none")
