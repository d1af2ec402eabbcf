"""Gathering and scattering along a dimension.

Index tensors here name positions of one dimension and may not be negative (unlike in brackets).
An index out of bounds is found when the values are computed. Whole slices of a dimension are in
``indexed_slices.py``, positions in the flattened tensor in ``flat_positions.py``. Source: PyTorch's
pages of torch.gather, torch.scatter and their relatives.
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.device import META
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.creation import fill
from suiren.ops.elementwise import broadcast_shapes
from suiren.ops.index_tensors import known_range
from suiren.ops.indexing import checked_number, choose
from suiren.ops.lowering import corner, put_corner
from suiren.ops.parts import slice_
from suiren.ops.views import full_like_meta, reshape, wrap_dim
from suiren.tensor import Tensor
from suiren.trace import meta

# --------------------------------------------------------------------------
# Checks


def check_index(index: Tensor, name: str) -> Tensor:
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


def check_bounds(index: np.ndarray, size: int, dim: int, error: type = RuntimeError) -> None:
    if not index.size:
        return
    low, high = index.min(), index.max()
    if low < 0 or high >= size:
        wrong = int(low if low < 0 else high)
        raise error(f"index {wrong} is out of bounds for dimension {dim} with size {size}")


def check_known(input: Tensor, index: Tensor, dim: int, error: type = RuntimeError) -> None:
    found = known_range(index)
    if found is not None:
        size = sizes_or_one(input._meta)[dim]
        if found[0] < 0 or found[1] >= size:
            wrong = found[0] if found[0] < 0 else found[1]
            raise error(f"index {wrong} is out of bounds for dimension {dim} with size {size}")


def _rank(m) -> int:
    return max(m.ndim, 1)


def sizes_or_one(m) -> tuple[int, ...]:
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
    sizes, places = sizes_or_one(input), sizes_or_one(index)
    for d, n in enumerate(places):
        if d != dim and n > sizes[d]:
            raise RuntimeError(
                f"Size does not match at dimension {d} expected index {list(index.shape)} to be no "
                f"larger than self {list(input.shape)} apart from dimension {dim}, in {name}()"
            )
        if src is not None and n > sizes_or_one(src)[d]:
            raise RuntimeError(
                f"Expected index {list(index.shape)} to be no larger than src {list(src.shape)} "
                f"in every dimension, in {name}()"
            )


def _grid(shape: tuple[int, ...], dim: int, index: np.ndarray) -> tuple:
    """NumPy indices that put ``index`` at one dimension and count along the others."""
    found: list = list(np.ogrid[tuple([slice(n) for n in index.shape])])
    found[dim] = index
    return tuple(found)


def with_a_dimension(array: np.ndarray) -> np.ndarray:
    return array.reshape(1) if not array.ndim else array


def _corner(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return with_a_dimension(array)[tuple([slice(n) for n in shape])]


def _lowered_scatter(g, how, input, index, src, dim):
    if how == "add" and input.dtype is dtypes.bool:
        raise g.NotNative("a sum of truth values")
    if not index.numel:
        return input
    target, places = with_a_dimension(input), with_a_dimension(index).cast(dtypes.int64)
    values = corner(g, with_a_dimension(src), places.shape)
    reached = list(places.shape)  # a smaller index leaves the rest as it is
    reached[dim] = target.shape[dim]
    part = g.scatter_along(how, corner(g, target, reached), places, values, dim)
    return put_corner(g, target, part).reshape(*input.shape)


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
        check_index(index, "gather")
        dim = wrap_dim(dim, input._meta.ndim)
        _check_places(input._meta, index._meta, dim, "gather")
        check_known(input, index, dim)
        return apply(gather.operator, (input, index), (dim,))

    def infer(input, index, dim):
        return meta(index.shape, input.dtype, input.device)

    def evaluate(input, index, dim):
        if not index.size:
            return np.empty(index.shape, input.dtype)
        source = with_a_dimension(input)
        check_bounds(index, source.shape[dim], dim)
        places = with_a_dimension(index)
        wanted = list(places.shape)
        wanted[dim] = source.shape[dim]
        found = np.take_along_axis(_corner(source, tuple(wanted)), places, dim)
        return found.reshape(index.shape)

    def decompose(g, input, index, dim):
        if not index.numel:
            return g.full(index.shape, 0, input.dtype)
        source, places = with_a_dimension(input), with_a_dimension(index)
        shape = list(places.shape)
        shape[dim] = source.shape[dim]
        places = places.cast(dtypes.int64)
        return g.take_along(corner(g, source, shape), places, dim).reshape(*index.shape)

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
        check_index(index, "scatter_add")
        _check_same_dtype(input, src, "scatter", "src")
        dim = wrap_dim(dim, input._meta.ndim)
        _check_places(input._meta, index._meta, dim, "scatter_add", src._meta)
        check_known(input, index, dim)
        return apply(scatter_add.operator, (input, index, src), (dim,))

    def infer(input, index, src, dim):
        return input.flat

    def evaluate(input, index, src, dim):
        if not index.size:
            return input
        target, places = with_a_dimension(input), with_a_dimension(index)
        check_bounds(places, target.shape[dim], dim)
        flat = np.ravel_multi_index(
            np.broadcast_arrays(*_grid(target.shape, dim, places)), target.shape
        )
        values = _corner(src, places.shape)
        np.add.at(target.reshape(-1), flat.reshape(-1), values.reshape(-1))
        return input

    def decompose(g, input, index, src, dim):
        return _lowered_scatter(g, "add", input, index, src, dim)

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
        _corner(input, with_a_dimension(src).shape)[...] = with_a_dimension(src)
        return input

    def decompose(g, input, src):
        return put_corner(g, with_a_dimension(input), with_a_dimension(src)).reshape(*input.shape)

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
            target, places = with_a_dimension(input), with_a_dimension(index)
            check_bounds(places, target.shape[dim], dim)
            target[_grid(target.shape, dim, places)] = _corner(src, places.shape)
        return input

    def decompose(g, input, index, src, dim):
        return _lowered_scatter(g, "set", input, index, src, dim)

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
            target, places = with_a_dimension(input), with_a_dimension(index)
            check_bounds(places, target.shape[dim], dim)
            target[_grid(target.shape, dim, places)] = value
        return input

    def decompose(g, input, index, value, dim):
        values = value.cast(input.dtype).expand(*index.shape)
        return _lowered_scatter(g, "set", input, index, values, dim)

    def grad_input(grad, index, dim):
        return apply(scatter_value.operator, (grad, index, 0), (dim,))


def _number(value, kind, name: str):
    if isinstance(value, Tensor):
        if value._meta.ndim:
            raise RuntimeError(
                f"{name}() takes a number or a tensor of no dimensions, got "
                f"{value._meta.ndim} dimension(s)"
            )
        value = 0 if value._meta.device is META else value.item()
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
    check_index(index, "scatter")
    if src is None:
        src = value
    dim = wrap_dim(dim, input._meta.ndim)
    if isinstance(src, Tensor):
        _check_same_dtype(input, src, "scatter", "src")
    _check_places(
        input._meta, index._meta, dim, "scatter", src._meta if isinstance(src, Tensor) else None
    )
    check_known(input, index, dim)
    if reduce is not None:
        names = {"add": "sum", "multiply": "prod"}
        if reduce not in names:
            raise RuntimeError("reduce argument must be either add or multiply.")
        if not isinstance(src, Tensor):
            number = checked_number(src, input._meta.dtype)
            src = fill(
                index._meta.shape, number, input._meta.dtype, False, input._meta.device
            )
        return apply(scatter_reduced.operator, (input, index, src), (dim, names[reduce], True))
    if isinstance(src, Tensor):
        return apply(scatter_src.operator, (input, index, src), (dim,))
    number = checked_number(src, input._meta.dtype)
    return apply(scatter_value.operator, (input, index, number), (dim,))


REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")
_NAMES = {"sum": "add", "mean": "add", "prod": "mul", "amax": "max", "amin": "min"}
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


def reduce_at(input, key, values, how: str, include_self: bool):
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
            target, places = with_a_dimension(input), with_a_dimension(index)
            check_bounds(places, target.shape[dim], dim)
            key = _grid(target.shape, dim, places)
            reduce_at(target, key, _corner(src, places.shape), how, include_self)
        return input

    def decompose(g, input, index, src, dim, how, include_self):
        kind, mean = input.dtype, how == "mean"
        if mean and not kind.is_floating_point or how in ("mean", "prod") and kind.is_half:
            raise g.NotNative(f"{how} of {kind.name}")
        if kind is dtypes.bool and how in ("sum", "prod"):
            raise g.NotNative(f"{how} of truth values")

        def joined(name, x, value):
            return _lowered_scatter(g, name, x, index, g.full(index.shape, value, x.dtype), dim)

        if not include_self:
            held = np.dtype(np.float32 if kind.is_half else kind.numpy)
            input = joined("set", input, _start_value(how, held))
        found = _lowered_scatter(g, _NAMES[how], input, index, src, dim)
        if not mean:
            return found
        count = g.full(input.shape, 1 if include_self else 0, kind)
        return found / joined("add", count, 1).max(1)

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
    grad_input, grad_part = combined_gradients(
        grad, input, part, result, how, include_self, at, to
    )
    if not include_self:
        grad_input = without_places(grad_input)
    if shape != src._meta.shape:
        grad_part = apply(corner_write.operator, (full_like_meta(src._meta), grad_part))
    return grad_input, None, grad_part


def combined_gradients(grad, input, part, result, how, include_self, at, to):
    """Gradients of a reduction at places: shared by scatter_reduce and index_reduce."""
    kind = input._meta.dtype
    if how == "sum":
        return grad, at(grad)
    if how == "mean":
        ones = fill(part._meta.shape, 1, kind, False, part._meta.device)
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
        input._meta.shape, 1, kind, False, input._meta.device)
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
    check_index(index, "scatter_reduce")
    _check_same_dtype(input, src, "scatter", "src")
    dim = wrap_dim(dim, input._meta.ndim)
    _check_places(input._meta, index._meta, dim, "scatter_reduce", src._meta)
    check_known(input, index, dim)
    attributes = (dim, reduce, bool(include_self))
    return apply(scatter_reduced.operator, (input, index, src), attributes)


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
