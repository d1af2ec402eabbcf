"""Sorting and what needs order: sort, topk, kthvalue, median, mode.

NaN counts as larger than every number, as in PyTorch. Equal elements keep their order (PyTorch
promises that only for ``stable=True``). Quantiles are in ``quantiles.py``, distinct elements and
places in sorted sequences in ``searching.py``. Source: torch.sort, topk, kthvalue, median, mode.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from suiren import dtypes, return_types
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.max_min import at_index_gradient, taken
from suiren.ops.reductions import check_not_empty, reduced_meta
from suiren.ops.views import full_like_meta, wrap_dim
from suiren.trace import meta
from suiren.views import write_out


def sorted_order(x: np.ndarray, dim: int, descending: bool) -> np.ndarray:
    """Positions that sort stably along ``dim``; NaN last, or first if descending."""
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    # of the reversed array, so that equal elements keep their order when turned back
    order = np.argsort(np.flip(x, dim), axis=dim, kind="stable")
    return x.shape[dim] - 1 - np.flip(order, dim)


def _scattered_gradient(grad, input_meta, index, dim):
    if not input_meta.ndim:
        return grad
    return full_like_meta(input_meta).scatter(dim, index, grad)


@operator(name="sort", where=(), out=False)
class _sort:
    """(values, indices) sorted along a dimension."""

    widen = True
    results = 2

    def call(input, dim, descending):
        m = input._meta
        dim = wrap_dim(dim, m.ndim)
        if m.dtype.is_complex:
            raise RuntimeError(
                f"Sort does not support complex dtypes on CPU, got {m.dtype}: complex numbers have "
                "no order"
            )
        return apply(_sort.operator, (input,), (dim, bool(descending)))

    def infer(input, dim, descending):
        return input.flat, input.flat.like(dtype=dtypes.int64)

    def evaluate(input, dim, descending):
        input = np.asarray(input)
        if not input.ndim:
            return input, np.zeros((), np.int64)
        order = sorted_order(input, dim, descending)
        return np.take_along_axis(input, order, dim), order

    def grad_input(grad, input_meta, result1, dim):
        return _scattered_gradient(grad, input_meta, result1, dim)


def _sort_arguments(name, args, dim, descending):
    # sort(dim, descending) or, where stable leads, sort(*, stable, dim, descending)
    if len(args) > 2 or (args and isinstance(args[0], bool)):
        raise TypeError(
            f"{name}() received an invalid combination of arguments - got {args!r}; wanted dim "
            "(int) and descending (bool), and stable by keyword"
        )
    if args:
        dim = args[0]
    if len(args) > 1:
        descending = args[1]
    return dim, descending


@composite
def sort(input, *args, dim=-1, descending=False, stable=False):
    """(values, indices) sorted along ``dim``, as ``torch.return_types.sort``.

    Equal elements keep their order whether or not ``stable`` is set; NaN counts as largest.
    Raises RuntimeError for complex numbers. Source: torch.sort.

    >>> import suiren as torch
    >>> values, indices = torch.tensor([3, 1, 2]).sort()
    >>> values, indices
    (tensor([1, 2, 3]), tensor([1, 2, 0]))
    """
    dim, descending = _sort_arguments("sort", args, dim, descending)
    return return_types.sort(_sort(input, dim, descending))


def sorted_values(input, dim: int):
    """The values sorted along ``dim``, without the named pair."""
    found: Any = _sort(input, dim, False)
    return found[0]


@composite
def argsort(input, *args, dim=-1, descending=False, stable=False):
    """The positions that sort the input along ``dim``. Source: torch.argsort.

    >>> import suiren as torch
    >>> torch.tensor([3, 1, 2]).argsort()
    tensor([1, 2, 0])
    """
    dim, descending = _sort_arguments("argsort", args, dim, descending)
    return _sort(input, dim, descending)[1]


@composite
def msort(input):
    """The values sorted along the first dimension. Source: torch.msort.

    >>> import suiren as torch
    >>> torch.tensor([3, 1, 2]).msort()
    tensor([1, 2, 3])
    """
    return _sort(input, 0, False)[0]


def _top_order(x: np.ndarray, k: int, dim: int, largest: bool) -> np.ndarray:
    size = x.shape[dim]
    if k <= _FEW and 8 * k <= size and x.dtype.kind in "fiu":
        found = _one_by_one(x, k, dim, largest)
        if found is not None:
            return found
    if size < 64 or 4 * k > size or x.dtype.kind == "b":
        return np.take(sorted_order(x, dim, largest), range(k), axis=dim)
    # few of many: the k best first, then those in order
    if largest:
        best = np.argpartition(x, size - k, axis=dim)
        best = np.take(best, range(size - k, size), axis=dim)
    else:
        best = np.take(np.argpartition(x, k - 1, axis=dim), range(k), axis=dim)
    best = np.sort(best, axis=dim)
    order = sorted_order(np.take_along_axis(x, best, dim), dim, largest)
    return np.take_along_axis(best, order, dim)


_FEW = 8  # so many passes of argmax are faster than one argpartition (measured: 10 times for 5)


def _one_by_one(x: np.ndarray, k: int, dim: int, largest: bool) -> np.ndarray | None:
    """The k best, each found and crossed out; None where that cannot tell them apart."""
    if x.dtype.kind == "f":
        worst = x.dtype.type(-np.inf if largest else np.inf)
        if not largest and np.isnan(x).any():  # argmin takes NaN for the smallest
            return None
    else:
        limits = np.iinfo(x.dtype)
        worst = x.dtype.type(limits.min if largest else limits.max)
    best = np.argmax if largest else np.argmin
    if k == 1:
        return best(x, axis=dim, keepdims=True)
    left = np.array(x)
    places = []
    for _ in range(k):
        at = best(left, axis=dim, keepdims=True)
        if (np.take_along_axis(left, at, dim) == worst).any():
            return None  # crossed out already, perhaps
        np.put_along_axis(left, at, worst, dim)
        places.append(at)
    return np.concatenate(places, axis=dim)


@operator(name="topk", where=(), out=False)
class _topk:
    """The k largest or smallest elements along a dimension, and their positions."""

    widen = True
    results = 2

    def call(input, k, dim, largest):
        return apply(_topk.operator, (input,), (k, dim, largest))

    def infer(input, k, dim, largest):
        shape = list(input.shape)
        if shape:
            shape[dim] = k
        found = meta(shape, input.dtype, input.device)
        return found, found.like(dtype=dtypes.int64)

    def evaluate(input, k, dim, largest):
        input = np.asarray(input)
        if not input.ndim:
            return input, np.zeros((), np.int64)
        if not k or not input.size:
            shape = list(input.shape)
            shape[dim] = k
            return np.zeros(shape, input.dtype), np.zeros(shape, np.int64)
        order = _top_order(input, k, dim, largest)
        return np.take_along_axis(input, order, dim), order

    def grad_input(grad, input_meta, result1, dim):
        return _scattered_gradient(grad, input_meta, result1, dim)


@composite
def topk(input, k, dim=-1, largest=True, sorted=True):
    """(values, indices) of the ``k`` largest (or smallest) elements along ``dim``, in order.

    Raises RuntimeError where there are fewer than ``k``. Source: torch.topk.

    >>> import suiren as torch
    >>> torch.tensor([1., 4., 2.]).topk(2).indices
    tensor([1, 2])
    """
    m = input._meta
    k = int(k)
    dim = wrap_dim(dim, m.ndim)
    if not 0 <= k <= (m.shape[dim] if m.ndim else 1):
        raise RuntimeError(
            f"selected index k out of range: topk got k={k} for {list(m.shape)} along dim {dim}"
        )
    if m.dtype.is_complex:
        raise NotImplementedError(
            f'"topk_impl" not implemented for {m.dtype.letter_name!r}: complex numbers have no '
            "order"
        )
    if not m.ndim and not k:
        input = input.reshape(1).narrow(0, 0, 0)
        return return_types.topk((input, input.long()))
    return return_types.topk(_topk(input, k, dim, bool(largest)))


# --------------------------------------------------------------------------
# One element along a dimension, found by order


def _refuse(name: str, m, *, boolean: bool = False) -> None:
    if m.dtype.is_complex or (boolean and m.dtype is dtypes.bool):
        raise NotImplementedError(
            f'"{name}_cpu" not implemented for {m.dtype.letter_name!r}: its elements have no order '
            "that it could use"
        )


def _one(record, kind, name, input, dim, attributes):
    m = input._meta
    dim = wrap_dim(dim, m.ndim)
    if m.ndim:
        check_not_empty(name, m, (dim,), dim)
    return kind(apply(record, (input,), (dim, *attributes)))


def _one_meta(input, dim, keepdim):
    dims = (dim,) if input.ndim else ()
    return (
        reduced_meta(input, dims, keepdim),
        reduced_meta(input, dims, keepdim, dtypes.int64),
    )


def _one_along(input, dim, keepdim, find):
    input = np.asarray(input)
    if not input.ndim:
        return input, np.zeros((), np.int64)
    if not input.size:
        index = np.zeros([1 if d == dim else s for d, s in enumerate(input.shape)], np.int64)
    else:
        index = find(input)
    return taken(input, index, dim, keepdim)


@operator(name="kthvalue", where=(), out=False)
class _kthvalue:
    """The k-th smallest element along a dimension and its position."""

    widen = True
    results = 2

    def call(input, dim, k, keepdim):
        return _one(
            _kthvalue.operator, return_types.kthvalue, "kthvalue", input, dim, (k, keepdim)
        )

    def infer(input, dim, k, keepdim):
        return _one_meta(input, dim, keepdim)

    def evaluate(input, dim, k, keepdim):
        def find(x):
            return _at_rank(x, k - 1, dim)

        return _one_along(input, dim, keepdim, find)

    def grad_input(grad, input_meta, result1, dim, keepdim):
        return at_index_gradient(grad, input_meta, result1, dim, keepdim)


@composite
def kthvalue(input, k, dim=-1, keepdim=False, *, out=None):
    """(values, indices) of the ``k``-th smallest element along ``dim``, counted from 1.

    Raises RuntimeError if there is no such element. Source: torch.kthvalue.

    >>> import suiren as torch
    >>> torch.tensor([5, 1, 3]).kthvalue(2)
    torch.return_types.kthvalue(
    values=tensor(3),
    indices=tensor(2))
    """
    if out is not None:
        if any(target._storage is input._storage for target in out):
            raise RuntimeError(
                "unsupported operation: kthvalue() got its input in out=, some elements of both "
                "refer to a single memory location; clone() the input"
            )
        return write_out(out, kthvalue, (input, k, dim, keepdim), {})
    m = input._meta
    dim = wrap_dim(dim, m.ndim)
    if m.ndim:
        check_not_empty("kthvalue", m, (dim,), dim)
    if not 1 <= k <= (m.shape[dim] if m.ndim else 1):
        raise RuntimeError(
            f"kthvalue(): selected number k out of range for dimension {dim}: got k={k} for shape "
            f"{list(m.shape)}"
        )
    _refuse("kthvalue", m)
    return _kthvalue(input, dim, int(k), bool(keepdim))


def _at_rank(x: np.ndarray, rank: int, dim: int) -> np.ndarray:
    """Where the element of this rank is, counted from 0; NaN ranks last."""
    return np.take(np.argpartition(x, rank, axis=dim), [rank], axis=dim)


def _middle(x: np.ndarray, dim: int, ignore_nan: bool) -> np.ndarray:
    """Where the lower median is; at the first NaN unless NaN is to be ignored."""
    nan = np.isnan(x) if x.dtype.kind == "f" else None
    if nan is None or not nan.any():
        return _at_rank(x, (x.shape[dim] - 1) // 2, dim)
    if ignore_nan:
        order = sorted_order(x, dim, False)
        count = np.sum(~nan, axis=dim, keepdims=True)
        return np.take_along_axis(order, np.maximum(count - 1, 0) // 2, dim)
    found = _at_rank(x, (x.shape[dim] - 1) // 2, dim)
    return np.where(nan.any(axis=dim, keepdims=True), np.argmax(nan, dim, keepdims=True), found)


@operator(name="median_dim", where=(), out=False)
class _median_along:
    """The lower median along a dimension and its position."""

    widen = True
    results = 2
    node_name = "MedianBackward1"

    def call(input, dim, keepdim):
        return _one(
            _median_along.operator, return_types.median, "median", input, dim, (keepdim,)
        )

    def infer(input, dim, keepdim):
        return _one_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        return _one_along(input, dim, keepdim, lambda x: _middle(x, dim, False))

    def grad_input(grad, input_meta, result1, dim, keepdim):
        return at_index_gradient(grad, input_meta, result1, dim, keepdim)


@operator(name="nanmedian_dim", where=(), out=False)
class _nanmedian_along:
    """The lower median of what is not NaN along a dimension, and its position."""

    widen = True
    results = 2
    node_name = "NanmedianBackward1"

    def call(input, dim, keepdim):
        return _one(
            _nanmedian_along.operator, return_types.nanmedian, "nanmedian", input, dim, (keepdim,)
        )

    def infer(input, dim, keepdim):
        return _one_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        return _one_along(input, dim, keepdim, lambda x: _middle(x, dim, True))

    def grad_input(grad, input_meta, result1, dim, keepdim):
        return at_index_gradient(grad, input_meta, result1, dim, keepdim)


def _median_meta(input):
    return meta((), input.dtype, input.device)


def _median_of_all(input, ignore_nan):
    x = np.asarray(input).reshape(-1)
    if not x.size:
        # as PyTorch: NaN, or the least integer
        return np.array(np.nan if x.dtype.kind == "f" else np.iinfo(x.dtype).min, x.dtype)
    return x[_middle(x, 0, ignore_nan)[0]]


def _median_gradient(grad, input, result):
    # equal elements share the gradient, and so do NaNs where the median is NaN
    mask = (input == result).logical_or(input.isnan().logical_and(result.isnan()))
    mask = mask.to(grad._meta.dtype)
    return grad * mask / mask.sum()


@operator(name="median", where=(), out=False)
class _median:
    """The lower median of all elements."""

    widen = True

    def call(input):
        return apply(_median.operator, (input,), ())

    def infer(input):
        return _median_meta(input)

    def evaluate(input):
        return _median_of_all(input, False)

    def grad_input(grad, input, result):
        return _median_gradient(grad, input, result)


@operator(name="nanmedian", where=(), out=False)
class _nanmedian:
    """The lower median of all elements that are not NaN."""

    widen = True

    def call(input):
        return apply(_nanmedian.operator, (input,), ())

    def infer(input):
        return _median_meta(input)

    def evaluate(input):
        return _median_of_all(input, True)

    def grad_input(grad, input, result):
        return _median_gradient(grad, input, result)


@composite
def median(input, dim=None, keepdim=False):
    """The median of all elements, or (values, indices) along ``dim``; NaN if one is NaN.

    Of an even number of elements it is the lower of the two in the middle. Raises
    NotImplementedError for truth values and complex numbers, IndexError along an empty dimension.
    Source: torch.median.

    >>> import suiren as torch
    >>> torch.tensor([5., 1., 3., 4.]).median()
    tensor(3.)
    """
    _refuse("median", input._meta, boolean=True)
    return _median(input) if dim is None else _median_along(input, dim, bool(keepdim))


@composite
def nanmedian(input, dim=None, keepdim=False):
    """:func:`torch.median` of the elements that are not NaN; NaN if there are none.

    Source: torch.nanmedian.

    >>> import suiren as torch
    >>> torch.tensor([5., float("nan"), 3.]).nanmedian()
    tensor(3.)
    """
    _refuse("median", input._meta, boolean=True)
    return _nanmedian(input) if dim is None else _nanmedian_along(input, dim, bool(keepdim))


def _most_common(x: np.ndarray, dim: int) -> np.ndarray:
    """Where the most common element along ``dim`` is last; the smallest of equally common ones."""
    moved = np.moveaxis(x, dim, -1)
    order = np.argsort(moved, axis=-1, kind="stable")
    ordered = np.take_along_axis(moved, order, -1)
    size = moved.shape[-1]
    places = np.arange(size)
    starts = np.ones(ordered.shape, bool)
    starts[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    run = places - np.maximum.accumulate(np.where(starts, places, 0), axis=-1)
    longest = np.argmax(run, axis=-1, keepdims=True)  # the end of the first longest run
    return np.moveaxis(np.take_along_axis(order, longest, -1), -1, dim)


@operator(name="mode", where=(), out=False)
class _mode:
    """The most common element along a dimension and its last position."""

    widen = True
    results = 2

    def call(input, dim, keepdim):
        return _one(_mode.operator, return_types.mode, "mode", input, dim, (keepdim,))

    def infer(input, dim, keepdim):
        return _one_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        return _one_along(input, dim, keepdim, lambda x: _most_common(x, dim))

    def grad_input(grad, input_meta, result1, dim, keepdim):
        return at_index_gradient(grad, input_meta, result1, dim, keepdim)


@composite
def mode(input, dim=-1, keepdim=False):
    """(values, indices) of the most common element along ``dim``, the smallest of several.

    Source: torch.mode.

    >>> import suiren as torch
    >>> torch.tensor([2, 1, 2, 3]).mode().values
    tensor(2)
    """
    _refuse("mode", input._meta)
    return _mode(input, dim, bool(keepdim))


__all__ = ["argsort", "kthvalue", "median", "mode", "msort", "nanmedian", "sort", "sorted_order",
           "sorted_values", "topk"]  # fmt: skip
