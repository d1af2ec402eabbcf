"""Joining, splitting, repeating, turning: functions that rearrange elements.

Views where PyTorch gives views (split, unbind, flatten, movedim, unfold, ...), copies elsewhere.
Source: PyTorch's "Indexing, Slicing, Joining, Mutating Ops" list.
"""

from __future__ import annotations

from math import prod

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.casts import to_dtype
from suiren.ops.elementwise import broadcast_shapes as common_shape
from suiren.ops.elementwise import elementwise_strides, kept_layout
from suiren.ops.indexing import clamped
from suiren.ops.views import (
    alias,
    full_like_meta,
    permute,
    reshape,
    sizes_of,
    slice_,
    unsqueeze,
    wrap_dim,
)
from suiren.tensor import Tensor
from suiren.trace import meta
from suiren.views import make_view, offset_of

# --------------------------------------------------------------------------
# Joining


def tensor_list(tensors, name: str) -> tuple[Tensor, ...]:
    """A sequence of tensors as a tuple; raises TypeError for anything else."""
    if isinstance(tensors, Tensor) or not isinstance(tensors, (list, tuple)):
        raise TypeError(
            f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not "
            f"{type(tensors).__name__}"
        )
    for i, x in enumerate(tensors):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}"
            )
    return tuple(tensors)


