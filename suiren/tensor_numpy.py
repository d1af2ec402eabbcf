"""Memory shared with NumPy and with whatever else speaks its buffer or DLPack protocols.

Sharing pins a storage (``suiren/storage.py``): while the outside holds the memory, tensors read it
anew and write through to it. Here are the two directions, ``Tensor.numpy()`` and
``torch.from_numpy``, and what is built on them. Source: PyTorch's pages of those names and of
torch.frombuffer, torch.from_dlpack and Tensor.share_memory_.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from suiren import dtypes
from suiren.autograd.mode import mode
from suiren.device import META
from suiren.operator import composite
from suiren.storage import Storage
from suiren.tensor import Tensor
from suiren.trace import Meta, meta
from suiren.trace.value import NO_DATA
from suiren.views import offset_of

_new = object.__new__

# --------------------------------------------------------------------------
# From tensors to arrays


def numpy(self: Tensor, *, force: bool = False) -> np.ndarray:
    """The tensor as an array over the same memory: writes to either show in the other.

    Raises RuntimeError for a tensor that requires grad where gradients are recorded, TypeError for
    bfloat16; with ``force`` the former is detached first. Source: Tensor.numpy.

    >>> import suiren as torch
    >>> t = torch.ones(2)
    >>> a = t.numpy()
    >>> _ = t.add_(1)
    >>> a
    array([2., 2.], dtype=float32)
    """
    if self.requires_grad and mode.grad and not force:
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
        )
    if self._meta.device is META:
        raise TypeError(f"can't convert a tensor to NumPy: {NO_DATA}")
    if self._meta.dtype is dtypes.bfloat16:
        raise TypeError("Got unsupported ScalarType BFloat16: NumPy has none; call .float() first")
    return shared_array(self)


def shared_array(tensor: Tensor) -> np.ndarray:
    """An array over the tensor's memory, of any dtype; the storage is pinned from now on."""
    m = tensor._meta
    storage = tensor._storage
    view = tensor._view
    if view is None and m.contiguous:
        return storage.share().view()
    if view is not None and any(step[0].name == "conj" for step in view.steps):
        return tensor.detach().numpy_copy()  # conjugates have no memory that could be shared
    if not m.numel:
        return np.empty(m.shape, m.dtype.numpy)
    size = m.dtype.itemsize
    return np.ndarray(
        m.shape,
        m.dtype.numpy,
        buffer=storage.memory(),
        offset=offset_of(tensor) * size,
        strides=[stride * size for stride in m.strides],
    )


def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    array = numpy(self)
    if dtype is not None and array.dtype != dtype:
        if copy is False:
            raise ValueError(f"a tensor of {self._meta.dtype} is no array of {dtype} without copy")
        return array.astype(dtype)
    return array.copy() if copy else array


def __array_wrap__(self: Tensor, array: np.ndarray, context: Any = None, scalar: bool = False):
    if array.dtype == bool:  # PyTorch's: from the time before tensors of bool
        array = array.astype(np.uint8)
    return from_numpy(np.asarray(array))


# --------------------------------------------------------------------------
# From arrays to tensors


