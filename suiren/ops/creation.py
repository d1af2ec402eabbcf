"""Making tensors: from data, filled, and ranges. Source: PyTorch's "Creation Ops" list."""

from __future__ import annotations

import operator as python_operator
from typing import Any

import numpy as np

from suiren import dtypes
from suiren.device import CPU, check_available
from suiren.dispatch import apply
from suiren.dtypes import dtype
from suiren.operator import composite, operator
from suiren.ops.views import sizes_of
from suiren.tensor import Tensor, constructors, new_tensor
from suiren.trace import Meta, Value, meta


def from_array(array: np.ndarray, requires_grad: bool = False) -> Tensor:
    """A tensor that owns this array; nobody else may write to it."""
    kind = dtypes.from_numpy(array.dtype)
    result = new_tensor(Value(meta(array.shape, kind), array))
    if requires_grad:
        result.requires_grad_()
    return result


def options(
    dtype: dtype | None, device: Any, layout: Any = None, pin_memory: bool = False
) -> dtype:
    """The dtype to make; checks the other options that creation functions share."""
    check_available(device)
    if layout is not None and str(layout) != "torch.strided":
        raise NotImplementedError(f"tensors of layout {layout} are not there; use torch.strided")
    return dtypes.get_default_dtype() if dtype is None else dtype


# ---- from data


def _number_kind(x: Any) -> dtype:
    return dtypes.of_number(x.__class__)


def _nested(data: Any) -> tuple[tuple[int, ...], list]:
    """The shape of nested sequences and their leaves in order."""
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    if isinstance(data, Tensor) or not hasattr(data, "__len__"):
        return (), [data]
    if isinstance(data, np.ndarray):
        return data.shape, list(data.reshape(-1))
    leaves: list = []
    first: tuple[int, ...] | None = None
    for i, item in enumerate(data):
        shape, found = _nested(item)
        if first is None:
            first = shape
        elif shape != first:
            if len(shape) != len(first):
                raise TypeError(
                    f"tensor(): item {i} of a sequence has {len(shape)} dimensions where the "
                    f"items before it have {len(first)}; nest the sequences evenly"
                )
            raise ValueError(
                f"expected sequence of length {first[0]} at dim {1} (got {shape[0]})"
            )
        leaves.extend(found)
    return (len(data), *(first or ())), leaves


def _leaf(x: Any) -> Any:
    if isinstance(x, Tensor):
        if x._meta.numel != 1:
            raise ValueError(
                "only one element tensors can be converted to Python scalars, got shape "
                f"{list(x._meta.shape)}; use torch.stack for a list of tensors"
            )
        return x.item()
    if isinstance(x, np.generic):
        return x.item()
    if x.__class__ in dtypes.PYTHON_NUMBERS:
        return x
    for convert in ("__index__", "__float__", "__complex__"):
        if hasattr(x, convert):
            return getattr(x, convert)()
    raise TypeError(
        f"not a sequence" if x is None else f"new(): invalid data type '{type(x).__name__}'"
    ) if x is not None else RuntimeError(f"Could not infer dtype of {type(x).__name__}")


def array_of(data: Any, wanted: dtype | None) -> np.ndarray:
    """A new array of this data: numbers, nested sequences, arrays or tensors."""
    if isinstance(data, Tensor):
        array = data.detach().numpy_copy()
        return array if wanted is None else _converted(array, wanted)
    if isinstance(data, (np.ndarray, np.generic)):
        kind = dtypes.from_numpy(data.dtype)
        return _converted(np.array(data), wanted or kind)
    if hasattr(data, "__array__"):
        return array_of(np.asarray(data), wanted)
    shape, leaves = _nested(data)
    kinds = {type(x) for x in leaves}
    if not kinds <= _PLAIN:
        inner = [x._meta.dtype for x in leaves if isinstance(x, Tensor)]
        inner += [dtypes.from_numpy(x.dtype) for x in leaves if isinstance(x, np.generic)]
        leaves = [_leaf(x) for x in leaves]
        kinds = {type(x) for x in leaves}
    else:
        inner = []
    if wanted is None:
        wanted = _inferred(kinds, inner)
    return _filled(leaves, shape, wanted, kinds)


