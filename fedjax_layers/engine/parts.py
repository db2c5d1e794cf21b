"""Parts of an interval of rounds, between which a run can be saved or stopped."""

from __future__ import annotations

import time


class Parts:
    """How many rounds run before the host is asked: as many as take about so long, by what earlier rounds took.

    The first part is one round, whose time tells how many rounds the next ones have.

    Args:
      seconds: seconds that a part should take; ``None`` means that intervals are not divided.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds, self._rounds, self._begun = seconds, 1, 0.0

    def begin(self, left: int) -> int:
        """Return the number of rounds of the part that begins now, of ``left`` to the interval's end."""
        self._begun = time.perf_counter()
        return left if self._seconds is None else min(left, self._rounds)

    def end(self, rounds: int) -> None:
        """Take the time of a part of so many rounds, which has ended now, for the length of the next one."""
        assert self._seconds is not None
        each = (time.perf_counter() - self._begun) / rounds
        self._rounds = max(1, int(self._seconds / max(each, 1e-9)))