@composite(where=("torch",), out=False)
def from_numpy(ndarray):
    """A tensor over the array's memory: writes to either show in the other.

    Raises TypeError for what is no array or of a dtype that tensors lack, ValueError for negative
    strides and foreign byte order. Memory that may not be written to is warned about; a write to
    the tensor then ends the sharing. Source: torch.from_numpy.

    >>> import numpy as np, suiren as torch
    >>> a = np.ones(3)
    >>> t = torch.from_numpy(a)
    >>> _ = np.add(a, 1, out=a)
    >>> t
    tensor([2., 2., 2.], dtype=torch.float64)
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    if not ndarray.flags.writeable:
        warnings.warn(
            "The given NumPy array is not writable, and PyTorch does not support non-writable "
            "tensors: a write to this tensor makes it a copy. Copy the array first to protect it "
            "or to make it writable.",
            UserWarning,
            stacklevel=2,
        )
    return tensor_over(ndarray)


def tensor_over(array: np.ndarray) -> Tensor:
    """A tensor that shares the memory of any array; see :func:`from_numpy`."""
    if not array.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion "
            "between byte orders is currently not supported; use array.astype() first."
        )
    kind = dtypes.from_numpy(array.dtype)
    size = array.itemsize
    if any(stride < 0 for stride in array.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported. (You can probably work around this by making a "
            "copy of your array with array.copy().)"
        )
    if any(stride % size for stride in array.strides):
        raise ValueError(
            "given numpy array strides not a multiple of the element byte size. "
            "Copy the numpy array to reallocate the memory."
        )
    if not array.size:
        strides = tuple([stride // size for stride in array.strides])
        return _over(np.asarray(array), meta(array.shape, kind, strides=strides))
    strides = tuple([stride // size for stride in array.strides])
    if is_dense(array.shape, strides):
        return _over(np.asarray(array), meta(array.shape, kind, strides=strides))
    # Gaps or overlaps: the root is all memory from the first element to the last.
    reach = 1 + sum((n - 1) * s for n, s in zip(array.shape, strides, strict=True))
    flat = np.ndarray((reach,), array.dtype, buffer=_bytes_from(array, reach * size))
    flat.flags.writeable = array.flags.writeable
    return _over(flat, meta((reach,), kind)).as_strided(array.shape, strides, 0)


def _bytes_from(array: np.ndarray, count: int) -> np.ndarray:
    return np.lib.stride_tricks.as_strided(array, (count // array.itemsize,), (array.itemsize,))


def is_dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    expected = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def _over(array: np.ndarray, m: Meta) -> Tensor:
    result = _new(Tensor)
    result._meta = m
    result._storage = storage = Storage(None, m)
    storage.pin(array)
    return result


@composite(where=("torch",), out=False)
def frombuffer(buffer, *, dtype, count=-1, offset=0, requires_grad=False):
    """A one-dimensional tensor over the memory of a bytes-like object.

    buffer: an object with Python's buffer protocol; ``count`` elements from byte ``offset`` on.
    Raises ValueError where the sizes do not fit. Source: torch.frombuffer.

    >>> import suiren as torch
    >>> torch.frombuffer(bytearray([1, 2, 3]), dtype=torch.uint8)
    tensor([1, 2, 3], dtype=torch.uint8)
    """
    try:
        memory = memoryview(buffer).cast("B")
    except TypeError:
        raise ValueError("object does not implement Python buffer protocol.") from None
    size, length = dtype.itemsize, memory.nbytes
    if length <= 0 or count == 0:
        raise ValueError(f"both buffer length ({length}) and count ({count}) must not be 0")
    if not 0 <= offset < length:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length "
            f"({length} bytes) minus 1"
        )
    if count > 0 and offset + count * size > length:
        raise ValueError(
            f"requested buffer length ({count} * {size} bytes) after offset ({offset} bytes) must "
            f"not be greater than actual buffer length ({length} bytes)"
        )
    if count < 0:
        if (length - offset) % size:
            raise ValueError(
                f"buffer length ({length - offset} bytes) after offset ({offset} bytes) must be a "
                f"multiple of element size ({size})"
            )
        count = (length - offset) // size
    if memory.readonly:
        warnings.warn(
            "The given buffer is not writable, and PyTorch does not support non-writable tensors: "
            "a write to this tensor makes it a copy.",
            UserWarning,
            stacklevel=2,
        )
    array = np.ndarray((count,), dtype.numpy, buffer=memory, offset=offset)
    result = tensor_over(array)
    return result.requires_grad_() if requires_grad else result


# --------------------------------------------------------------------------
# DLPack: NumPy speaks the protocol; tensors go through their arrays


def __dlpack__(self: Tensor, **options: Any) -> Any:
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if self._meta.device is META:
        raise BufferError(f"can't export through DLPack: {NO_DATA}")
    if self._meta.dtype is dtypes.bfloat16:
        raise BufferError("bfloat16 tensors cannot be exported: NumPy has no such type")
    return numpy(self).__dlpack__(**options)


def __dlpack_device__(self: Tensor) -> tuple[int, int]:
    if self._meta.device is META:
        raise ValueError("DLPack has no name for the meta device, whose tensors have no memory")
    return (1, 0)  # kDLCPU


class _Capsule:
    """A bare capsule dressed as an object that exports itself."""

    def __init__(self, capsule: Any):
        self.capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


@composite(where=("torch",), out=False)
def from_dlpack(ext_tensor, *, device=None, copy=None):
    """A tensor over the memory of an object that exports DLPack, or of a DLPack capsule.

    Raises RuntimeError for anything else. Source: torch.from_dlpack.
    """
    if isinstance(ext_tensor, Tensor):
        array = numpy(ext_tensor)
    else:
        if not hasattr(ext_tensor, "__dlpack__"):
            if type(ext_tensor).__name__ != "PyCapsule":
                raise RuntimeError(
                    f"from_dlpack received {type(ext_tensor).__name__}, which is neither a capsule "
                    "nor an object with __dlpack__. Note that DLTensor capsules can be consumed "
                    "only once."
                )
            ext_tensor = _Capsule(ext_tensor)
        array = ext_tensor if isinstance(ext_tensor, np.ndarray) else np.from_dlpack(ext_tensor)
    return tensor_over(np.array(array) if copy else array)


# --------------------------------------------------------------------------
# Memory shared between processes


def share_memory_(self: Tensor) -> Tensor:
    """Moves the storage to memory that forked processes share with this one.

    Source: Tensor.share_memory_.
    """
    storage = self._storage
    if storage.meta.device is META:
        raise RuntimeError(f"share_memory_ needs memory, and {NO_DATA}")
    if not is_shared(self) and storage.meta.numel:
        import mmap

        m = storage.meta
        value = storage.read_pinned(copy=True) if storage.value is None else storage.value
        size = m.dtype.itemsize
        memory = np.ndarray(
            m.shape,
            m.dtype.numpy,
            buffer=mmap.mmap(-1, m.nbytes),
            strides=[stride * size for stride in m.strides],
        )
        memory[...] = value.get()
        storage.pin(memory)
        storage.changes += 1
    return self


def is_shared(self: Tensor) -> bool:
    """Whether the memory is shared with other processes. Source: Tensor.is_shared."""
    array = self._storage.pinned
    if array is None:
        return False
    import mmap

    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    return isinstance(owner, mmap.mmap)


METHODS = (
    numpy, __array__, __array_wrap__, __dlpack__, __dlpack_device__, share_memory_, is_shared,
)  # fmt: skip


def attach() -> None:
    """Gives Tensor these methods."""
    for method in METHODS:
        setattr(Tensor, method.__name__, method)


__all__ = ["attach", "from_numpy", "frombuffer", "numpy", "shared_array", "tensor_over"]
