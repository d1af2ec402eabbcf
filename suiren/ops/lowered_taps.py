"""Linear maps along one dimension as nodes of the compiler's graph.

A table of taps (`suiren/interpreter/windows.py`) says for each place of the result which places of
the input it is the weighted sum of. Interpolation, padding, unfolding, and pooling over uneven or
very large windows are such maps; so are their gradients, by the transposed table: nothing is ever
added up at computed places, and the order of the sums is that of the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from suiren import dtypes
from suiren.interpreter.windows import Taps
from suiren.ops.lowering import narrow

FEW = 4  # taps that are written out one by one; more are a sum over a dimension of their own


def weighted(g: Any, x: Any, dim: int, taps: Taps) -> Any:
    """The map of ``taps`` along a dimension; half types should have been widened before."""
    depth, outputs = taps.positions.shape
    shape = (*x.shape[:dim], outputs, *x.shape[dim + 1 :])
    if not depth or not outputs or not x.numel:
        return g.full(shape, 0, x.dtype)
    even = _even(g, x, dim, taps)
    if even is not None:
        return even
    if depth > FEW:
        return _summed(g, x, dim, taps)
    total = None
    for number in range(depth):
        term = taken(g, x, dim, taps.positions[number])
        if taps.weights is not None:
            term = term * along(g, taps.weights[number].astype(x.dtype.numpy), term.ndim, dim)
        if taps.counts is not None and (taps.counts <= number).any():
            real = along(g, taps.counts > number, term.ndim, dim)
            term = g.where(real.expand(*term.shape), term, 0)
        total = term if total is None else total + term
    return total


def _even(g: Any, x: Any, dim: int, taps: Taps) -> Any:
    """Each place repeated equally often, or neighbours added up: movement and a sum."""
    if taps.weights is not None:
        return None
    depth, outputs = taps.positions.shape
    size, positions = x.shape[dim], taps.positions
    before, after = x.shape[:dim], x.shape[dim + 1 :]
    if depth == 1 and outputs % size == 0 and (taps.counts is None or taps.counts.all()):
        times = outputs // size
        if np.array_equal(positions[0], np.arange(outputs) // times):
            x = x.reshape(*before, size, 1, *after).expand(*before, size, times, *after)
            return x.reshape(*before, outputs, *after)
    if depth * outputs == size and (taps.counts is None or (taps.counts == depth).all()):
        if np.array_equal(positions.T.ravel(), np.arange(size)):
            return x.reshape(*before, outputs, depth, *after).sum(dim + 1)
    return None


def _summed(g: Any, x: Any, dim: int, taps: Taps) -> Any:
    """Many taps: a dimension of their own behind ``dim``, which is summed over."""
    found = taken(g, x, dim, taps.positions.T)
    if taps.weights is not None:
        found = found * along(g, taps.weights.T.astype(x.dtype.numpy), found.ndim, dim)
    if taps.counts is not None:
        depth = len(taps.positions)
        real = along(g, taps.counts[:, None] > np.arange(depth), found.ndim, dim)
        found = g.where(real.expand(*found.shape), found, 0)
    return found.sum(dim + 1)


def taken(g: Any, x: Any, dim: int, positions: np.ndarray) -> Any:
    """Elements at known positions, whose dimensions take the place of ``dim``."""
    positions = np.asarray(positions)
    if positions.ndim == 1 and len(positions):
        first, step = int(positions[0]), 1
        if len(positions) > 1:
            step = int(positions[1]) - first
        if step and np.array_equal(positions, first + step * np.arange(len(positions))):
            return narrow(g, x, dim, first, len(positions), step)
    if positions.ndim == 2 and positions.size:
        first = int(positions[0, 0])
        if np.array_equal(positions.reshape(-1), first + np.arange(positions.size)):
            x = narrow(g, x, dim, first, positions.size)
            return x.reshape(*x.shape[:dim], *positions.shape, *x.shape[dim + 1 :])
    return g.take(x, g.table(positions.astype(np.int64)), dim, checked=True)


def along(g: Any, values: np.ndarray, ndim: int, dim: int) -> Any:
    """Known numbers along the dimensions from ``dim`` on, broadcast over the others."""
    table = g.table(values)
    return table.reshape(*(1,) * dim, *values.shape, *(1,) * (ndim - dim - values.ndim))


def widened(x: Any) -> Any:
    """Half types as float32."""
    return x.cast(dtypes.float32) if x.dtype.is_half else x


__all__ = ["along", "taken", "weighted", "widened"]
