"""Gathering and scattering along a dimension, and selection by masks.

Index tensors here name positions of one dimension and may not be negative (unlike in brackets).
An index out of bounds is found when the values are computed. Source: PyTorch's pages of
torch.gather, torch.scatter, torch.index_select, torch.take and their relatives.
"""

from __future__ import annotations

from math import prod

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.creation import fill, from_array
from suiren.ops.elementwise import kept_layout
from suiren.ops.indexing import checked_number, known_range
from suiren.ops.views import (
    as_strided_scatter,
    diagonal,
    diagonal_write,
    full_like_meta,
    reshape,
    select,
    select_write,
    slice_,
    slice_write,
    wrap_dim,
)
from suiren.tensor import Tensor
from suiren.trace import meta

# --------------------------------------------------------------------------
# Checks


def _check_index(index: Tensor, name: str) -> Tensor:
    if not isinstance(index, Tensor):
        raise TypeError(f"{name}(): argument 'index' must be Tensor, not {type(index).__name__}")
    if index._meta.dtype not in (dtypes.int64, dtypes.int32) and index._meta.numel:
        raise RuntimeError(
            f"{name}(): Expected dtype int32/int64 for index, got {index._meta.dtype}; convert it "
            "with .long()"
        )
    return index


def _check_same_dtype(input: Tensor, other: Tensor, name: str, what: str) -> None:
    if other._meta.dtype is not input._meta.dtype:
        raise RuntimeError(
            f"{name}(): Expected self.dtype to be equal to {what}.dtype, got "
            f"{input._meta.dtype} and {other._meta.dtype}"
        )


def _check_bounds(index: np.ndarray, size: int, dim: int, error: type = RuntimeError) -> None:
    if not index.size:
        return
    low, high = index.min(), index.max()
    if low < 0 or high >= size:
        wrong = int(low if low < 0 else high)
        raise error(f"index {wrong} is out of bounds for dimension {dim} with size {size}")


def _check_known(input: Tensor, index: Tensor, dim: int, error: type = RuntimeError) -> None:
    found = known_range(index)
    if found is not None:
        size = _sizes(input._meta)[dim]
        if found[0] < 0 or found[1] >= size:
            wrong = found[0] if found[0] < 0 else found[1]
            raise error(f"index {wrong} is out of bounds for dimension {dim} with size {size}")


def _rank(m) -> int:
    return max(m.ndim, 1)


def _sizes(m) -> tuple[int, ...]:
    return tuple(m.shape) or (1,)


def _check_places(input, index, dim: int, name: str, src=None) -> None:
    """Index (and source) against the input of gather and the scatters."""
    if not index.numel:
        return
    if _rank(index) != _rank(input) or (src is not None and _rank(src) != _rank(input)):
        raise RuntimeError(
            f"Index tensor must have the same number of dimensions as input tensor: {name}() got "
            f"index of shape {list(index.shape)} for input of shape {list(input.shape)}"
            + ("" if src is None else f" and src of shape {list(src.shape)}")
        )
    sizes, places = _sizes(input), _sizes(index)
    for d, n in enumerate(places):
        if d != dim and n > sizes[d]:
            raise RuntimeError(
                f"Size does not match at dimension {d} expected index {list(index.shape)} to be no "
                f"larger than self {list(input.shape)} apart from dimension {dim}, in {name}()"
            )
        if src is not None and n > _sizes(src)[d]:
            raise RuntimeError(
                f"Expected index {list(index.shape)} to be no larger than src {list(src.shape)} "
                f"in every dimension, in {name}()"
            )


def _grid(shape: tuple[int, ...], dim: int, index: np.ndarray) -> tuple:
    """NumPy indices that put ``index`` at one dimension and count along the others."""
    found: list = list(np.ogrid[tuple([slice(n) for n in index.shape])])
    found[dim] = index
    return tuple(found)


def _one(array: np.ndarray) -> np.ndarray:
    return array.reshape(1) if not array.ndim else array


