"""`Storage`: the mutable cell behind a tensor and its views.

It holds the current Value (the functional engine below never changes one), counts its changes, and
knows when its memory is shared with NumPy (*pinned*): writes then go through to that memory and
reads look at it anew.
"""

from __future__ import annotations

import itertools
import sys

import numpy as np

from suiren.device import META
from suiren.dtypes import dtype, float32
from suiren.trace import Meta, Value, meta
from suiren.trace.value import BORROWED

# Reads of pinned memory up to this size take a copy; larger ones run at once instead.
SNAPSHOT_BYTES = 1 << 20
_next_address = itertools.count(0x10000000, 0x1000)
# Threads that are in inference mode now: what they make are inference tensors. A list looked at
# when a tensor is made, because it is empty nearly always and asking that costs nothing.
inferring: list[int] = []


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
        pinned = self.pinned
        if pinned is None or not self._still_shared():
            self.pinned = None
            self.value = value
        elif not pinned.flags.writeable:
            # PyTorch writes anyway, which it calls undefined; here the sharing ends.
            self.pinned = None
            self.value = value
        else:
            np.copyto(pinned, value.get(), casting="unsafe")

    def memory_alone(self) -> np.ndarray | None:
        """The contents' array if nobody else can see it, for who overwrites all of it; else None.

        Fresh memory costs more than most of what is written to it. Row-major contents only.
        """
        if self.value is None or self.value.buffer is None or not self.meta.contiguous:
            return None
        array = self.value.buffer
        own = type(array) is np.ndarray and array.base is None
        own = own and array.flags.c_contiguous and array.flags.writeable
        own = own and array.shape == tuple(self.meta.shape)
        del array  # a reference of our own would be counted
        return self.value.buffer if own and _held_as_little(self, _ALONE) else None

    # ---- copies and pickles

    def current(self) -> Value:
        """The contents as a Value to keep."""
        return self.read_pinned(copy=True) if self.value is None else self.value

    def __deepcopy__(self, memo: dict) -> Storage:
        return memo.setdefault(id(self), Storage(self.current(), self.meta))

    def __reduce__(self) -> tuple:
        m = self.meta
        if m.device is META:
            return _without_data, (m.dtype, tuple(m.shape), m.strides)
        array = self.current().get()
        if m.dtype.name == "bfloat16":  # plain NumPy's pickles do not know it
            array = array.view(np.uint16)
        array = np.asarray(array, order="C")
        return _restored, (m.dtype, tuple(m.shape), m.strides, array)

    # ---- memory shared with NumPy

    def pin(self, array: np.ndarray) -> None:
        """From now on the contents are this array's memory, which others may change.

        ``array`` has the shape and strides of the root's Meta.
        """
        self.pinned = array.view()  # what others do to the array's own shape is not ours to see
        self.value = None

    def share(self) -> np.ndarray:
        """The memory as an array of the root's shape and strides, shared from now on."""
        if self.pinned is None:
            assert self.value is not None
            array = self.value.get()
            own = array.base is None and array.flags.c_contiguous and array.flags.writeable
            del array  # a reference of our own would be counted
            # Other Values may be views of the same memory, and Values never change.
            own = own and self.meta.contiguous and _held_as_little(self, _ALONE)
            array = self.value.get()
            if not own:
                array = self._laid_out(array)
            self.pin(array)
        assert self.pinned is not None
        return self.pinned

    def _laid_out(self, array: np.ndarray) -> np.ndarray:
        # A copy whose memory has the strides that the root shows.
        order = memory_order(self.meta)
        memory = np.empty([self.meta.shape[d] for d in order], array.dtype)
        memory = memory.transpose(np.argsort(order)) if order else memory
        memory[...] = array
        return memory

    def memory(self) -> np.ndarray:
        """The shared memory as one dimension, in the order in which the elements lie."""
        array = self.share()
        if not self.meta.contiguous:
            array = array.transpose(memory_order(self.meta))
        return array.reshape(-1)

    def read_pinned(self, copy: bool = False) -> Value:
        """The contents of shared memory as they are now, as a Value for one operation.

        Small memory is copied. Large memory is used in place unless ``copy`` is set (the Value is
        to be kept), and the operation that reads it is computed before its recording returns.
        """
        assert self.pinned is not None
        if not self._still_shared():
            array, self.pinned = self.pinned, None
            owner = array.base
            if owner is not None and owner.shape == array.shape and owner.flags.c_contiguous:
                array = owner
            self.value = Value(self.meta.flat, array)
            return self.value
        if copy or self.pinned.nbytes <= SNAPSHOT_BYTES:
            return Value(self.meta.flat, np.array(self.pinned, order="C"))
        return Value(self.meta.flat, self.pinned, None, BORROWED)

    def _still_shared(self) -> bool:
        assert self.pinned is not None
        owner = self.pinned.base
        if type(owner) is not np.ndarray or owner.base is not None or not owner.flags.owndata:
            return True  # memory of something else, which may outlive all arrays over it
        del owner
        return _references_to_base(self.pinned) > _references_to_base(_ONLY_VIEW)