def _common_dtype(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    first = tensors[0]._meta.dtype
    for x in tensors:
        if x._meta.dtype is not first:
            break
    else:
        return tensors
    # promotion knows ranks here as everywhere: a number of no dimensions gives way
    from suiren.ops.elementwise import result_type_of

    kind = result_type_of([x._meta for x in tensors])
    return tuple([to_dtype(x, kind) for x in tensors])


@operator(aliases=("concat", "concatenate"))
class cat:
    """The tensors one after another along a dimension; other sizes must agree.

    Source: torch.cat.

    >>> import suiren as torch
    >>> torch.cat([torch.zeros(1, 2), torch.ones(1, 2)])
    tensor([[0., 0.],
            [1., 1.]])
    """

    tensors = 0

    def call(tensors, dim=0):
        tensors = tensor_list(tensors, "cat")
        if not tensors:
            raise ValueError("torch.cat(): expected a non-empty list of Tensors")
        return concatenated(_common_dtype(tensors), dim)

    def infer(*metas_and_dim):
        *metas, dim = metas_and_dim
        shape = list(metas[0].shape)
        shape[dim] = sum(m.shape[dim] for m in metas)
        strides = None
        first = metas[0]
        if not first.contiguous and all(m.strides == first.strides or m.ndim for m in metas):
            if all(_same_order(first, m) for m in metas):
                strides = elementwise_strides(shape, [first.like(shape, None, first.strides)])
        return meta(shape, first.dtype, first.device, strides)

    def evaluate(*arrays_and_dim):
        return np.concatenate(arrays_and_dim[:-1], axis=arrays_and_dim[-1])

    def backward(grad, metas, attributes, needs):
        (dim,) = attributes
        found, start = [], 0
        for m, need in zip(metas, needs, strict=True):
            stop = start + m.shape[dim]
            found.append(slice_(grad, dim, start, stop, 1) if need else None)
            start = stop
        return tuple(found)


def _same_order(a, b) -> bool:
    def channels_last(m):
        order = [0, *range(2, m.ndim), 1]
        expected = 1
        for d in reversed(order):
            if m.shape[d] != 1 and m.strides[d] != expected:
                return False
            expected *= m.shape[d]
        return True

    return a.ndim in (4, 5) and channels_last(a) and channels_last(b)


def _is_legacy_empty(x: Tensor) -> bool:
    return x._meta.ndim == 1 and x._meta.numel == 0


def concatenated(tensors: tuple[Tensor, ...], dim: int) -> Tensor:
    """cat of tensors of one dtype; shapes are checked here."""
    full: tuple[Tensor, ...] | None = tensors
    ndim = tensors[0]._meta.ndim
    for x in tensors:
        if x._meta.ndim == 0:
            raise RuntimeError(
                "zero-dimensional tensor (at position "
                f"{[t is x for t in tensors].index(True)}) cannot be concatenated; use stack()"
            )
        if x._meta.ndim != ndim or ndim == 1:
            full = None
    if full is None:  # tensors of shape (0,) go with any shape
        full = tuple([x for x in tensors if not _is_legacy_empty(x)]) or tensors[:1]
        ndim = full[0]._meta.ndim
        if len(full) < len(tensors) and any(t._requires_grad for t in tensors):
            full = tensors if ndim == 1 else full
    dim = wrap_dim(dim, ndim)
    first = full[0]._meta.shape
    for i, x in enumerate(full):
        shape = x._meta.shape
        if len(shape) != ndim:
            raise RuntimeError(
                f"Tensors must have same number of dimensions: got {ndim} and {len(shape)}"
            )
        if shape != first:
            for d in range(ndim):
                if d != dim and shape[d] != first[d]:
                    raise RuntimeError(
                        f"Sizes of tensors must match except in dimension {dim}. Expected size "
                        f"{first[d]} but got size {shape[d]} for tensor number {i} in the list."
                    )
    return apply(cat.operator, full, (dim,))


@operator()
class stack:
    """Tensors of one shape along a new dimension. Source: torch.stack.

    >>> import suiren as torch
    >>> torch.stack([torch.tensor([1, 2]), torch.tensor([3, 4])], dim=1)
    tensor([[1, 3],
            [2, 4]])
    """

    tensors = 0

    def call(tensors, dim=0):
        tensors = tensor_list(tensors, "stack")
        if not tensors:
            raise RuntimeError("stack expects a non-empty TensorList")
        first = tensors[0]._meta
        dim = wrap_dim(dim, first.ndim + 1)
        for i, x in enumerate(tensors):
            if x._meta is not first and x._meta.shape != first.shape:
                raise RuntimeError(
                    f"stack expects each tensor to be equal size, but got {list(first.shape)} at "
                    f"entry 0 and {list(x._meta.shape)} at entry {i}"
                )
        return apply(stack.operator, _common_dtype(tensors), (dim,))

    def infer(*metas_and_dim):
        *metas, dim = metas_and_dim
        shape = list(metas[0].shape)
        shape.insert(dim, len(metas))
        return meta(shape, metas[0].dtype, metas[0].device)

    def evaluate(*arrays_and_dim):
        return np.stack(arrays_and_dim[:-1], axis=arrays_and_dim[-1])

    def backward(grad, attributes, needs):
        (dim,) = attributes
        return tuple([grad.select(dim, i) if need else None for i, need in enumerate(needs)])


@composite(aliases=("row_stack",), where=("torch",))
def vstack(tensors):
    """Stacked row upon row. Source: torch.vstack."""
    return cat(_at_least("vstack", atleast_2d, tensors), 0)


@composite(where=("torch",))
def hstack(tensors):
    """Side by side. Source: torch.hstack."""
    found = _at_least("hstack", atleast_1d, tensors)
    return cat(found, 0 if found[0]._meta.ndim == 1 else 1)


@composite(where=("torch",))
def dstack(tensors):
    """Along the third dimension. Source: torch.dstack."""
    return cat(_at_least("dstack", atleast_3d, tensors), 2)


def _at_least(name, function, tensors):
    tensors = tensor_list(tensors, name)
    if not tensors:
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return [function(x) for x in tensors]


@composite(where=("torch",))
def column_stack(tensors):
    """Vectors as columns, next to matrices as they are. Source: torch.column_stack."""
    tensors = tensor_list(tensors, "column_stack")
    if not tensors:
        raise RuntimeError("column_stack expects a non-empty TensorList")
    return hstack([reshape(x, (x._meta.numel, 1)) if x._meta.ndim <= 1 else x for x in tensors])


def _atleast(name: str, ndim: int, grown):
    def function(*tensors):
        if len(tensors) == 1:
            if isinstance(tensors[0], Tensor):
                return grown(tensors[0])
            tensors = tensor_list(tensors[0], name)
        return tuple([grown(x) for x in tensor_list(tensors, name)])

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The tensor or tensors with at least {ndim} dimensions. Source: torch.{name}."
    )
    return composite(function, where=("torch",), out=False)


def _to_2d(x):
    return reshape(x, (1, 1)) if not x._meta.ndim else unsqueeze(x, 0) if x._meta.ndim == 1 else x


def _to_3d(x):
    if x._meta.ndim >= 3:
        return x
    return unsqueeze(_to_2d(x), 2)


atleast_1d = _atleast("atleast_1d", 1, lambda x: x if x._meta.ndim else reshape(x, (1,)))
atleast_2d = _atleast("atleast_2d", 2, _to_2d)
atleast_3d = _atleast("atleast_3d", 3, _to_3d)


