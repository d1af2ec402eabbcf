"""`Storage`: the mutable cell behind a tensor and its views.

It holds the current Value (the functional engine below never changes one), counts its changes, and
knows when its memory is shared with NumPy (*pinned*): writes then go through to that memory and
reads look at it anew.
"""

from __future__ import annotations

import itertools
import sys

import numpy as np

from suiren.trace import Meta, Value, current_trace

# Reads of pinned memory up to this size take a copy; larger ones run at once instead.
SNAPSHOT_BYTES = 1 << 20
_next_address = itertools.count(0x10000000, 0x1000)


class Storage:
    """The current Value of a tensor's memory.

    ``changes`` counts writes and tells views that what they read is stale. ``version`` is
    PyTorch's version counter, by which autograd notices writes to what it saved; ``.data`` makes
    tensors with a counter of their own.
    """

    # Defaults on the class: a storage is made for every result, and most need no more than two
    # attributes of their own.
    changes = 0
    version = 0
    pinned: np.ndarray | None = None
    _address = 0

    def __init__(self, value: Value | None, meta: Meta):
        self.value = value  # None while the memory is pinned
        self.meta = meta  # of the root: what a base tensor over this storage looks like

    @property
    def address(self) -> int:
        """A number that is the same for all tensors over this memory, and only for them."""
        if self.pinned is not None:
            return self.pinned.ctypes.data
        if not self._address:
            self._address = next(_next_address)
        return self._address

    def write(self, value: Value) -> None:
        """Makes ``value`` the contents."""
        self.changes += 1
        if self.pinned is None or not self._still_shared():
            self.value = value
            return
        np.copyto(self.pinned, value.get(), casting="unsafe")

    # ---- memory shared with NumPy

    def pin(self, array: np.ndarray) -> None:
        """From now on the contents are this array's memory, which others may change."""
        self.pinned = array
        self.value = None

    def share(self) -> np.ndarray:
        """The memory as an array of the base tensor's shape, shared from now on."""
        if self.pinned is None:
            assert self.value is not None
            array = self.value.get()
            # Other Values may be views of the same memory, and Values never change.
            own = array.base is None and array.flags.c_contiguous and array.flags.writeable
            if not own or sys.getrefcount(array) > _LOCAL_AND_VALUE:
                array = np.array(array, order="C")
            elif sys.getrefcount(self.value) > _ATTRIBUTE_ONLY:
                array = np.array(array, order="C")
            self.pin(array)
        assert self.pinned is not None
        return self.pinned

    def read_pinned(self) -> Value:
        """The contents of shared memory as they are now, as a Value for one operation.

        Small memory is copied. Large memory is used in place, and the operation that reads it is
        computed before its recording returns.
        """
        assert self.pinned is not None
        if not self._still_shared():
            array, self.pinned = self.pinned, None
            self.value = Value(self.meta.flat, array)
            return self.value
        if self.pinned.nbytes <= SNAPSHOT_BYTES:
            return Value(self.meta.flat, np.array(self.pinned))
        current_trace().read_soon()
        return Value(self.meta.flat, self.pinned)

    def _still_shared(self) -> bool:
        array = self.pinned
        assert array is not None
        return array.base is not None or sys.getrefcount(array) > _LOCAL_AND_ATTRIBUTE


class _Probe:
    __slots__ = ("held",)


def _measure_counts() -> tuple[int, int, int]:
    # What Python counts for objects held the way the code above holds them; versions differ.
    probe = _Probe()
    probe.held = np.empty(1)
    only = sys.getrefcount(probe.held)
    array = probe.held
    both = sys.getrefcount(array)
    return only, both, both


_ATTRIBUTE_ONLY, _LOCAL_AND_ATTRIBUTE, _LOCAL_AND_VALUE = _measure_counts()
