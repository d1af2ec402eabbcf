"""View operators: other shapes, strides and offsets over the same memory.

Each records one step (``evaluate`` is NumPy's view of an array) and knows how to ``write`` through
itself: from the parent's contents and new contents of the view to the parent's new contents.
``call`` computes nothing; it makes a tensor that shares the storage. Source: PyTorch's
"Tensor Views" page. Views of parts are in ``parts.py``, as_strided in ``strided.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from suiren.dispatch import apply
from suiren.operator import MAX_PLANS, composite, operator
from suiren.tensor import Tensor
from suiren.trace import contiguous_strides, meta
from suiren.views import make_view, offset_of


def wrap_dim(dim: int, ndim: int, extra: int = 0) -> int:
    """A dimension counted from the front; raises IndexError outside [-ndim, ndim - 1].

    ``extra`` is 1 where one past the last dimension is meant as well (unsqueeze).
    """
    bound = max(ndim, 1) + extra if ndim or not extra else 1 + extra - 1
    if not isinstance(dim, int) or isinstance(dim, bool):
        dim = as_index(dim)
    if not -bound <= dim < bound:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-bound}, {bound - 1}], "
            f"but got {dim})"
        )
    return dim + bound if dim < 0 else dim


def as_index(x) -> int:
    try:
        return x.__index__()
    except (AttributeError, TypeError):
        raise TypeError(f"a dimension must be an int, got {type(x).__name__}") from None


def sizes_of(sizes: Sequence[Any]) -> tuple[int, ...]:
    """Sizes given as ``f(2, 3)`` or ``f((2, 3))``."""
    if len(sizes) == 1 and not hasattr(sizes[0], "__index__"):
        sizes = sizes[0]
    elif len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = sizes[0]
    return tuple([s if s.__class__ is int else as_index(s) for s in sizes])


# ---- reshape


def _view_strides(shape, strides, new) -> tuple[int, ...] | None:
    """Strides that show (shape, strides) as ``new`` without a copy; None if there are none."""
    if not prod(shape):
        return contiguous_strides(new) if tuple(shape) != tuple(new) else tuple(strides)
    # runs of old dimensions that lie in memory like one dimension
    found = []
    at = len(new) - 1
    run, step = 1, strides[-1] if shape else 1
    for d in range(len(shape) - 1, -1, -1):
        run *= shape[d]
        if d == 0 or (shape[d - 1] != 1 and strides[d - 1] != run * step):
            taken = 1
            while at >= 0 and (taken < run or new[at] == 1):
                found.append(taken * step)
                taken *= new[at]
                at -= 1
            if taken != run:
                return None
            if d:
                run, step = 1, strides[d - 1]
    while at >= 0:
        found.append(found[-1] if found else 1)
        at -= 1
    return tuple(reversed(found))


def infer_size(shape: Sequence[int], numel: int) -> tuple[int, ...]:
    """``shape`` with its -1 worked out; raises RuntimeError where it does not fit."""
    shape = tuple(shape)
    if -1 in shape:
        rest = prod(s for s in shape if s != -1)
        if shape.count(-1) > 1:
            raise RuntimeError("only one dimension can be inferred")
        if rest == 0 and numel == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(shape)} because the "
                "unspecified dimension size -1 can be any value and is ambiguous"
            )
        if rest <= 0 or numel % rest:
            raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {numel}")
        shape = tuple([numel // rest if s == -1 else s for s in shape])
    if any(s < 0 for s in shape):
        raise RuntimeError(f"invalid shape dimension {min(shape)} in {list(shape)}")
    if prod(shape) != numel:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {numel}")
    return shape


@operator(where=(), name="view")
class reshaped:
    """The elements in row-major order in another shape; a view where strides allow it."""

    def call(input, shape):
        old = input._meta
        shape = infer_size(shape, old.numel)
        strides = None if old.flat is old else _view_strides(old.shape, old.strides, shape)
        if strides is None and not old.contiguous:
            return None
        seen = meta(shape, old.dtype, old.device, strides)
        return make_view(reshaped.operator, input, (shape,), seen, offset_of(input))

    def infer(input, shape):
        return meta(shape, input.dtype, input.device)

    def evaluate(input, shape):
        return np.reshape(input, shape)

    def decompose(g, input, shape):
        return input.reshape(*shape)

    def grad_input(grad, input_meta):
        return reshape(grad, input_meta.shape)

    def write(parent, new, shape):
        return apply(reshaped.operator, (new,), (parent._meta.shape,))


@operator(where=(), name="view_dtype")
class _view_dtype:
    """The same bits as another type of element."""

    def call(input, dtype):
        old = input._meta
        if dtype is old.dtype:
            return view_as(input, input)
        shape, strides, offset = list(old.shape), list(old.strides), offset_of(input)
        a, b = old.dtype.itemsize, dtype.itemsize
        if a != b:
            if not shape:
                raise RuntimeError(
                    "self.dim() cannot be 0 to view "
                    f"{old.dtype} as {dtype} (different element sizes)"
                )
            if strides[-1] != 1 and shape[-1] != 1:
                raise RuntimeError(
                    f"self.stride(-1) must be 1 to view {old.dtype} as {dtype} (different element "
                    f"sizes), but got {strides[-1]}"
                )
            if a > b:
                k = a // b
                shape[-1] *= k
                strides = [s * k for s in strides[:-1]] + [1]
                offset *= k
            else:
                k = b // a
                if shape[-1] % k or any(s % k for s in strides[:-1]) or offset % k:
                    raise RuntimeError(
                        f"sizes, strides and offset of the tensor must be divisible by {k} to "
                        f"view {old.dtype} as {dtype} (different element sizes), but got size "
                        f"{shape[-1]}"
                    )
                shape[-1] //= k
                strides = [s // k for s in strides[:-1]] + [1]
                offset //= k
        seen = meta(shape, dtype, old.device, strides)
        return make_view(_view_dtype.operator, input, (dtype,), seen, offset)

    def infer(input, dtype):
        shape = list(input.shape)
        if shape:
            shape[-1] = shape[-1] * input.dtype.itemsize // dtype.itemsize
        return meta(shape, dtype, input.device)

    def evaluate(input, dtype):
        return np.ascontiguousarray(input).view(dtype.numpy).reshape(
            np.shape(input) if not np.ndim(input) else (*np.shape(input)[:-1], -1)
        )

    def write(parent, new, dtype):
        return apply(_view_dtype.operator, (new,), (parent._meta.dtype,))


@composite(where=("Tensor",))
def view(input, *shape, size=None, dtype=None):
    """The same elements in another shape, or another dtype's reading of the same bits.

    Raises RuntimeError where the strides do not allow it without a copy. Source: Tensor.view.

    >>> import suiren as torch
    >>> torch.arange(6).view(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    if dtype is not None:
        return _view_dtype(input, dtype)
    if size is not None:
        shape = (size,)
    if len(shape) == 1 and shape[0].__class__.__name__ == "dtype":
        return _view_dtype(input, shape[0])
    if not shape:
        raise TypeError("view() takes the new sizes or a dtype, got nothing")
    found = reshaped(input, sizes_of(shape))
    if found is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        )
    return found