@composite(where=("torch",))
def block_diag(*tensors):
    """The matrices along the diagonal of a matrix of zeros. Source: torch.block_diag."""
    blocks = []
    for i, x in enumerate(tensor_list(tensors, "block_diag")):
        if x._meta.ndim > 2:
            raise RuntimeError(
                "block_diag: Input tensors must have 2 or fewer dimensions. Input "
                f"{i} has {x._meta.ndim} dimensions"
            )
        blocks.append(_to_2d(x))
    if not blocks:
        from suiren.ops.creation import zeros

        return zeros(1, 0)
    blocks = _common_dtype(tuple(blocks))
    width = sum(x._meta.shape[1] for x in blocks)
    rows, left = [], 0
    for x in blocks:
        height, own = x._meta.shape
        parts = []
        if left:
            parts.append(full_like_meta(x._meta.like((height, left))))
        parts.append(x)
        if width - left - own:
            parts.append(full_like_meta(x._meta.like((height, width - left - own))))
        rows.append(parts[0] if len(parts) == 1 else apply(cat.operator, tuple(parts), (1,)))
        left += own
    return apply(cat.operator, tuple(rows), (0,))


# --------------------------------------------------------------------------
# Splitting: several views


def _parts(input: Tensor, dim: int, sizes, origin: str = "multi") -> tuple[Tensor, ...]:
    old = input._meta
    shape, strides = list(old.shape), old.strides
    base = offset_of(input)
    found, start = [], 0
    for size in sizes:
        shape[dim] = size
        seen = meta(shape, old.dtype, old.device, strides)
        attributes = (dim, start, start + size, 1)
        at = base + start * strides[dim]
        found.append(make_view(slice_.operator, input, attributes, seen, at, origin))
        start += size
    return tuple(found)


def _needs_dimension(input: Tensor, name: str) -> None:
    if not input._meta.ndim:
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")


@composite(out=False)
def split(tensor, split_size_or_sections=None, dim=0, *, split_size=None):
    """Parts of this size (the last may be smaller), or of these sizes, as views.

    Raises RuntimeError where sizes do not add up. Source: torch.split.

    >>> import suiren as torch
    >>> torch.arange(5).split(2)
    (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    """
    wanted = split_size if split_size_or_sections is None else split_size_or_sections
    _needs_dimension(tensor, "split")
    if isinstance(wanted, (list, tuple)):
        return split_with_sizes(tensor, wanted, dim)
    dim = wrap_dim(dim, tensor._meta.ndim)
    return _parts(tensor, dim, _even_sizes(tensor._meta.shape[dim], wanted))


def _even_sizes(size: int, step) -> list[int]:
    if not hasattr(step, "__index__"):
        raise TypeError(f"split(): split_size must be an int or a list, got {type(step).__name__}")
    if step < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={step}")
    if step == 0:
        if size:
            raise RuntimeError(
                f"split_size can only be 0 if dimension size is 0, but got dimension size of {size}"
            )
        return [0]
    whole, rest = divmod(size, step)
    return [step] * whole + ([rest] if rest or not whole else [])


@composite(out=False)
def split_with_sizes(input, split_sizes, dim=0):
    """Parts of these sizes, as views. Source: torch.split_with_sizes."""
    _needs_dimension(input, "split")
    dim = wrap_dim(dim, input._meta.ndim)
    sizes = sizes_of((split_sizes,))
    size = input._meta.shape[dim]
    if any(s < 0 for s in sizes):
        raise RuntimeError(
            f"split_with_sizes expects split_sizes have only non-negative entries, but got "
            f"split_sizes={list(sizes)}"
        )
    if sum(sizes) != size:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's size "
            f"at dimension {dim}), but got split_sizes={list(sizes)}"
        )
    return _parts(input, dim, sizes)


