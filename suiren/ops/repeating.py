"""Repeating and turning: repeat, tile, flip, roll, rot90. Source: PyTorch's pages of them."""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.device import META
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.creation import from_array, without_data
from suiren.ops.elementwise import kept_layout
from suiren.ops.indexed_slices import index_select
from suiren.ops.lowering import narrow
from suiren.ops.shape import contiguous_reshape, flatten
from suiren.ops.views import reshape, sizes_of, unsqueeze, wrap_dim
from suiren.tensor import Tensor
from suiren.trace import meta


@operator(where=("Tensor",))
class repeat:
    """The tensor laid out this many times along each dimension. Source: Tensor.repeat.

    >>> import suiren as torch
    >>> torch.tensor([1, 2]).repeat(2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """

    def call(input, *given, repeats=None):
        times = sizes_of(given if repeats is None else (repeats,))
        if len(times) < input._meta.ndim:
            raise RuntimeError(
                "Number of dimensions of repeat dims can not be smaller than number of dimensions "
                f"of tensor: got {len(times)} for {input._meta.ndim}"
            )
        if any(n < 0 for n in times):
            raise RuntimeError(f"Trying to create tensor with negative dimension: repeat {times}")
        return apply(repeat.operator, (input,), (times,))

    def infer(input, times):
        lead = len(times) - input.ndim
        shape = [n * (input.shape[i - lead] if i >= lead else 1) for i, n in enumerate(times)]
        return meta(shape, input.dtype, input.device)

    def evaluate(input, times):
        return np.tile(input, times)

    def decompose(g, input, times):
        shape = (1,) * (len(times) - input.ndim) + input.shape
        apart = [n for size in shape for n in (1, size)]
        tiled = [n for time, size in zip(times, shape, strict=True) for n in (time, size)]
        found = input.reshape(*apart).expand(*tiled)
        return found.reshape(*[time * n for time, n in zip(times, shape, strict=True)])

    def grad_input(grad, input_meta, times):
        shape = input_meta.shape
        lead = len(times) - len(shape)
        split_up: list[int] = []
        for i, n in enumerate(times):
            split_up += [n, shape[i - lead] if i >= lead else 1]
        dims = tuple(range(0, 2 * len(times), 2))
        if not dims:
            return grad
        return reshape(reshape(grad, split_up).sum(dims), shape)


@composite(out=False)
def tile(input, *given, dims=None):
    """repeat() with missing counts taken as 1. Source: torch.tile."""
    times = sizes_of(given if dims is None else (dims,))
    return repeat(input, (1,) * (input._meta.ndim - len(times)) + times)


def _many_dims(dims: tuple, ndim: int, name: str) -> tuple[int, ...]:
    found = tuple([wrap_dim(d, ndim) for d in sizes_of(dims)])
    if len(set(found)) != len(found):
        raise RuntimeError(f"dim appears multiple times in the list of dims of {name}(): {found}")
    return found


@operator(out=False)
class flip:
    """The order of these dimensions reversed, as a copy. Source: torch.flip.

    >>> import suiren as torch
    >>> torch.tensor([1, 2, 3]).flip(0)
    tensor([3, 2, 1])
    """

    def call(input, *given, dims=None):
        dims = given if dims is None else (dims,)
        return apply(flip.operator, (input,), (_many_dims(dims, input._meta.ndim, "flip"),))

    def infer(input, dims):
        return kept_layout(input)

    def evaluate(input, dims):
        return np.flip(input, dims) if np.ndim(input) else input

    def decompose(g, input, dims):
        turned = [d in dims and n > 1 for d, n in enumerate(input.shape)]
        ranges = [
            (n - 1, n, -1) if turn else (0, n, 1)
            for turn, n in zip(turned, input.shape, strict=True)
        ]
        return g.slice(input, ranges)

    def grad_input(grad, dims):
        return apply(flip.operator, (grad,), (dims,))


@composite(out=False)
def fliplr(input):
    """Columns in reverse order. Source: torch.fliplr."""
    if input._meta.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, (1,))


@composite(out=False)
def flipud(input):
    """Rows in reverse order. Source: torch.flipud."""
    if input._meta.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, (0,))