def _corner(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return _one(array)[tuple([slice(n) for n in shape])]


# --------------------------------------------------------------------------
# gather and scatter


@operator()
class gather:
    """``input[..., index[p], ...]`` for each position ``p`` of ``index``.

    Raises RuntimeError for an index of another rank, too large, or out of bounds.
    Source: torch.gather.

    >>> import suiren as torch
    >>> torch.tensor([[1, 2], [3, 4]]).gather(1, torch.tensor([[0], [1]]))
    tensor([[1],
            [4]])
    """

    tensors = 2

    def call(input, dim, index, *, sparse_grad=False):
        _check_index(index, "gather")
        dim = wrap_dim(dim, input._meta.ndim)
        _check_places(input._meta, index._meta, dim, "gather")
        _check_known(input, index, dim)
        return apply(gather.operator, (input, index), (dim,))

    def infer(input, index, dim):
        return meta(index.shape, input.dtype, input.device)

    def evaluate(input, index, dim):
        if not index.size:
            return np.empty(index.shape, input.dtype)
        source = _one(input)
        _check_bounds(index, source.shape[dim], dim)
        places = _one(index)
        wanted = list(places.shape)
        wanted[dim] = source.shape[dim]
        found = np.take_along_axis(_corner(source, tuple(wanted)), places, dim)
        return found.reshape(index.shape)

    def grad_input(grad, input_meta, index, dim):
        if not index._meta.numel:
            return full_like_meta(input_meta)
        return apply(scatter_add.operator, (full_like_meta(input_meta), index, grad), (dim,))


@operator(inplace=True)
class scatter_add:
    """``input`` with the elements of ``src`` added at positions ``index`` of a dimension.

    Source: torch.scatter_add.

    >>> import suiren as torch
    >>> torch.zeros(3).scatter_add(0, torch.tensor([0, 0, 2]), torch.ones(3))
    tensor([2., 0., 1.])
    """

    tensors = 3
    consumes = 0
    widen = True

    def call(input, dim, index, src):
        _check_index(index, "scatter_add")
        _check_same_dtype(input, src, "scatter", "src")
        dim = wrap_dim(dim, input._meta.ndim)
        _check_places(input._meta, index._meta, dim, "scatter_add", src._meta)
        _check_known(input, index, dim)
        return apply(scatter_add.operator, (input, index, src), (dim,))

    def infer(input, index, src, dim):
        return input.flat

    def evaluate(input, index, src, dim):
        if not index.size:
            return input
        target, places = _one(input), _one(index)
        _check_bounds(places, target.shape[dim], dim)
        flat = np.ravel_multi_index(
            np.broadcast_arrays(*_grid(target.shape, dim, places)), target.shape
        )
        values = _corner(src, places.shape)
        np.add.at(target.reshape(-1), flat.reshape(-1), values.reshape(-1))
        return input

    def grad_input(grad):
        return grad

    def grad_src(grad, src_meta, index, dim):
        return _gathered(grad, src_meta, index, dim)


def _gathered(grad, src_meta, index, dim):
    """The gradient of a scattered source: what lies at its places; zeros beyond the index."""
    if not index._meta.numel:
        return full_like_meta(src_meta)
    found = apply(gather.operator, (grad, index), (dim,))
    if index._meta.shape != src_meta.shape:
        zeros = full_like_meta(src_meta)
        return apply(corner_write.operator, (zeros, found), ())
    return found


@operator(where=())
class corner_write:
    """``input`` with ``src`` in its first corner."""

    tensors = 2
    consumes = 0

    def call(input, src):
        return apply(corner_write.operator, (input, src))

    def infer(input, src):
        return input.flat

    def evaluate(input, src):
        _corner(input, _one(src).shape)[...] = _one(src)
        return input

    def grad_input(grad, src_meta):
        return apply(corner_write.operator, (grad, full_like_meta(src_meta)))

    def grad_src(grad, src_meta):
        for d, n in enumerate(src_meta.shape):
            grad = slice_(grad, d, 0, n, 1)
        return grad


@operator(where=(), name="scatter")
class scatter_src:
    """``input`` with the elements of ``src`` at positions ``index`` of a dimension."""

    tensors = 3
    consumes = 0

    def call(input, dim, index, src):
        return apply(scatter_src.operator, (input, index, src), (dim,))

    def infer(input, index, src, dim):
        return input.flat

    def evaluate(input, index, src, dim):
        if index.size:
            target, places = _one(input), _one(index)
            _check_bounds(places, target.shape[dim], dim)
            target[_grid(target.shape, dim, places)] = _corner(src, places.shape)
        return input

    def grad_input(grad, index, dim):
        return apply(scatter_value.operator, (grad, index, 0), (dim,))

    def grad_src(grad, src_meta, index, dim):
        return _gathered(grad, src_meta, index, dim)


@operator(where=(), name="scatter_value", node_name="ScatterBackward1")
class scatter_value:
    """``input`` with one number at positions ``index`` of a dimension."""

    tensors = 3
    consumes = 0

    def call(input, dim, index, value):
        return apply(scatter_value.operator, (input, index, value), (dim,))

    def infer(input, index, value, dim):
        return input.flat

    def evaluate(input, index, value, dim):
        if index.size:
            target, places = _one(input), _one(index)
            _check_bounds(places, target.shape[dim], dim)
            target[_grid(target.shape, dim, places)] = value
        return input

    def grad_input(grad, index, dim):
        return apply(scatter_value.operator, (grad, index, 0), (dim,))


def _number(value, kind, name: str):
    if isinstance(value, Tensor):
        if value._meta.ndim:
            raise RuntimeError(
                f"{name}() takes a number or a tensor of no dimensions, got "
                f"{value._meta.ndim} dimension(s)"
            )
        value = value.item()
    return checked_number(value, kind)


@composite(inplace=True)
def scatter(input, dim, index, src=None, *, value=None, reduce=None):
    """``input`` with ``src`` (a tensor or a number) at positions ``index`` of a dimension.

    ``reduce`` "add" or "multiply" combines it with what is there instead. Where positions repeat,
    the last one wins. Source: torch.scatter.

    >>> import suiren as torch
    >>> torch.zeros(3).scatter(0, torch.tensor([0, 2]), 5.)
    tensor([5., 0., 5.])
    """
    _check_index(index, "scatter")
    if src is None:
        src = value
    dim = wrap_dim(dim, input._meta.ndim)
    if isinstance(src, Tensor):
        _check_same_dtype(input, src, "scatter", "src")
    _check_places(
        input._meta, index._meta, dim, "scatter", src._meta if isinstance(src, Tensor) else None
    )
    _check_known(input, index, dim)
    if reduce is not None:
        names = {"add": "sum", "multiply": "prod"}
        if reduce not in names:
            raise RuntimeError("reduce argument must be either add or multiply.")
        if not isinstance(src, Tensor):
            number = checked_number(src, input._meta.dtype)
            src = fill(index._meta.shape, number, input._meta.dtype)
        return apply(scatter_reduced.operator, (input, index, src), (dim, names[reduce], True))
    if isinstance(src, Tensor):
        return apply(scatter_src.operator, (input, index, src), (dim,))
    number = checked_number(src, input._meta.dtype)
    return apply(scatter_value.operator, (input, index, number), (dim,))


REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")
_UFUNCS = {"sum": np.add, "mean": np.add, "prod": np.multiply, "amax": np.maximum,
           "amin": np.minimum}  # fmt: skip


def _start_value(how: str, kind: np.dtype):
    if how in ("sum", "mean"):
        return 0
    if how == "prod":
        return 1
    if kind.kind == "f":
        return -np.inf if how == "amax" else np.inf
    if kind.kind == "b":
        return how == "amin"
    limits = np.iinfo(kind)
    return limits.min if how == "amax" else limits.max


def _reduce_at(input, key, values, how: str, include_self: bool):
    """Combines ``values`` with what lies at ``key``, in the memory of ``input``."""
    if not include_self:
        input[key] = _start_value(how, input.dtype)
    _UFUNCS[how].at(input, key, values)
    if how == "mean":
        count = np.full(input.shape, 1 if include_self else 0)
        np.add.at(count, key, 1)
        np.maximum(count, 1, out=count)
        if input.dtype.kind in "iu":
            input[...] = np.floor_divide(input, count)
        else:
            input /= count
    return input


@operator(where=(), name="scatter_reduce")
class scatter_reduced:
    """``input`` combined with ``src`` at positions ``index`` of a dimension."""

    tensors = 3
    consumes = 0
    widen = True

    def call(input, index, src, dim, how, include_self):
        return apply(scatter_reduced.operator, (input, index, src), (dim, how, include_self))

    def infer(input, index, src, dim, how, include_self):
        return input.flat

    def evaluate(input, index, src, dim, how, include_self):
        if index.size:
            target, places = _one(input), _one(index)
            _check_bounds(places, target.shape[dim], dim)
            key = _grid(target.shape, dim, places)
            _reduce_at(target, key, _corner(src, places.shape), how, include_self)
        return input

    def backward(grad, input, index, src, result, dim, how, include_self, needs):
        return _reduce_gradients(grad, input, index, src, result, dim, how, include_self)


def _reduce_gradients(grad, input, index, src, result, dim, how, include_self):
    def at(x):  # what lies at the places of src
        return apply(gather.operator, (x, index), (dim,))

    def to(x):  # sums of what src's places hold
        zeros = full_like_meta(input._meta.like(dtype=x._meta.dtype))
        return apply(scatter_add.operator, (zeros, index, x), (dim,))

    def without_places(x):
        return apply(scatter_value.operator, (x, index, 0), (dim,))

    shape = index._meta.shape
    part = src
    for d, n in enumerate(shape):
        if src._meta.shape[d] != n:
            part = slice_(part, d, 0, n, 1)
    grad_input, grad_part = _combined_gradients(
        grad, input, part, result, how, include_self, at, to
    )
    if not include_self:
        grad_input = without_places(grad_input)
    if shape != src._meta.shape:
        grad_part = apply(corner_write.operator, (full_like_meta(src._meta), grad_part))
    return grad_input, None, grad_part


def _combined_gradients(grad, input, part, result, how, include_self, at, to):
    """Gradients of a reduction at places: shared by scatter_reduce and index_reduce."""
    kind = input._meta.dtype
    if how == "sum":
        return grad, at(grad)
    if how == "mean":
        ones = fill(part._meta.shape, 1, kind)
        count = to(ones) + (1 if include_self else 0)
        count = count + (count == 0).to(kind)
        return grad / count, at(grad / count)
    if how in ("amax", "amin"):
        mine = (input == result).to(kind)
        theirs = (part == at(result)).to(kind)
        count = to(theirs) + (mine if include_self else 0)
        count = count + (count == 0).to(kind)
        shared = grad / count
        own = mine * shared if include_self else grad
        return own, theirs * at(shared)
    # prod: the product of the others, found without dividing by zeros
    zero = part == 0
    zeros_at = to(zero.to(kind)) + ((input == 0).to(kind) if include_self else 0)
    one = fill((), 1, kind)
    nonzero_input = choose(input == 0, one, input) if include_self else fill(
        input._meta.shape, 1, kind)
    nonzero_part = choose(zero, one, part)
    logs = nonzero_part.abs().log()
    # sign and size of the product of everything that is not zero
    negative = (nonzero_part < 0).to(kind)
    size = (to(logs) + nonzero_input.abs().log()).exp()
    odd = (to(negative) + (nonzero_input < 0).to(kind)).remainder(2)
    product = size * (1 - 2 * odd)
    none = (zeros_at == 0).to(kind)
    single = (zeros_at == 1).to(kind)
    own = grad * product / nonzero_input * (none + single * (input == 0).to(kind))
    if not include_self:
        own = grad
    weight = at(none) + at(single) * zero.to(kind)
    return own, at(grad * product) / nonzero_part * weight


def choose(condition, chosen, other):
    """``where``, through the registry (its family comes later)."""
    from suiren.ops.indexing import choose as found

    return found(condition, chosen, other)


@composite(inplace=True)
def scatter_reduce(input, dim, index, src, reduce, *, include_self=True):
    """``input`` combined with ``src`` at positions ``index``: sum, prod, mean, amax or amin.

    Without ``include_self`` what lay at the named positions does not count.
    Source: torch.scatter_reduce.

    >>> import suiren as torch
    >>> torch.ones(2).scatter_reduce(0, torch.tensor([0, 0]), torch.tensor([3., 5.]), "amax")
    tensor([5., 1.])
    """
    if reduce not in REDUCTIONS:
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}."
        )
    _check_index(index, "scatter_reduce")
    _check_same_dtype(input, src, "scatter", "src")
    dim = wrap_dim(dim, input._meta.ndim)
    _check_places(input._meta, index._meta, dim, "scatter_reduce", src._meta)
    _check_known(input, index, dim)
    attributes = (dim, reduce, bool(include_self))
    return apply(scatter_reduced.operator, (input, index, src), attributes)