@composite(out=False)
def chunk(input, chunks, dim=0):
    """At most ``chunks`` parts of equal size (the last may be smaller). Source: torch.chunk."""
    _needs_dimension(input, "chunk")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    dim = wrap_dim(dim, input._meta.ndim)
    size = input._meta.shape[dim]
    step = -(-size // chunks)
    return _parts(input, dim, [0] * chunks if not step else _even_sizes(size, step))


def _unshared(input: Tensor, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    for part in parts:
        assert part._view is not None  # split and chunk give views
        part._view.origin = ""
    return parts


@composite(out=False)
def unsafe_chunk(input, chunks, dim=0):
    """chunk() whose results may be written to under autograd. Source: torch.unsafe_chunk."""
    return _unshared(input, chunk(input, chunks, dim))


@composite(out=False)
def unsafe_split(tensor, split_size, dim=0):
    """split() whose results may be written to under autograd. Source: torch.unsafe_split."""
    return _unshared(tensor, split(tensor, split_size, dim))


@composite(out=False)
def unsafe_split_with_sizes(input, split_sizes, dim=0):
    """split_with_sizes() whose results may be written to. Source: PyTorch's function."""
    return _unshared(input, split_with_sizes(input, split_sizes, dim))


@composite(out=False)
def tensor_split(input, indices_or_sections=None, dim=0, *, indices=None, sections=None):
    """That many parts, sizes differing by one at most; or the parts between these positions.

    Source: torch.tensor_split.
    """
    for other in (indices, sections):
        if indices_or_sections is None:
            indices_or_sections = other
    if not input._meta.ndim:
        raise RuntimeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    dim = wrap_dim(dim, input._meta.ndim)
    size = input._meta.shape[dim]
    wanted = indices_or_sections
    if isinstance(wanted, Tensor):
        if wanted._meta.dtype is not dtypes.int64:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to have dtype of long, but got "
                f"{wanted._meta.dtype.letter_name}"
            )
        if wanted._meta.ndim > 1:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to be a zero-dimensional or "
                f"one-dimensional tensor, but got a tensor with {wanted._meta.ndim} dims"
            )
        wanted = wanted.tolist()
    if isinstance(wanted, (list, tuple)):
        cuts = [0, *wanted, size]
        parts = []
        for start, stop in zip(cuts, cuts[1:], strict=False):
            start, stop = clamped(start, stop, size)
            parts.append(_view_slice(input, dim, start, stop))
        return tuple(parts)
    if wanted <= 0:
        raise RuntimeError(f"number of sections must be larger than 0, got {wanted}")
    least, more = divmod(size, wanted)
    return _parts(input, dim, [least + 1] * more + [least] * (wanted - more))


def _view_slice(input, dim, start, stop):
    return slice_(input, dim, start, stop, 1)


def _axis_split(name: str, axis_of, least: int):
    def function(input, indices_or_sections=None, *, indices=None, sections=None):
        for other in (indices, sections):
            if indices_or_sections is None:
                indices_or_sections = other
        old = input._meta
        if old.ndim < least:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {least} dimension, but got a "
                f"tensor with {old.ndim} dimensions!"
            )
        dim = axis_of(old.ndim)
        if not isinstance(indices_or_sections, (list, tuple)):
            if indices_or_sections == 0 or old.shape[dim] % indices_or_sections:
                raise RuntimeError(
                    f"torch.{name} attempted to split along dimension {dim}, but the size of the "
                    f"dimension {old.shape[dim]} is not divisible by the split_size "
                    f"{indices_or_sections}!"
                )
        return tensor_split(input, indices_or_sections, dim)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"tensor_split along the dimension of {name[0]}stack. Source: torch.{name}."
    return composite(function, out=False)


hsplit = _axis_split("hsplit", lambda ndim: 0 if ndim == 1 else 1, 1)
vsplit = _axis_split("vsplit", lambda ndim: 0, 2)
dsplit = _axis_split("dsplit", lambda ndim: 2, 3)


@composite(out=False)
def unbind(input, dim=0):
    """The positions of a dimension one by one, as views. Source: torch.unbind.

    >>> import suiren as torch
    >>> torch.tensor([[1, 2], [3, 4]]).unbind()
    (tensor([1, 2]), tensor([3, 4]))
    """
    from suiren.ops.views import select

    old = input._meta
    if not old.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    dim = wrap_dim(dim, old.ndim)
    shape, strides = list(old.shape), list(old.strides)
    count, step = shape.pop(dim), strides.pop(dim)
    seen = meta(shape, old.dtype, old.device, strides)
    at = offset_of(input)
    return tuple(
        [
            make_view(select.operator, input, (dim, i), seen, at + i * step, "multi")
            for i in range(count)
        ]
    )


@composite(out=False)
def narrow(input, dim, start, length):
    """``length`` positions of a dimension from ``start`` on, as a view. Source: torch.narrow."""
    old = input._meta
    if not old.ndim:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    dim = wrap_dim(dim, old.ndim)
    if isinstance(start, Tensor):
        if start._meta.ndim or start._meta.dtype.category != dtypes.INTEGER:
            raise RuntimeError("start must be an 0-dim integral Tensor.")
        start = int(start.item())
    size = old.shape[dim]
    if not -size <= start <= size:
        raise IndexError(
            f"start out of range (expected to be in range of [{-size}, {size}], but got {start})"
        )
    start += size if start < 0 else 0
    if start + length > size:
        raise RuntimeError(
            f"start ({start}) + length ({length}) exceeds dimension size ({size})."
        )
    return slice_(input, dim, start, start + length, 1)


