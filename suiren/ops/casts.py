"""Conversion between element types, and copies."""

from __future__ import annotations

from typing import Any

import numpy as np

from suiren import dtypes
from suiren.autograd.mode import mode
from suiren.device import META, check_available, device
from suiren.dispatch import apply
from suiren.dtypes import dtype
from suiren.operator import composite, operator
from suiren.ops.creation import format_strides
from suiren.ops.elementwise import is_dense as _dense  # noqa: F401 (random.py takes it from here)
from suiren.ops.elementwise import kept_layout
from suiren.ops.lowering import converted
from suiren.tensor import Tensor, new_tensor, value_of
from suiren.trace import Value, meta
from suiren.trace.value import NO_DATA


@operator(where=(), name="to_copy", node_name="ToCopyBackward0")
class cast:
    """The elements converted to another type: truncated toward zero, wrapped, or rounded."""

    def call(input, dtype):
        return apply(cast.operator, (input,), (dtype,))

    def infer(input, dtype):
        return kept_layout(input).like(dtype=dtype)

    def evaluate(input, dtype):
        kind = dtype.numpy
        if np.iscomplexobj(input) and kind.kind != "c":
            input = input != 0 if kind.kind == "b" else np.real(input)
        if kind.kind in "iu" and input.dtype.kind not in "biu" and input.dtype.itemsize != 1:
            # out of range values go through int64, as compilers for x86-64 do it
            input = np.asarray(input).astype(np.int64) if kind != np.uint64 else input
        return np.asarray(input).astype(kind)

    def decompose(g, input, dtype):
        return converted(input, dtype)

    def grad_input(grad, input_meta):
        return to_dtype(grad, input_meta.dtype)


def to_dtype(input: Tensor, wanted: dtype) -> Tensor:
    """``input`` itself if it is of that dtype, else converted."""
    return input if input._meta.dtype is wanted else apply(cast.operator, (input,), (wanted,))


@operator(out=False)
class clone:
    """A copy with its own memory, through which gradients flow. Source: torch.clone.

    Nothing is copied until one of the two is written to.
    """

    def call(input, *, memory_format=None):
        result = new_tensor(value_of(input), in_format(input._meta, memory_format))
        if mode.grad and input._requires_grad:
            _connect_same(clone.operator, input, result)
        return result

    def infer(input):
        return input.flat

    def evaluate(input):
        return input

    def decompose(g, input):
        return input

    def grad_input(grad):
        return grad


def in_format(m, memory_format):
    """The Meta of a copy in this memory format; by default the strides are kept."""
    name = "" if memory_format is None else str(memory_format).rpartition(".")[2]
    if name in ("", "preserve_format"):
        return kept_layout(m)
    if name == "contiguous_format":
        return m.flat
    return m.like(strides=format_strides(m.shape, memory_format))


def _connect_same(operator, input, result, attributes=()):
    from suiren.autograd.graph import connect

    connect(operator, attributes, (input,), (input._meta,), (result,))


@composite(where=("Tensor",))
def contiguous(input, memory_format=None):
    """``input`` itself if its elements lie in row-major order, else a copy that does.

    Source: Tensor.contiguous.
    """
    wanted = input._meta.flat if memory_format is None else in_format(input._meta, memory_format)
    if input._meta.contiguous and wanted is input._meta.flat or wanted is input._meta:
        return input
    result = new_tensor(value_of(input), wanted)
    if mode.grad and input._requires_grad:
        _connect_same(clone.operator, input, result)
    return result


@composite(where=("Tensor",))
def to(input, *args, dtype=None, device=None, non_blocking=False, copy=False, memory_format=None):
    """``input`` with another dtype or on another device; itself if nothing changes.

    ``to(dtype)``, ``to(device)``, ``to(device, dtype)``, ``to(other_tensor)``, and by keyword.
    Source: Tensor.to.

    >>> import suiren as torch
    >>> torch.tensor([1.5, -1.5]).to(torch.int64)
    tensor([ 1, -1])
    """
    places = [*args]
    if places and isinstance(places[0], Tensor):
        other = places.pop(0)
        dtype, device = other._meta.dtype, other._meta.device
    elif places and isinstance(places[0], dtypes.dtype):
        dtype = places.pop(0)
    elif places and (places[0] is None or isinstance(places[0], (str, _device, int))):
        device = places.pop(0)
        if places and (places[0] is None or isinstance(places[0], dtypes.dtype)):
            dtype = places.pop(0)
    elif places:
        raise TypeError(
            f"to() received an invalid combination of arguments: {type(places[0]).__name__}; "
            "wanted a dtype, a device, a device and a dtype, or a tensor"
        )
    if places and isinstance(places[0], bool):  # non_blocking
        places.pop(0)
    if places and isinstance(places[0], bool):
        copy = places.pop(0)
    if device is not None and check_available(device) is not input._meta.device:
        return _moved(input, dtype, memory_format)
    if dtype is not None and dtype is not input._meta.dtype:
        found = apply(cast.operator, (input,), (dtype,))
    else:
        found = clone(input) if copy else input
    return found if memory_format is None else _formatted(found, memory_format)


def _formatted(input: Tensor, memory_format: Any) -> Tensor:
    """The tensor itself if its elements lie as the memory format says, else a copy that does."""
    wanted = in_format(input._meta, memory_format)
    if wanted is input._meta or str(memory_format).endswith("preserve_format"):
        return input
    result = new_tensor(value_of(input), wanted)
    if mode.grad and input._requires_grad:
        _connect_same(cast.operator, input, result, (wanted.dtype,))
    return result


def _moved(input: Tensor, dtype: dtype | None, memory_format: Any) -> Tensor:
    """The tensor on the meta device, where only its description goes."""
    m = input._meta
    if m.device is META:
        raise NotImplementedError(NO_DATA)
    wanted = in_format(m, memory_format).like(dtype=dtype).on(META)
    result = new_tensor(Value(wanted.flat), wanted)
    if mode.grad and input._requires_grad:
        _connect_same(cast.operator, input, result, (wanted.dtype,))
    return result


_device = device


def _conversion(name: str, wanted: dtype):
    def convert(input, memory_format=None):
        found = to_dtype(input, wanted)
        return found if memory_format is None else _formatted(found, memory_format)

    convert.__name__ = name
    convert.__doc__ = f"``input.to(torch.{wanted.name})``. Source: Tensor.{name}."
    return composite(convert, where=("Tensor",))


for _name in ("half", "bfloat16", "float", "double", "short", "int", "long", "bool", "cfloat",
              "cdouble"):  # fmt: skip
    _conversion(_name, getattr(dtypes, _name))
_conversion("char", dtypes.int8)
_conversion("byte", dtypes.uint8)

__all__ = ["cast", "clone", "contiguous", "meta", "to", "to_dtype"]