# --------------------------------------------------------------------------
# Whole slices of a dimension


def _check_vector(index: Tensor, name: str) -> Tensor:
    _check_index(index, name)
    if index._meta.ndim > 1:
        raise IndexError(
            f"{name}(): Index is supposed to be a vector, but got dim: {index._meta.ndim}"
        )
    return index


def _along(ndim: int, dim: int, index) -> tuple:
    return (slice(None),) * dim + (_one(index),)


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
        _check_known(input, index, dim, IndexError)
        return apply(index_select.operator, (input, index), (dim,))

    def infer(input, index, dim):
        if not input.ndim:
            return input
        shape = list(input.shape)
        shape[dim] = index.numel
        return meta(shape, input.dtype, input.device)

    def evaluate(input, index, dim):
        source = _one(input)
        _check_bounds(index, source.shape[dim], dim, IndexError)
        found = np.take(source, _one(index), axis=dim)
        return found if input.ndim else found.reshape(())

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
        target = _one(input)
        _check_bounds(index, target.shape[dim], dim, IndexError)
        if not source.size:
            return input
        # each position's slices side by side; one-dimensional add.at is the quick one
        places = np.arange(target.size).reshape(target.shape)[_along(target.ndim, dim, index)]
        np.add.at(target.reshape(-1), places.reshape(-1), source.reshape(-1))
        return input

    def grad_input(grad):
        return grad

    def grad_source(grad, source_meta, index, dim):
        found = apply(index_select.operator, (grad, index), (dim,))
        return reshape(found, source_meta.shape)


