"""Pieces that the decompositions of operators share.

A decomposition writes an operator with the nodes of the compiler's graph (`compiler/graph.py`). It
is given that graph, ``g``, and so stands below the compiler, next to the operator's other meanings.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from suiren import dtypes
from suiren.dtypes import dtype

INFINITY = float("inf")


def is_number(x: Any) -> bool:
    """Whether this is a run-time number, which takes the type of what it meets."""
    return x is not None and x.op == "number"


def type_of(*operands: Any) -> dtype:
    """The type in which these are computed: that of the arrays among them."""
    return next((x for x in operands if not is_number(x)), operands[0]).dtype


def alike(*operands: Any) -> tuple:
    """The operands in one type: numbers in that of the arrays."""
    kind = type_of(*operands)
    return tuple([x.cast(kind) for x in operands])


def exact(x: Any, kind: dtype) -> Any:
    """For arithmetic between run-time numbers: a number in double precision, arrays as they are.

    Convert the result with ``.cast(kind)``. In an integer type a number is cut off first.
    """
    if not is_number(x):
        return x
    return x.cast(dtypes.float64 if kind.category == dtypes.FLOATING else kind)


def truth(x: Any) -> Any:
    """Which elements are not zero."""
    return x if x.dtype is dtypes.bool else x.ne(0)


def is_infinite(x: Any) -> Any:
    """Which elements of a floating type are infinite."""
    return x.abs().eq(INFINITY)


def is_finite(x: Any) -> Any:
    """Which elements of a floating type are neither infinite nor NaN."""
    return x.abs() < INFINITY


def converted(x: Any, kind: dtype) -> Any:
    """The elements as ``.to(kind)`` converts them."""
    if kind.category == dtypes.INTEGER and x.dtype.category == dtypes.FLOATING:
        # out of range values go through int64, as compilers for x86-64 do it
        if kind is not dtypes.uint64:
            x = x.cast(dtypes.int64)
    return x.cast(kind)


# ---- parts of dimensions


def narrow(g: Any, x: Any, dim: int, first: int, count: int, step: int = 1) -> Any:
    """``count`` positions of a dimension from ``first`` on, ``step`` apart."""
    ranges = [(0, n, 1) for n in x.shape]
    ranges[dim] = (first, count, step)
    return g.slice(x, ranges)


def widened(g: Any, x: Any, dim: int, before: int, after: int, value: Any = 0) -> Any:
    """``x`` with more positions around it along a dimension."""
    sides = [(0, 0)] * x.ndim
    sides[dim] = (before, after)
    return g.pad(x, sides, value)


def put_slice(g: Any, base: Any, values: Any, dim: int, first: int, step: int = 1) -> Any:
    """``base`` with ``values`` at positions of a dimension, ``step`` apart."""
    count = values.shape[dim]
    if not values.numel:
        return base
    if count == 1:
        step = 1
    if step == 1 and is_zero(base):  # which fuses with what the zeros are added to
        return widened(g, values, dim, first, base.shape[dim] - first - count)
    ranges = [(0, n, 1) for n in base.shape]
    ranges[dim] = (first, count, step)
    return g.update(base, values, ranges)


def is_zero(x: Any) -> bool:
    """Whether this is known to be zero in every place."""
    while x.op in ("expand", "reshape"):
        x = x.inputs[0]
    return x.op == "constant" and repr(x.attributes[1]) in ("0", "0.0", "False")


def corner(g: Any, x: Any, shape: Sequence[int]) -> Any:
    """The first positions of each dimension."""
    return g.slice(x, [(0, n, 1) for n in shape])


def put_corner(g: Any, base: Any, values: Any) -> Any:
    """``base`` with other elements in the first positions of each dimension."""
    sides = [(0, n - m) for n, m in zip(base.shape, values.shape, strict=True)]
    return inside(g, values, sides, base)


def inside(g: Any, x: Any, sides: Sequence[tuple[int, int]], around: Any) -> Any:
    """``x`` with more places around it, whose elements are those of ``around``."""
    if not any(a or b for a, b in sides):
        return x
    here = g.pad(g.full(x.shape, True, dtypes.bool), sides)
    return g.where(here, g.pad(x, sides), around)


def at_positions(g: Any, x: Any, dim: int, positions: Sequence[int]) -> Any:
    """The elements at known positions of a dimension, as slices side by side."""
    parts = []
    for first, count, step in _runs(g, positions):
        if step:
            parts.append(narrow(g, x, dim, first, count, step))
        else:
            shape = list(x.shape)
            shape[dim] = count
            parts.append(narrow(g, x, dim, first, 1).expand(*shape))
    return g.concat(parts, dim) if parts else narrow(g, x, dim, 0, 0)


def added_at_positions(g: Any, grad: Any, dim: int, positions: Sequence[int], size: int) -> Any:
    """The gradient of :func:`at_positions`, by an input of ``size`` positions."""
    shape = list(grad.shape)
    shape[dim] = size
    total = g.full(shape, 0, grad.dtype)
    start = 0
    for first, count, step in _runs(g, positions):
        part = narrow(g, grad, dim, start, count)
        start += count
        if not step:
            part, count = part.sum((dim,), True), 1
        elif step < 0:
            part = narrow(g, part, dim, count - 1, count, -1)
            first, step = first + step * (count - 1), -step
        zeros = g.full(shape, 0, grad.dtype)
        put = put_slice(g, zeros, part, dim, first, step or 1)
        total = put if is_zero(total) else total + put
    return total


def _runs(g: Any, positions: Sequence[int]) -> list[tuple[int, int, int]]:
    """(first, count, step) of the longest evenly spaced runs."""
    runs: list[tuple[int, int, int]] = []
    for p in map(int, positions):
        if runs:
            first, count, step = runs[-1]
            if count == 1 or p == first + count * step:
                runs[-1] = (first, count + 1, p - first if count == 1 else step)
                continue
        runs.append((p, 1, 1))
    if len(runs) > 16:
        raise g.NotNative("too many pieces")
    return runs


def on_diagonal(g: Any, base: Any, values: Any, offset: int) -> Any:
    """``base`` with other elements on a diagonal of its last two dimensions."""
    n = base.ndim - 2
    first = max(-offset, 0)
    length = max(min(base.shape[n] - first, base.shape[n + 1] - max(offset, 0)), 0)
    if not values.numel:
        return base
    after = base.shape[n] - first - length
    rows = widened(g, values, n, first, after)  # the element of each row
    here = (g.iota(base.shape, n + 1) - g.iota(base.shape, n)).eq(offset)
    return g.where(here, rows.unsqueeze(n + 1).expand(*base.shape), base)


# ---- positions in the flattened array


def flat_positions(g: Any, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Any:
    """``offset`` plus each index times its stride."""
    found = g.full(shape, offset, dtypes.int64)
    for d, stride in enumerate(strides):
        if stride and shape[d] > 1:
            found = found + g.iota(shape, d) * stride
    return found


def row_major(shape: Sequence[int]) -> list[int]:
    """The strides of an array that lies in memory in row-major order."""
    return [prod(shape[d + 1 :]) for d in range(len(shape))]


def wrapped(g: Any, index: Any, size: int) -> Any:
    """Indices counted from the end made positive, after a check of their range."""
    index = index.cast(dtypes.int64)
    if not size and index.numel:
        raise g.NotNative("an index into nothing")
    g.check_range(index, -size, size)
    return g.where(index < 0, index + size, index)


# ---- products


def product(g: Any, a: Any, b: Any) -> Any:
    """The product of two matrices or batches of them; of integers as a sum of products."""
    if a.dtype.category == dtypes.FLOATING:
        return g.matmul(a, b)
    if a.dtype is dtypes.bool:
        raise g.NotNative("a product of truth values")
    return (a.unsqueeze(a.ndim) * b.unsqueeze(b.ndim - 2)).sum((a.ndim - 1,))


__all__ = [
    "added_at_positions", "alike", "at_positions", "converted", "corner", "exact",
    "flat_positions", "inside", "is_number", "is_zero", "is_finite", "is_infinite", "narrow",
    "on_diagonal", "product",
    "put_corner", "put_slice", "row_major", "truth", "type_of", "widened", "wrapped",
]  # fmt: skip