@composite(out=False)
def reshape(input, *given, shape=None):
    """The same elements in another shape: a view where possible, else a copy.

    Source: torch.reshape.

    >>> import suiren as torch
    >>> torch.arange(4).reshape(2, 2)
    tensor([[0, 1],
            [2, 3]])
    """
    sizes = sizes_of(given if shape is None else (shape,))
    found = reshaped(input, sizes)
    if found is not None:
        if found._grad_fn is not None and not input._meta.contiguous:
            found._grad_fn.label = "ReshapeAliasBackward0"
        return found
    # what the copy's layout would be; recorded as one reshape of the contents
    result = apply(reshaped.operator, (input,), (infer_size(sizes, input._meta.numel),))
    if result._grad_fn is not None:
        result._grad_fn.label = "UnsafeViewBackward0"
    return result


@composite(where=("Tensor",))
def view_as(input, other):
    """``input.view(other.shape)``. Source: Tensor.view_as."""
    return view(input, other._meta.shape)


@composite(where=("Tensor",))
def reshape_as(input, other):
    """``input.reshape(other.shape)``. Source: Tensor.reshape_as."""
    return reshape(input, other._meta.shape)


# ---- order of dimensions


@operator(out=False)
class permute:
    """The dimensions in another order. Source: torch.permute.

    >>> import suiren as torch
    >>> torch.zeros(2, 3, 5).permute(2, 0, 1).shape
    torch.Size([5, 2, 3])
    """

    def call(input, *given, dims=None):
        dims = sizes_of(given if dims is None else (dims,))
        old = input._meta
        if len(dims) != old.ndim:
            raise RuntimeError(
                "permute(sparse_coo): number of dimensions in the tensor input does not match the "
                f"length of the desired ordering of dimensions i.e. input.dim() = {old.ndim} is "
                f"not equal to len(dims) = {len(dims)}"
            )
        dims = tuple([wrap_dim(d, old.ndim) for d in dims])
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"permute(): duplicate dims are not allowed, got {dims}")
        return make_view(
            permute.operator, input, (dims,), _permuted(old, dims), offset_of(input)
        )

    def infer(input, dims):
        return meta([input.shape[d] for d in dims], input.dtype, input.device)

    def evaluate(input, dims):
        return np.transpose(input, dims)

    def decompose(g, input, dims):
        return input.permute(*dims)

    def grad_input(grad, dims):
        return permute(grad, _inverse(dims))

    def write(parent, new, dims):
        return apply(permute.operator, (new,), (_inverse(dims),))


