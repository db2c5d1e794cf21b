"""The words of a command line, split into those of the parser and other flags with their values."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def pairs(unknown: Sequence[str]) -> list[tuple[str, str]]:
    """Pair flags with their values; a flag without a value is ``true``."""
    found, rest = [], list(unknown)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--"):
            raise ValueError(f"arguments: expected a flag, got {flag!r}")
        name, equals, value = flag.partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        found.append((name, value))
    return found


def split_unknown(arguments: Sequence[str], known: Collection[str]) -> tuple[list[str], list[str]]:
    """Split arguments into those of the parser, and unknown flags with their values, which it would take for names."""
    own: list[str] = []
    unknown: list[str] = []
    rest = list(arguments)
    while rest:
        token = rest.pop(0)
        target = own if not token.startswith("--") or token.partition("=")[0] in known else unknown
        target.append(token)
        if token.startswith("--") and "=" not in token and rest and not rest[0].startswith("--"):
            target.append(rest.pop(0))
    return own, unknown
