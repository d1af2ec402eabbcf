"""Making tensors: from data, filled, and ranges. Source: PyTorch's "Creation Ops" list."""

from __future__ import annotations

import operator as python_operator
from collections.abc import Callable
from typing import Any

import numpy as np

from suiren import dtypes
from suiren.device import CPU, META, check_available, device
from suiren.dispatch import apply
from suiren.dtypes import dtype
from suiren.operator import NAMESPACES, composite, operator
from suiren.ops.elementwise import is_dense, kept_layout
from suiren.ops.nested_data import array_of
from suiren.ops.views import sizes_of
from suiren.storage import Storage
from suiren.tensor import Tensor, new_tensor, value_of
from suiren.trace import Meta, Value, meta
from suiren.trace.value import observed

_device = device


def from_array(array: np.ndarray, requires_grad: bool = False, where: _device = CPU) -> Tensor:
    """A tensor that owns this array; nobody else may write to it. On the meta device: forgets it.

    Tensors that help to compute with others are made ``where`` these are.
    """
    kind = dtypes.from_numpy(array.dtype)
    if where is META:
        return without_data(meta(array.shape, kind, META), requires_grad)
    result = new_tensor(Value(meta(array.shape, kind), array))
    if requires_grad:
        result.requires_grad_()
    return result


def without_data(wanted: Meta, requires_grad: bool = False) -> Tensor:
    """A tensor of this Meta on the meta device."""
    observed[0] += 1  # whoever watches what is recorded does not see this
    wanted = wanted.on(META)
    result = new_tensor(Value(wanted.flat), wanted)
    return result.requires_grad_() if requires_grad else result


def drawn(draw: Callable[..., np.ndarray], *arguments: Any) -> Tensor:
    """A tensor of the random numbers ``draw(*arguments)``: who replays a step draws them again."""
    return from_array(draw(*arguments))


def options(
    dtype: dtype | None, device: Any, layout: Any = None, pin_memory: bool = False
) -> tuple[dtype, _device]:
    """The dtype and device to make; checks the other options that creation functions share."""
    where = check_available(device)
    if layout is not None and str(layout) != "torch.strided":
        raise NotImplementedError(f"tensors of layout {layout} are not there; use torch.strided")
    return dtypes.get_default_dtype() if dtype is None else dtype, where


def _options_of(
    tensor: Tensor, dtype: dtype | None, device: Any, layout: Any
) -> tuple[dtype, _device]:
    # for functions that make tensors of the dtype and device of another
    m = tensor._meta
    return options(dtype or m.dtype, m.device if device is None else device, layout)


# ---- from data


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
    where = check_available(device)
    if isinstance(data, Tensor) and (where is META or data._meta.device is META):
        made = data.detach().to(data._meta.device if device is None else where, dtype, copy=True)
        return made.requires_grad_() if requires_grad else made
    return from_array(array_of(data, dtype), requires_grad, where)


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

    def decompose(g, value, m):
        return value.cast(m.dtype).expand(*m.shape)


def fill(
    shape, value, kind: dtype, requires_grad: bool = False, where: _device = CPU
) -> Tensor:  # fmt: skip
    """A tensor of this shape with one number everywhere."""
    result = apply(filled.operator, (value,), (meta(shape, kind, where),))
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


def _sized(size: tuple, name: str) -> tuple[int, ...]:
    return _checked(sizes_of(size), name)


@composite(where=("torch",))
def zeros(*size, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False,
          names=None):  # fmt: skip
    """Zeros of the given size. Source: torch.zeros.

    >>> import suiren as torch
    >>> torch.zeros(2, 3)
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    """
    kind, where = options(dtype, device, layout)
    return fill(_sized(size, "zeros"), 0, kind, requires_grad, where)


@composite(where=("torch",))
def ones(*size, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False,
         names=None):  # fmt: skip
    """Ones of the given size. Source: torch.ones."""
    kind, where = options(dtype, device, layout)
    return fill(_sized(size, "ones"), 1, kind, requires_grad, where)


@composite(where=("torch",))
def empty(*size, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False,
          memory_format=None, names=None):  # fmt: skip
    """A tensor of the given size whose elements are yet to be written (here: zeros).

    Source: torch.empty.
    """
    kind, where = options(dtype, device, layout)
    sizes = _sized(size, "empty")
    return _made(meta(sizes, kind, where, format_strides(sizes, memory_format)), 0, requires_grad)


