"""Counting: histograms over ranges and counts of integers.

Bins are half open, except the last, which holds its upper edge as well. No gradients.
Source: torch.histc, histogram, histogramdd, bincount.
"""

from __future__ import annotations

from math import isfinite

import numpy as np

from suiren import dtypes, return_types
from suiren.device import META
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.creation import from_array
from suiren.tensor import Tensor
from suiren.trace import meta

return_types.make("histogramdd", "hist bin_edges")


def _check_kind(name: str, m) -> None:
    if not m.dtype.is_floating_point:
        raise NotImplementedError(
            f'"{name}" not implemented for {m.dtype.letter_name!r}: it counts floating numbers; '
            "convert with .float()"
        )


def _count(points: np.ndarray, edges: list[np.ndarray], weights) -> np.ndarray:
    """Weighted numbers of points (points, dimensions) in the bins between edges."""
    shape = [len(e) - 1 for e in edges]
    inside = np.ones(len(points), bool)
    places = np.zeros(len(points), np.int64)
    for column, e in zip(points.T, edges, strict=True):
        at = np.searchsorted(e, column, "right") - 1
        at = np.where(column == e[-1], len(e) - 2, at)
        inside &= (column >= e[0]) & (column <= e[-1])
        places = places * (len(e) - 1) + np.clip(at, 0, len(e) - 2)
    kept = None if weights is None else weights[inside]
    size = int(np.prod(shape))
    return np.bincount(places[inside], kept, size)[:size].reshape(shape)