def _check_slices(input: Tensor, dim: int, index: Tensor, source: Tensor, name: str) -> None:
    mine, other = input._meta, source._meta
    count = index._meta.numel
    if other.ndim and mine.ndim or other.numel != 1:
        shape, wanted = list(_sizes(other)), list(_sizes(mine))
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
    _check_known(input, index, dim, IndexError)
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
        target = _one(input)
        _check_bounds(index, target.shape[dim], dim, IndexError)
        target[_along(target.ndim, dim, index)] = _one(source)
        return input

    def grad_input(grad, index, dim):
        return apply(index_filled.operator, (grad, index, 0), (dim,))

    def grad_source(grad, source_meta, index, dim):
        found = apply(index_select.operator, (grad, index), (dim,))
        return reshape(found, source_meta.shape)


@composite(inplace=True)
def index_copy(input, dim, index, source):
    """``input`` with the slices of ``source`` at positions ``index``. Source: torch.index_copy."""
    _check_vector(index, "index_copy")
    dim = wrap_dim(dim, input._meta.ndim)
    if source._meta.dtype is not input._meta.dtype:
        raise RuntimeError(
            "index_copy_(): self and source expected to have the same dtype, but got (self) "
            f"{input._meta.dtype} and (source) {source._meta.dtype}"
        )
    _check_slices(input, dim, index, source, "index_copy")
    _check_known(input, index, dim, IndexError)
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
        target = _one(input)
        try:
            target[_along(target.ndim, dim, index)] = value
        except IndexError:
            raise IndexError(
                f"index out of range in index_fill() of dimension {dim}, whose size is "
                f"{target.shape[dim]}"
            ) from None
        return input

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
        target = _one(input)
        _check_bounds(index, target.shape[dim], dim, IndexError)
        if source.size:
            key = _along(target.ndim, dim, index)
            _reduce_at(target, key, _one(source), how, include_self)
        return input

    def backward(grad, input, index, source, result, dim, how, include_self, needs):
        def at(x):
            return apply(index_select.operator, (x, index), (dim,))

        def to(x):
            zeros = full_like_meta(input._meta.like(dtype=x._meta.dtype))
            return apply(index_added.operator, (zeros, index, x), (dim,))

        own, other = _combined_gradients(grad, input, source, result, how, include_self, at, to)
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
    _check_known(input, index, dim, IndexError)
    attributes = (dim, reduce, bool(include_self))
    return apply(index_reduced.operator, (input, index, source), attributes)


