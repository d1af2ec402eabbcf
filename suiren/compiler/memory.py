"""Memory for compiled programs: arrays for outputs, and an arena for what lies between.

Fresh memory from the system costs a page fault for every four kilobytes, more than the arithmetic
on them. So arrays that programs hand out are remembered: when nobody outside holds one any more
(the reference count says so), it is handed out again. What is free and was not wanted for a while
goes back to the system, so that work on ever new shapes holds no old ones.
"""

from __future__ import annotations

import mmap
import sys
import threading
import weakref
from collections import deque
from typing import Any

import numpy as np

LARGE = 4 << 20  # bytes from which on memory comes in pages of its own, large ones if possible
MAX_BYTES = 256 << 20  # remembered before those that are free and were not wanted are let go
# Then that is done whenever so much more has been made; and when all that is remembered, also what
# is in use, is as much as this, it is forgotten: its users alone decide how long it lives.
MORE_BYTES, MOST_BYTES = 64 << 20, 1 << 30
ALIGNMENT = 64
_OVERHEAD = 100  # bytes of an array's object


class Pool:
    """Arrays by shape and type, handed out again when they are free.

    ``addresses`` has the address of each array that is remembered, by its ``id``.
    """

    def __init__(self) -> None:
        self.addresses: dict[int, int] = {}
        self._lent: dict[tuple, deque[np.ndarray]] = {}
        self._bytes = 0
        self._wanted: set[int] = set()  # by ``id``, since something was let go
        self._limit = MAX_BYTES
        self._lock = threading.Lock()

    def take(self, key: tuple[tuple[int, ...], Any]) -> np.ndarray:
        """An array of this shape and type with anything in it."""
        with self._lock:
            lent = self._lent.get(key)
            if lent is None:
                lent = self._lent[key] = deque()
            for _ in range(min(len(lent), 4)):
                lent.rotate(-1)
                if sys.getrefcount(lent[-1]) <= _FREE:
                    self._wanted.add(id(lent[-1]))
                    return lent[-1]
            array = empty(*key)
            self.addresses[id(array)] = array.ctypes.data
            self._wanted.add(id(array))
            lent.append(array)
            self._bytes += array.nbytes + _OVERHEAD
            if self._bytes > self._limit:
                self._shrink()
            return array

    def _shrink(self) -> None:
        """Lets go of what is free and was not wanted since the last time."""
        for key, lent in list(self._lent.items()):
            for _ in range(len(lent)):
                lent.rotate(-1)
                if id(lent[-1]) in self._wanted or sys.getrefcount(lent[-1]) > _FREE:
                    continue
                array = lent.pop()
                del self.addresses[id(array)]
                self._bytes -= array.nbytes + _OVERHEAD
            if not lent:
                del self._lent[key]
        self._wanted.clear()
        if self._bytes > MOST_BYTES:
            self._lent.clear()
            self.addresses.clear()
            self._bytes = 0
        self._limit = max(MAX_BYTES, self._bytes + MORE_BYTES)


class Addresses(dict):
    """Where arrays lie that programs were given, by ``id``; asking NumPy takes a microsecond."""

    def __init__(self) -> None:
        self._watched: dict[int, Any] = {}

    def of(self, array: np.ndarray) -> int:
        """The address of an array, remembered for as long as it lives."""
        key = id(array)
        address = self[key] = array.ctypes.data

        def forget(_: Any) -> None:
            self.pop(key, None)
            self._watched.pop(key, None)

        self._watched[key] = weakref.ref(array, forget)
        return address


class Arena(threading.local):
    """One block of memory a thread, as large as its largest program wanted."""

    def __init__(self) -> None:
        self._block = np.empty(0, np.uint8)
        self._address = 0

    def address(self, size: int) -> int:
        """The block's address, at least this many bytes."""
        if size + ALIGNMENT > self._block.nbytes:
            self._block = np.empty(0, np.uint8)
            self._block = empty((size + size // 8 + ALIGNMENT,), np.uint8)
            start = self._block.ctypes.data
            self._address = start + -start % ALIGNMENT
        return self._address

    def view(self, offset: int, shape: tuple[int, ...], kind: Any) -> np.ndarray:
        """A part of the block as an array."""
        start = self._address - self._block.ctypes.data + offset
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize
        return self._block[start : start + size].view(kind).reshape(shape)


class Pages(mmap.mmap):
    """Memory that is ours, whoever remembers it."""


def empty(shape: tuple[int, ...], kind: Any) -> np.ndarray:
    """Memory with anything in it; large arrays begin at a page and use huge pages if they can.

    Large pages spare nearly all of the system's work when memory is first touched. Views of such an
    array hold the array itself (its base is no array), so reference counts say who uses it.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize
    if size < LARGE or not hasattr(mmap, "MAP_PRIVATE") or not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.empty(shape, kind)
    pages = Pages(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            pages.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            pass  # a system without them
    return np.ndarray(shape, kind, pages)


def _free_count() -> int:
    lent = deque([np.empty(1)])
    return sys.getrefcount(lent[-1])


_FREE = _free_count()
pool = Pool()
given = Addresses()
arena = Arena()
