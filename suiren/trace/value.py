"""`Value`: an immutable array, computed or still to be computed."""

from __future__ import annotations

from typing import Any

from suiren.trace.meta import Meta

# The slot of a Value whose buffer others may write to: whoever records it computes at once.
BORROWED = -2
# How often a buffer was asked for: who wonders whether something looked at values compares.
observed = [0]


class Value:
    """An array that never changes: its Meta, and a buffer or a place in a trace.

    ``buffer`` is what the device's backend holds (on the CPU: a NumPy array); it is None while
    the value is pending, and then ``trace`` and ``slot`` say which entry will produce it.
    """

    __slots__ = ("meta", "buffer", "trace", "slot", "__weakref__")

    def __init__(self, meta: Meta, buffer: Any = None, trace: Any = None, slot: int = -1):
        self.meta = meta
        self.buffer = buffer
        self.trace = trace
        self.slot = slot

    def get(self) -> Any:
        """The buffer, computed now if it is pending."""
        observed[0] += 1
        if self.buffer is None:
            trace = self.trace  # another thread may be computing the value right now
            if trace is not None:
                trace.flush()
            if self.buffer is None:
                raise RuntimeError(
                    "the computation that this tensor comes from failed earlier; "
                    "the first error names the operation"
                )
        return self.buffer

    def __repr__(self) -> str:
        state = "pending" if self.buffer is None else "computed"
        return f"Value({self.meta}, {state})"
