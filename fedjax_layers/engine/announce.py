"""Callbacks that tell a waiting user what a long call is doing."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]  # called with a few words at the start of each step


def say_nothing(text: str) -> None:
    """Ignore the text; the default for callers that do not report progress."""