@functools.lru_cache(MAX_PLANS)  # which keeps the Meta alive, too: they are known weakly only
def _permuted(old, dims):
    return meta(
        [old.shape[d] for d in dims], old.dtype, old.device, [old.strides[d] for d in dims]
    )


def _inverse(dims):
    found = [0] * len(dims)
    for i, d in enumerate(dims):
        found[d] = i
    return tuple(found)


@operator(out=False, aliases=("swapaxes", "swapdims"))
class transpose:
    """Two dimensions exchanged. Source: torch.transpose.

    >>> import suiren as torch
    >>> torch.zeros(2, 3).transpose(0, 1).shape
    torch.Size([3, 2])
    """

    def call(input, dim0, dim1):
        old = input._meta
        dim0, dim1 = wrap_dim(dim0, old.ndim), wrap_dim(dim1, old.ndim)
        order = list(range(old.ndim))
        if order:
            order[dim0], order[dim1] = dim1, dim0
        return make_view(
            transpose.operator, input, (dim0, dim1), _permuted(old, tuple(order)), offset_of(input)
        )

    def infer(input, dim0, dim1):
        shape = list(input.shape)
        if shape:
            shape[dim0], shape[dim1] = shape[dim1], shape[dim0]
        return meta(shape, input.dtype, input.device)

    def evaluate(input, dim0, dim1):
        return np.swapaxes(input, dim0, dim1) if np.ndim(input) else input

    def decompose(g, input, dim0, dim1):
        return input.transpose(dim0, dim1) if input.ndim else input

    def grad_input(grad, dim0, dim1):
        return transpose(grad, dim0, dim1)

    def write(parent, new, dim0, dim1):
        return apply(transpose.operator, (new,), (dim0, dim1))


@operator(out=False)
class t:
    """A matrix transposed; vectors and numbers as they are. Source: torch.t."""

    def call(input):
        old = input._meta
        if old.ndim > 2:
            raise RuntimeError(
                f"t() expects a tensor with <= 2 dimensions, but self is {old.ndim}D; "
                "use transpose(-2, -1) or mT"
            )
        order = (1, 0) if old.ndim == 2 else (0,) * old.ndim
        return make_view(t.operator, input, (), _permuted(old, order), offset_of(input))

    def infer(input):
        return meta(input.shape[::-1], input.dtype, input.device)

    def evaluate(input):
        return np.transpose(input)

    def decompose(g, input):
        return input.permute(*reversed(range(input.ndim)))

    def grad_input(grad):
        return t(grad)

    def write(parent, new):
        return apply(t.operator, (new,))


