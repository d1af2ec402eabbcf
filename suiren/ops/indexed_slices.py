"""Whole slices of a dimension, named by a vector of indices: index_select, index_add and so on.

Indices may not be negative; one out of bounds is found when the values are computed. Source:
PyTorch's pages of torch.index_select, index_add, index_copy, index_fill and index_reduce.
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.autocast_state import casting
from suiren.autocasting import promoted
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.elementwise import kept_layout
from suiren.ops.indexing import checked_number
from suiren.ops.lowering import wrapped
from suiren.ops.scatter import (
    check_bounds,
    check_index,
    check_known,
    combined_gradients,
    reduce_at,
    sizes_or_one,
    with_a_dimension,
)
from suiren.ops.views import full_like_meta, reshape, wrap_dim
from suiren.tensor import Tensor
from suiren.trace import meta


def _check_vector(index: Tensor, name: str) -> Tensor:
    check_index(index, name)
    if index._meta.ndim > 1:
        raise IndexError(
            f"{name}(): Index is supposed to be a vector, but got dim: {index._meta.ndim}"
        )
    return index


def _along(ndim: int, dim: int, index) -> tuple:
    return (slice(None),) * dim + (with_a_dimension(index),)


def _lowered_write(g, how, input, index, source, dim):
    if how == "add" and input.dtype is dtypes.bool:
        raise g.NotNative("a sum of truth values")
    target, places = with_a_dimension(input), with_a_dimension(index).cast(dtypes.int64)
    shape = list(target.shape)
    shape[dim] = places.numel
    return g.scatter(how, target, places, source.reshape(*shape), dim).reshape(*input.shape)


@operator()
class index_select:
    """The positions ``index`` (a vector) of a dimension. Source: torch.index_select.

    >>> import suiren as torch
    >>> torch.tensor([[1, 2], [3, 4]]).index_select(1, torch.tensor([1, 1]))
    tensor([[2, 2],
            [4, 4]])
    """

    tensors = 2

    def call(input, dim, index):
        _check_vector(index, "index_select")
        dim = wrap_dim(dim, input._meta.ndim)
        if not input._meta.ndim and index._meta.numel != 1:
            raise RuntimeError(
                "index_select(): Index to scalar can have only 1 value, got "
                f"{index._meta.numel} value(s)"
            )
        check_known(input, index, dim, IndexError)
        return apply(index_select.operator, (input, index), (dim,))

    def infer(input, index, dim):
        if not input.ndim:
            return input
        shape = list(input.shape)
        shape[dim] = index.numel
        return meta(shape, input.dtype, input.device)

    def evaluate(input, index, dim):
        source = with_a_dimension(input)
        check_bounds(index, source.shape[dim], dim, IndexError)
        found = np.take(source, with_a_dimension(index), axis=dim)
        return found if input.ndim else found.reshape(())

    def decompose(g, input, index, dim):
        index = with_a_dimension(index).cast(dtypes.int64)
        found = g.take(with_a_dimension(input), index, dim)
        return found if input.ndim else found.reshape()

    def grad_input(grad, input_meta, index, dim):
        zeros = full_like_meta(input_meta)
        return apply(index_added.operator, (zeros, index, grad), (dim,))


@operator(where=(), name="index_add")
class index_added:
    """``input`` with slices of ``source`` added at positions ``index`` of a dimension."""

    tensors = 3
    consumes = 0
    widen = True

    def call(input, index, source, dim):
        return apply(index_added.operator, (input, index, source), (dim,))

    def infer(input, index, source, dim):
        return input.flat

    def evaluate(input, index, source, dim):
        target = with_a_dimension(input)
        check_bounds(index, target.shape[dim], dim, IndexError)
        if not source.size:
            return input
        # each position's slices side by side; one-dimensional add.at is the quick one
        places = np.arange(target.size).reshape(target.shape)[_along(target.ndim, dim, index)]
        np.add.at(target.reshape(-1), places.reshape(-1), source.reshape(-1))
        return input

    def decompose(g, input, index, source, dim):
        return _lowered_write(g, "add", input, index, source, dim)

    def grad_input(grad):
        return grad

    def grad_source(grad, source_meta, index, dim):
        found = apply(index_select.operator, (grad, index), (dim,))
        return reshape(found, source_meta.shape)


def _check_slices(input: Tensor, dim: int, index: Tensor, source: Tensor, name: str) -> None:
    mine, other = input._meta, source._meta
    count = index._meta.numel
    if other.ndim and mine.ndim or other.numel != 1:
        shape, wanted = list(sizes_or_one(other)), list(sizes_or_one(mine))
        if other.ndim == mine.ndim or not mine.ndim or not other.ndim:
            if len(shape) == len(wanted):
                if shape[dim] != count:
                    raise IndexError(
                        f"{name}(): Number of indices ({count}) should be equal to "
                        f"source.size(dim) ({shape[dim]})"
                    )
                wanted[dim] = shape[dim] = 0
        if shape != wanted:
            raise RuntimeError(
                f"{name}(): source of shape {list(other.shape)} must match the sliced shape of "
                f"input {list(mine.shape)} apart from dimension {dim}"
            )
    elif count != 1:
        raise IndexError(
            f"{name}(): When source is scalar, index should have one element (got {count})"
        )


@composite(inplace=True)
def index_add(input, dim, index, source, *, alpha=1):
    """``input`` with ``alpha`` times the slices of ``source`` added at positions ``index``.

    Source: torch.index_add.

    >>> import suiren as torch
    >>> torch.zeros(3).index_add(0, torch.tensor([0, 0]), torch.ones(2))
    tensor([2., 0., 0.])
    """
    _check_vector(index, "index_add")
    if source._meta.dtype is not input._meta.dtype:
        raise RuntimeError(
            "index_add_(): self and source expected to have the same dtype, but got (self) "
            f"{input._meta.dtype} and (source) {source._meta.dtype}"
        )
    dim = wrap_dim(dim, input._meta.ndim)
    _check_slices(input, dim, index, source, "index_add")
    check_known(input, index, dim, IndexError)
    if alpha != 1:
        source = source * checked_number(alpha, source._meta.dtype)
    return apply(index_added.operator, (input, index, source), (dim,))


@operator(where=(), name="index_copy")
class index_copied:
    """``input`` with slices of ``source`` at positions ``index`` of a dimension."""

    tensors = 3
    consumes = 0

    def call(input, index, source, dim):
        return apply(index_copied.operator, (input, index, source), (dim,))

    def infer(input, index, source, dim):
        return input.flat

    def evaluate(input, index, source, dim):
        target = with_a_dimension(input)
        check_bounds(index, target.shape[dim], dim, IndexError)
        target[_along(target.ndim, dim, index)] = with_a_dimension(source)
        return input

    def decompose(g, input, index, source, dim):
        return _lowered_write(g, "set", input, index, source, dim)

    def grad_input(grad, index, dim):
        return apply(index_filled.operator, (grad, index, 0), (dim,))

    def grad_source(grad, source_meta, index, dim):
        found = apply(index_select.operator, (grad, index), (dim,))
        return reshape(found, source_meta.shape)


@composite(inplace=True)
def index_copy(input, dim, index, source):
    """``input`` with the slices of ``source`` at positions ``index``. Source: torch.index_copy."""
    _check_vector(index, "index_copy")
    if casting:
        input, source = promoted((input, source))
    dim = wrap_dim(dim, input._meta.ndim)
    if source._meta.dtype is not input._meta.dtype:
        raise RuntimeError(
            "index_copy_(): self and source expected to have the same dtype, but got (self) "
            f"{input._meta.dtype} and (source) {source._meta.dtype}"
        )
    _check_slices(input, dim, index, source, "index_copy")
    check_known(input, index, dim, IndexError)
    return apply(index_copied.operator, (input, index, source), (dim,))


@operator(where=(), name="index_fill")
class index_filled:
    """``input`` with one number at positions ``index`` of a dimension."""

    tensors = 3
    consumes = 0

    def call(input, index, value, dim):
        return apply(index_filled.operator, (input, index, value), (dim,))

    def infer(input, index, value, dim):
        return kept_layout(input)

    def evaluate(input, index, value, dim):
        target = with_a_dimension(input)
        try:
            target[_along(target.ndim, dim, index)] = value
        except IndexError:
            raise IndexError(
                f"index out of range in index_fill() of dimension {dim}, whose size is "
                f"{target.shape[dim]}"
            ) from None
        return input

    def decompose(g, input, index, value, dim):
        shape = list(with_a_dimension(input).shape)
        shape[dim] = index.numel
        values = value.cast(input.dtype).expand(*shape)
        places = wrapped(g, index, with_a_dimension(input).shape[dim])
        return _lowered_write(g, "set", input, places, values, dim)

    def grad_input(grad, index, dim):
        return apply(index_filled.operator, (grad, index, 0), (dim,))

    def grad_value(grad, index, dim):
        # a position named twice counts once
        chosen = apply(index_filled.operator, (full_like_meta(grad._meta), index, 1), (dim,))
        return (grad * chosen).sum()


@composite(inplace=True, out=False)
def index_fill(input, dim, index, value):
    """``input`` with a number at positions ``index`` of a dimension. Source: torch.index_fill."""
    if index._meta.dtype is not dtypes.int64:
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    _check_vector(index, "index_fill")
    dim = wrap_dim(dim, input._meta.ndim)
    if isinstance(value, Tensor):
        if value._meta.ndim:
            raise RuntimeError(
                "Only supports 0-dimension value tensor, but got tensor with "
                f"{value._meta.ndim} dimension(s)."
            )
        value = value.to(input._meta.dtype)
    else:
        value = checked_number(value, input._meta.dtype)
    return apply(index_filled.operator, (input, index, value), (dim,))


@operator(where=(), name="index_reduce")
class index_reduced:
    """``input`` combined with slices of ``source`` at positions ``index`` of a dimension."""

    tensors = 3
    consumes = 0
    widen = True

    def call(input, index, source, dim, how, include_self):
        return apply(index_reduced.operator, (input, index, source), (dim, how, include_self))

    def infer(input, index, source, dim, how, include_self):
        return input.flat

    def evaluate(input, index, source, dim, how, include_self):
        target = with_a_dimension(input)
        check_bounds(index, target.shape[dim], dim, IndexError)
        if source.size:
            key = _along(target.ndim, dim, index)
            reduce_at(target, key, with_a_dimension(source), how, include_self)
        return input

    def backward(grad, input, index, source, result, dim, how, include_self, needs):
        def at(x):
            return apply(index_select.operator, (x, index), (dim,))

        def to(x):
            zeros = full_like_meta(input._meta.like(dtype=x._meta.dtype))
            return apply(index_added.operator, (zeros, index, x), (dim,))

        own, other = combined_gradients(grad, input, source, result, how, include_self, at, to)
        if not include_self:
            own = apply(index_filled.operator, (own, index, 0), (dim,))
        return own, None, other


@composite(inplace=True)
def index_reduce(input, dim, index, source, reduce, *, include_self=True):
    """``input`` combined with slices of ``source``: prod, mean, amax or amin.

    Source: torch.index_reduce.
    """
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            f"reduce argument must be either prod, mean, amax or amin, got {reduce}."
        )
    _check_vector(index, "index_reduce")
    if source._meta.dtype is not input._meta.dtype:
        raise RuntimeError("index_reduce_(): self and source expected to have the same dtype")
    dim = wrap_dim(dim, input._meta.ndim)
    _check_slices(input, dim, index, source, "index_reduce")
    check_known(input, index, dim, IndexError)
    attributes = (dim, reduce, bool(include_self))
    return apply(index_reduced.operator, (input, index, source), attributes)