def format_strides(shape: tuple[int, ...], memory_format: Any) -> tuple[int, ...] | None:
    """Strides of a memory format; None for row-major ones."""
    name = "" if memory_format is None else str(memory_format).rpartition(".")[2]
    if name in ("", "contiguous_format", "preserve_format"):
        return None
    wanted = {"channels_last": 4, "channels_last_3d": 5}.get(name)
    if wanted is None:
        raise TypeError(f"unknown memory format {memory_format}")
    if len(shape) != wanted:
        raise RuntimeError(
            f"required rank {wanted} tensor to use {name} format, got {len(shape)} dimensions"
        )
    order = [0, *range(2, wanted), 1]
    return strides_in_order(shape, order)


def strides_in_order(shape: tuple[int, ...], order: Any) -> tuple[int, ...]:
    """Dense strides with the dimensions lying in memory in this order, outermost first."""
    found = [0] * len(shape)
    step = 1
    for d in reversed(list(order)):
        found[d] = step
        step *= max(shape[d], 1)
    return tuple(found)


def _made(wanted: Meta, value: Any, requires_grad: bool = False) -> Tensor:
    """One number everywhere in a tensor of this Meta, which may have strides of its own."""
    result = apply(filled.operator, (value,), (wanted.flat,))
    if wanted is not wanted.flat:
        result = new_tensor(value_of(result), wanted)
    if requires_grad:
        result.requires_grad_()
    return result


@composite(where=("torch",))
def empty_strided(size, stride, *, dtype=None, layout=None, device=None, requires_grad=False,
                  pin_memory=False):  # fmt: skip
    """A tensor of this size and these strides, to be written. Source: torch.empty_strided.

    Raises RuntimeError for strides that leave gaps or overlap where that cannot be held.
    """
    kind, where = options(dtype, device, layout)
    size, stride = _checked(sizes_of((size,)), "empty_strided"), sizes_of((stride,))
    return _strided(size, stride, kind, requires_grad, where)


def _strided(size, stride, kind, requires_grad, where):
    if len(size) != len(stride):
        raise RuntimeError(
            f"dimensionality of sizes ({len(size)}) must match dimensionality of strides "
            f"({len(stride)})"
        )
    if any(s < 0 for s in stride):
        raise RuntimeError(f"negative strides are not supported, got {list(stride)}")
    wanted = meta(size, kind, where, stride)
    if is_dense(wanted):
        return _made(wanted, 0, requires_grad)
    reach = 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    room = fill((reach if wanted.numel else 0,), 0, kind, False, where)
    result = room.as_strided(size, stride)
    if requires_grad:
        result.requires_grad_()
    return result


@composite(where=("torch",))
def empty_permuted(size, physical_layout, *, dtype=None, layout=None, device=None,
                   requires_grad=False, pin_memory=False):  # fmt: skip
    """A tensor whose dimensions lie in memory in the order ``physical_layout``, to be written.

    Source: torch.empty_permuted.
    """
    kind, where = options(dtype, device, layout)
    size, order = _checked(sizes_of((size,)), "empty_permuted"), sizes_of((physical_layout,))
    if len(order) != len(size):
        raise RuntimeError(
            f"Number of dimensions in size does not match the length of the physical_layout; i.e. "
            f"len(size) = {len(size)} is not equal to len(physical_layout) = {len(order)}"
        )
    if any(not 0 <= d < len(size) for d in order):
        raise RuntimeError(f"Dimension out of range in physical_layout {list(order)}")
    if len(set(order)) != len(order):
        raise RuntimeError(f"Duplicate dim not allowed in physical_layout {list(order)}")
    return _made(meta(size, kind, where, strides_in_order(size, order)), 0, requires_grad)


@composite(where=("torch",))
def full(size, fill_value, *, dtype=None, layout=None, device=None, requires_grad=False,
         pin_memory=False, names=None):  # fmt: skip
    """``fill_value`` everywhere; the dtype is that of the number unless given.

    Source: torch.full.

    >>> import suiren as torch
    >>> torch.full((2,), 7)
    tensor([7, 7])
    """
    value, kind = fill_number(fill_value, dtype, "full")
    kind, where = options(kind, device, layout)
    return fill(_sized((size,), "full"), value, kind, requires_grad, where)


