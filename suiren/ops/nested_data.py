"""Arrays from what users write: numbers, nested sequences of them, arrays, tensors.

Below ``creation.py``, which makes tensors of them. Source: PyTorch's torch.tensor page.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from suiren import dtypes
from suiren.dtypes import dtype
from suiren.tensor import Tensor

_PLAIN = {bool, int, float, complex}


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
    if isinstance(data, (dict, set, frozenset)):
        raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")
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


def _nested(data: Any) -> tuple[tuple[int, ...], list]:
    """The shape of nested sequences and their leaves in order."""
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    if isinstance(data, Tensor) or not hasattr(data, "__len__"):
        return (), [data]
    if isinstance(data, np.ndarray):
        return data.shape, list(data.reshape(-1))
    if any(isinstance(item, str) for item in data):
        raise ValueError("too many dimensions 'str': strings are no numbers")
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
    raise RuntimeError(f"Could not infer dtype of {type(x).__name__}: it is no number")


def _inferred(kinds: set[type], inner: list[dtype]) -> dtype:
    if inner:
        found = inner[0]
        for kind in inner[1:]:
            found = dtypes.promote_types(found, kind)
        return found
    for number in (complex, float, int, bool):
        if number in kinds:
            return dtypes.of_number(number)
    return dtypes.get_default_dtype()  # no elements


def _filled(leaves: list, shape: tuple[int, ...], wanted: dtype, kinds: set[type]) -> np.ndarray:
    kind = wanted.numpy
    if complex in kinds and not wanted.is_complex and wanted is not dtypes.bool:
        raise TypeError(f"must be real number, not complex: {wanted} holds no complex numbers")
    if wanted.category == dtypes.INTEGER:
        if float in kinds:
            from suiren.ops.indexing import checked_number

            leaves = [checked_number(x, wanted) for x in leaves]
        try:
            return np.array(leaves, dtype=kind).reshape(shape)
        except OverflowError:
            return _wide(leaves, wanted).reshape(shape)
    if wanted is dtypes.bfloat16:
        return np.array(leaves, dtype=np.float32).astype(kind).reshape(shape)
    return np.array(leaves, dtype=kind).reshape(shape)


def _wide(leaves: list, wanted: dtype) -> np.ndarray:
    """Integers some of which the type does not hold: negative ones wrap in unsigned types."""
    least, most = min(leaves), max(leaves)
    if wanted is dtypes.int64 or least < -(2**63) or most >= 2**64:
        raise ValueError(f"Overflow when unpacking long long: {most if most > 0 else least}")
    bits = 8 * wanted.itemsize
    if most >= 2**bits or wanted.is_signed or least <= -(2**bits):
        raise RuntimeError(
            f"value cannot be converted to type {wanted} without overflow: "
            f"{most if most >= 2 ** (bits - wanted.is_signed) else least}"
        )
    return np.array([x % 2**bits for x in leaves], dtype=wanted.numpy)


def _converted(array: np.ndarray, wanted: dtype) -> np.ndarray:
    from suiren.ops.casts import cast

    if array.dtype == wanted.numpy:
        return np.array(array, order="C")
    return cast.operator.evaluate(array, wanted)
