"""What `suiren train` shows: a live bar on a terminal, plain lines elsewhere, little if quiet.

The lines are the same in both; on a terminal they scroll above the bar.
"""

import os
import sys
from types import TracebackType
from typing import Any


class Reporter:
    """Prints lines, and on a terminal a bar for the work in hand. Used as a context."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._live = not quiet and _is_terminal()

    def __enter__(self) -> "Reporter":
        if self._live:
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away; lines can still be printed."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def line(self, text: str) -> None:
        """Print one line, unless quiet."""
        if not self.quiet:
            self.result(text)

    def result(self, text: str) -> None:
        """Print one line, quiet or not."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def warning(self, text: str) -> None:
        """Print one line on stderr, quiet or not."""
        if self._bar is not None and sys.stderr.isatty():
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def start(self, what: str, total: int) -> None:
        """Begin a piece of work of `total` images, with a bar of its own."""
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(what, total=total, note="")

    def advance(self, done: int, note: str = "") -> None:
        """`done` images of the piece of work are done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, note=note)


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
