"""Bad input, as the one line that a user sees."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NoReturn


class UsageError(Exception):
    """Bad input: its text is the one line that the user sees."""


class Parser(argparse.ArgumentParser):
    """A parser that raises :class:`UsageError` in place of leaving the program."""

    def error(self, message: str) -> NoReturn:
        """Raise the message."""
        raise UsageError(message)


def check_place(flag: str, path: str | None, *, folder: bool = False) -> None:
    """Refuse a place where nothing can be written, before anything takes time.

    Args:
      flag: that named it.
      path: of a file to come; ``None`` is none.
      folder: the path is that of a folder instead.

    Raises:
      UsageError: something else is there, or the folder around it cannot be written.
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