_PLAIN = {bool, int, float, complex}


def _inferred(kinds: set[type], inner: list[dtype]) -> dtype:
    if inner:
        found = inner[0]
        for kind in inner[1:]:
            found = dtypes.promote_types(found, kind)
        return found
    for kind in (complex, float, int, bool):
        if kind in kinds:
            return dtypes.of_number(kind)
    return dtypes.get_default_dtype()  # no elements


def _filled(leaves: list, shape: tuple[int, ...], wanted: dtype, kinds: set[type]) -> np.ndarray:
    kind = wanted.numpy
    if complex in kinds and not wanted.is_complex and wanted is not dtypes.bool:
        raise RuntimeError(
            f"value cannot be converted to type {wanted} without overflow: complex numbers need a "
            "complex dtype"
        )
    if wanted.category == dtypes.INTEGER:
        leaves = [int(x) for x in leaves]
        try:
            return np.array(leaves, dtype=kind).reshape(shape)
        except OverflowError:
            if wanted is dtypes.int64 or any(not -(2**63) <= x < 2**64 for x in leaves):
                raise RuntimeError("Overflow when unpacking long long") from None
            return np.array(leaves, dtype=np.int64).astype(kind).reshape(shape)
    if wanted is dtypes.bfloat16:
        return np.array(leaves, dtype=np.float32).astype(kind).reshape(shape)
    return np.array(leaves, dtype=kind).reshape(shape)


def _converted(array: np.ndarray, wanted: dtype) -> np.ndarray:
    from suiren.ops.casts import cast

    if array.dtype == wanted.numpy:
        return np.array(array, order="C")
    return cast.operator.evaluate(array, wanted)


@composite(where=("torch",), out=False)
def tensor(data, *, dtype=None, device=None, requires_grad=False, pin_memory=False):
    """A new tensor holding a copy of ``data``: a number, nested sequences, an array.

    The dtype is inferred (floats: the default dtype; integers: int64) unless given. Raises
    ValueError for ragged sequences, TypeError or RuntimeError for what is no number.
    Source: torch.tensor.

    >>> import suiren as torch
    >>> torch.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    check_available(device)
    return from_array(array_of(data, dtype), requires_grad)


# ---- filled


@operator(where=(), name="full")
class filled:
    """One number in every place; the number is a run-time input."""

    def call(value, m):
        return apply(filled.operator, (value,), (m,))

    def infer(value, m):
        return m

    def evaluate(value, m):
        if m.dtype.category == dtypes.INTEGER and isinstance(value, int):
            value = np.array(value).astype(m.dtype.numpy)
        return np.full(m.shape, value, m.dtype.numpy)


def fill(shape, value, kind: dtype, requires_grad: bool = False) -> Tensor:
    """A tensor of this shape with one number everywhere."""
    result = apply(filled.operator, (value,), (meta(shape, kind),))
    if requires_grad:
        result.requires_grad_()
    return result


def _checked(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    if any(s < 0 for s in shape):
        raise RuntimeError(
            f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}, "
            f"in {name}()"
        )
    return shape


def _sized(size: tuple, given: Any, name: str) -> tuple[int, ...]:
    return _checked(sizes_of(size if given is None else (given,)), name)


@composite(where=("torch",))
def zeros(*size, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False,
          names=None, shape=None):  # fmt: skip
    """Zeros of the given size. Source: torch.zeros.

    >>> import suiren as torch
    >>> torch.zeros(2, 3)
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    """
    kind = options(dtype, device, layout)
    return fill(_sized(size, shape, "zeros"), 0, kind, requires_grad)


@composite(where=("torch",))
def ones(*size, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False,
         names=None, shape=None):  # fmt: skip
    """Ones of the given size. Source: torch.ones."""
    kind = options(dtype, device, layout)
    return fill(_sized(size, shape, "ones"), 1, kind, requires_grad)




constructors.setdefault("Tensor", lambda *a, **k: zeros(*a, **k))
__all__ = ["CPU", "fill", "from_array", "options", "python_operator", "tensor"]
