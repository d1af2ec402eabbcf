"""Images moved about, as nodes of a graph: parts shifted and strided, phases put together.

What convolutions and pooling windows are written with. ``g`` is the graph; images have their
spatial dimensions anywhere, side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def spread(g: Any, x: Any, stride: Sequence[int], spatial: Sequence[int]) -> Any:
    """The places of x ``stride`` apart in a larger image of zeros."""
    n, h, w, c = x.shape
    if tuple(stride) == (1, 1):
        return fitted(g, x, (n, *spatial, c))
    x = g.reshape(x, (n, h, 1, w, 1, c))
    none = (0, 0)
    x = g.pad(x, (none, none, (0, stride[0] - 1), none, (0, stride[1] - 1), none))
    return fitted(g, g.reshape(x, (n, h * stride[0], w * stride[1], c)), (n, *spatial, c))


def fitted(g: Any, x: Any, shape: Sequence[int]) -> Any:
    """Cut or filled with zeros at the ends of dimensions."""
    x = g.slice(x, [(0, min(a, b), 1) for a, b in zip(x.shape, shape, strict=True)])
    return g.pad(x, [(0, b - a) for a, b in zip(x.shape, shape, strict=True)])


def shifted(g: Any, x: Any, dims: Sequence[int], axes: Sequence[Any], value: Any = 0) -> Any:
    """Part of x along ``dims``: (first, count, step) for each, filled where it is outside."""
    sides, ranges = [(0, 0)] * x.ndim, [(0, n, 1) for n in x.shape]
    for dim, (first, count, step) in zip(dims, axes, strict=True):
        before = max(0, -first)
        sides[dim] = (before, max(0, first + (count - 1) * step + 1 - x.shape[dim]))
        ranges[dim] = (first + before, count, step)
    return g.slice(g.pad(x, sides, value), ranges)


def interleaved(g: Any, parts: Sequence[Any], spatial: Sequence[int], dim: int) -> Any:
    """The image of which ``parts[a][b]`` has each so many-th row from a, and column from b.

    The spatial dimensions, one for each level of lists, begin at ``dim``.
    """
    axes = len(spatial)
    counts: list[int] = []
    first: Any = parts
    for _ in range(axes):
        counts.append(len(first))
        first = first[0]
    if set(counts) == {1}:
        return first
    before, after = first.shape[:dim], first.shape[dim + axes :]
    sizes = first.shape[dim : dim + axes]
    pairs = list(zip(sizes, counts, strict=True))
    shape = (*before, *[n for pair in pairs for n in pair], *after)
    apart = (*before, *[n for size in sizes for n in (size, 1)], *after)

    def chosen(axis: int, part: Any) -> Any:
        if axis == axes:
            part = fitted(g, part, (*before, *sizes, *after))
            return g.expand(g.reshape(part, apart), shape)
        count = counts[axis]
        found = chosen(axis + 1, part[count - 1])
        phase = g.iota(shape, dim + 2 * axis + 1) if count > 1 else None
        for i in range(count - 2, -1, -1):
            assert phase is not None
            found = g.where(phase.eq(i), chosen(axis + 1, part[i]), found)
        return found

    found = g.reshape(chosen(0, parts), (*before, *[n * m for n, m in pairs], *after))
    return fitted(g, found, (*before, *spatial, *after))