@operator(out=False)
class roll:
    """Elements shifted along dimensions, those pushed out coming back at the other end.

    Without ``dims`` the flattened tensor is shifted. Source: torch.roll.
    """

    def call(input, shifts, dims=None):
        shifts = (shifts,) if hasattr(shifts, "__index__") else tuple(shifts)
        if dims is None:
            dims = ()
        dims = (dims,) if hasattr(dims, "__index__") else tuple(dims)
        if not shifts:
            raise RuntimeError("`shifts` required")
        if not dims and len(shifts) == 1:
            flat = apply(roll.operator, (contiguous_reshape(input),), (shifts, (0,)))
            result = reshape(flat, input._meta.shape)
            if result._grad_fn is not None:
                result._grad_fn.label = "RollBackward0"
            return result
        if len(shifts) != len(dims):
            raise RuntimeError(
                f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}"
            )
        ndim = input._meta.ndim
        if not ndim:
            raise IndexError("Dimension specified as 0 but tensor has no dimensions")
        dims = tuple([wrap_dim(d, ndim) for d in dims])
        return apply(roll.operator, (input,), (shifts, dims))

    def infer(input, shifts, dims):
        return input.flat

    def evaluate(input, shifts, dims):
        return np.roll(input, shifts, dims)

    def decompose(g, input, shifts, dims):
        if not input.numel:
            return input
        for shift, dim in zip(shifts, dims, strict=True):
            size = input.shape[dim]
            shift %= size
            parts = [
                narrow(g, input, dim, size - shift, shift), narrow(g, input, dim, 0, size - shift)
            ]
            input = g.concat(parts, dim)
        return input

    def grad_input(grad, shifts, dims):
        return apply(roll.operator, (grad,), (tuple([-s for s in shifts]), dims))


@composite(out=False)
def rot90(input, k=1, dims=(0, 1)):
    """Turned by 90 degrees ``k`` times in the plane of two dimensions. Source: torch.rot90."""
    ndim = input._meta.ndim
    dims = tuple(dims)
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {ndim}")
    if dims[0] == dims[1] or abs(dims[0] - dims[1]) == ndim:
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {dims[0]} and "
            f"dim1 = {dims[1]}"
        )
    for i, d in enumerate(dims):
        if not -ndim <= d < ndim:
            raise RuntimeError(f"Rotation dim{i} out of range, dim{i} = {d}")
    k %= 4
    if k == 0:
        return input.clone()
    if k == 1:
        return flip(input, (dims[1],)).transpose(*dims)
    if k == 2:
        return flip(input, dims)
    return flip(input, (dims[0],)).transpose(*dims)


@composite(out=False)
def repeat_interleave(input, repeats=None, dim=None, *, output_size=None):
    """Each position repeated: by one number, or by a number for each position.

    With a tensor of counts alone, the positions repeated so often. Source:
    torch.repeat_interleave.
    """
    if repeats is None:
        counts = input
        if counts._meta.ndim != 1:
            raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
        kind = counts._meta.dtype
        if kind not in (dtypes.int64, dtypes.int32):
            raise RuntimeError("repeats has to be Long or Int tensor")
        times = counts.peek()
        if (times < 0).any():
            raise RuntimeError("repeats can not be negative")
        return from_array(np.repeat(np.arange(len(times)), times).astype(kind.numpy))
    if dim is None:
        input, dim = flatten(input), 0
    if not input._meta.ndim:
        input = reshape(input, (1,))
    dim = wrap_dim(dim, input._meta.ndim)
    size = input._meta.shape[dim]
    if not isinstance(repeats, Tensor):
        if hasattr(repeats, "__index__"):
            if repeats < 0:
                raise RuntimeError("Repeats must be non-negative")
            shape = input._meta.shape
            wide = unsqueeze(input, dim + 1)
            wide = wide.expand(shape[: dim + 1] + (repeats,) + shape[dim + 1 :])
            new = shape[:dim] + (size * repeats,) + shape[dim + 1 :]
            return wide.contiguous().reshape(new).clone() if repeats == 1 else wide.reshape(new)
        raise TypeError(f"repeats must be an int or a tensor, got {type(repeats).__name__}")
    if repeats._meta.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError("repeats has to be Long or Int tensor")
    if repeats._meta.device is META and output_size is not None:
        return index_select(input, dim, without_data(meta((output_size,), dtypes.int64)))
    times = repeats.peek()
    if times.ndim > 1:
        raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
    if times.size not in (1, size) or (times.ndim == 1 and times.size == 1 and size == 0):
        raise RuntimeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) = "
            f"{times.size} and input.size({dim}) = {size}"
        )
    if (times < 0).any():
        raise RuntimeError("repeats can not be negative")
    times = np.broadcast_to(times.reshape(-1), (size,))
    places = np.repeat(np.arange(size), times)
    if output_size is not None and output_size != len(places):
        raise RuntimeError(f"allocated size {output_size} does not match required {len(places)}")
    return index_select(input, dim, from_array(places))
