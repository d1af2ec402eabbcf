"""Index tensors at some dimensions of an array: the operators ``index`` and ``index_put``.

This is the part of square brackets that NumPy calls advanced indexing; ``indexing.py`` reads the
brackets. Source: PyTorch's "Tensor Indexing" and NumPy's "Indexing on ndarrays" pages.
"""

from __future__ import annotations

import functools
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import Operator
from suiren.ops.elementwise import broadcast_shapes, elementwise_strides, kept_layout
from suiren.ops.lowering import wrapped
from suiren.ops.views import full_like_meta
from suiren.tensor import Tensor
from suiren.trace import Meta, meta


def indexed_shape(shape: tuple, dims: tuple[int, ...], indices: tuple[Meta, ...]) -> list[int]:
    """The shape of ``array[indices at dims]``: the indices' common shape replaces the dimensions.

    It comes first where the indexed dimensions do not lie side by side.
    """
    try:
        common = list(broadcast_shapes(*[m.shape for m in indices]))
    except RuntimeError:
        shapes = ", ".join(str(list(m.shape)) for m in indices)
        raise IndexError(
            "shape mismatch: indexing tensors could not be broadcast together with shapes "
            f"{shapes}; index tensors are paired up element by element, so reshape them to "
            "broadcast"
        ) from None
    at = dims[0] if dims[-1] - dims[0] == len(dims) - 1 else 0
    rest = [s for d, s in enumerate(shape) if d not in dims]
    if prod(common) and any(shape[d] == 0 for d in dims):
        raise IndexError(
            f"index is out of bounds for dimension with size 0: shape {list(shape)} has no "
            "elements along an indexed dimension"
        )
    return rest[:at] + common + rest[at:]


def _locate(ndim: int, dims: tuple[int, ...], indices: tuple) -> tuple:
    key: list[Any] = [slice(None)] * (dims[-1] + 1)
    for d, index in zip(dims, indices, strict=True):
        key[d] = index
    return tuple(key)


def _out_of_bounds(shape: tuple, dims: tuple[int, ...], indices: tuple) -> IndexError:
    for d, index in zip(dims, indices, strict=True):
        wrong = (index < -shape[d]) | (index >= shape[d])
        if np.any(wrong):
            which = int(np.asarray(index)[wrong].flat[0])
            return IndexError(
                f"index {which} is out of bounds for dimension {d} with size {shape[d]}; indices "
                f"go from {-shape[d]} to {shape[d] - 1}"
            )
    return IndexError("index out of bounds")


def _index_meta(input: Meta, *rest: Any) -> Meta:
    dims, indices = rest[-1], rest[:-1]
    shape = indexed_shape(input.shape, dims, indices)
    if input.contiguous:
        return meta(shape, input.dtype, input.device)
    # PyTorch keeps the order of the input's strides where it can
    common = len(shape) - (input.ndim - len(dims))
    at = dims[0] if dims[-1] - dims[0] == len(dims) - 1 else 0
    strides = [s for d, s in enumerate(input.strides) if d not in dims]
    own = meta(shape, input.dtype, input.device, strides[:at] + [0] * common + strides[at:])
    after = (1,) * (len(shape) - at - common)
    arrays = [own] + [meta(m.shape + after, m.dtype, m.device) for m in indices]
    return meta(shape, input.dtype, input.device, elementwise_strides(shape, arrays))


def _index_evaluate(input: Any, *rest: Any) -> Any:
    dims, indices = rest[-1], rest[:-1]
    try:
        if dims == (0,):
            return input.take(indices[0], axis=0) if input.ndim else input[indices[0]]
        return input[_locate(input.ndim, dims, indices)]
    except IndexError:
        if not input.size:  # nothing is looked at
            metas = tuple([meta(np.shape(i), dtypes.int64) for i in indices])
            return np.empty(indexed_shape(input.shape, dims, metas), input.dtype)
        raise _out_of_bounds(input.shape, dims, indices) from None


def _index_put_evaluate(input: Any, values: Any, *rest: Any) -> Any:
    dims, accumulate, indices = rest[-2], rest[-1], rest[:-2]
    key = _locate(input.ndim, dims, indices)
    try:
        if not accumulate:
            input[key] = values
        elif input.size:
            # one-dimensional np.add.at is far quicker than the general one
            places = np.arange(input.size).reshape(input.shape)[key]
            values = np.broadcast_to(values, places.shape)
            np.add.at(input.reshape(-1), places.reshape(-1), values.reshape(-1))
    except IndexError:
        if input.size:  # else nothing is written
            raise _out_of_bounds(input.shape, dims, indices) from None
    return input


def _lowered_places(g: Any, input: Any, dims: tuple[int, ...], indices: tuple) -> tuple:
    """The input with the indexed dimensions as one, which one that is, and the positions there.

    Last comes the order of the dimensions before they were put together.
    """
    if not input.numel:
        raise g.NotNative("nothing to index")
    at = dims[0] if dims[-1] - dims[0] == len(dims) - 1 else 0
    rest = [d for d in range(input.ndim) if d not in dims]
    order = (*rest[:at], *dims, *rest[at:])
    sizes = [input.shape[d] for d in order]
    merged = prod([input.shape[d] for d in dims])
    flat = input.permute(*order).reshape(*sizes[:at], merged, *sizes[at + len(dims) :])
    places = None
    for d, index in zip(dims, indices, strict=True):
        here = wrapped(g, index, input.shape[d])
        places = here if places is None else places * input.shape[d] + here
    return flat, at, places, order


