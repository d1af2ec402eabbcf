"""Weights in the order in which kernels read them, kept from run to run while they are unchanged.

Convolutions read their weights packed, or transformed for Winograd's algorithm, which for small
batches takes as long as a good part of the convolution. In inference, and wherever else parameters
stay as they are, this needs doing once. A Value never changes: so what was made of it is true for
as long as the Value lives, and is kept by it, weakly. A tensor that is written to has another Value
afterwards, also where the memory is the same; memory that others may write to is a new Value at
each reading, and the run is one with ``own`` set.

A Value's second run in a row of one program keeps the result, the third leaves out the steps: a
training step, whose parameters are new each time, takes no more memory. Which steps those are is
found by ``packing``.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np

from suiren.compiler.memory import ALIGNMENT, empty

MAX_BYTES = 1 << 30  # kept in all; what comes later is made again each time

# of each Value what was made of it, by the names of the kernels that did
_kept: weakref.WeakKeyDictionary[Any, dict[str, np.ndarray]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


class Prepared:
    """The packed weights of a program, in its runs. ``off``: each run makes them anew."""

    def __init__(self, program: Any):
        self.program = program
        self.off = False
        self.weights = program.image.weights
        self.seen: list[Any] = [_nothing] * len(self.weights)
        self.spared: tuple[int, ...] = ()  # which of the weights the table leaves out
        self.addresses = [0] * len(self.weights)  # 0: in the arena
        self.new: list[tuple[Any, str, np.ndarray]] = []
        self.table = program.table
        self.segments = program.segments

    def enter(self, given: list[Any], own: bool, moved: bool) -> tuple[int, list[Any]]:
        """The table and the segments to run with these inputs; binds the cells of weights.

        ``moved``: the cells were bound to the arena just now.
        """
        same = not own and all(
            seen() is given[weight.input]
            for seen, weight in zip(self.seen, self.weights, strict=True)
        )
        if same and len(self.spared) == len(self.weights) and not self.off:
            if moved:
                self._bind()
            return self.table.ctypes.data, self.segments
        self.new = []
        spared = []
        for i, weight in enumerate(self.weights):
            value = given[weight.input]
            before, self.seen[i] = self.seen[i](), weakref.ref(value)
            self.addresses[i] = 0
            if self.off or own:
                continue
            kept = _kept.get(value)
            array = None if kept is None else kept.get(weight.name)
            if array is not None:
                spared.append(i)
            elif before is value and _room(weight.size):
                array = empty((weight.size + ALIGNMENT,), np.uint8)
                self.new.append((value, weight.name, array))
            if array is not None:
                self.addresses[i] = -(-array.ctypes.data // ALIGNMENT) * ALIGNMENT
        self._bind()
        if tuple(spared) != self.spared:
            self.spared = tuple(spared)
            self._tabulate()
        return self.table.ctypes.data, self.segments

    def leave(self) -> None:
        """The run is complete: what was made may be kept."""
        if self.new:
            with _lock:
                for value, name, array in self.new:
                    _kept.setdefault(value, {})[name] = array
            self.new = []

    def _bind(self) -> None:
        program = self.program
        for weight, address in zip(self.weights, self.addresses, strict=True):
            offset = program.image.offsets[weight.cell - program.first_fixed]
            program.cell_values[weight.cell] = address or program.bound_to + offset

    def _tabulate(self) -> None:
        """The program's table without the steps of what is spared."""
        program = self.program
        self.table, self.segments = program.table, program.segments
        if not self.spared:
            return
        users: dict[int, set[int]] = {}
        for i, weight in enumerate(self.weights):
            for step in weight.steps:
                users.setdefault(step, set()).add(i)
        left_out = {step for step, own in users.items() if own <= set(self.spared)}
        rows: list[np.ndarray] = []
        waits = 0
        self.segments = []
        for segment in program.segments:
            if not isinstance(segment, tuple):
                self.segments.append(segment)
                continue
            first = len(rows)
            for number in range(segment[0], sum(segment)):
                row = program.table[number].copy()
                waits = max(waits, int(row[3]))  # who comes next waits for what came before
                if number not in left_out:
                    row[3] = waits
                    rows.append(row)
                    waits = 0
            self.segments.append((first, len(rows) - first))
        self.table = np.array(rows, np.uint64)


def _nothing() -> None:
    """As a weak reference to what is not there."""


def _room(size: int) -> bool:
    with _lock:
        return size + sum(a.nbytes for kept in _kept.values() for a in kept.values()) <= MAX_BYTES


__all__ = ["Prepared"]
