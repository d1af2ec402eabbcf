"""From a flushed trace to a program, and the cache of programs.

The key of a flushed trace holds its entries (operators, attributes, slots), the descriptions of
its inputs (Meta of an array, class of a Python number) and the slots whose results are still
held. Two traces with equal keys are the same work on other data, so the program is kept.

The executor so far is the NumPy interpreter. The compiler takes over here: `Program.run` decides
by the number of times the key has been seen, and nothing above this module notices.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from suiren.interpreter.executor import Interpretation
from suiren.trace.value import Value

MAX_PROGRAMS = 1024
MAX_KEPT_ENTRIES = 100_000  # over all programs kept; an entry takes about half a kilobyte


class Program:
    """A flushed trace made runnable; ``seen`` counts how often its key came up."""

    __slots__ = ("seen", "size", "interpretation")

    def __init__(self, key: tuple):
        self.seen = 0
        self.size = len(key[0])
        self.interpretation = Interpretation(*key)

    def run(
        self, inputs: list[tuple[int, Any]], own: bool
    ) -> tuple[list[Any], BaseException | None]:
        """The buffers of the wanted slots; ``inputs`` is emptied so that memory can be reused.

        With ``own`` the buffers share no memory with the inputs. When an operation fails, what
        does not depend on it is computed all the same; the rest is None, and the error comes too.
        """
        self.seen += 1
        return self.interpretation.run(inputs, own)


class ProgramCache:
    """Programs by key, the least recently used dropped first; safe with several threads."""

    def __init__(self, limit: int = MAX_PROGRAMS, entries: int = MAX_KEPT_ENTRIES):
        self.limit = limit
        self.entry_limit = entries
        self.entries = 0
        self.hits = 0
        self.misses = 0
        self._programs: OrderedDict[tuple, Program] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._programs)

    def get(self, key: tuple) -> Program:
        """The program of this key, made now if it is new."""
        with self._lock:
            program = self._programs.get(key)
            if program is not None:
                self.hits += 1
                self._programs.move_to_end(key)
                return program
            self.misses += 1
        program = Program(key)
        with self._lock:
            replaced = self._programs.pop(key, None)  # another thread may have made it meanwhile
            self._programs[key] = program
            self.entries += program.size - (replaced.size if replaced else 0)
            while len(self._programs) > 1 and (
                len(self._programs) > self.limit or self.entries > self.entry_limit
            ):
                self.entries -= self._programs.popitem(last=False)[1].size
        return program

    def clear(self) -> None:
        """Forgets every program."""
        with self._lock:
            self._programs.clear()
            self.entries = 0


programs = ProgramCache()


def run_program(
    key: tuple, inputs: list[tuple[int, Value | complex]], own: bool = False
) -> tuple[list[Any], BaseException | None]:
    """Runs the trace of this key on these inputs: the wanted buffers in order, and any error."""
    return programs.get(key).run(inputs, own)