# --------------------------------------------------------------------------
# Shapes


@composite(out=False)
def flatten(input, start_dim=0, end_dim=-1):
    """The dimensions from ``start_dim`` to ``end_dim`` as one. Source: torch.flatten.

    >>> import suiren as torch
    >>> torch.zeros(2, 3, 4).flatten(1).shape
    torch.Size([2, 12])
    """
    shape = input._meta.shape
    if not shape:
        wrap_dim(start_dim, 0), wrap_dim(end_dim, 0)
        return reshape(input, (1,))
    start, end = wrap_dim(start_dim, len(shape)), wrap_dim(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if start == end:
        return input
    return reshape(input, shape[:start] + (prod(shape[start : end + 1]),) + shape[end + 1 :])


@composite(out=False)
def ravel(input):
    """All elements in one dimension. Source: torch.ravel."""
    return contiguous_reshape(input)


def contiguous_reshape(input: Tensor) -> Tensor:
    """The elements in row-major order in one dimension."""
    return reshape(input.contiguous(), (-1,) if input._meta.numel else (0,))


@composite(out=False)
def unflatten(input, dim, sizes):
    """A dimension as several, one of which may be -1. Source: torch.unflatten."""
    old = input._meta
    if not old.ndim:
        raise RuntimeError(f"unflatten: Dimension specified as {dim} but tensor has no dimensions")
    dim = wrap_dim(dim, old.ndim)
    sizes = sizes_of((sizes,))
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    rest = [s for s in sizes if s != -1]
    size = old.shape[dim]
    if len(rest) < len(sizes) - 1:
        raise RuntimeError("only one dimension can be inferred")
    fits = prod(rest) == size if len(rest) == len(sizes) else prod(rest) and not size % prod(rest)
    if not fits:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} "
            f"({size}) in the input tensor"
        )
    sizes = tuple([size // prod(rest) if s == -1 else s for s in sizes])
    return input.view(old.shape[:dim] + sizes + old.shape[dim + 1 :])


@composite(out=False, aliases=("moveaxis",))
def movedim(input, source, destination):
    """Dimensions moved to other places; the others keep their order. Source: torch.movedim."""
    ndim = input._meta.ndim
    sources = (source,) if hasattr(source, "__index__") else tuple(source)
    targets = (destination,) if hasattr(destination, "__index__") else tuple(destination)
    if len(sources) != len(targets):
        raise RuntimeError(
            "movedim: Invalid source or destination dims: source "
            f"({list(sources)} dims) should contain the same number of dims as destination "
            f"({list(targets)} dims)"
        )
    sources = tuple([wrap_dim(d, ndim) for d in sources])
    targets = tuple([wrap_dim(d, ndim) for d in targets])
    for dims in (sources, targets):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in {list(dims)}")
    if not ndim:
        return alias_of(input)
    order: list[int] = [-1] * ndim
    for s, t in zip(sources, targets, strict=True):
        order[t] = s
    rest = iter([d for d in range(ndim) if d not in sources])
    return permute(input, [d if d >= 0 else next(rest) for d in order])


def alias_of(input: Tensor) -> Tensor:
    """Another tensor over the same elements."""
    from suiren.ops.views import same_view

    return same_view(input)


@composite(out=False)
def broadcast_to(input, size):
    """``input`` expanded to this shape. Source: torch.broadcast_to."""
    return input.expand(sizes_of((size,)))


@composite(where=("Tensor",))
def expand_as(self, other):
    """``self.expand(other.shape)``. Source: Tensor.expand_as."""
    return self.expand(other._meta.shape)


@composite(where=("torch",), out=False)
def broadcast_tensors(*tensors):
    """The tensors expanded to their common shape. Source: torch.broadcast_tensors."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    tensors = tensor_list(tensors, "broadcast_tensors")
    shape = common_shape(*[x._meta.shape for x in tensors])
    return tuple([x.expand(shape) for x in tensors])


@composite(where=("torch",), out=False)
def broadcast_shapes(*shapes):
    """The shape that these shapes broadcast to. Source: torch.broadcast_shapes.

    >>> import suiren as torch
    >>> torch.broadcast_shapes((2, 1), 3)
    torch.Size([2, 3])
    """
    from suiren.size import Size

    given = []
    for shape in shapes:
        shape = (shape,) if hasattr(shape, "__index__") else tuple(shape)
        for s in shape:
            if not hasattr(s, "__index__"):
                raise RuntimeError(
                    f"Input shapes should be of type ints, a tuple of ints, or a list of ints, "
                    f"got {shape}"
                )
            if s < 0:
                raise RuntimeError(
                    f"Trying to create tensor with negative dimension ({s}): ({list(shape)})"
                )
        given.append(shape)
    return Size(common_shape(*given))


# --------------------------------------------------------------------------
# Repeating and turning


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
            return reshape(flat, input._meta.shape)
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
    from suiren.ops.creation import from_array
    from suiren.ops.indexed_slices import index_select

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


# --------------------------------------------------------------------------
# Windows over a dimension


@operator(where=("Tensor",))
class unfold:
    """All windows of ``size`` along a dimension, ``step`` apart, as a last dimension: a view.

    Source: Tensor.unfold.

    >>> import suiren as torch
    >>> torch.arange(5).unfold(0, 3, 2)
    tensor([[0, 1, 2],
            [2, 3, 4]])
    """

    def call(input, dimension, size, step):
        old = input._meta
        dim = wrap_dim(dimension, old.ndim)
        length = old.shape[dim] if old.ndim else 1
        if size > length:
            raise RuntimeError(
                f"maximum size for tensor at dimension {dim} is {length} but size is {size}"
            )
        if size < 0:
            raise RuntimeError(f"size is {size} but must be >= 0")
        if step <= 0:
            raise RuntimeError(f"step is {step} but must be > 0")
        if not old.ndim:
            strides: list[int] = [1]
        else:
            strides = [*old.strides, old.strides[dim]]
            strides[dim] *= step
        shape = unfold.operator.infer(old, dim, size, step).shape
        seen = meta(shape, old.dtype, old.device, strides)
        return make_view(unfold.operator, input, (dim, size, step), seen, offset_of(input))

    def infer(input, dim, size, step):
        if not input.ndim:
            return meta((size,), input.dtype, input.device)
        shape = [*input.shape, size]
        shape[dim] = (shape[dim] - size) // step + 1
        return meta(shape, input.dtype, input.device)

    def evaluate(input, dim, size, step):
        if not np.ndim(input):
            return np.reshape(input, (1,))[:size]
        every = (slice(None),) * dim + (slice(None, None, step),)
        if size == 0:
            shape = [*input.shape, 0]
            shape[dim] = shape[dim] // step + 1
            return np.empty(shape, input.dtype)
        return np.lib.stride_tricks.sliding_window_view(input, size, dim)[every]

    def grad_input(grad, input_meta, dim, size, step):
        zeros = full_like_meta(input_meta)
        return apply(unfold_add.operator, (zeros, grad), (dim, size, step))

    def write(parent, new, dim, size, step):
        return apply(unfold_write.operator, (parent, new), (dim, size, step))


def _windows(input, dim, size, step):
    places = np.arange(input.size).reshape(input.shape)
    return unfold.operator.evaluate(places, dim, size, step).reshape(-1)


@operator(where=())
class unfold_add:
    """``input`` plus ``src`` added where the windows of an unfold look."""

    tensors = 2
    consumes = 0
    widen = True

    def call(input, src, dim, size, step):
        return apply(unfold_add.operator, (input, src), (dim, size, step))

    def infer(input, src, dim, size, step):
        return input.flat

    def evaluate(input, src, dim, size, step):
        np.add.at(input.reshape(-1), _windows(input, dim, size, step), src.reshape(-1))
        return input

    def grad_input(grad):
        return grad

    def grad_src(grad, dim, size, step):
        return apply(unfold.operator, (grad,), (dim, size, step))


@operator(where=())
class unfold_write:
    """``input`` with ``src`` where the windows of an unfold look."""

    tensors = 2
    consumes = 0

    def call(input, src, dim, size, step):
        return apply(unfold_write.operator, (input, src), (dim, size, step))

    def infer(input, src, dim, size, step):
        return input.flat

    def evaluate(input, src, dim, size, step):
        input.reshape(-1)[_windows(input, dim, size, step)] = src.reshape(-1)
        return input

    def grad_input(grad, src_meta, dim, size, step):
        zeros = full_like_meta(src_meta)
        return apply(unfold_write.operator, (grad, zeros), (dim, size, step))

    def grad_src(grad, dim, size, step):
        return apply(unfold.operator, (grad,), (dim, size, step))


__all__ = ["alias", "cat", "stack"]
