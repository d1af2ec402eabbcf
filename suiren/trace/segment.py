"""`Segment`: a run of entries that is recorded at once.

What a backward pass or an optimizer records is the same at each step of a training loop. Whoever
knows that keeps it as a Segment and gives it to ``Trace.record_segment`` with the arguments of this
step: nothing is inferred again, and only the results that somebody is to hold get a Value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from suiren.trace.meta import Meta


class Segment:
    """Entries over numbered arguments.

    ``entries`` are (operator, attributes, argument numbers, Metas of the results). Numbers below
    ``arguments`` are of the segment's own arguments, the following ones of its results in order.
    ``outputs`` are the numbers of the results, counted from 0, that become Values, in order.
    """

    __slots__ = ("entries", "arguments", "count", "outputs", "nbytes", "_placed")

    def __init__(self, entries: Sequence[tuple], arguments: int, outputs: Sequence[int]):
        results: list[Meta] = [meta for entry in entries for meta in entry[3]]
        self.entries = tuple(entries)
        self.arguments = arguments
        self.count = len(results)
        self.outputs = [(i, results[i]) for i in outputs]
        self.nbytes = sum(meta.nbytes for meta in results)
        self._placed: tuple[list[int], int, list[tuple]] = ([], -1, [])

    def entries_at(self, slots: list[int], first: int) -> list[tuple[Any, ...]]:
        """The entries with ``slots`` for the arguments and results from slot ``first`` on.

        They are kept: the same segment tends to come at the same place of the trace again.
        """
        known, at, entries = self._placed
        if at == first and known == slots:
            return entries
        places = slots + list(range(first, first + self.count))
        entries = [
            (operator, attributes, tuple([places[n] for n in numbers]), metas)
            for operator, attributes, numbers, metas in self.entries
        ]
        self._placed = (slots, first, entries)
        return entries
