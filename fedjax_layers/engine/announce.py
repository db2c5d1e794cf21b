"""Telling whoever waits what a long call is at."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]  # told what begins now, in a few words


def say_nothing(text: str) -> None:
    """For a caller who does not ask."""