# --------------------------------------------------------------------------
# Positions in the flattened tensor


@operator()
class take:
    """The elements at positions of the flattened tensor. Source: torch.take."""

    tensors = 2

    def call(input, index):
        if index._meta.dtype is not dtypes.int64:
            raise RuntimeError(
                f"take(): Expected a long tensor for index, but got {index._meta.dtype.letter_name}"
            )
        if not input._meta.numel and index._meta.numel:
            raise IndexError("take(): tried to take from an empty tensor")
        return apply(take.operator, (input, index))

    def infer(input, index):
        return meta(index.shape, input.dtype, input.device)

    def evaluate(input, index):
        try:
            return np.asarray(np.take(input, index)) if index.size else np.empty(
                index.shape, input.dtype)
        except IndexError:
            raise IndexError(
                f"out of range: tried to access an index beyond the {input.size} elements, in "
                "take()"
            ) from None

    def grad_input(grad, input_meta, index):
        return put(full_like_meta(input_meta), index, grad, True)


@operator(inplace=True)
class put:
    """``input`` with ``source`` at positions of the flattened tensor. Source: torch.put."""

    tensors = 3
    consumes = 0
    widen = True

    def call(input, index, source, accumulate=False):
        if index._meta.dtype is not dtypes.int64:
            raise RuntimeError(
                f"put_(): Expected a long tensor for index, but got {index._meta.dtype.letter_name}"
            )
        if source._meta.dtype is not input._meta.dtype:
            raise RuntimeError(
                f"put_(): self and source expected to have the same dtype, but got self.dtype = "
                f"{input._meta.dtype} and source.dtype = {source._meta.dtype}"
            )
        if index._meta.numel != source._meta.numel:
            raise RuntimeError(
                "put_(): Expected source and index to have the same number of elements, but got "
                f"source.numel() = {source._meta.numel}, index.numel() = {index._meta.numel}"
            )
        if index._meta.numel and not input._meta.numel:
            raise IndexError("put_(): Tried to put elements into an empty tensor")
        return apply(put.operator, (input, index, source), (bool(accumulate),))

    def infer(input, index, source, accumulate):
        return kept_layout(input)

    def evaluate(input, index, source, accumulate):
        flat = input.reshape(-1)
        try:
            if accumulate:
                np.add.at(flat, index.reshape(-1), source.reshape(-1))
            else:
                flat[index.reshape(-1)] = source.reshape(-1)
        except IndexError:
            raise IndexError(f"put_(): index out of range of {flat.size} elements") from None
        return input

    def grad_input(grad, source_meta, index, accumulate):
        if accumulate:
            return grad
        return put(grad, index, full_like_meta(source_meta), False)

    def grad_source(grad, source_meta, index):
        return reshape(take(grad, index), source_meta.shape)


