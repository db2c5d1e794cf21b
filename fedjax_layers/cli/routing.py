"""A command line's words: which belong to the parser, and the flags beside them with their values."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def pairs(unknown: Sequence[str]) -> list[tuple[str, str]]:
    """Flags with their values; one without a value is ``true``."""
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
    """Arguments of the parser, and flags it does not know with their values (else a value passes for a name)."""
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
