"""`UntypedStorage` and `TypedStorage`: a storage as PyTorch shows it to users.

Thin views of :class:`suiren.storage.Storage`, made anew at each request and equal when they show
the same memory. Enough to ask where memory is, how large it is and what it holds. Source: PyTorch's
torch.Storage page.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from suiren.device import META, device
from suiren.dtypes import dtype
from suiren.storage import Storage, memory_order


def contents(storage: Storage) -> np.ndarray:
    """A one-dimensional array of the storage's elements in memory order, not to be written to."""
    array = storage.current().get()
    if not storage.meta.contiguous:
        array = array.transpose(memory_order(storage.meta))
    return np.ascontiguousarray(array).reshape(-1)


class UntypedStorage:
    """The bytes behind a tensor: ``tensor.untyped_storage()``."""

    __slots__ = ("_storage",)

    def __init__(self, storage: Storage):
        if not isinstance(storage, Storage):
            raise NotImplementedError(
                "storages are not made by themselves here; make a tensor and ask it for its "
                "untyped_storage()"
            )
        self._storage = storage

    def data_ptr(self) -> int:
        """A number that tells memory apart; see Tensor.data_ptr."""
        if not self._storage.meta.numel or self.device is META:
            return 0
        return self._storage.address

    def nbytes(self) -> int:
        """The size in bytes."""
        return self._storage.meta.nbytes

    size = __len__ = nbytes

    @property
    def device(self) -> device:
        """Where the memory lies."""
        return self._storage.meta.device

    def _bytes(self) -> np.ndarray:
        return contents(self._storage).view(np.uint8)

    def __getitem__(self, index: Any) -> Any:
        found = self._bytes()[index]
        return found.item() if found.ndim == 0 else found

    def __iter__(self) -> Iterator[int]:
        return iter(self.tolist())

    def tolist(self) -> list[int]:
        """The bytes as numbers."""
        return self._bytes().tolist()

    def element_size(self) -> int:
        """Bytes per element: one."""
        return 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and other._storage is self._storage

    def __hash__(self) -> int:
        return id(self._storage)

    def __repr__(self) -> str:
        where = self.device
        lines = "..." if where is META else "\n".join(f" {byte}" for byte in self.tolist())
        return f"{lines}\n[torch.storage.UntypedStorage(device={where}) of size {self.nbytes()}]"


class TypedStorage:
    """The elements behind a tensor: ``tensor.storage()``."""

    __slots__ = ("_storage", "dtype")

    def __init__(self, storage: Storage, kind: dtype):
        self._storage = storage
        self.dtype = kind

    def untyped(self) -> UntypedStorage:
        """The same memory as bytes."""
        return UntypedStorage(self._storage)

    def data_ptr(self) -> int:
        """A number that tells memory apart; see Tensor.data_ptr."""
        return self.untyped().data_ptr()

    def nbytes(self) -> int:
        """The size in bytes."""
        return self._storage.meta.nbytes

    def size(self) -> int:
        """The number of elements."""
        return self._storage.meta.nbytes // self.dtype.itemsize

    __len__ = size

    def element_size(self) -> int:
        """Bytes per element."""
        return self.dtype.itemsize

    @property
    def device(self) -> device:
        """Where the memory lies."""
        return self._storage.meta.device

    def _array(self) -> np.ndarray:
        return contents(self._storage).view(self.dtype.numpy)

    def __getitem__(self, index: Any) -> Any:
        found = self._array()[index]
        return found.item() if found.ndim == 0 else found.tolist()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def tolist(self) -> list:
        """The elements as Python numbers."""
        return self._array().tolist()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypedStorage) and other._storage is self._storage

    def __hash__(self) -> int:
        return id(self._storage)

    def __repr__(self) -> str:
        where = self.device
        lines = "..." if where is META else "\n".join(f" {x}" for x in self.tolist())
        return (
            f"{lines}\n[torch.storage.TypedStorage(dtype={self.dtype}, device={where}) of size "
            f"{self.size()}]"
        )