def fill_number(value: Any, kind: dtype | None, name: str) -> tuple[Any, dtype]:
    from suiren.ops.indexing import checked_number

    if isinstance(value, Tensor):
        if value._meta.ndim:
            raise TypeError(
                f"{name}() takes a number or a tensor of no dimensions as fill_value, got shape "
                f"{list(value._meta.shape)}"
            )
        value = value.item()
    elif isinstance(value, np.generic):
        value = value.item()
    if value.__class__ not in dtypes.PYTHON_NUMBERS:
        raise TypeError(f"{name}(): argument 'fill_value' must be Number, not {type(value)}")
    if kind is None:
        kind = dtypes.of_number(value.__class__)
    return checked_number(value, kind), kind


# ---- like another tensor


def like(input: Tensor, dtype: dtype | None, device: Any, layout: Any, memory_format: Any) -> Meta:
    """The Meta that the ``*_like`` functions make: strides as the input's if it has no gaps."""
    old = input._meta
    if device is not None or layout is not None:
        old = old.on(options(dtype, old.device if device is None else device, layout)[1])
    kind = dtype or old.dtype
    if old is old.flat and memory_format is None:
        return old if kind is old.dtype else meta(old.shape, kind, old.device)
    name = "preserve_format" if memory_format is None else str(memory_format).rpartition(".")[2]
    if name != "preserve_format":
        return meta(old.shape, kind, old.device, format_strides(old.shape, memory_format))
    return kept_layout(old).like(dtype=kind)


def _like_function(name: str, value: int):
    def function(input, *, dtype=None, layout=None, device=None, requires_grad=False,
                 pin_memory=False, memory_format=None):  # fmt: skip
        return _made(like(input, dtype, device, layout, memory_format), value, requires_grad)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"A tensor of the shape, dtype and (where it has no gaps) strides of ``input``, as made by "
        f"torch.{name[:-5]}. Source: torch.{name}."
    )
    return composite(function, where=("torch",), out=False)


zeros_like = _like_function("zeros_like", 0)
ones_like = _like_function("ones_like", 1)
empty_like = _like_function("empty_like", 0)


@composite(where=("torch",), out=False)
def full_like(input, fill_value, *, dtype=None, layout=None, device=None, requires_grad=False,
              pin_memory=False, memory_format=None):  # fmt: skip
    """``fill_value`` everywhere, in the shape and dtype of ``input``. Source: torch.full_like."""
    wanted = like(input, dtype, device, layout, memory_format)
    value, _ = fill_number(fill_value, wanted.dtype, "full_like")
    return _made(wanted, value, requires_grad)


# ---- new_*: of the dtype and device of a tensor


@composite(where=("Tensor",))
def new_zeros(self, *size, dtype=None, device=None, requires_grad=False, layout=None,
              pin_memory=False):  # fmt: skip
    """Zeros of the dtype of this tensor. Source: Tensor.new_zeros."""
    kind, where = _options_of(self, dtype, device, layout)
    return fill(_sized(size, "new_zeros"), 0, kind, requires_grad, where)


@composite(where=("Tensor",))
def new_ones(self, *size, dtype=None, device=None, requires_grad=False, layout=None,
             pin_memory=False):  # fmt: skip
    """Ones of the dtype of this tensor. Source: Tensor.new_ones."""
    kind, where = _options_of(self, dtype, device, layout)
    return fill(_sized(size, "new_ones"), 1, kind, requires_grad, where)


@composite(where=("Tensor",))
def new_empty(self, *size, dtype=None, device=None, requires_grad=False, layout=None,
              pin_memory=False):  # fmt: skip
    """A tensor of the dtype of this one, to be written. Source: Tensor.new_empty."""
    kind, where = _options_of(self, dtype, device, layout)
    return fill(_sized(size, "new_empty"), 0, kind, requires_grad, where)


@composite(where=("Tensor",))
def new_full(self, size, fill_value, *, dtype=None, device=None, requires_grad=False, layout=None,
             pin_memory=False):  # fmt: skip
    """``fill_value`` everywhere, of the dtype of this tensor. Source: Tensor.new_full."""
    kind, where = _options_of(self, dtype, device, layout)
    value, _ = fill_number(fill_value, kind, "new_full")
    return fill(_sized((size,), "new_full"), value, kind, requires_grad, where)


