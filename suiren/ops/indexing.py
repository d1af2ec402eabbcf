"""Indexing with square brackets: views for numbers and slices, copies for index tensors and masks.

``x[...]`` is a chain of the view operators of ``ops/views.py``, then, if there are index tensors,
lists or masks, one ``index`` (NumPy's advanced indexing); ``x[...] = v`` writes through the same
chain, with ``index_put`` for the advanced part. Numbers are selected before the advanced part,
as PyTorch does it (NumPy counts them to the advanced part).
Source: PyTorch's "Tensor Indexing" and NumPy's "Indexing on ndarrays" pages.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from suiren import dtypes
from suiren.device import CPU, META
from suiren.dispatch import apply
from suiren.operator import composite
from suiren.ops.creation import fill, from_array
from suiren.ops.index_tensors import check_known_index, index_one, indexed_shape, put_at, take_at
from suiren.ops.parts import select, slice_
from suiren.ops.views import same_view, unsqueeze
from suiren.tensor import Tensor
from suiren.trace import Meta, meta
from suiren.views import assign, make_view, offset_of

_INDEX_TYPES = (dtypes.int64, dtypes.int32, dtypes.bool, dtypes.uint8)
_MASKS = (dtypes.bool, dtypes.uint8)

# --------------------------------------------------------------------------
# Reading what stands in the brackets


def _index_error(index: Any) -> IndexError:
    return IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
        f"valid indices (got {type(index).__name__})"
    )


def _as_items(index: Any) -> tuple:
    """What stands between the brackets as a tuple, each item for some dimensions.

    A list that holds sequences, slices, None, ... or tensors counts as a tuple, as in PyTorch.
    """
    if index.__class__ is tuple:
        return index
    if isinstance(index, list) and len(index) < 32:
        for item in index:
            if item is None or item is Ellipsis or isinstance(item, (Tensor, slice)):
                return tuple(index)
            if isinstance(item, (list, tuple, range)):
                return tuple(index)
    return index if isinstance(index, tuple) else (index,)


def _consumed(item: Any) -> int:
    """How many dimensions of the tensor an item stands for."""
    if item is None or item is Ellipsis or item is True or item is False:
        return 0
    if isinstance(item, Tensor) and item._meta.dtype in (dtypes.bool, dtypes.uint8):
        return item._meta.ndim
    if isinstance(item, np.ndarray) and item.dtype == bool:
        return item.ndim
    if isinstance(item, (list, range)):
        return -1  # decided when it is a tensor
    return 1


def _sequence(item: Any) -> Tensor:
    if isinstance(item, np.ndarray):
        return from_array(np.array(item))
    if isinstance(item, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(item).__name__}'")
    from suiren.ops.creation import tensor

    found = tensor(list(item), device=CPU)
    if found._meta.dtype not in _INDEX_TYPES:
        found = found.to(dtypes.int64)
    return found


def _bound(x: Any, default: int) -> int:
    if x is None:
        return default
    try:
        return x.__index__()
    except AttributeError:
        raise TypeError(
            "slice indices must be integers or None or have an __index__ method"
        ) from None


def slice_bounds(item: slice, size: int) -> tuple[int, int, int]:
    """Start, stop and step of a slice of a dimension; ValueError unless the step is positive."""
    step = 1 if item.step is None else _bound(item.step, 1)
    if step == 0:
        raise ValueError("slice step cannot be zero")
    if step < 0:
        raise ValueError("step must be greater than zero: use flip() to reverse a dimension")
    return clamped(_bound(item.start, 0), _bound(item.stop, size), size) + (step,)


def clamped(start: int, stop: int, size: int) -> tuple[int, int]:
    """Bounds of a slice inside [0, size], negative ones counted from the end."""
    start = max(start + size, 0) if start < 0 else min(start, size)
    stop = max(stop + size, 0) if stop < 0 else min(stop, size)
    return start, max(stop, start)


def _cut(input: Tensor, dim: int, item: slice) -> Tensor:
    shape = input._meta.shape
    if not shape:
        raise IndexError("slice() cannot be applied to a 0-dim tensor.")
    size = shape[dim]
    start, stop, step = slice_bounds(item, size)
    if start == 0 and stop == size and step == 1:
        return input
    return slice_(input, dim, start, stop, step)


# What an int does to a tensor of some Meta: (attributes, Meta of the result, offset to add).
_selections: dict[tuple[Meta, int], tuple[tuple, Meta, int]] = {}


def _select_first(input: Tensor, index: int) -> Tensor:
    old = input._meta
    found = _selections.get((old, index))
    if found is None:
        if not old.ndim:
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or "
                "`tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
            )
        at = _wrap_index(index, 0, old.shape[0])
        seen = meta(old.shape[1:], old.dtype, old.device, old.strides[1:])
        if len(_selections) > 10000:
            _selections.clear()
        found = _selections[old, index] = (0, at), seen, at * old.strides[0]
    attributes, seen, offset = found
    view = input._view
    return make_view(
        select.operator, input, attributes, seen, offset if view is None else view.offset + offset
    )


def _wrap_index(index: int, dim: int, size: int) -> int:
    if not -size <= index < size:
        raise IndexError(f"index {index} is out of bounds for dimension {dim} with size {size}")
    return index + size if index < 0 else index


def _select_at(input: Tensor, dim: int, index: int, place: int) -> Tensor:
    if not dim and not place:
        return _select_first(input, index)
    return select(input, dim, _wrap_index(index, place, input._meta.shape[dim]))


def _split(input: Tensor, index: Any) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """The basic part of an index as a view, and the index tensors left to apply with their dims."""
    items = _as_items(index)
    rank = input._meta.ndim
    taken = 0
    prepared = []
    for item in items:
        count = _consumed(item)
        if count < 0 or isinstance(item, (np.ndarray, tuple)):
            item = _sequence(item)
            count = _consumed(item)
        taken += count
        prepared.append(item)
    if taken > rank:
        if not rank and len(prepared) == 1 and not isinstance(prepared[0], (slice, Tensor)):
            if prepared[0].__class__ is int or hasattr(prepared[0], "__index__"):
                return _select_first(input, 0), []
        if not rank and isinstance(prepared[0], slice):
            raise IndexError("slice() cannot be applied to a 0-dim tensor.")
        raise IndexError(f"too many indices for tensor of dimension {rank}")
    found = input
    dim = 0  # of found
    place = 0  # of input: what messages speak of
    advanced: list[tuple[int, Tensor]] = []
    for item in prepared:
        if item.__class__ is int:
            found = _select_at(found, dim, item, place)
            place += 1
        elif item.__class__ is slice:
            found = _cut(found, dim, item)
            dim += 1
            place += 1
        elif item is Ellipsis:
            dim += rank - taken
            place += rank - taken
        elif item is None:
            found = unsqueeze(found, dim)
            dim += 1
        elif item is True or item is False:
            found = unsqueeze(found, dim)
            advanced.append((dim, from_array(np.zeros(1 if item else 0, np.int64))))
            dim += 1
        elif isinstance(item, Tensor):
            kind = item._meta.dtype
            if kind not in _INDEX_TYPES:
                if not item._meta.ndim and kind.category == dtypes.INTEGER:
                    kind = dtypes.int64
                else:
                    raise IndexError(
                        "tensors used as indices must be long, int, byte or bool tensors, got "
                        f"{kind}"
                    )
            mask = kind is dtypes.bool or kind is dtypes.uint8
            if mask and not item._meta.ndim:
                found = unsqueeze(found, dim)
                held = 1 if item.item() else 0
                advanced.append((dim, from_array(np.zeros(held, np.int64))))
                dim += 1
            elif mask:
                _check_mask(item, input, place)
                for where_ in _places(item):
                    advanced.append((dim, where_))
                    dim += 1
                    place += 1
            elif not item._meta.ndim:
                found = _select_at(found, dim, int(item.item()), place)
                place += 1
            else:
                advanced.append((dim, item))
                dim += 1
                place += 1
        elif hasattr(item, "__index__"):
            found = _select_at(found, dim, item.__index__(), place)
            place += 1
        elif isinstance(item, (str, bytes)):
            raise TypeError(f"new(): invalid data type '{type(item).__name__}'")
        else:
            raise _index_error(item)
    return found, advanced


def _check_all_known(found: Tensor, advanced: list[tuple[int, Tensor]]) -> None:
    if found._meta.numel and all([index._meta.numel for _, index in advanced]):
        for dim, index in advanced:
            check_known_index(index, dim, found._meta.shape[dim])


def _check_mask(mask: Tensor, input: Tensor, place: int) -> None:
    shape = input._meta.shape
    for i, size in enumerate(mask._meta.shape):
        if shape[place + i] != size:
            raise IndexError(
                f"The shape of the mask {list(mask._meta.shape)} at index {i} does not match the "
                f"shape of the indexed tensor {list(shape)} at index {place + i}"
            )


def _places(mask: Tensor) -> tuple[Tensor, ...]:
    return tuple([from_array(found) for found in mask.peek().nonzero()])


# --------------------------------------------------------------------------
# The brackets

# The view steps of an index of numbers, slices, None and ..., by Meta and index.
_plans: dict[tuple, tuple[tuple, int]] = {}


def _basic_key(index: Any) -> tuple | None:
    """A hashable form of an index without index tensors; None for any other."""
    key = []
    for item in index if index.__class__ is tuple else (index,):
        kind = item.__class__
        if kind is int or item is None or item is Ellipsis:
            key.append(item)
        elif kind is slice:
            start, stop, step = item.start, item.stop, item.step
            for x in (start, stop, step):
                if x is not None and x.__class__ is not int:
                    return None
            key.append((start, stop, step))
        else:
            return None
    return tuple(key)


def _basic(self: Tensor, index: Any, key: tuple) -> Tensor:
    plan = _plans.get((self._meta, key))
    if plan is None:
        found, _ = _split(self, index)
        if found is self:
            return same_view(self)
        known = 0 if self._view is None else len(self._view.steps)
        if len(_plans) > 10000:
            _plans.clear()
        assert found._view is not None  # other than self, so the index made a view
        steps = found._view.steps[known:]
        _plans[self._meta, key] = steps, offset_of(found) - offset_of(self)
        return found
    steps, moved = plan
    offset = offset_of(self) + moved
    found = self
    for operator, attributes, seen in steps:
        found = make_view(operator, found, attributes, seen, offset)
    return found


@composite(where=("Tensor",), name="__getitem__")
def getitem(self, index):
    """``self[index]``: a view for numbers, slices, None and ``...``; a copy for index tensors.

    Raises IndexError for what is out of bounds or no index, ValueError for negative steps.

    >>> import suiren as torch
    >>> x = torch.arange(6).reshape(2, 3)
    >>> x[:, 1], x[x > 3]
    (tensor([1, 4]), tensor([4, 5]))
    """
    kind = index.__class__
    if kind is int:
        return _select_first(self, index)
    if isinstance(index, Tensor):
        m = index._meta
        if m.dtype is dtypes.int64 and m.ndim and self._meta.ndim:
            if self._meta.numel:
                check_known_index(index, 0, self._meta.shape[0])
            return apply(index_one, (self, index), ((0,),))
    key = _basic_key(index)
    if key is not None:
        return _basic(self, index, key)
    found, advanced = _split(self, index)
    if advanced:
        dims, indices = zip(*advanced, strict=True)
        _check_all_known(found, advanced)
        return take_at(found, dims, indices)
    return same_view(self) if found is self else found


@composite(where=("Tensor",), name="__setitem__")
def setitem(self, index, value):
    """``self[index] = value``: writes a number or a tensor that broadcasts to the place.

    Raises IndexError as reading does, RuntimeError for values of another shape.
    """
    if self._meta.device is META and any(
        isinstance(i, Tensor) and i._meta.device is META and i._meta.dtype in _MASKS
        for i in (index if index.__class__ is tuple else (index,))
    ):
        assign(self, self.detach())  # how many places there are is not known, nor what is in them
        return
    masked = _whole_mask(self, index, value)
    if masked is not None:
        assign(self, masked)
        return
    found, advanced = _split(self, index)
    value = _value(value, found, advanced)
    if not advanced:
        write_copy(found, value)
        return
    dims, indices = zip(*advanced, strict=True)
    _check_all_known(found, advanced)
    if value._meta.dtype is not found._meta.dtype:
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got "
            f"{found._meta.dtype.letter_name} for the destination and "
            f"{value._meta.dtype.letter_name} for the source."
        )
    room = indexed_shape(found._meta.shape, dims, tuple([i._meta for i in indices]))
    assign(found, put_at(found, dims, indices, _stripped(value, len(room)), False))


def _value(value: Any, found: Tensor, advanced: list) -> Tensor:
    kind = found._meta.dtype
    if isinstance(value, Tensor):
        return value if advanced else _stripped(value, found._meta.ndim)
    if value.__class__ in dtypes.PYTHON_NUMBERS or isinstance(value, np.generic):
        if isinstance(value, np.generic):
            value = value.item()
        shape = () if advanced else found._meta.shape
        return fill(shape, checked_number(value, kind), kind, False, found._meta.device)
    raise TypeError(
        f"can't assign a {type(value).__name__} to a torch.{kind.letter_name}Tensor: make it a "
        "tensor with torch.tensor() first"
    )


def checked_number(value: Any, kind: Any) -> Any:
    """A Python number for elements of this dtype; RuntimeError where they cannot hold it."""
    if value.__class__ is float and kind.category == dtypes.FLOATING:
        if kind.itemsize < 8 and abs(value) > _largest(kind) and abs(value) != float("inf"):
            raise _overflow(value, kind)
        return value
    if value.__class__ is complex and not kind.is_complex:
        if value.imag and kind is not dtypes.bool:
            raise _overflow(value, kind)
        value = value.real or value.imag
    if kind.category == dtypes.INTEGER:
        if value.__class__ is float:
            if value != value or value in (float("inf"), float("-inf")):
                raise _overflow(value, kind)
            value = int(value)
        bits = 8 * kind.itemsize
        high = 2 ** (bits - 1) if kind.is_signed else 2**bits
        if not (-high if kind.is_signed else 1 - high) <= value < high:
            raise _overflow(value, kind)
    elif kind is dtypes.bool:
        value = bool(value)
    return value


@functools.cache
def _largest(kind: Any) -> float:
    return dtypes.finfo(kind).max


def _overflow(value: Any, kind: Any) -> RuntimeError:
    return RuntimeError(f"value cannot be converted to type {kind} without overflow: {value}")


def _stripped(value: Tensor, ndim: int) -> Tensor:
    """Without leading dimensions of size one that are more than the target has."""
    shape = value._meta.shape
    extra = len(shape) - ndim
    if extra > 0 and all(s == 1 for s in shape[:extra]):
        return value.reshape(shape[extra:])
    return value


def write_copy(target: Tensor, source: Tensor) -> Tensor:
    """``target.copy_(source)``, for tensors."""
    from suiren.ops.writing import copied

    return assign(target, copied(target, source), "copy_")


def _whole_mask(self: Tensor, index: Any, value: Any) -> Tensor | None:
    """The result of ``self[mask] = number``: a choice, for which nothing need be computed yet."""
    if not isinstance(index, Tensor) or index._meta.dtype is not dtypes.bool:
        return None
    shape, mine = index._meta.shape, self._meta
    if not shape or len(shape) > mine.ndim:
        return None
    if isinstance(value, Tensor):
        if value._meta.numel != 1:
            return None
        number: Any = value.to(mine.dtype).reshape(())
    elif value.__class__ in dtypes.PYTHON_NUMBERS:
        number = fill((), checked_number(value, mine.dtype), mine.dtype, False, mine.device)
    else:
        return None
    _check_mask(index, self, 0)
    mask = index.reshape(shape + (1,) * (mine.ndim - len(shape)))
    if mine.device is META:
        mask = mask.to(META)
    return choose(mask, number, self)


def choose(mask: Tensor, chosen: Tensor, other: Tensor) -> Tensor:
    """``where(mask, chosen, other)``."""
    from suiren.operator import NAMESPACES

    return NAMESPACES["torch"]["where"](mask, chosen, other)


# --------------------------------------------------------------------------
# index_put


def _put_places(input: Tensor, indices: Any) -> tuple[tuple, tuple]:
    dims: list[int] = []
    tensors: list[Tensor] = []
    dim = 0
    for item in indices:
        if item is None:
            dim += 1
            continue
        if not isinstance(item, Tensor):
            raise TypeError(f"index_put(): indices must be tensors, got {type(item).__name__}")
        if item._meta.dtype not in _INDEX_TYPES:
            raise IndexError(
                f"tensors used as indices must be long, int, byte or bool tensors, got {item.dtype}"
            )
        if item._meta.dtype in (dtypes.bool, dtypes.uint8):
            found = _places(item) if item._meta.ndim else ()
        else:
            found = (item,)
        for tensor in found:
            dims.append(dim)
            tensors.append(tensor)
            dim += 1
    if dim > input._meta.ndim:
        raise IndexError(f"too many indices for tensor of dimension {input._meta.ndim}")
    return tuple(dims), tuple(tensors)


@composite(inplace=True, out=False)
def index_put(input, indices, values, accumulate=False):
    """``input`` with ``values`` at the places that a tuple of index tensors names.

    With ``accumulate`` they are added instead, once for each time that a place is named.
    Source: torch.Tensor.index_put_.

    >>> import suiren as torch
    >>> torch.zeros(3).index_put((torch.tensor([0, 0, 2]),), torch.ones(3), accumulate=True)
    tensor([2., 0., 1.])
    """
    if values._meta.dtype is not input._meta.dtype:
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got "
            f"{input._meta.dtype.letter_name} for the destination and "
            f"{values._meta.dtype.letter_name} for the source."
        )
    if any(x is not None and x._meta.device is META and x._meta.dtype in _MASKS for x in indices):
        return input.clone()  # how many places there are is not known
    dims, tensors = _put_places(input, indices)
    if not dims:
        wanted = values.expand(input._meta.shape)
        return input + wanted if accumulate else wanted.clone()
    return put_at(input, dims, tensors, values, bool(accumulate))