@composite()
def take_along_dim(input, indices, dim=None):
    """Elements at ``indices`` along a dimension, other dimensions broadcast.

    Source: torch.take_along_dim.
    """
    if indices._meta.dtype.category != dtypes.INTEGER or indices._meta.dtype is not dtypes.int64:
        raise RuntimeError(
            "torch.take_along_dim(): dtype of indices should be Long but got "
            f"{indices._meta.dtype.letter_name}"
        )
    if dim is None:
        return gather(reshape(input, (-1,)), 0, reshape(indices, (-1,)))
    if indices._meta.ndim != input._meta.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {input._meta.ndim} dimensions for input, and {indices._meta.ndim} dimensions "
            "for indices"
        )
    from suiren.ops.elementwise import broadcast_shapes

    dim = wrap_dim(dim, input._meta.ndim)
    size = input._meta.shape[dim] if input._meta.ndim else 1
    indices = choose(indices < 0, indices + size, indices)
    mine, places = list(input._meta.shape), list(indices._meta.shape)
    if not mine:
        return gather(input, dim, indices)
    at_input, at_index = mine[dim], places[dim]
    mine[dim] = places[dim] = 1
    common = list(broadcast_shapes(mine, places))
    wide = [*common]
    wide[dim] = at_input
    tall = [*common]
    tall[dim] = at_index
    return gather(input.expand(wide), dim, indices.expand(tall))