# ---- dimensions of size one


@operator(out=False)
class unsqueeze:
    """A new dimension of size one. Source: torch.unsqueeze.

    >>> import suiren as torch
    >>> torch.tensor([1, 2]).unsqueeze(1).shape
    torch.Size([2, 1])
    """

    def call(input, dim):
        old = input._meta
        bound = old.ndim + 1
        if not -bound <= dim < bound:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-bound}, {bound - 1}], "
                f"but got {dim})"
            )
        dim += bound if dim < 0 else 0
        shape, strides = list(old.shape), list(old.strides)
        strides.insert(dim, shape[dim] * strides[dim] if dim < old.ndim else 1)
        shape.insert(dim, 1)
        seen = meta(shape, old.dtype, old.device, strides)
        return make_view(unsqueeze.operator, input, (dim,), seen, offset_of(input))

    def infer(input, dim):
        return meta([*input.shape[:dim], 1, *input.shape[dim:]], input.dtype, input.device)

    def evaluate(input, dim):
        return np.expand_dims(input, dim)

    def decompose(g, input, dim):
        return input.unsqueeze(dim)

    def grad_input(grad, dim):
        return squeeze(grad, dim)

    def write(parent, new, dim):
        return apply(reshaped.operator, (new,), (parent._meta.shape,))


@operator(out=False)
class squeeze:
    """Without its dimensions of size one: all of them, or those in ``dim``.

    Source: torch.squeeze.

    >>> import suiren as torch
    >>> torch.zeros(1, 2, 1).squeeze().shape
    torch.Size([2])
    """

    def call(input, dim=None):
        old = input._meta
        if dim is None:
            dims = range(old.ndim)
        elif isinstance(dim, (tuple, list)):
            dims = [wrap_dim(d, old.ndim) for d in dim]
        else:
            dims = [wrap_dim(dim, old.ndim)]
        gone = tuple(sorted({d for d in dims if d < old.ndim and old.shape[d] == 1}))
        kept = tuple([d for d in range(old.ndim) if d not in gone])
        found = make_view(squeeze.operator, input, (gone,), _permuted(old, kept), offset_of(input))
        if dim is not None and found._grad_fn is not None:
            found._grad_fn.label = f"SqueezeBackward{1 if isinstance(dim, int) else 2}"
        return found

    def infer(input, dims):
        return meta([s for d, s in enumerate(input.shape) if d not in dims], input.dtype)

    def evaluate(input, dims):
        return np.squeeze(input, dims)

    def decompose(g, input, dims):
        return input.reshape(*[n for d, n in enumerate(input.shape) if d not in dims])

    def grad_input(grad, input_meta):
        return reshape(grad, input_meta.shape)

    def write(parent, new, dims):
        return apply(reshaped.operator, (new,), (parent._meta.shape,))


# ---- the same contents


@operator(where=(), name="alias")
class same_view:
    """Another tensor object over the same elements, with a history of its own."""

    def call(input):
        return make_view(same_view.operator, input, (), input._meta, offset_of(input))

    def infer(input):
        return input.flat

    def evaluate(input):
        return input

    def decompose(g, input):
        return input

    def grad_input(grad):
        return grad

    def write(parent, new):
        return new


# ---- zeros in a shape


def full_like_meta(m) -> Tensor:
    """Zeros of this shape and dtype."""
    return apply(zeros_of.operator, (), (m.flat,))


@operator(where=())
class zeros_of:
    """Zeros described by a Meta: what gradients of parts are put into."""

    tensors = 0

    def call(m):
        return apply(zeros_of.operator, (), (m,))

    def infer(m):
        return m

    def evaluate(m):
        return np.zeros(m.shape, m.dtype.numpy)

    def decompose(g, m):
        return g.full(m.shape, 0, m.dtype)
