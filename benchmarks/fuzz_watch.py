"""The judge of one fuzzed case: what came of it, how long it took, how much memory, and which files it touched."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

MOST_SECONDS = 60
MOST_BYTES = 4 * 2**30
_SAFETY = 8 * 2**30  # beyond which the system gives no memory, so that a bomb ends the case and not the machine
_OWN = ("StorageError", "UsageError", "TooLargeError")
_OURS = re.compile(r"expected|did you mean|cannot resume|not a run directory")


class Outcome(NamedTuple):
    """What came of a case: ``ok``, ``refused``, or a failure's kind; a failure's message; the seconds."""

    kind: str
    told: str
    seconds: float


class Refused(Exception):  # noqa: N818  (no error: it is what should happen)
    """The case was refused in one line."""


class Bad(Exception):  # noqa: N818
    """The case did something that it should not do; the message says what."""


class Hang(BaseException):
    """The case took longer than the limit."""


def judged(case: Callable[[], object], guarded: Path) -> Outcome:
    """Run a case, and judge it; ``guarded`` is a folder in which nothing may change."""
    before, start = snapshot(guarded), time.perf_counter()
    kind, told = _run(case)
    seconds = time.perf_counter() - start
    if seconds > MOST_SECONDS:
        kind = "hang"
    grown = _peak() - _resident_before
    if grown > MOST_BYTES:
        kind, told = "memory", f"{grown / 2**30:.1f} GiB; {told}"
    if snapshot(guarded) != before:
        kind = "overwritten"
    return Outcome(kind, told, seconds)


def _run(case: Callable[[], object]) -> tuple[str, str]:
    global _resident_before  # noqa: PLW0603
    _resident_before = _reset_peak()
    try:
        with _alarm(), _limit(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _judged_error(error)
    return "ok", ""


def _judged_error(error: BaseException) -> tuple[str, str]:
    message = str(error)
    for kind, name in ((Refused, "refused"), (Bad, "wrong"), (Hang, "hang")):
        if isinstance(error, kind):
            return name, message
    if type(error).__name__ in _OWN and "\n" not in message:
        return "refused", message
    place = traceback.extract_tb(error.__traceback__)[-1]
    told = f"{type(error).__name__}: {message[:300]!r} at {place.filename}:{place.lineno}"
    if not isinstance(error, (ValueError, OSError)):
        return "traceback", told
    if "\n" in message:
        return "several lines", told
    clear = isinstance(error, OSError) or _OURS.search(message)
    return ("refused", message) if clear else ("unclear", told)


_resident_before = 0


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _limit() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _SAFETY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _reset_peak() -> int:
    with contextlib.suppress(OSError):  # in some containers it cannot be reset, and the peak is that of all cases
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def snapshot(folder: Path) -> dict[str, Any]:
    """Note every file under a folder: its size and when it was written."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with contextlib.suppress(FileNotFoundError):
                about = os.lstat(path)
                found[path] = (about.st_size, about.st_mtime_ns, about.st_mode)
    return found
