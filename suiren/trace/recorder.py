"""The trace: the list of operations asked for and not computed yet.

Recording appends one entry ``(operator, attributes, argument slots, metas of the results)``. A slot is
a number: of an input of the trace (a computed Value, or a Python number, which is a run-time input
and not a constant) or of the result of an earlier entry. Results are held by weak references: what
nobody holds any more when the trace is flushed is never stored.

Each thread records into its own trace. A Value that another thread recorded is computed first.
This module knows nothing of tensors or autograd; an operator is something with ``name`` and
``evaluate``.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

from suiren.trace.meta import Meta
from suiren.trace.program import run_program
from suiren.trace.value import Value

MAX_ENTRIES = 4000  # a longer trace is flushed: bounds what a loop without observation holds
MAX_PENDING_BYTES = 1 << 30  # results recorded but not computed; most of them are temporary
EAGER = os.environ.get("SUIREN_EAGER", "0") not in ("", "0")


class Trace:
    """What one thread has recorded since its last flush."""

    __slots__ = (
        "entries", "results", "inputs", "input_slots", "input_keys", "next_slot", "pending_bytes",
        "urgent", "lock", "__weakref__",
    )  # fmt: skip

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._clear()

    def _clear(self) -> None:
        self.entries: list[tuple] = []
        self.results: list[weakref.ref[Value]] = []  # one for each result slot, in order
        self.inputs: list[tuple[int, Any]] = []  # (slot, Value or number)
        self.input_slots: dict[Value, int] = {}
        self.input_keys: list[tuple] = []
        self.next_slot = 0
        self.pending_bytes = 0
        # An input lies in memory that others may write to: compute before anyone can.
        self.urgent = False

    def record(self, operator: Any, attributes: tuple, arguments: tuple, result: Meta) -> Value:
        """Appends one operation with one result; arguments are Values or Python numbers."""
        for argument in arguments:
            if (
                argument.__class__ is Value
                and argument.buffer is None
                and argument.trace is not self
            ):
                argument.get()
        with self.lock:
            slots = self._slots_of(arguments)
            slot = self.next_slot
            self.next_slot = slot + 1
            value = Value(result, None, self, slot)
            self.entries.append((operator, attributes, slots, (result,)))
            self.results.append(weakref.ref(value))
            self.pending_bytes += result.nbytes
            if (
                len(self.entries) >= MAX_ENTRIES
                or self.pending_bytes > MAX_PENDING_BYTES
                or EAGER
                or self.urgent
            ):
                self.flush()
        return value

    def record_many(
        self, operator: Any, attributes: tuple, arguments: tuple, results: tuple[Meta, ...]
    ) -> tuple[Value, ...]:
        """Appends one operation with several results."""
        for argument in arguments:
            if (
                argument.__class__ is Value
                and argument.buffer is None
                and argument.trace is not self
            ):
                argument.get()
        with self.lock:
            slots = self._slots_of(arguments)
            first = self.next_slot
            self.next_slot = first + len(results)
            values = tuple(
                Value(result, None, self, first + i) for i, result in enumerate(results)
            )
            self.entries.append((operator, attributes, slots, results))
            self.results.extend(map(weakref.ref, values))
            self.pending_bytes += sum(result.nbytes for result in results)
            if (
                len(self.entries) >= MAX_ENTRIES
                or self.pending_bytes > MAX_PENDING_BYTES
                or EAGER
                or self.urgent
            ):
                self.flush()
        return values

    def _slots_of(self, arguments: tuple) -> tuple:
        slots = []
        for argument in arguments:
            if argument.__class__ is not Value:
                slot = self._new_input(argument, argument.__class__)
            elif argument.buffer is None and argument.trace is self:
                slot = argument.slot
            else:
                known = self.input_slots.get(argument)
                if known is None:
                    known = self._new_input(argument, argument.meta)
                    self.input_slots[argument] = known
                slot = known
            slots.append(slot)
        return tuple(slots)

    def _new_input(self, what: Any, description: Any) -> int:
        slot = self.next_slot
        self.next_slot = slot + 1
        self.inputs.append((slot, what))
        self.input_keys.append((slot, description))
        return slot

    def flush(self) -> None:
        """Computes everything recorded whose result is still held by somebody."""
        with self.lock:
            if not self.entries:
                return
            entries, results, inputs = self.entries, self.results, self.inputs
            key_of_inputs, urgent = self.input_keys, self.urgent
            self._clear()
            held = [value for value in (ref() for ref in results) if value is not None]
            wanted = tuple([value.slot for value in held])
            if not wanted:
                return
            key = (tuple(entries), tuple(key_of_inputs), wanted)
            del results
            buffers = run_program(key, inputs, own=urgent)
            for value, buffer in zip(held, buffers, strict=True):
                value.buffer = buffer
                value.trace = None


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.trace = Trace()


_local = _PerThread()


def current_trace() -> Trace:
    """The trace that this thread records into."""
    return _local.trace


def record(operator: Any, attributes: tuple, arguments: tuple, result: Meta) -> Value:
    """Records an operation in this thread's trace; see :meth:`Trace.record`."""
    return _local.trace.record(operator, attributes, arguments, result)


def flush() -> None:
    """Computes what this thread has recorded so far."""
    _local.trace.flush()


def _after_fork_in_child() -> None:
    # The lock may have been copied while another thread of the parent held it. What this thread
    # had recorded was flushed before the fork.
    _local.trace = Trace()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=flush, after_in_child=_after_fork_in_child)
