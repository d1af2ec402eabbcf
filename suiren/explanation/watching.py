"""Looking on while a function records and its programs run.

A :class:`LinedTrace` takes the place of the thread's trace and keeps, for each entry, the line of
the user's source that asked for it. :class:`Watch` is told of each program that runs; it keeps what
is needed to run it again on copies. Neither is there but while ``explain`` runs a function.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from suiren.trace import program as programs
from suiren.trace.meta import Meta
from suiren.trace.recorder import Trace, flush, local
from suiren.trace.value import Value

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
MAX_CALLS = 6  # of the function, until it does the same twice and all of it is compiled


@dataclass(frozen=True)
class Place:
    """A line of the user's source."""

    file: str
    line: int
    function: str

    @property
    def text(self) -> str:
        """What stands there, if the source can be found."""
        import linecache

        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line}"


def users_line() -> Place | None:
    """The innermost line under execution that is not in this package."""
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return Place(code.co_filename, frame.f_lineno, code.co_name)
        frame = frame.f_back  # type: ignore[assignment]
    return None


class LinedTrace(Trace):
    """A trace that knows for each entry where in the user's source it was asked for."""

    __slots__ = ("lines", "watch")

    def __init__(self, watch: Watch) -> None:
        self.lines: list[Place | None] = []
        self.watch = watch
        super().__init__()

    def record(self, operator: Any, attributes: tuple, arguments: Any, result: Meta) -> Value:
        """As :meth:`Trace.record`."""
        self.lines.append(users_line())
        return super().record(operator, attributes, arguments, result)

    def record_many(self, operator: Any, attributes: tuple, arguments: Any, results: Any) -> Any:
        """As :meth:`Trace.record_many`."""
        self.lines.append(users_line())
        return super().record_many(operator, attributes, arguments, results)

    def record_segment(self, segment: Any, arguments: Any) -> list[Value]:
        """As :meth:`Trace.record_segment`."""
        self.lines += [users_line()] * len(segment.entries)
        return super().record_segment(segment, arguments)

    def rewind(self, mark: tuple, held: set[Any]) -> bool:
        """As :meth:`Trace.rewind`."""
        done = super().rewind(mark, held)
        if done:
            del self.lines[len(self.entries) :]
        return done

    def flush(self) -> None:
        """As :meth:`Trace.flush`."""
        self.watch.lines, self.lines = self.lines, []
        super().flush()


@dataclass
class Run:
    """A program as it ran: its key, the lines of its entries, and copies of its inputs."""

    program: Any
    key: tuple
    lines: list[Place | None]
    inputs: list[tuple[int, Any]]


class Watch:
    """Keeps what ran in the last call."""

    def __init__(self) -> None:
        self.lines: list[Place | None] = []  # of the trace that is being flushed
        self.runs: list[Run] = []
        self.thread = threading.get_ident()

    def __call__(self, program: Any, key: tuple, inputs: list[tuple[int, Any]], own: bool) -> Any:
        """Runs a program, in place of ``run_program``."""
        if threading.get_ident() == self.thread:
            lines = self.lines
            if len(lines) != len(key[0]):
                lines = [None] * len(key[0])
            self.runs.append(Run(program, key, lines, copies(inputs)))
        if program.seen:  # compiled at its second sight, however small or one of many
            with programs.compiled_at_once():
                return program.run(inputs, own)
        return program.run(inputs, own)

    def settled(self, before: list[Any]) -> bool:
        """Whether this call did what the one before did, and all of it is compiled."""
        if [run.program for run in self.runs] != before:
            return False
        never = programs.COMPILE_AT == float("inf")
        return never or all(run.program.key is None for run in self.runs)


def copies(inputs: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """The inputs of a program with arrays of their own."""
    return [
        (slot, Value(what.meta, what.buffer.copy()) if isinstance(what, Value) else what)
        for slot, what in inputs
    ]


@contextmanager
def watching() -> Iterator[Watch]:
    """Looks on while the block records and runs."""
    flush()
    watch = Watch()
    trace = local.trace
    local.trace = LinedTrace(watch)
    programs.watchers.append(watch)
    try:
        yield watch
        flush()
    finally:
        local.trace = trace
        programs.watchers.remove(watch)


def watched_calls(fn: Any, args: tuple, kwargs: dict) -> tuple[list[Run], int]:
    """What ran in the last of several calls of a function, and how many there were."""
    before: list[Any] = []
    with watching() as watch:
        for number in range(1, MAX_CALLS + 1):
            watch.runs = []
            result = fn(*args, **kwargs)
            flush()  # while the result is held: it is computed too
            del result
            if number > 1 and watch.settled(before):
                break
            before = [run.program for run in watch.runs]
    return watch.runs, number