# --------------------------------------------------------------------------
# Masks


@composite()
def masked_select(input, mask):
    """The elements where the (broadcast) mask is True, in one dimension.

    Its shape depends on the mask, so this waits for it. Source: torch.masked_select.

    >>> import suiren as torch
    >>> torch.tensor([1, 2, 3]).masked_select(torch.tensor([True, False, True]))
    tensor([1, 3])
    """
    if mask._meta.dtype is not dtypes.bool:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    from suiren.ops.elementwise import broadcast_shapes

    shape = broadcast_shapes(input._meta.shape, mask._meta.shape)
    chosen = np.broadcast_to(mask.peek(), shape)
    places = from_array(np.flatnonzero(chosen))
    wide = input.expand(shape) if input._meta.shape != shape else input
    return apply(masked_taken.operator, (wide, places), ())


@operator(where=(), name="masked_select")
class masked_taken:
    """Elements at positions of the flattened tensor, found from a mask."""

    tensors = 2

    def call(input, places):
        return apply(masked_taken.operator, (input, places))

    def infer(input, places):
        return meta(places.shape, input.dtype, input.device)

    def evaluate(input, places):
        return input.reshape(-1)[places]

    def grad_input(grad, input_meta, places):
        return put(full_like_meta(input_meta), places, grad)


@operator(inplace=True)
class masked_scatter:
    """``input`` with the elements of ``source``, in order, where the mask is True.

    Source: torch.masked_scatter.
    """

    tensors = 3
    consumes = 0

    def call(input, mask, source):
        from suiren.ops.elementwise import broadcast_shapes

        if mask._meta.dtype is not dtypes.bool:
            raise RuntimeError(
                "masked_scatter_ only supports boolean masks, but got mask with dtype "
                f"{mask._meta.dtype}"
            )
        if source._meta.dtype is not input._meta.dtype:
            raise RuntimeError(
                "masked_scatter: expected self and source to have same dtypes but got "
                f"{input._meta.dtype.letter_name} and {source._meta.dtype.letter_name}"
            )
        shape = broadcast_shapes(input._meta.shape, mask._meta.shape)
        input = input if input._meta.shape == shape else input.expand(shape)
        mask = mask if mask._meta.shape == shape else mask.expand(shape)
        return apply(masked_scatter.operator, (input, mask, source), ())

    def infer(input, mask, source):
        return input.flat

    def evaluate(input, mask, source):
        count = int(np.count_nonzero(mask))
        if count > source.size:
            raise RuntimeError(
                "masked_scatter: expected source to have at least as many elements as the mask "
                f"has True: {source.size} for {count}"
            )
        input[mask] = source.reshape(-1)[:count]
        return input

    def grad_input(grad, mask):
        return choose(mask, fill((), 0, grad._meta.dtype), grad)

    def grad_source(grad, mask, source_meta):
        return apply(masked_gathered.operator, (grad, mask), (source_meta.flat,))


@operator(where=())
class masked_gathered:
    """The elements where the mask is True, in order, in the first places of zeros."""

    tensors = 2

    def call(input, mask, m):
        return apply(masked_gathered.operator, (input, mask), (m,))

    def infer(input, mask, m):
        return m

    def evaluate(input, mask, m):
        found = input[mask]
        result = np.zeros(m.numel, m.dtype.numpy)
        result[: found.size] = found
        return result.reshape(m.shape)

    def grad_input(grad, input_meta, mask):
        return masked_scatter(full_like_meta(input_meta), mask, grad)


@composite()
def nonzero(input, *, as_tuple=False):
    """The positions of the elements that are not zero, one row for each (or a tuple of columns).

    Its shape depends on the values, so this waits for them. Source: torch.nonzero.

    >>> import suiren as torch
    >>> torch.tensor([[0, 5], [6, 0]]).nonzero()
    tensor([[0, 1],
            [1, 0]])
    """
    array = input.peek()
    if as_tuple:
        return tuple([from_array(x.astype(np.int64)) for x in np.atleast_1d(array).nonzero()])
    if not array.ndim:
        return from_array(np.zeros((int(bool(array)), 0), np.int64))
    return from_array(np.stack(array.nonzero(), axis=1).astype(np.int64))


