"""View operators: other shapes, strides and offsets over the same memory.

Each records one step (``evaluate`` is NumPy's view of an array) and knows how to ``write`` through
itself: from the parent's contents and new contents of the view to the parent's new contents.
``call`` computes nothing; it makes a tensor that shares the storage. Source: PyTorch's
"Tensor Views" page.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from suiren.autograd.graph import connect
from suiren.autograd.mode import mode
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.elementwise import kept_layout
from suiren.tensor import Tensor
from suiren.trace import contiguous_strides, meta
from suiren.views import alias, base_of, make_view, offset_of


def wrap_dim(dim: int, ndim: int, extra: int = 0) -> int:
    """A dimension counted from the front; raises IndexError outside [-ndim, ndim - 1].

    ``extra`` is 1 where one past the last dimension is meant as well (unsqueeze).
    """
    bound = max(ndim, 1) + extra if ndim or not extra else 1 + extra - 1
    if not isinstance(dim, int) or isinstance(dim, bool):
        dim = _index(dim)
    if not -bound <= dim < bound:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-bound}, {bound - 1}], "
            f"but got {dim})"
        )
    return dim + bound if dim < 0 else dim


def _index(x) -> int:
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
    return tuple([s if s.__class__ is int else _index(s) for s in sizes])


# ---- as_strided


def _flat_steps(source: Tensor) -> Tensor:
    """The whole storage as one dimension, in memory order."""
    root = source._storage.meta
    view = source._view
    if source._meta.dtype is not root.dtype or (
        view is not None and any("conj" in step[0].name for step in view.steps)
    ):
        raise NotImplementedError(
            f"as_strided: elements outside a tensor of {source._meta.dtype} that reads the bits "
            f"of {root.dtype} memory in another way (view(dtype), real, imag, conj), or a tensor "
            "of that kind with gaps, are not supported; clone() it first"
        )
    base = base_of(source)
    flat = source if base is None else base
    if flat._view is not None:  # the detached form of a view: its memory, not its history
        flat = alias(flat)
        flat._meta = root
        flat._view = None
    if not root.contiguous:
        order = sorted(range(root.ndim), key=lambda d: (-root.strides[d], d))
        flat = permute(flat, order)
    if root.ndim != 1:
        flat = make_view(
            _reshape.operator, flat, ((root.numel,),), meta((root.numel,), root.dtype), 0
        )
    return flat


@operator(out=False)
class as_strided:
    """The memory of ``input`` seen with any sizes, strides and offset (in elements).

    Source: torch.as_strided.

    >>> import suiren as torch
    >>> torch.arange(5).as_strided((2, 2), (2, 1))
    tensor([[0, 1],
            [2, 3]])
    """

    def call(input, size, stride, storage_offset=None):
        size, stride = sizes_of((size,)), sizes_of((stride,))
        if len(size) != len(stride):
            raise RuntimeError(
                f"mismatch in length of strides and shape: as_strided got {len(size)} sizes and "
                f"{len(stride)} strides"
            )
        if any(s < 0 for s in stride):
            raise RuntimeError(f"as_strided: Negative strides are not supported, got {stride}")
        if any(s < 0 for s in size):
            raise RuntimeError(f"as_strided got a negative size: {size}")
        offset = offset_of(input) if storage_offset is None else storage_offset
        if offset < 0:
            raise RuntimeError(f"Tensor: invalid storage offset {offset}")
        old = input._meta
        held = _held(input)
        reach = offset + 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if prod(size) and reach > held:
            raise RuntimeError(
                f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset} "
                f"require {reach} elements, which are out of bounds for storage of {held} elements"
            )
        seen = meta(size, old.dtype, old.device, stride)
        first = offset_of(input)
        if input._view is None:
            flat = _flat_steps(input)
        elif old.contiguous and first <= offset and max(reach, offset) <= first + old.numel:
            # nothing but elements of the input: a part of it, whatever steps led to it
            flat, place = _reshape(input, (old.numel,)), (size, stride, offset - first)
            return make_view(as_strided.operator, flat, place, seen, offset)
        else:
            flat = _flat_steps(input)
        result = make_view(as_strided.operator, flat, (size, stride, offset), seen, offset)
        if input._view is not None and input._requires_grad and mode.grad:
            # what lies outside the input is a constant to it
            window = (held, tuple(old.strides), first)
            connect(
                _as_strided_elsewhere.operator, (size, stride, offset, *window), (input,), (old,),
                (result,),
            )  # fmt: skip
            result._view.origin = "elsewhere"
        return result

    def infer(input, size, stride, offset):
        return meta(size, input.dtype, input.device, stride)

    def evaluate(input, size, stride, offset):
        flat = np.ascontiguousarray(input)
        item = flat.itemsize
        return np.lib.stride_tricks.as_strided(
            flat[offset:], size, tuple([s * item for s in stride]), writeable=False
        )

    def grad_input(grad, input_meta, size, stride, offset):
        zeros = full_like_meta(input_meta)
        return apply(as_strided_add.operator, (zeros, grad), (size, stride, offset))

    def write(parent, new, size, stride, offset):
        return apply(as_strided_scatter.operator, (parent, new), (size, stride, offset))


def _held(source: Tensor) -> int:
    """How many elements of the source's dtype its storage has room for."""
    root = source._storage.meta
    return root.numel * root.dtype.itemsize // source._meta.dtype.itemsize


