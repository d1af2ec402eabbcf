"""Ctrl-C and SIGTERM as a request to stop at the next safe point.

The training loop asks after every batch, so a signal never lands in the middle of a write or of
a program that is being recorded. A second signal does not wait for the safe point.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupted(Exception):
    """The user or the system asked the command to stop."""


class Interrupts:
    """A context in which SIGINT and SIGTERM are noted; `check()` raises Interrupted once they are.

    Outside the main thread, where Python allows no signal handlers, it notes nothing. A signal
    that was ignored when the command started (as SIGINT under `nohup ... &`) stays ignored.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def check(self) -> None:
        """Raise Interrupted when a signal has come."""
        if self.requested:
            raise Interrupted