@composite()
def argwhere(input):
    """nonzero(): the positions of what is not zero. Source: torch.argwhere."""
    return nonzero(input)


@composite()
def nonzero_static(input, *, size, fill_value=-1):
    """nonzero() cut or filled up to ``size`` rows. Source: torch.nonzero_static."""
    if size < 0:
        raise RuntimeError(f"nonzero_static: 'size' must be an non-negative integer, got {size}")
    array = input.peek()
    found = np.full((size, array.ndim), fill_value, np.int64)
    if array.ndim:
        rows = np.stack(array.nonzero(), axis=1)[:size]
        found[: len(rows)] = rows
    return from_array(found)


# --------------------------------------------------------------------------
# A copy with another part: what writing through a view makes


def _check_part(source: Tensor, wanted, name: str) -> None:
    if tuple(source._meta.shape) != tuple(wanted):
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = "
            f"{list(source._meta.shape)}, slice size = {list(wanted)}, in {name}()"
        )


@composite()
def select_scatter(input, src, dim, index):
    """``input`` with ``src`` at one position of a dimension. Source: torch.select_scatter."""
    part = select(input, dim, index)
    _check_part(src, part._meta.shape, "select_scatter")
    return select_write(input, src.to(input._meta.dtype), *part._view.steps[-1][1])


@composite()
def slice_scatter(input, src, dim=0, start=None, end=None, step=1):
    """``input`` with ``src`` in a slice of a dimension. Source: torch.slice_scatter."""
    from suiren.ops.indexing import slice_bounds

    dim = wrap_dim(dim, input._meta.ndim)
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    attributes = (dim, *slice_bounds(slice(start, end, step), input._meta.shape[dim]))
    part = slice_.operator.infer(input._meta, *attributes)
    _check_part(src, part.shape, "slice_scatter")
    return slice_write(input, src.to(input._meta.dtype), *attributes)


@composite()
def diagonal_scatter(input, src, offset=0, dim1=0, dim2=1):
    """``input`` with ``src`` on a diagonal. Source: torch.diagonal_scatter."""
    part = diagonal(input, offset, dim1, dim2)
    _check_part(src, part._meta.shape, "diagonal_scatter")
    return diagonal_write(input, src.to(input._meta.dtype), *part._view.steps[-1][1])


@composite(name="as_strided_scatter")
def scatter_strided(input, src, size, stride, storage_offset=None):
    """``input`` with ``src`` where an as_strided view looks. Source: torch.as_strided_scatter."""
    from suiren.ops.views import as_strided

    base = input.contiguous()
    part = as_strided(base, size, stride, storage_offset or 0)
    _check_part(src, part._meta.shape, "as_strided_scatter")
    flat = reshape(base, (base._meta.numel,))
    found = as_strided_scatter(flat, src.to(input._meta.dtype), *part._view.steps[-1][1])
    return reshape(found, input._meta.shape)


# --------------------------------------------------------------------------
# Flat positions


@composite(out=False)
def unravel_index(indices, shape):
    """Positions in the flattened tensor as a tuple of positions in each dimension.

    Source: torch.unravel_index.
    """
    kind = indices._meta.dtype
    if kind.category != dtypes.INTEGER:
        raise ValueError(f"expected 'indices' to be integer, but got {kind}")
    if isinstance(shape, Tensor):
        shape = shape.tolist()
    shape = (shape,) if hasattr(shape, "__index__") else tuple(shape)
    if any(s < 0 for s in shape):
        raise ValueError(f"'shape' cannot have negative values, but got {shape}")
    found = []
    for d, size in enumerate(shape):
        rest = prod(shape[d + 1 :])
        part = indices if rest == 1 else indices.div(rest, rounding_mode="floor")
        found.append(part.remainder(size))
    return tuple(found)


__all__ = ["gather", "index_select", "nonzero", "scatter"]