@operator(where=(), name="as_strided_elsewhere", node_name="AsStridedBackward0")
class _as_strided_elsewhere:
    """The place in the graph of an as_strided view that shows more than its input.

    ``held`` is the length of the storage; ``strides`` and ``first`` are the input's own. It is
    never recorded: the view is a step from the storage.
    """

    def call(input, size, stride, offset, held, strides, first):
        return as_strided(input, size, stride, offset)

    def infer(input, size, stride, offset, held, strides, first):
        return meta(size, input.dtype, input.device, stride)

    def evaluate(input, size, stride, offset, held, strides, first):
        raise AssertionError("Suiren's own fault: as_strided_elsewhere was recorded")

    def grad_input(grad, input_meta, size, stride, offset, held, strides, first):
        shape = tuple(input_meta.shape)
        zeros = zeros_of(meta((held,), grad._meta.dtype))
        found = apply(as_strided_add.operator, (zeros, grad), (size, stride, offset))
        if any(n > 1 and s == 0 for n, s in zip(shape, strides, strict=True)):
            # elements that the input shows several times share what comes to their memory
            ones = zeros_of(meta(shape, grad._meta.dtype)) + 1
            times = apply(as_strided_add.operator, (zeros, ones), (shape, strides, first))
            found = found / times.clamp(min=1)
        return apply(as_strided.operator, (found,), (shape, strides, first))


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


def _positions(length, size, stride, offset):
    return np.lib.stride_tricks.as_strided(
        np.arange(length)[offset:], size, tuple([8 * s for s in stride])
    )


@operator(where=())
class as_strided_scatter:
    """The flat ``input`` with ``src`` written where an as_strided view of it looks."""

    tensors = 2
    consumes = 0

    def call(input, src, size, stride, offset):
        return apply(as_strided_scatter.operator, (input, src), (size, stride, offset))

    def infer(input, src, size, stride, offset):
        return input.flat

    def evaluate(input, src, size, stride, offset):
        if src.size:
            item = input.itemsize
            seen = np.lib.stride_tricks.as_strided(
                input[offset:], size, tuple([s * item for s in stride])
            )
            seen[...] = src
        return input

    def grad_input(grad, src_meta, size, stride, offset):
        zeros = full_like_meta(src_meta)
        return apply(as_strided_scatter.operator, (grad, zeros), (size, stride, offset))

    def grad_src(grad, size, stride, offset):
        return apply(as_strided.operator, (grad,), (size, stride, offset))


