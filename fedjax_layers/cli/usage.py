"""Errors for bad input, shown to the user as one line."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NoReturn


class UsageError(Exception):
    """An error for bad input, whose text is the one line that the user sees; ``code`` is the exit code."""

    code = 2


class RunEndedError(UsageError):
    """A run that was ended by what it computed."""

    code = 3


class Parser(argparse.ArgumentParser):
    """A parser that raises :class:`UsageError` and does not end the program."""

    def error(self, message: str) -> NoReturn:
        """Raise ``UsageError`` with the message."""
        raise UsageError(message)


def check_place(flag: str, path: str | None, *, folder: bool = False) -> None:
    """Raise ``UsageError`` for a path that cannot be written, before work that takes time.

    Args:
      flag: the flag that gave the path.
      path: path of the file to write; ``None`` for none.
      folder: whether the path is that of a folder.

    Raises:
      UsageError: something else is at the path, or its parent folder cannot be written.
    """
    if path is None:
        return
    place = Path(path)
    if place.exists() and place.is_dir() != folder:
        raise UsageError(f"{flag}: expected a {'folder' if folder else 'file'} at {path}, found another thing")
    around = next(p for p in (place, *place.absolute().parents) if p.exists())
    if around != place and not around.is_dir():
        raise UsageError(f"{flag}: expected a place for {path}, found that {around} is a file")
    if not os.access(around, os.W_OK):
        raise UsageError(f"{flag}: expected a place that can be written, found that {around} cannot")
