"""`Value`: an immutable array, computed or still to be computed."""

from __future__ import annotations

from typing import Any

from suiren.device import META
from suiren.trace.meta import Meta

# The slot of a Value whose buffer others may write to: whoever records it computes at once.
BORROWED = -2
NO_DATA = (
    "a tensor on the meta device has no data to read or copy, only a shape and a dtype; "
    "Module.to_empty(device='cpu') gives those of a module memory, load_state_dict(assign=True) "
    "puts others in their place"
)
# How often a buffer was asked for: who wonders whether something looked at values compares.
observed = [0]


class Value:
    """An array that never changes: its Meta, and a buffer or a place in a trace.

    ``buffer`` is what the device's backend holds (on the CPU: a NumPy array); it is None while
    the value is pending, and then ``trace`` and ``slot`` say which entry will produce it. On the
    meta device there is neither, ever.
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
                if self.meta.device is META:
                    raise NotImplementedError(NO_DATA)
                raise RuntimeError(
                    "the computation that this tensor comes from failed earlier; "
                    "the first error names the operation"
                )
        return self.buffer

    def __repr__(self) -> str:
        state = "pending" if self.buffer is None else "computed"
        return f"Value({self.meta}, {state})"
