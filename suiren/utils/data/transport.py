"""How batches travel from a worker process to its parent.

A message is a header, a pickle (protocol 5) and, beside the pickle, the large arrays. Tensors are
pickled as NumPy arrays. Large arrays go through an anonymous memory file (Linux's memfd): the
worker writes them there and passes the open file along the socket, so the socket itself carries
little and the worker need not wait for the parent to read. Such a file has no name: the kernel
frees it with its last user, however that one ends, so nothing can leak, and /dev/shm with its size
limits is not involved. Elsewhere large arrays follow through the pipe.
"""

from __future__ import annotations

import functools
import io
import os
import pickle
import struct
from typing import Any

import numpy as np

import suiren
from suiren.tensor import Tensor

# Below this many bytes an array is cheaper inside the pickle than as a block of its own.
_LARGE = 64 * 1024
_BLOCK_SIZES = struct.Struct("<q")

# dtypes that NumPy lacks travel as integers of the same width.
_CARRIERS = {2: "int16", 1: "uint8", 4: "int32", 8: "int64"}


def _tensor_to_array(tensor: Any) -> tuple[np.ndarray, str]:
    """A contiguous, writable array of the tensor's values (or bits), and the name of its dtype."""
    values = tensor.detach()
    name = str(values.dtype).rpartition(".")[2]
    if not hasattr(np, "bool_" if name == "bool" else name):
        values = values.view(getattr(suiren, _CARRIERS[values.element_size()]))
    array = values.numpy()
    if not (array.flags.c_contiguous and array.flags.writeable):
        array = array.copy(order="C")
    return array, name


def _array_to_tensor(
    array: np.ndarray, dtype_name: str, requires_grad: bool, is_parameter: bool
) -> Any:
    """The other end of :func:`_reduce_tensor`."""
    tensor = suiren.from_numpy(array)
    if str(tensor.dtype).rpartition(".")[2] != dtype_name:
        tensor = tensor.view(getattr(suiren, dtype_name))
    if is_parameter:
        return suiren.nn.Parameter(tensor, requires_grad=requires_grad)
    return tensor.requires_grad_() if requires_grad else tensor


def _reduce_tensor(tensor: Any) -> tuple:
    """How a pickler takes a tensor apart."""
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError(
            f"DataLoader worker: a tensor of shape {tuple(tensor.shape)} to be sent to the parent"
            " process is no leaf and requires grad; its graph cannot cross processes: detach() it"
            " in the data set"
        )
    array, dtype_name = _tensor_to_array(tensor)
    is_parameter = type(tensor) is not Tensor and isinstance(tensor, suiren.nn.Parameter)
    return _array_to_tensor, (array, dtype_name, tensor.requires_grad, is_parameter)


@functools.cache
def _pickler(for_spawning: bool) -> type:
    """A pickler that knows tensors; for spawning, one that knows locks and queues as well."""
    base: type = pickle.Pickler
    if for_spawning:
        from multiprocessing.reduction import ForkingPickler

        base = ForkingPickler

    class TensorPickler(base):
        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, Tensor):
                return _reduce_tensor(value)
            return NotImplemented

    return TensorPickler


class SpawnArguments:
    """Arguments of a worker; if they must be pickled, their tensors go by this module's rule."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def __reduce__(self) -> tuple:
        # Called while multiprocessing is spawning, so locks and queues inside the data set are
        # allowed as well.
        stream = io.BytesIO()
        _pickler(True)(stream, 5).dump(self.values)
        return _load_arguments, (stream.getvalue(),)


def _load_arguments(data: bytes) -> SpawnArguments:
    return SpawnArguments(**pickle.loads(data))


def pack(value: Any) -> tuple[bytes, list[memoryview]]:
    """The pickle of ``value``, and the large arrays that are not in it."""
    blocks: list[memoryview] = []

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _LARGE:
            return True
        blocks.append(view)
        return False

    stream = io.BytesIO()
    _pickler(False)(stream, 5, buffer_callback=keep_inside).dump(value)
    return stream.getvalue(), blocks


def pack_inside(value: Any) -> bytes:
    """The pickle of ``value`` with everything in it: for what is small, such as indices."""
    stream = io.BytesIO()
    _pickler(False)(stream, 5).dump(value)
    return stream.getvalue()


def unpack(data: memoryview, blocks: list) -> Any:
    """The value that :func:`pack` took apart."""
    return pickle.loads(data, buffers=blocks)


def send(
    connection: Any, header: bytes, data: bytes = b"", blocks: list[memoryview] | None = None
) -> None:
    """Sends one message; ``header`` has a length that both ends know."""
    blocks = blocks or []
    sizes = b"".join(_BLOCK_SIZES.pack(block.nbytes) for block in blocks)
    connection.send_bytes(b"".join((header, _BLOCK_SIZES.pack(len(blocks)), sizes, data)))
    if not blocks:
        return
    if not hasattr(os, "memfd_create"):
        for block in blocks:
            connection.send_bytes(block)
        return
    from multiprocessing.reduction import send_handle

    file = os.memfd_create("suiren-batch", os.MFD_CLOEXEC)
    try:
        for block in blocks:
            written = 0
            while written < block.nbytes:  # one call moves at most 2 GiB
                written += os.write(file, block[written:])
        send_handle(connection, file, None)
    finally:
        os.close(file)


def receive(connection: Any, header_size: int) -> tuple[bytes, memoryview, list]:
    """The header, the pickle and the large arrays of the next message.

    EOFError or OSError if the other end is gone.
    """
    message = memoryview(connection.recv_bytes())
    header = bytes(message[:header_size])
    place = header_size
    (count,) = _BLOCK_SIZES.unpack_from(message, place)
    place += _BLOCK_SIZES.size
    sizes = struct.unpack_from(f"<{count}q", message, place)
    data = message[place + _BLOCK_SIZES.size * count :]
    # Memory of our own for each: tensors that live long then neither hold the file open nor each
    # other alive.
    blocks = [np.empty(size, dtype=np.uint8) for size in sizes]
    if not blocks:
        return header, data, blocks
    if not hasattr(os, "memfd_create"):
        for block in blocks:
            connection.recv_bytes_into(block)
        return header, data, blocks
    from multiprocessing.reduction import recv_handle

    file = recv_handle(connection)
    try:
        offset = 0
        for block in blocks:
            view = block.data
            done = 0
            while done < block.nbytes:
                done += os.preadv(file, [view[done:]], offset + done)
            offset += block.nbytes
    finally:
        os.close(file)
    return header, data, blocks