def _even_edges(low: float, high: float, bins: int, kind) -> np.ndarray:
    # each half is counted from its own end, so both ends are exact, as torch.linspace does
    low_, high_ = kind.type(low), kind.type(high)
    step = (high_ - low_) / kind.type(bins)
    index = np.arange(bins + 1).astype(kind)
    first = low_ + step * index
    second = high_ - step * (bins - index)
    return np.where(np.arange(bins + 1) < (bins + 1) // 2, first, second).astype(kind)


def _range_of(name: str, column: np.ndarray, given) -> tuple[float, float]:
    """The range to count in: as given, else that of the data, widened if it is one point."""
    if given is not None:
        low, high = float(given[0]), float(given[1])
    elif column.size:
        low, high = float(column.min()), float(column.max())
    else:
        low, high = 0.0, 0.0
    if not (isfinite(low) and isfinite(high)):
        raise RuntimeError(f"{name}: range of [{low}, {high}] is not finite")
    if given is None and not column.size:
        return 0.0, 1.0
    if low > high:
        raise RuntimeError(f"{name}: max must be larger than min, got [{low}, {high}]")
    return (low - 0.5, high + 0.5) if low == high else (low, high)


def _even_counts(x: np.ndarray, low: float, high: float, bins: int, weights=None) -> np.ndarray:
    # even bins are found by division, as PyTorch does
    kind = x.dtype
    low, high = kind.type(low), kind.type(high)
    inside = (x >= low) & (x <= high)
    at = ((x[inside] - low) * (kind.type(bins) / (high - low))).astype(np.int64)
    at = np.minimum(at, bins - 1)
    return np.bincount(at, None if weights is None else weights[inside], bins)


def _widened(input) -> np.ndarray:
    x = np.asarray(input.peek())
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x


@operator(name="histc", where=(), out=False)
class _histc:
    """Numbers of elements in even bins of a given range.

    Half types are not widened: PyTorch finds their bins in their own arithmetic.
    """

    def call(input, bins, low, high):
        return apply(_histc.operator, (input,), (bins, low, high))

    def infer(input, bins, low, high):
        return meta((bins,), input.dtype, input.device)

    def evaluate(input, bins, low, high):
        x = np.asarray(input).reshape(-1)
        return _even_counts(x, low, high, bins).astype(x.dtype)


@composite
def histc(input, bins=100, min=0, max=0):
    """The numbers of elements in ``bins`` even bins from ``min`` to ``max``.

    With both equal, from the least to the largest element. What lies outside, and NaN, is not
    counted. Raises NotImplementedError for integers, RuntimeError for an infinite range.
    Source: torch.histc.

    >>> import suiren as torch
    >>> torch.histc(torch.tensor([1., 2., 1.]), bins=4, min=0, max=3)
    tensor([0., 2., 1., 0.])
    """
    _check_kind("histogram_cpu", input._meta)
    if bins <= 0:
        raise RuntimeError(
            f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0"
        )
    low, high = float(min), float(max)
    if input._meta.device is META:
        return _histc(input, int(bins), low, high)
    given = None if low == high and input._meta.numel else (low, high)
    data = _widened(input).reshape(-1) if given is None else np.zeros(0)
    low, high = _range_of("torch.histc", data, given)
    return _histc(input, int(bins), low, high)


def _weights_of(name: str, weight, m, count: int):
    if weight is None:
        return None
    if weight._meta.dtype is not m.dtype:
        raise RuntimeError(
            f"{name}: if weight tensor is provided, input tensor and weight tensor should have the "
            f"same dtype, but got {m.dtype} and {weight._meta.dtype}"
        )
    if weight._meta.numel != count:
        raise RuntimeError(
            f"{name}: if weight tensor is provided it should have the same shape as the input "
            f"tensor excluding its innermost dimension, but got input with shape {list(m.shape)} "
            f"and weight with shape {list(weight._meta.shape)}"
        )
    return _widened(weight).reshape(-1)


def _density(hist: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    hist = hist / hist.sum()
    for d, e in enumerate(edges):
        hist = hist / np.expand_dims(np.diff(e), tuple(a for a in range(hist.ndim) if a != d))
    return hist


def _edges_of(name: str, bins, column: np.ndarray, given, dim: int) -> np.ndarray:
    if isinstance(bins, Tensor):
        e = np.asarray(bins.peek())
        if e.ndim != 1 or not e.size:
            raise RuntimeError(
                f"{name}: bins tensor should have one dimension and at least one element, got "
                f"shape {list(e.shape)} for dimension {dim}"
            )
        if e.dtype != column.dtype:
            raise RuntimeError(
                f"{name}: input tensor and bins tensors should have the same dtype, but got input "
                f"with dtype {column.dtype} and bins for dimension {dim} with dtype {e.dtype}"
            )
        return e
    if bins <= 0:
        raise RuntimeError(f"{name}: bins must be > 0, but got {bins} for dimension {dim}")
    low, high = _range_of(name, column, given)
    return _even_edges(low, high, int(bins), column.dtype)


def _histogram(name, points, bins, ranges, weights, density):
    edges = [
        _edges_of(name, b, column, given, d)
        for d, (b, column, given) in enumerate(zip(bins, points.T, ranges, strict=True))
    ]
    with np.errstate(all="ignore"):
        hist = _count(points, edges, weights).astype(points.dtype)
        if density:
            hist = _density(hist, edges).astype(points.dtype)
    return from_array(hist), [from_array(np.array(e)) for e in edges]


@composite
def histogram(input, bins, *, range=None, weight=None, density=False):
    """(hist, bin_edges): how many elements, or how much ``weight``, falls in each bin.

    ``bins`` is a number of even bins (over ``range``, or that of the elements) or a tensor of
    ascending edges; with ``density`` the integral is 1. Source: torch.histogram.

    >>> import suiren as torch
    >>> torch.histogram(torch.tensor([1., 2., 1.]), bins=2, range=(0., 4.)).hist
    tensor([2., 1.])
    """
    m = input._meta
    name = "torch.histogram"
    _check_kind("histogramdd", m)
    if isinstance(bins, Tensor) and range is not None:
        raise TypeError("histogram(): range goes with a number of bins, not with a tensor of edges")
    if isinstance(bins, (tuple, list)):
        bins = bins[0]
    points = _widened(input).reshape(-1, 1)
    weights = _weights_of(name, weight, m, len(points))
    hist, edges = _histogram(name, points, [bins], [range], weights, density)
    kind = m.dtype
    return return_types.histogram((hist.to(kind), edges[0].to(kind)))


@composite(where=("torch",), out=False)
def histogramdd(input, bins, *, range=None, weight=None, density=False):
    """(hist, bin_edges) of points in N dimensions, which are the last dimension of ``input``.

    ``bins`` is one number, one number per dimension, or a tensor of edges per dimension;
    ``range`` a flat list of lower and upper ends. Source: torch.histogramdd.

    >>> import suiren as torch
    >>> torch.histogramdd(torch.tensor([[0., 1.], [1., 0.]]), bins=[2, 2]).hist
    tensor([[0., 1.],
            [1., 0.]])
    """
    m = input._meta
    name = "torch.histogramdd"
    _check_kind("histogramdd", m)
    if m.ndim < 2:
        raise RuntimeError(
            f"{name}: input tensor should have at least 2 dimensions, but got {m.ndim}"
        )
    count = m.shape[-1]
    if isinstance(bins, int):
        bins = [bins] * count
    if len(bins) != count:
        raise RuntimeError(
            f"{name}: expected {count} bin counts or sequences of edges, one for each dimension of "
            f"the points, but got {len(bins)}"
        )
    if range is not None and len(range) != 2 * count:
        raise RuntimeError(
            f"{name}: for a {count}-dimensional histogram range should have {2 * count} elements, "
            f"but got {len(range)}"
        )
    pairs = [None] * count if range is None else list(zip(range[::2], range[1::2], strict=True))
    points = _widened(input).reshape(-1, count)
    weights = _weights_of(name, weight, m, len(points))
    hist, edges = _histogram(name, points, list(bins), pairs, weights, density)
    kind = m.dtype
    return return_types.histogramdd((hist.to(kind), tuple(e.to(kind) for e in edges)))


@composite(out=False)
def bincount(input, weights=None, minlength=0):
    """How often each of 0, 1, ... occurs among non-negative integers, or the sum of its weights.

    The result has at least ``minlength`` elements; int64, float32 for weights of float32, else
    float64. Raises RuntimeError for negative numbers or several dimensions.
    Source: torch.bincount.

    >>> import suiren as torch
    >>> torch.bincount(torch.tensor([0, 1, 1, 3]))
    tensor([1, 2, 0, 1])
    """
    m = input._meta
    if m.dtype.category != dtypes.INTEGER:
        raise NotImplementedError(
            f'"bincount_cpu" not implemented for {m.dtype.letter_name!r}: it counts integers'
        )
    if minlength < 0:
        raise RuntimeError(f"minlength should be >= 0, got {minlength}")
    x = np.asarray(input.peek())
    if x.ndim != 1 or (x.size and x.min() < 0):
        raise RuntimeError(
            "bincount only supports 1-d non-negative integral inputs, got shape "
            f"{list(m.shape)}"
        )
    if weights is None:
        return from_array(np.bincount(x.astype(np.int64), None, minlength).astype(np.int64))
    if weights._meta.shape != m.shape:
        raise RuntimeError(
            "weights should be 1-d and have the same length as input, got shape "
            f"{list(weights._meta.shape)} for {list(m.shape)}"
        )
    w = np.asarray(weights.peek())
    found = np.bincount(x.astype(np.int64), w.astype(np.float64), minlength)
    kind = np.float32 if weights._meta.dtype is dtypes.float32 else np.float64
    return from_array(found.astype(kind))


__all__ = ["bincount", "histc", "histogram", "histogramdd"]
