"""From a flushed trace to a program, and the cache of programs.

The key of a flushed trace holds its entries (operators, attributes, slots), the descriptions of
its inputs (Meta of an array, class of a Python number) and the slots whose results are still
held. Two traces with equal keys are the same work on other data, so the program is kept.

A program is interpreted with NumPy when its key is first seen and compiled when it is seen again
(one of large convolutions or much memory at once); small ones, long ones over little data, and the
ninth and further shapes of the same work, when they have been seen more often.
Counts alone decide, so that two runs of a script give the same bits. ``SUIREN_JIT=0`` always
interprets, ``SUIREN_JIT=1`` compiles at first sight, and ``SUIREN_CHECK=1`` compares every compiled
run with the interpreter. Nothing above this module notices.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from suiren.interpreter.executor import CHECK, Interpretation
from suiren.trace.value import Value

_JIT = os.environ.get("SUIREN_JIT", "")
COMPILE_AT = {"0": float("inf"), "1": 1}.get(_JIT, 2)  # how often a key has to be seen
# To compile takes ten milliseconds and more, to interpret a small program tens of microseconds:
# those of few entries and bytes wait until they have been seen so often.
SMALL_ENTRIES, SMALL_BYTES, SMALL_PATIENCE = 16, 1 << 16, 32
# To compile takes half a millisecond an entry or more; what a compiled run saves is about a
# microsecond an entry, and one for so many bytes of results. Long programs over little data (loops
# unrolled) wait until what they could have saved comes to a part of that.
LONG_ENTRIES, LONG_COST, LONG_PATIENCE, ENTRY_BYTES = 128, 64, 32, 1 << 12
# To interpret large convolutions once takes longer than to compile them: they do not wait.
HEAVY, HEAVY_BYTES = "convolution", 16 << 20
# Nor does what writes so much memory that to interpret it takes as long as to compile it.
LARGE_BYTES, LARGE_ENTRY_BYTES = 64 << 20, 1 << 20
FAMILY = 8  # compiled shapes of the same work until the next ones have to come more often
_log = logging.getLogger("suiren.compiler")
MAX_PROGRAMS = 1024
MAX_KEPT_ENTRIES = 100_000  # over all programs kept; an entry takes about half a kilobyte


class _Tiers(threading.local):
    interpreting = 0  # how many blocks of interpreted() this thread is in
    at_once = 0  # and of compiled_at_once()


_tiers = _Tiers()


@contextmanager
def interpreted() -> Iterator[None]:
    """Inside, programs do not change from interpreted to compiled: equal work gives equal bits."""
    _tiers.interpreting += 1
    try:
        yield
    finally:
        _tiers.interpreting -= 1


@contextmanager
def compiled_at_once() -> Iterator[None]:
    """Inside, programs are compiled at first sight, unless SUIREN_JIT=0: work that is broken off
    and taken up by another process gives the bits of work that was not."""
    _tiers.at_once += 1
    try:
        yield
    finally:
        _tiers.at_once -= 1


class _Families:
    """Counts compiled programs of the same operators: the same work on other shapes.

    Where shapes keep changing (sentences, growing sequences) each of them comes a few times, and
    to compile them all would take longer than to interpret them.
    """

    def __init__(self) -> None:
        self._compiled: dict[int, int] = {}

    def add(self, family: int) -> None:
        if len(self._compiled) > MAX_PROGRAMS:
            self._compiled.clear()
        self._compiled[family] = self._compiled.get(family, 0) + 1

    def patience(self, family: int) -> int:
        """How often the next one has to be seen."""
        return 2 * 4 ** min(10, self._compiled.get(family, 0) // FAMILY)


_families = _Families()


class Program:
    """A flushed trace made runnable; ``seen`` counts how often its key came up."""

    __slots__ = (
        "seen", "size", "key", "native", "interpretation", "found_by", "next", "patience", "family",
    )  # fmt: skip

    def __init__(self, key: tuple):
        self.seen = 0
        self.found_by: tuple | None = key  # while the cache has it
        self.next: Program | None = None  # what ran after it the last time
        self.size = len(key[0])
        self.key: tuple | None = key
        self.native: Any = None
        self.interpretation = Interpretation(*key)
        # how often it is seen before it is compiled
        entries = key[0]
        nbytes = sum([meta.nbytes for entry in entries for meta in entry[3]])
        small = len(entries) <= SMALL_ENTRIES and nbytes <= SMALL_BYTES
        self.patience = SMALL_PATIENCE if small else 2
        if len(entries) > LONG_ENTRIES:
            work = len(entries) + nbytes // ENTRY_BYTES
            self.patience = min(LONG_PATIENCE, 2 + LONG_COST * len(entries) // work)
        if nbytes >= HEAVY_BYTES:
            heavy = [entry[3] for entry in entries if entry[0].name.startswith(HEAVY)]
            if sum([meta.nbytes for metas in heavy for meta in metas]) >= HEAVY_BYTES:
                self.patience = 1
            if nbytes >= max(LARGE_BYTES, LARGE_ENTRY_BYTES * len(entries)):
                self.patience = 1
        self.family = hash(tuple([entry[0] for entry in entries]))

    def run(
        self, inputs: list[tuple[int, Any]], own: bool
    ) -> tuple[list[Any], BaseException | None]:
        """The buffers of the wanted slots; ``inputs`` is emptied so that memory can be reused.

        With ``own`` the buffers share no memory with the inputs. When an operation fails, what
        does not depend on it is computed all the same; the rest is None, and the error comes too.
        """
        self.seen += 1
        if self.key is not None and self.is_due(self.seen):
            self._compile()
        if self.native is None or (_tiers.interpreting and COMPILE_AT > 1):
            return self.interpretation.run(inputs, own)
        if CHECK:
            from suiren.compiler.checking import run_checked

            return run_checked(self, inputs, own)
        try:
            return self.native.run(inputs, own)
        except BaseException as problem:
            # the inputs are as they were
            if not isinstance(problem, Exception):  # Ctrl-C: what was asked for is completed
                return self.interpretation.run(inputs, own)[0], problem
            # the interpreter says what is wrong, in whose words
            if not self.native.expected(problem):
                _log.warning("a compiled program failed: %r; interpreted instead", problem)
            return self.interpretation.run(inputs, own)

    def is_due(self, seen: int) -> bool:
        """Whether the run that makes it ``seen`` times is to compile it."""
        if _tiers.interpreting and COMPILE_AT > 1:
            return False
        if COMPILE_AT != 2:
            return seen >= COMPILE_AT
        patience = _families.patience(self.family)
        if self.patience == 1 and patience == 2:
            return True
        return bool(_tiers.at_once) or seen >= max(self.patience, patience)

    def hurry(self) -> None:
        """From now on it is compiled at its second sight, however small."""
        self.patience = 2

    def _compile(self) -> None:
        """Makes the native program, once; where none can be made, the interpreter goes on."""
        assert self.key is not None
        key, self.key = self.key, None
        _families.add(self.family)
        from suiren.compiler import target

        if target.unavailable() is not None:
            return
        from suiren.compiler import listing
        from suiren.compiler.program import NativeProgram

        try:
            self.native = NativeProgram(*key)
        except Exception:
            if CHECK:
                raise
            _log.warning("a program could not be compiled; it is interpreted", exc_info=True)
        finally:
            if listing.switches:
                listing.log_program(key, self.native)
            if self.native is not None and not CHECK:
                self.native.forget()


class ProgramCache:
    """Programs by key, the least recently used dropped first; safe with several threads."""

    def __init__(self, limit: int = MAX_PROGRAMS, entries: int = MAX_KEPT_ENTRIES):
        self.limit = limit
        self.entry_limit = entries
        self.entries = 0
        self.hits = 0
        self.misses = 0
        self._programs: OrderedDict[tuple, Program] = OrderedDict()
        self._last: Program | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._programs)

    def get(self, key: tuple) -> Program:
        """The program of this key, made now if it is new.

        Loops repeat: what ran after the last program before is tried first. Comparing with one key
        takes less than half the time of hashing this one.
        """
        last = self._last
        guess = last.next if last is not None else None
        if guess is None or guess.found_by != key or guess.seen % 16 == 0:  # to be seen in use
            guess = self._find(key)
            if last is not None:
                last.next = guess
        else:
            self.hits += 1
        self._last = guess
        return guess

    def _find(self, key: tuple) -> Program:
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
                dropped = self._programs.popitem(last=False)[1]
                dropped.found_by = dropped.next = None  # which would keep others alive
                self.entries -= dropped.size
        return program

    def clear(self) -> None:
        """Forgets every program."""
        with self._lock:
            self._programs.clear()
            self._last = None
            self.entries = 0


programs = ProgramCache()
# Who looks on while programs run: ``watchers[-1](program, key, inputs, own)`` runs it then.
watchers: list[Any] = []


def run_program(
    key: tuple, inputs: list[tuple[int, Value | complex]], own: bool = False
) -> tuple[list[Any], BaseException | None]:
    """Runs the trace of this key on these inputs: the wanted buffers in order, and any error."""
    program = programs.get(key)
    if watchers:
        return watchers[-1](program, key, inputs, own)
    return program.run(inputs, own)