@operator(where=())
class as_strided_add:
    """The flat ``input`` plus ``src`` added where an as_strided view of it looks."""

    tensors = 2
    consumes = 0

    def call(input, src, size, stride, offset):
        return apply(as_strided_add.operator, (input, src), (size, stride, offset))

    def infer(input, src, size, stride, offset):
        return input.flat

    def evaluate(input, src, size, stride, offset):
        if src.size:
            np.add.at(input, _positions(input.size, size, stride, offset), src)
        return input

    def grad_input(grad):
        return grad

    def grad_src(grad, size, stride, offset):
        return apply(as_strided.operator, (grad,), (size, stride, offset))


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
class _reshape:
    """The elements in row-major order in another shape; a view where strides allow it."""

    def call(input, shape):
        old = input._meta
        shape = infer_size(shape, old.numel)
        strides = None if old.flat is old else _view_strides(old.shape, old.strides, shape)
        if strides is None and not old.contiguous:
            return None
        seen = meta(shape, old.dtype, old.device, strides)
        return make_view(_reshape.operator, input, (shape,), seen, offset_of(input))

    def infer(input, shape):
        return meta(shape, input.dtype, input.device)

    def evaluate(input, shape):
        return np.reshape(input, shape)

    def grad_input(grad, input_meta):
        return reshape(grad, input_meta.shape)

    def write(parent, new, shape):
        return apply(_reshape.operator, (new,), (parent._meta.shape,))


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
    found = _reshape(input, sizes_of(shape))
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
    found = _reshape(input, sizes)
    if found is not None:
        if found._grad_fn is not None and not input._meta.contiguous:
            found._grad_fn.label = "ReshapeAliasBackward0"
        return found
    # what the copy's layout would be; recorded as one reshape of the contents
    result = apply(_reshape.operator, (input,), (infer_size(sizes, input._meta.numel),))
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

    def grad_input(grad, dims):
        return permute(grad, _inverse(dims))

    def write(parent, new, dims):
        return apply(permute.operator, (new,), (_inverse(dims),))


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
            transpose.operator, input, (dim0, dim1), _permuted(old, order), offset_of(input)
        )

    def infer(input, dim0, dim1):
        shape = list(input.shape)
        if shape:
            shape[dim0], shape[dim1] = shape[dim1], shape[dim0]
        return meta(shape, input.dtype, input.device)

    def evaluate(input, dim0, dim1):
        return np.swapaxes(input, dim0, dim1) if np.ndim(input) else input

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
        order = (1, 0) if old.ndim == 2 else tuple(range(old.ndim))
        return make_view(t.operator, input, (), _permuted(old, order), offset_of(input))

    def infer(input):
        return meta(input.shape[::-1], input.dtype, input.device)

    def evaluate(input):
        return np.transpose(input)

    def grad_input(grad):
        return t(grad)

    def write(parent, new):
        return apply(t.operator, (new,))


# ---- parts


@operator(out=False)
class expand:
    """Dimensions of size one seen as larger ones, without copying.

    Source: Tensor.expand.

    >>> import suiren as torch
    >>> torch.tensor([[1], [2]]).expand(2, 3)
    tensor([[1, 1, 1],
            [2, 2, 2]])
    """

    def call(input, *given, size=None, implicit=False):
        size = sizes_of(given if size is None else (size,))
        old = input._meta
        missing = len(size) - old.ndim
        if missing < 0:
            raise RuntimeError(
                f"expand({old.dtype.letter_name}Tensor{{{list(old.shape)}}}, size={list(size)}): "
                f"the number of sizes provided ({len(size)}) must be greater or equal to the "
                f"number of dimensions in the tensor ({old.ndim})"
            )
        shape, strides = [], []
        for i, wanted in enumerate(size):
            have = old.shape[i - missing] if i >= missing else 1
            if wanted == -1 and i < missing:
                raise RuntimeError(
                    f"The expanded size of the tensor ({wanted}) isn't allowed in a leading, "
                    f"non-existing dimension {i}"
                )
            if wanted == -1 or wanted == have:
                shape.append(have)
                if i >= missing:
                    strides.append(old.strides[i - missing])
                else:
                    strides.append(0)
                continue
            if have != 1 or wanted < 0:
                raise RuntimeError(
                    f"The expanded size of the tensor ({wanted}) must match the existing size "
                    f"({have}) at non-singleton dimension {i}.  Target sizes: {list(size)}.  "
                    f"Tensor sizes: {list(old.shape)}"
                )
            shape.append(wanted)
            strides.append(0)
        for i in reversed(range(missing)):
            if shape[i] == 1:  # a new leading dimension of size one has a stride all the same
                strides[i] = shape[i + 1] * strides[i + 1] if old.ndim else 0
        seen = meta(shape, old.dtype, old.device, strides)
        return make_view(expand.operator, input, (seen.shape,), seen, offset_of(input))

    def infer(input, size):
        return meta(size, input.dtype, input.device)

    def evaluate(input, size):
        return np.broadcast_to(input, size)

    def grad_input(grad, input_meta):
        return grad.sum_to_size(input_meta.shape)

    def write(parent, new, size):
        if prod(size) != parent._meta.numel:
            raise RuntimeError(
                "unsupported operation: more than one element of the written-to tensor refers to "
                "a single memory location. Please clone() the tensor before performing the "
                "operation."
            )
        return apply(_reshape.operator, (new,), (parent._meta.shape,))


