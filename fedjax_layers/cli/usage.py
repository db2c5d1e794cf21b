"""Bad input, as the one line that a user sees."""

from __future__ import annotations

import argparse
from typing import NoReturn


class UsageError(Exception):
    """Bad input: its text is the one line that the user sees."""


class Parser(argparse.ArgumentParser):
    """A parser that raises :class:`UsageError` in place of leaving the program."""

    def error(self, message: str) -> NoReturn:
        """Raise the message."""
        raise UsageError(message)
