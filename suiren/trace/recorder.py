"""The trace: the list of operations asked for and not computed yet.

Recording appends one entry ``(operator, attributes, argument slots, metas of the results)``. A slot
is a number: of an input of the trace (a computed Value, or a Python number, which is a run-time
input and not a constant) or of the result of an earlier entry. Results are held by weak references:
what nobody holds any more when the trace is flushed is never stored.

Each thread records into its own trace. A Value that another thread recorded is computed first.
This module knows nothing of tensors or autograd; an operator is something with ``name`` and
``evaluate``.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from suiren.device import META
from suiren.trace.meta import Meta
from suiren.trace.program import run_program
from suiren.trace.segment import Segment
from suiren.trace.value import BORROWED, Value

MAX_ENTRIES = 4000  # a longer trace is flushed: bounds what a loop without observation holds
MAX_PENDING_BYTES = 1 << 30  # of results recorded but not computed, most of them temporary
# The same where most of them are held, as autograd holds what a training step's forward half makes:
# a step computed in parts writes down, in PyTorch's order, all that the next part reads.
MAX_STEP_BYTES = 8 << 30
MAX_STEP_ENTRIES = 8 * MAX_ENTRIES
_BYTES_PER_ENTRY = MAX_PENDING_BYTES // MAX_ENTRIES
EAGER = os.environ.get("SUIREN_EAGER", "0") not in ("", "0")

_new = object.__new__
_ELSEWHERE = -1  # the answer for an argument that another thread is to compute first


class Trace:
    """What one thread has recorded since its last flush."""

    __slots__ = (
        "entries", "results", "inputs", "input_slots", "input_keys", "next_slot", "room",
        "urgent", "large", "lock", "held", "__weakref__",
    )  # fmt: skip

    def __init__(self) -> None:
        # Taken while recording because another thread that needs a Value flushes this trace.
        self.lock = threading.RLock()
        # While a step is watched as a whole: how often its parts asked to be computed, which then
        # waits until somebody looks at a value. None: they are computed at once.
        self.held: int | None = None
        self._clear()

    def _clear(self) -> None:
        self.entries: list[tuple] = []
        self.results: list[weakref.ref[Value]] = []  # that somebody may hold, in order of slots
        self.inputs: list[tuple[int, Any]] = []  # (slot, Value or number)
        self.input_slots: dict[Value, int] = {}
        self.input_keys: list[tuple] = []
        self.next_slot = 0
        self.room = 0 if EAGER else MAX_ENTRIES  # entries until the next flush at the latest
        # An input lies in memory that others may write to: compute before anyone can.
        self.urgent = False
        # Most of the first MAX_PENDING_BYTES or MAX_ENTRIES were held, or a backward pass began,
        # which reads what lies here: it may grow further.
        self.large = False

    def read_soon(self) -> None:
        """The next operation reads memory that others may change: compute it at once."""
        self.urgent = True
        self.room = 0

    # An argument may be pending in another thread's trace. It is computed with no lock held here,
    # or two threads that need each other's values would wait for each other's locks.

    def record(self, operator: Any, attributes: tuple, arguments: Any, result: Meta) -> Value:
        """Appends one operation with one result; arguments are Values or Python numbers."""
        while True:
            with self.lock:
                slots = []
                for argument in arguments:
                    if argument.__class__ is Value and argument.trace is self:
                        slots.append(argument.slot)
                    else:
                        slot = self._input(argument)
                        if slot == _ELSEWHERE:
                            break
                        slots.append(slot)
                else:
                    value = _new(Value)
                    value.meta = result
                    value.buffer = None
                    value.trace = self
                    value.slot = slot = self.next_slot
                    self.next_slot = slot + 1
                    self.entries.append((operator, attributes, tuple(slots), (result,)))
                    self.results.append(_reference(value))
                    self.room -= 1
                    if result.nbytes > _BYTES_PER_ENTRY:
                        self.room -= result.nbytes // _BYTES_PER_ENTRY
                    if self.room <= 0:
                        self._full()
                    return value
            if argument.meta.device is META:  # a view of nothing: there is nothing to record
                return Value(result)
            argument.get()

    def record_many(
        self, operator: Any, attributes: tuple, arguments: Any, results: tuple[Meta, ...]
    ) -> tuple[Value, ...]:
        """Appends one operation with several results."""
        slots = self._begin(arguments)
        try:
            first = self.next_slot
            self.next_slot = first + len(results)
            values = tuple(
                [Value(result, None, self, first + i) for i, result in enumerate(results)]
            )
            self.entries.append((operator, attributes, tuple(slots), results))
            self.results.extend(map(_reference, values))
            self._make_room(1, sum([result.nbytes for result in results]))
        finally:
            self.lock.release()
        return values

    def record_segment(self, segment: Segment, arguments: Sequence[Any]) -> list[Value]:
        """Appends the entries of a segment; its outputs."""
        slots = self._begin(arguments)
        try:
            first = self.next_slot
            self.next_slot = first + segment.count
            self.entries += segment.entries_at(slots, first)
            values = []
            for i, meta in segment.outputs:
                value = _new(Value)
                value.meta = meta
                value.buffer = None
                value.trace = self
                value.slot = first + i
                values.append(value)
            self.results += map(_reference, values)
            self._make_room(len(segment.entries), segment.nbytes)
        finally:
            self.lock.release()
        return values

    def _begin(self, arguments: Any) -> list[int]:
        """Takes the lock, and gives the slots of these arguments."""
        while True:
            self.lock.acquire()
            try:
                slots = []
                for argument in arguments:
                    if argument.__class__ is Value and argument.trace is self:
                        slots.append(argument.slot)
                    else:
                        slot = self._input(argument)
                        if slot == _ELSEWHERE:
                            break
                        slots.append(slot)
                else:
                    return slots
            except BaseException:
                self.lock.release()
                raise
            self.lock.release()
            argument.get()

    def _make_room(self, entries: int, nbytes: int) -> None:
        self.room -= entries + nbytes // _BYTES_PER_ENTRY
        if self.room <= 0:
            self._full()

    def _full(self) -> None:
        """Flushes, unless this is a large training step in the making."""
        count = len(self.entries)
        if count < MAX_STEP_ENTRIES and not self.urgent and not EAGER:
            pending = sum([meta.nbytes for entry in self.entries for meta in entry[3]])
            if not self.large:
                held = [value.meta.nbytes for ref in self.results if (value := ref()) is not None]
                self.large = 2 * sum(held) > pending
            if self.large and pending < MAX_STEP_BYTES:
                self.room = MAX_STEP_ENTRIES - count
                return
        self.flush()

    def _input(self, argument: Any) -> int:
        """The slot of an argument that no entry of this trace produces."""
        slot = self.next_slot
        if argument.__class__ is Value:
            known = self.input_slots.get(argument)
            if known is not None:
                return known
            if argument.buffer is None:
                return _ELSEWHERE
            if argument.slot == BORROWED:
                self.read_soon()
            self.input_slots[argument] = slot
            self.input_keys.append((slot, argument.meta))
        else:
            self.input_keys.append((slot, argument.__class__))
        self.next_slot = slot + 1
        self.inputs.append((slot, argument))
        return slot

    def mark(self) -> tuple:
        """The place where the trace is now, for :meth:`rewind`."""
        with self.lock:
            return (
                self.entries, len(self.entries), len(self.results), len(self.inputs),
                self.next_slot, self.room,
            )  # fmt: skip

    def rewind(self, mark: tuple, held: set[Any]) -> bool:
        """Takes back what was recorded since; False if that is known or held by others.

        ``held`` are the Values that the caller is going to replace.
        """
        with self.lock:
            entries, count, results, inputs, slot, room = mark
            if self.entries is not entries:
                return False
            if not held.issuperset(filter(None, [ref() for ref in self.results[results:]])):
                return False
            for _, what in self.inputs[inputs:]:
                if what.__class__ is Value:
                    del self.input_slots[what]
            del self.entries[count:], self.results[results:]
            del self.inputs[inputs:], self.input_keys[inputs:]
            self.next_slot, self.room = slot, room
            return True

    def flush(self) -> None:
        """Computes everything recorded whose result is still held by somebody."""
        with self.lock:
            if not self.entries:
                return
            entries, results, inputs = self.entries, self.results, self.inputs
            key_of_inputs, urgent = self.input_keys, self.urgent
            self._clear()
            held = [value for ref in results if (value := ref()) is not None]
            wanted = tuple([value.slot for value in held])
            if not wanted:
                return
            key = (tuple(entries), tuple(key_of_inputs), wanted)
            del results
            try:
                buffers, error = run_program(key, inputs, own=urgent)
            except BaseException:
                for value in held:  # or their slots would be taken for those of the next entries
                    value.trace = None
                raise
            for value, buffer in zip(held, buffers, strict=True):
                value.buffer = buffer
                value.trace = None
            if error is not None:
                raise error


_reference = weakref.ref


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.trace = Trace()


local = _PerThread()


def current_trace() -> Trace:
    """The trace that this thread records into."""
    return local.trace


def record(operator: Any, attributes: tuple, arguments: tuple, result: Meta) -> Value:
    """Records an operation in this thread's trace; see :meth:`Trace.record`."""
    return local.trace.record(operator, attributes, arguments, result)


def flush() -> None:
    """Computes what this thread has recorded so far: a good moment for it has come."""
    trace = local.trace
    if trace.held is None:
        trace.flush()
    else:
        trace.held += 1


def keep_whole() -> None:
    """A backward pass begins: what it records is to be computed with what this thread recorded."""
    local.trace.large = True


def _before_fork() -> None:
    local.trace.flush()


def _after_fork_in_child() -> None:
    # The lock may have been copied while another thread of the parent held it. What this thread
    # had recorded was flushed before the fork.
    local.trace = Trace()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