# Steps whose attributes say where in the data to look, and those that may come before them.
_PLACES = frozenset(("select", "slice"))
watched = [0]  # by how many compilations of functions (suiren/compilation)
_MOVEMENTS = _PLACES | {"view", "permute", "transpose", "unsqueeze", "squeeze", "expand"}


def places(array: np.ndarray, steps: tuple) -> tuple[np.ndarray, int]:
    """How far these steps of a view lead to a part of computed data: the part, how many steps.

    The part lies together, or is small enough to be copied for that. 0 steps: it must be recorded.
    A call that is watched in order to be replayed copies nothing: copies hide what they came from.
    """
    largest = 0 if watched[0] else SNAPSHOT_BYTES
    found, count = array, 0
    for done, (operator, attributes, _) in enumerate(steps, 1):
        name = operator.name
        if name not in _MOVEMENTS:
            break
        array = np.asarray(operator.evaluate(array, *attributes))
        if name in _PLACES and (array.flags.c_contiguous or array.nbytes <= largest):
            found, count = array, done
    return found, count


def part_of(array: np.ndarray, found: Meta) -> Value:
    """A part of computed data as a Value: over the same memory, if it lies together."""
    return Value(found, array if array.flags.c_contiguous else array.copy())


def _restored(kind: dtype, shape: tuple, strides: tuple, array: np.ndarray) -> Storage:
    found = meta(shape, kind, strides=strides)
    return Storage(Value(found.flat, array.reshape(shape).view(kind.numpy)), found)


def _without_data(kind: dtype, shape: tuple, strides: tuple) -> Storage:
    # what __reduce__ names for a storage on the meta device
    found = meta(shape, kind, META, strides)
    return Storage(Value(found.flat), found)


def memory_order(m: Meta) -> list[int]:
    """The dimensions from the one of the largest stride to the one of the smallest."""
    return sorted(range(m.ndim), key=lambda d: -m.strides[d])


# Python versions differ in what they count (3.14 leaves out some references of local variables), so
# that a count is only compared with the count of something nobody else holds, taken by the same
# code and taken last: the interpreter may come to count less while it runs, never more.
def _references_to_base(view: np.ndarray) -> int:
    return sys.getrefcount(view.base)


def _references_to_buffer(value: Value) -> int:
    return sys.getrefcount(value.buffer)


def _references_to_value(storage: Storage) -> int:
    return sys.getrefcount(storage.value)


def _held_as_little(storage: Storage, other: Storage) -> bool:
    """Whether a storage's Value and its array are held by no more places than the other's."""
    assert storage.value is not None and other.value is not None
    return _references_to_buffer(storage.value) <= _references_to_buffer(other.value) and (
        _references_to_value(storage) <= _references_to_value(other)
    )


def _alone() -> Storage:
    found = meta((1,), float32)
    return Storage(Value(found, np.empty(1, np.float32)), found)


_ALONE = _alone()
_ONLY_VIEW = np.empty(1).view()