@operator(where=(), name="slice")
class slice_:
    """Every ``step``-th element of a dimension from ``start`` to before ``stop``."""

    def call(input, dim, start, stop, step):
        old = input._meta
        length = max(0, (stop - start + step - 1) // step)
        shape, strides = list(old.shape), list(old.strides)
        offset = offset_of(input) + start * strides[dim]
        shape[dim] = length
        strides[dim] *= step
        seen = meta(shape, old.dtype, old.device, strides)
        return make_view(slice_.operator, input, (dim, start, stop, step), seen, offset)

    def infer(input, dim, start, stop, step):
        shape = list(input.shape)
        shape[dim] = max(0, (stop - start + step - 1) // step)
        return meta(shape, input.dtype, input.device)

    def evaluate(input, dim, start, stop, step):
        return input[(slice(None),) * dim + (slice(start, stop, step),)]

    def grad_input(grad, input_meta, dim, start, stop, step):
        zeros = full_like_meta(input_meta)
        return apply(slice_write.operator, (zeros, grad), (dim, start, stop, step))

    def write(parent, new, dim, start, stop, step):
        return apply(slice_write.operator, (parent, new), (dim, start, stop, step))


@operator(where=(), name="slice_scatter")
class slice_write:
    """``input`` with ``src`` in the place of a slice."""

    tensors = 2
    consumes = 0

    def call(input, src, dim, start, stop, step):
        return apply(slice_write.operator, (input, src), (dim, start, stop, step))

    def infer(input, src, dim, start, stop, step):
        return kept_layout(input)

    def evaluate(input, src, dim, start, stop, step):
        input[(slice(None),) * dim + (slice(start, stop, step),)] = src
        return input

    def grad_input(grad, src_meta, dim, start, stop, step):
        zeros = full_like_meta(src_meta)
        return apply(slice_write.operator, (grad, zeros), (dim, start, stop, step))

    def grad_src(grad, dim, start, stop, step):
        return apply(slice_.operator, (grad,), (dim, start, stop, step))


@operator(out=False)
class select:
    """One position of a dimension, which disappears. Source: torch.select.

    >>> import suiren as torch
    >>> torch.tensor([[1, 2], [3, 4]]).select(1, 0)
    tensor([1, 3])
    """

    def call(input, dim, index):
        old = input._meta
        if not old.ndim:
            raise IndexError("select() cannot be applied to a 0-dim tensor.")
        dim = wrap_dim(dim, old.ndim)
        index = index if index.__class__ is int else _index(index)
        size = old.shape[dim]
        if not -size <= index < size:
            raise IndexError(
                f"select(): index {index} out of range for tensor of size {list(old.shape)} at "
                f"dimension {dim}"
            )
        index += size if index < 0 else 0
        shape, strides = list(old.shape), list(old.strides)
        offset = offset_of(input) + index * strides[dim]
        del shape[dim], strides[dim]
        seen = meta(shape, old.dtype, old.device, strides)
        return make_view(select.operator, input, (dim, index), seen, offset)

    def infer(input, dim, index):
        shape = list(input.shape)
        del shape[dim]
        return meta(shape, input.dtype, input.device)

    def evaluate(input, dim, index):
        return input[(slice(None),) * dim + (index,)]

    def grad_input(grad, input_meta, dim, index):
        return apply(select_write.operator, (full_like_meta(input_meta), grad), (dim, index))

    def write(parent, new, dim, index):
        return apply(select_write.operator, (parent, new), (dim, index))


@operator(where=(), name="select_scatter")
class select_write:
    """``input`` with ``src`` in one position of a dimension."""

    tensors = 2
    consumes = 0

    def call(input, src, dim, index):
        return apply(select_write.operator, (input, src), (dim, index))

    def infer(input, src, dim, index):
        return kept_layout(input)

    def evaluate(input, src, dim, index):
        input[(slice(None),) * dim + (index,)] = src
        return input

    def grad_input(grad, src_meta, dim, index):
        return apply(select_write.operator, (grad, full_like_meta(src_meta)), (dim, index))

    def grad_src(grad, dim, index):
        return apply(select.operator, (grad,), (dim, index))


@operator(out=False)
class diagonal:
    """The elements whose positions in two dimensions differ by ``offset``, as a last dimension.

    Source: torch.diagonal.

    >>> import suiren as torch
    >>> torch.tensor([[1, 2], [3, 4]]).diagonal()
    tensor([1, 4])
    """

    def call(input, offset=0, dim1=0, dim2=1):
        old = input._meta
        dim1, dim2 = wrap_dim(dim1, old.ndim), wrap_dim(dim2, old.ndim)
        if dim1 == dim2:
            raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
        seen = diagonal.operator.infer(old, offset, dim1, dim2)
        strides = [s for d, s in enumerate(old.strides) if d not in (dim1, dim2)]
        strides.append(old.strides[dim1] + old.strides[dim2])
        start = offset_of(input)
        if seen.shape[-1]:
            start += offset * old.strides[dim2] if offset >= 0 else -offset * old.strides[dim1]
        seen = meta(seen.shape, old.dtype, old.device, strides)
        return make_view(diagonal.operator, input, (offset, dim1, dim2), seen, start)

    def infer(input, offset, dim1, dim2):
        shape = [s for d, s in enumerate(input.shape) if d not in (dim1, dim2)]
        rows, columns = input.shape[dim1], input.shape[dim2]
        length = min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns)
        return meta([*shape, max(length, 0)], input.dtype, input.device)

    def evaluate(input, offset, dim1, dim2):
        return np.diagonal(input, offset, dim1, dim2)

    def grad_input(grad, input_meta, offset, dim1, dim2):
        zeros = full_like_meta(input_meta)
        return apply(diagonal_write.operator, (zeros, grad), (offset, dim1, dim2))

    def write(parent, new, offset, dim1, dim2):
        return apply(diagonal_write.operator, (parent, new), (offset, dim1, dim2))


@operator(where=(), name="diagonal_scatter")
class diagonal_write:
    """``input`` with ``src`` on a diagonal."""

    tensors = 2
    consumes = 0

    def call(input, src, offset, dim1, dim2):
        return apply(diagonal_write.operator, (input, src), (offset, dim1, dim2))

    def infer(input, src, offset, dim1, dim2):
        return kept_layout(input)

    def evaluate(input, src, offset, dim1, dim2):
        seen = np.diagonal(input, offset, dim1, dim2)
        seen.flags.writeable = True
        seen[...] = src
        return input

    def grad_input(grad, src_meta, offset, dim1, dim2):
        zeros = full_like_meta(src_meta)
        return apply(diagonal_write.operator, (grad, zeros), (offset, dim1, dim2))

    def grad_src(grad, offset, dim1, dim2):
        return apply(diagonal.operator, (grad,), (offset, dim1, dim2))


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

    def grad_input(grad, dim):
        return squeeze(grad, dim)

    def write(parent, new, dim):
        return apply(_reshape.operator, (new,), (parent._meta.shape,))


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
        kept = [d for d in range(old.ndim) if d not in gone]
        found = make_view(squeeze.operator, input, (gone,), _permuted(old, kept), offset_of(input))
        if dim is not None and found._grad_fn is not None:
            found._grad_fn.label = f"SqueezeBackward{1 if isinstance(dim, int) else 2}"
        return found

    def infer(input, dims):
        return meta([s for d, s in enumerate(input.shape) if d not in dims], input.dtype)

    def evaluate(input, dims):
        return np.squeeze(input, dims)

    def grad_input(grad, input_meta):
        return reshape(grad, input_meta.shape)

    def write(parent, new, dims):
        return apply(_reshape.operator, (new,), (parent._meta.shape,))


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

    def grad_input(grad):
        return grad

    def write(parent, new):
        return new


__all__ = ["alias", "apply", "infer_size", "sizes_of", "wrap_dim"]
