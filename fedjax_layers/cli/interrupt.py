"""Handling of Ctrl-C, SIGTERM and SIGHUP, which are acknowledged at once even during a compilation."""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

INTERRUPTED = 130  # the exit code after Ctrl-C
_BY_THE_SYSTEM = (signal.SIGTERM, signal.SIGHUP)  # what schedulers such as SLURM send before they take a node
_STUCK_SECONDS = 1.0  # after which a process that has not heard that it should stop at once is ended
_SWALLOWED_SECONDS = 5.0  # after which one that has heard it, but goes on, is ended: a library caught the exception


class Interrupt:
    """The handler of Ctrl-C, which asks the run to stop after the rounds at work; a second one stops it at once.

    Python calls the handler only between two of its own instructions, which may be many seconds later. Another thread
    therefore receives the signal too, prints the answer, and ends the process if a second signal is not handled.

    SIGTERM and SIGHUP always ask, however often they come: a scheduler sends them to a group of processes, and later
    kills what has not ended.

    Attributes:
      grace: number of Ctrl-C that ask the run to stop; the next one stops it at once. It may be changed: a run that has
        nothing to save yet stops at the first one.
    """

    def __init__(self, console: Console, grace: int = 1) -> None:
        self.grace = grace
        self._console = console
        self._heard = self._handled = self._system = 0
        self._held = self._told = False
        self._open = True

    @property
    def asked(self) -> bool:
        """Whether the run should stop after the rounds that are being computed."""
        return max(self._heard, self._handled, self._system) > 0

    @property
    def code(self) -> int:
        """The exit code of a run that has stopped: 128 and the signal's number, as shells and schedulers expect."""
        return 128 + self._system if self._system else INTERRUPTED

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal in the main thread."""
        if number != signal.SIGINT:
            self._system = number
            return
        self._handled += 1
        if self._handled > self.grace and not self._held:
            raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        """Delay signals until the end of the block, since they would break the import of an extension module."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._handled > self.grace:
            raise KeyboardInterrupt

    def listen(self, wire: socket.socket) -> None:
        """Read the signals' numbers from ``wire`` until it is closed; runs in a thread of its own."""
        while received := wire.recv(16):
            for number in received:
                if number == signal.SIGINT:
                    self._heard += 1
                    self._answer()
                elif number in _BY_THE_SYSTEM and not self._told:
                    self._system, self._told = number, True
                    name = signal.Signals(number).name
                    self._console.print(f"Stopping after the rounds at work, since the system asks for it ({name}).")

    def close(self) -> None:
        """End the handling: later signals stop nothing."""
        self._open = False

    def _answer(self) -> None:
        if self._heard <= self.grace:
            self._console.print("Stopping after the rounds at work; Ctrl-C again: at once.")
            return
        for seconds, heard in ((_STUCK_SECONDS, self._heard), (_SWALLOWED_SECONDS, math.inf)):
            timer = threading.Timer(seconds, self._end_if_stuck, [heard])
            timer.daemon = True
            timer.start()

    def _end_if_stuck(self, heard: float) -> None:
        if self._handled < heard and self._open:
            self._console.show_cursor(True)
            self._console.print("Stopped at once.")
            os._exit(INTERRUPTED)


@contextmanager
def graceful_interrupt(console: Console, *, grace: int = 1) -> Iterator[Interrupt]:
    """Handle signals gracefully inside the block; with ``grace`` 0, Ctrl-C alone is handled, and stops at once.

    A signal that the process ignores stays ignored: ``nohup`` starts commands so that they outlive their terminal.
    """
    handler = Interrupt(console, grace)
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set a handler
        yield handler
        return
    near, far = socket.socketpair()
    far.setblocking(False)
    by_the_system = [number for number in _BY_THE_SYSTEM if grace and signal.getsignal(number) != signal.SIG_IGN]
    handled = (signal.SIGINT, *by_the_system)
    before = {number: signal.signal(number, handler) for number in handled}
    wire = signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(target=handler.listen, args=[near], name="interrupt", daemon=True)
    listener.start()
    try:
        yield handler
    finally:
        signal.set_wakeup_fd(wire, warn_on_full_buffer=False)
        for number, earlier in before.items():
            signal.signal(number, earlier)
        handler.close()
        far.close()
        listener.join()
        near.close()
