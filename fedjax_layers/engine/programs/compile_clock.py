"""The time and number of JAX's compilations, from its own monitoring events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax

_PREFIX = "/jax/core/compile/"
_FROM_CACHE = "/jax/compilation_cache/cache_retrieval_time_sec"
_BACKEND = "/jax/core/compile/backend_compile_duration"


class CompileClock:
    """Totals since the clock was started.

    Attributes:
      seconds: time of tracing, lowering and compiling together.
      compilations: number of programs that the backend compiled, without those that JAX read from its cache on disk.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.compilations = 0

    def _listen(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith(_PREFIX):
            self.seconds += duration_secs
            self.compilations += event == _BACKEND
        self.compilations -= event == _FROM_CACHE  # JAX counts these as compiled, too


@contextmanager
def compile_clock() -> Iterator[CompileClock]:
    """Count compilations inside a ``with`` block."""
    clock = CompileClock()
    jax.monitoring.register_event_duration_secs_listener(clock._listen)
    try:
        yield clock
    finally:
        jax.monitoring.unregister_event_duration_listener(clock._listen)
