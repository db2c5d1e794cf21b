"""The memory that the host has left for this process, and the wording of numbers of bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


class TooLargeError(Exception):
    """A compiled program needs more memory than is free; the message is one line that says what to make smaller."""


def free_host_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes that this process may still take from the machine and from every control group that it is in.

    Args:
      proc: the kernel's folder about processes.
      groups: the kernel's folder about control groups, version 1 or 2.

    Returns:
      The least of these, 0 or more; ``None`` where the system does not say.
    """
    left = [*_available(proc / "meminfo"), *_left_in_groups(proc / "self" / "cgroup", groups)]
    return max(0, min(left)) if left else None


def spoken(size: float) -> str:
    """Write a number of bytes in three digits: ``5.93 GB``."""
    power = 0
    while size >= 999.5 and power < len(_UNITS) - 1:
        size, power = size / 1000, power + 1
    return f"{size:.3g} {_UNITS[power]}"


def rounded_down(number: float) -> int:
    """Round a number down to two digits."""
    if number < 1:
        return 0
    digit = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return int(number // digit * digit)


def _available(told: Path) -> Iterator[int]:
    for line in _lines(told):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _left_in_groups(told: Path, groups: Path) -> Iterator[int]:
    """Iterate over the bytes that each limit leaves; cached file pages that can be dropped count as free."""
    for line in _lines(told):
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            root, limit, used, dropped = groups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, dropped = groups / "memory", "total_inactive_file"
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        # In a container the group's own folder may be mounted as the root.
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):
            most, now = _number(folder / limit), _number(folder / used)
            if most is not None and now is not None:
                pages = (line.split() for line in _lines(folder / "memory.stat"))
                yield most - now + next((int(words[1]) for words in pages if words[0] == dropped), 0)
            if folder == root:
                break


def _number(path: Path) -> int | None:
    """Read the number in a file; ``None`` if there is none, or it says ``max``."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdecimal() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
