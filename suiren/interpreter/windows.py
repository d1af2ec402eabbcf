"""Window arithmetic that convolution, pooling and resizing share in the NumPy tier.

Two ideas live here.  A *sliding window* along one axis pairs output position o with input position
o * stride + offset - low, where `low` is the padding before the first element; `overlap` says
which outputs meet a real input element for one offset, so that callers loop over the few kernel
offsets and never over pixels.  A *tap table* describes a linear map along one axis: output j is
the weighted sum of the inputs named in column j; `gather_taps` applies it and `transpose_taps`
gives the table of its adjoint, so a derivative is another gather and needs no slow scatter.
Imports NumPy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def working_dtype(dtype: np.dtype) -> np.dtype:
    """Dtype to compute in: float32 for the half types, else the dtype itself.

    The types of ml_dtypes (bfloat16 and the 8-bit floats) are of NumPy's kind "V", or "f" in some
    versions; they are told by their size, so ml_dtypes need not be imported here.
    """
    dtype = np.dtype(dtype)
    if dtype.kind in "fV" and dtype.itemsize <= 2:
        return np.dtype(np.float32)
    return dtype


def overlap(offset: int, stride: int, low: int, outputs: int, size: int) -> tuple[slice, slice]:
    """Outputs whose tap at `offset` lies inside an axis of `size`, and the inputs they meet.

    Returns (slice of the outputs, slice of the inputs) of equal length; both empty if none meets.
    """
    first = max(0, -((offset - low) // stride))  # ceil((low - offset) / stride)
    last = min(outputs, -((offset - low - size) // stride))
    if last <= first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset - low
    return slice(first, last), slice(start, start + (last - first - 1) * stride + 1, stride)


def overlaps(
    offsets: tuple[int, ...],
    stride: tuple[int, ...],
    low: tuple[int, ...],
    outputs: tuple[int, ...],
    sizes: tuple[int, ...],
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """`overlap` for every spatial axis: (slices of the outputs, slices of the inputs)."""
    pairs = [overlap(*axis) for axis in zip(offsets, stride, low, outputs, sizes, strict=True)]
    return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)


def batch_step(items: int, bytes_per_item: int, limit: int) -> int:
    """How many of `items` fit in `limit` bytes; at least one."""
    return max(1, min(items, limit // max(1, bytes_per_item)))


@dataclass(frozen=True)
class Taps:
    """A linear map along one axis, output j = sum over t of weights[t, j] * input[positions[t, j]].

    positions: int64 [taps, outputs].  weights: float64 of the same shape, or None for ones.
    counts: int64 [outputs], how many of the taps of a column are real, or None for all; the others
    are skipped and not multiplied by zero, which would turn an infinity into NaN.
    """

    positions: np.ndarray
    weights: np.ndarray | None = None
    counts: np.ndarray | None = None


def gather_taps(x: np.ndarray, axis: int, taps: Taps) -> np.ndarray:
    """Applies `taps` along `axis` of x; the dtype stays that of x (give a working dtype)."""
    axis %= x.ndim
    column = (-1,) + (1,) * (x.ndim - 1 - axis)
    taps_number, outputs = taps.positions.shape
    shape = x.shape[:axis] + (outputs,) + x.shape[axis + 1 :]
    if taps_number == 0 or outputs == 0 or x.size == 0:
        return np.zeros(shape, x.dtype)
    result = _tap(x, axis, taps, 0, column)
    for tap in range(1, taps_number):
        result += _tap(x, axis, taps, tap, column)
    return result


def _tap(x: np.ndarray, axis: int, taps: Taps, tap: int, column: tuple[int, ...]) -> np.ndarray:
    """What one row of the table contributes to every output; a new array."""
    term = x.take(taps.positions[tap], axis=axis)
    if taps.weights is not None:
        term *= taps.weights[tap].astype(x.real.dtype).reshape(column)
    if taps.counts is not None and (taps.counts <= tap).any():
        # where() and not a product, as zero times infinity is NaN
        term = np.where((taps.counts > tap).reshape(column), term, x.dtype.type(0))
    return term


def transpose_taps(taps: Taps, inputs: int) -> Taps:
    """Table of the adjoint map: for every one of `inputs`, the outputs that read it."""
    taps_number, outputs = taps.positions.shape
    real = np.ones((taps_number, outputs), bool)
    if taps.counts is not None:
        real = np.arange(taps_number)[:, None] < taps.counts
    sources = taps.positions[real]
    readers = np.broadcast_to(np.arange(outputs), real.shape)[real]
    order = np.argsort(sources, kind="stable")
    sources, readers = sources[order], readers[order]
    counts = np.bincount(sources, minlength=inputs)
    rank = np.arange(len(sources)) - (np.cumsum(counts) - counts)[sources]
    depth = int(counts.max(initial=0))
    positions = np.zeros((depth, inputs), np.int64)
    positions[rank, sources] = readers
    weights = None
    if taps.weights is not None:
        weights = np.zeros((depth, inputs))
        weights[rank, sources] = taps.weights[real][order]
    return Taps(positions, weights, counts)


def product(sizes: Sequence[int]) -> int:
    """Product of the sizes as a Python int; one for no sizes."""
    return math.prod(sizes)
