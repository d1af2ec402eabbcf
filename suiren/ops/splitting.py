"""Splitting: several views of a tensor. Source: torch.split, chunk, unbind, narrow and so on."""

from __future__ import annotations

from suiren import dtypes
from suiren.operator import composite
from suiren.ops.indexing import clamped
from suiren.ops.parts import select, slice_
from suiren.ops.views import sizes_of, wrap_dim
from suiren.tensor import Tensor
from suiren.trace import meta
from suiren.views import make_view, offset_of


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
    return _named(_parts(input, dim, sizes), "SplitWithSizesBackward0")


def _named(parts: tuple[Tensor, ...], node: str) -> tuple[Tensor, ...]:
    for part in parts:
        if part._grad_fn is not None:
            part._grad_fn.label = node
    return parts


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
    return _named(_unshared(input, chunk(input, chunks, dim)), "UnsafeSplitBackward0")


@composite(out=False)
def unsafe_split(tensor, split_size, dim=0):
    """split() whose results may be written to under autograd. Source: torch.unsafe_split."""
    return _named(_unshared(tensor, split(tensor, split_size, dim)), "UnsafeSplitBackward0")


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
    return _parts(input, dim, [least + 1] * more + [least] * (wanted - more), origin="")


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