def _index_decompose(g: Any, input: Any, *rest: Any) -> Any:
    flat, at, places, _ = _lowered_places(g, input, rest[-1], rest[:-1])
    return g.take(flat, places, at, checked=True)


def _index_put_decompose(g: Any, input: Any, values: Any, *rest: Any) -> Any:
    accumulate = rest[-1]
    if accumulate and input.dtype is dtypes.bool:
        raise g.NotNative("a sum of truth values")
    flat, at, places, order = _lowered_places(g, input, rest[-2], rest[:-2])
    before, after = flat.shape[:at], flat.shape[at + 1 :]
    values = values.expand(*before, *places.shape, *after)
    values = values.reshape(*before, places.numel, *after)
    how = "add" if accumulate else "set"
    found = g.scatter(how, flat, places.reshape(places.numel), values, at, checked=True)
    back = [order.index(d) for d in range(input.ndim)]
    return found.reshape(*[input.shape[d] for d in order]).permute(*back)


def _index_put_meta(input: Meta, values: Meta, *rest: Any) -> Meta:
    dims, indices = rest[-2], rest[:-2]
    shape = indexed_shape(input.shape, dims, indices)
    lead = len(shape) - values.ndim
    fits = lead >= 0 and all(s in (1, shape[lead + i]) for i, s in enumerate(values.shape))
    if not fits:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(values.shape)} cannot be broadcast to "
            f"indexing result of shape {shape}"
        )
    return kept_layout(input)


@functools.cache
def index_operators(count: int) -> tuple[Operator, Operator]:
    """The operators ``index`` and ``index_put`` for this many index tensors."""
    names = tuple([f"index{i}" for i in range(count)])

    class index:
        """The elements of ``input`` at the places that index tensors name, as a copy."""

        node_name = "IndexBackward0"
        infer = staticmethod(_index_meta)
        evaluate = staticmethod(_index_evaluate)
        decompose = staticmethod(_index_decompose)

    class index_put:
        """``input`` with ``values`` at (or added to) the places that index tensors name."""

        node_name = "IndexPutBackward0"
        consumes = 0
        infer = staticmethod(_index_put_meta)
        evaluate = staticmethod(_index_put_evaluate)
        decompose = staticmethod(_index_put_decompose)

    # The derivatives take the index tensors by name: their number is the operator's.
    scope: dict[str, Any] = {"_d_index": _d_index, "_d_put": _d_put, "_d_values": _d_values}
    listed = ", ".join(names)
    exec(
        f"def d_index(grad, input_meta, {listed}, dims):\n"
        f"    return _d_index(grad, input_meta, ({listed},), dims)\n"
        f"def d_put(grad, values_meta, {listed}, dims, accumulate):\n"
        f"    return _d_put(grad, values_meta, ({listed},), dims, accumulate)\n"
        f"def d_values(grad, {listed}, dims):\n"
        f"    return _d_values(grad, ({listed},), dims)\n",
        scope,
    )
    index.grad_input = staticmethod(scope["d_index"])
    index_put.grad_input = staticmethod(scope["d_put"])
    index_put.grad_values = staticmethod(scope["d_values"])
    read = Operator(
        "index", index, {"arguments": ("input", *names, "dims"), "tensors": count + 1}
    )
    write = Operator(
        "index_put",
        index_put,
        {
            "arguments": ("input", "values", *names, "dims", "accumulate"),
            "tensors": count + 2,
            "widen": True,
        },
    )
    return read, write


def _d_index(grad, input_meta, indices, dims):
    return put_at(full_like_meta(input_meta), dims, indices, grad, True)


def _d_put(grad, values_meta, indices, dims, accumulate):
    if accumulate:
        return grad
    return put_at(grad, dims, indices, full_like_meta(values_meta), False)


def _d_values(grad, indices, dims):
    return take_at(grad, dims, indices)


def take_at(input: Tensor, dims: tuple[int, ...], indices: tuple[Tensor, ...]) -> Tensor:
    """The elements at these places of these dimensions."""
    return apply(index_operators(len(dims))[0], (input, *indices), (dims,))


def put_at(input: Tensor, dims: tuple, indices: tuple, values: Tensor, accumulate: bool) -> Tensor:
    """``input`` with other elements at these places of these dimensions."""
    return apply(index_operators(len(dims))[1], (input, values, *indices), (dims, accumulate))


index_one = index_operators(1)[0]


# --------------------------------------------------------------------------
# Bounds of indices that are computed already: an error then names the user's own line

_ranges: WeakKeyDictionary[Any, tuple[int, int]] = WeakKeyDictionary()


def known_range(index: Tensor) -> tuple[int, int] | None:
    """The least and the greatest index, if looking costs little; None otherwise."""
    value = index._storage.value
    if index._view is not None:
        return None
    if value is None:  # shared memory: it may change, so nothing is remembered
        array = index._storage.pinned
        assert array is not None  # a storage without a Value is pinned
        return (int(array.min()), int(array.max())) if 0 < array.size <= 4096 else None
    if value.buffer is None:
        return None
    found = _ranges.get(value)
    if found is None:
        array = value.buffer
        if not 0 < array.size <= 65536:
            return None
        found = _ranges[value] = int(array.min()), int(array.max())
    return found


def check_known_index(index: Tensor, dim: int, size: int) -> None:
    found = known_range(index)
    if found is not None and (found[0] < -size or found[1] >= size) and size:
        wrong = found[0] if found[0] < -size else found[1]
        raise IndexError(
            f"index {wrong} is out of bounds for dimension {dim} with size {size}; indices go "
            f"from {-size} to {size - 1}"
        )