@composite(where=("Tensor",))
def new_empty_strided(self, size, stride, dtype=None, device=None, requires_grad=False,
                      layout=None, pin_memory=False):  # fmt: skip
    """A tensor of these strides and the dtype of this one. Source: Tensor.new_empty_strided."""
    kind, where = _options_of(self, dtype, device, layout)
    size, stride = _checked(sizes_of((size,)), "new_empty_strided"), sizes_of((stride,))
    return _strided(size, stride, kind, requires_grad, where)


@composite(where=("Tensor",), name="new_tensor")
def new_tensor_(self, data, *, dtype=None, device=None, requires_grad=False, layout=None,
                      pin_memory=False):  # fmt: skip
    """A tensor of this data with the dtype of this one. Source: Tensor.new_tensor."""
    kind, where = _options_of(self, dtype, device, layout)
    if isinstance(data, Tensor):
        return tensor(data, dtype=kind, device=where, requires_grad=requires_grad)
    return from_array(array_of(data, kind), requires_grad, where)


# ---- from other things


@composite(where=("torch",), out=False)
def scalar_tensor(s, *, dtype=None, layout=None, device=None, requires_grad=False,
                  pin_memory=False):  # fmt: skip
    """A tensor of no dimensions holding this number. Source: torch.scalar_tensor."""
    kind, where = options(dtype, device, layout)
    value, _ = fill_number(s, kind, "scalar_tensor")
    return fill((), value, kind, requires_grad, where)


@composite(where=("torch",), out=False)
def as_tensor(data, dtype=None, device=None):
    """``data`` as a tensor, sharing its memory where possible. Source: torch.as_tensor.

    >>> import suiren as torch
    >>> torch.as_tensor([1, 2])
    tensor([1, 2])
    """
    where = check_available(device)
    if isinstance(data, Tensor):
        if device is None and where is CPU:  # as in PyTorch, which has no default to heed then
            where = data._meta.device
        return data.to(where, dtype)
    if isinstance(data, np.ndarray) and data.flags.writeable and where is CPU:
        if dtype is None or dtypes.from_numpy(data.dtype) is dtype:
            return NAMESPACES["torch"]["from_numpy"](data)
    return from_array(array_of(data, dtype), False, where)


@composite(where=("torch",), out=False)
def asarray(obj, *, dtype=None, device=None, copy=None, requires_grad=False):
    """``obj`` as a tensor: shared if possible, or as ``copy`` says. Source: torch.asarray.

    Raises ValueError where ``copy=False`` cannot be had.
    """
    where = check_available(device)
    if isinstance(obj, Tensor):
        found = obj
        if (device is not None or where is META) and where is not obj._meta.device:
            if copy is False:
                raise ValueError(f"can't alias a tensor on {obj._meta.device} from {where}")
            found = obj.to(where, dtype)
        elif dtype is not None and dtype is not obj._meta.dtype:
            if copy is False:
                raise ValueError("can't alias tensor with another dtype: copy=False cannot be had")
            found = obj.to(dtype)
        elif copy:
            found = obj.clone()
        if not requires_grad and found._requires_grad:
            found = found.detach()
    elif copy or not isinstance(obj, np.ndarray) or where is META:
        if copy is False:
            raise ValueError(f"can't alias a {type(obj).__name__} from {where}: it is to be copied")
        found = from_array(array_of(obj, dtype), False, where)
    else:
        found = as_tensor(obj, dtype)
    return found.requires_grad_() if requires_grad else found


# ---- questions


@composite(where=("torch",), out=False)
def is_tensor(obj) -> bool:
    """Whether ``obj`` is a tensor. Source: torch.is_tensor."""
    return isinstance(obj, Tensor)


@composite(where=("torch",), out=False)
def is_storage(obj) -> bool:
    """Whether ``obj`` is a storage. Source: torch.is_storage."""
    return isinstance(obj, Storage)


@composite(where=("torch",), out=False)
def numel(input) -> int:
    """The number of elements. Source: torch.numel."""
    return input._meta.numel


@composite(where=("torch", "Tensor"), out=False)
def is_nonzero(input) -> bool:
    """Whether the only element differs from zero. Source: torch.is_nonzero."""
    return bool(input)


__all__ = ["CPU", "fill", "from_array", "options", "python_operator", "tensor"]
