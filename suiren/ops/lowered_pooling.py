"""Pooling over two dimensions as nodes of the compiler's graph.

Windows are shifted and strided parts of the image, one for each place in the window: the maximum is
a chain of comparisons, the mean a sum. Beside the maximum goes its number within the window, one
byte, of which flat positions are made only if someone asks; the gradient compares that number (it
finds it by ``g.facts``) and needs no scattering. The gradient of overlapping windows is put
together from phases: rows and columns that are alike modulo the stride meet the same places of
windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import Any

from suiren import dtypes
from suiren.compiler.images import fitted, interleaved, shifted

MOST = 36  # places in a window that are compared one by one


class Windows:
    """Where windows lie: of two spatial dimensions, which begin at ``dim``."""

    def __init__(self, shape, sizes, kernel, stride, padding, dilation=(1, 1)):
        self.dim = len(shape) - 2
        self.image = tuple(shape[self.dim :])
        self.sizes = tuple(sizes)
        self.kernel, self.stride = kernel, stride
        self.padding, self.dilation = padding, dilation

    @property
    def side_by_side(self) -> bool:
        """Whether no place belongs to two windows, and none lies outside."""
        return (
            self.kernel == self.stride and self.padding == (0, 0) and self.dilation == (1, 1)
        )

    def places(self) -> list[tuple[int, int]]:
        """The places of a window, row by row."""
        high, wide = self.kernel
        return list(product(range(high), range(wide)))

    def seen(self, g: Any, x: Any, place: tuple[int, int], value: Any) -> Any:
        """The image as each window sees it at one of its places."""
        axes = [
            (i * d - p, n, s)
            for i, d, p, n, s in zip(
                place, self.dilation, self.padding, self.sizes, self.stride, strict=True
            )
        ]
        return shifted(g, x, (self.dim, self.dim + 1), axes, value)

    def outside(self) -> bool:
        """Whether a window begins before the image."""
        return self.padding != (0, 0)

    def may_be_empty(self) -> bool:
        """Whether a window steps over the image and holds none of its places."""
        numbers = zip(
            self.image, self.sizes, self.kernel, self.stride, self.padding, self.dilation,
            strict=True,
        )  # fmt: skip
        return any(
            not any(0 <= o * s - p + d * i < size for i in range(k))
            for size, n, k, s, p, d in numbers
            for o in range(n)
        )


def max_pool(g: Any, x: Any, sizes, kernel, stride, padding, dilation) -> tuple[Any, Any]:
    """(largest elements, their flat positions)."""
    if len(kernel) != 2 or prod(kernel) > MOST or 0 in x.shape:
        raise g.NotNative("pooling of these windows")
    windows = Windows(x.shape, sizes, kernel, stride, padding, dilation)
    if windows.may_be_empty():
        raise g.NotNative("windows that hold nothing")
    lowest = _lowest(x.dtype)
    best = code = None
    for number, place in enumerate(windows.places()):
        part = windows.seen(g, x, place, lowest)
        if best is None:
            best, code = part, _first(g, windows, part.shape)
            continue
        better = part > best
        if x.dtype.category == dtypes.FLOATING:
            better = better | part.isnan()
        code = g.where(better, g.constant(number, dtypes.uint8), code)
        best = best.max(part) if x.dtype is not dtypes.bool else best | part
    positions = _positions(g, windows, code)
    g.facts[positions] = (windows, code)
    return best, positions


def _lowest(kind) -> Any:
    if kind.category == dtypes.FLOATING:
        return float("-inf")
    return False if kind is dtypes.bool else dtypes.iinfo(kind).min


def _first(g: Any, windows: Windows, shape: Sequence[int]) -> Any:
    """The number of each window's first place within the image."""
    if not windows.outside():
        return g.full(shape, 0, dtypes.uint8)
    found = g.full(shape, 0, dtypes.int32)
    for axis in (0, 1):
        inside = windows.padding[axis] - g.iota(shape, windows.dim + axis, dtypes.int32) * (
            windows.stride[axis]
        )
        d = windows.dilation[axis]
        before = inside.max(0) if d == 1 else g.map("floor_div", inside.max(0) + (d - 1), d)
        found = found * windows.kernel[axis] + before
    return found.cast(dtypes.uint8)


def _positions(g: Any, windows: Windows, code: Any) -> Any:
    code = code.cast(dtypes.int64)
    across = windows.kernel[1]
    places = (g.map("floor_div", code, across), g.map("remainder", code, across))
    found = None
    for axis, place in enumerate(places):
        along = g.iota(code.shape, windows.dim + axis) * windows.stride[axis]
        along = along - windows.padding[axis] + place * windows.dilation[axis]
        found = along if found is None else found * windows.image[axis] + along
    return found


def max_gradient(g: Any, grad: Any, positions: Any, shape: Sequence[int], axes: int) -> Any:
    """Each gradient added where its maximum was."""
    fact = g.facts.get(positions)
    if fact is None or fact[0].image != tuple(shape[-2:]):
        return _scattered(g, grad, positions, shape, axes)
    windows, code = fact

    def share(number: int) -> Any:
        return g.where(code.eq(number), grad, 0)

    if windows.side_by_side:
        number = _number(g, windows, grad.shape)
        chosen = g.where(
            _repeated(g, windows, code).eq(number), _repeated(g, windows, grad), 0
        )
        return _joined(g, windows, chosen, shape)
    return _gathered(g, windows, share, shape, grad.dtype)


def _scattered(g: Any, grad: Any, positions: Any, shape: Sequence[int], axes: int) -> Any:
    rows = prod(shape[: len(shape) - axes])
    base = g.full((rows, prod(shape[len(shape) - axes :])), 0, grad.dtype)
    flat = (rows, grad.numel // max(rows, 1))
    if not base.numel or not grad.numel:
        return g.full(shape, 0, grad.dtype)
    found = g.scatter_along("add", base, positions.reshape(*flat), grad.reshape(*flat), 1)
    return found.reshape(*shape)


def at_positions(g: Any, x: Any, positions: Any, axes: int) -> Any:
    """Elements at flat spatial positions."""
    rows = prod(x.shape[: x.ndim - axes])
    if not positions.numel:
        raise g.NotNative("no windows")
    flat = x.reshape(rows, x.numel // rows)
    index = positions.reshape(rows, positions.numel // rows)
    return g.take_along(flat, index, 1).reshape(*positions.shape)


# ---- side by side


def _parted(windows: Windows, shape: Sequence[int], inner: tuple[int, int]) -> tuple[int, ...]:
    high, wide = windows.sizes
    return (*shape[: windows.dim], high, inner[0], wide, inner[1])


def _repeated(g: Any, windows: Windows, x: Any) -> Any:
    """What belongs to a window at each of its places: [..., row, place, column, place]."""
    whole = _parted(windows, x.shape, windows.kernel)
    return x.reshape(*_parted(windows, x.shape, (1, 1))).expand(*whole)


def _number(g: Any, windows: Windows, shape: Sequence[int]) -> Any:
    whole = _parted(windows, shape, windows.kernel)
    dim = windows.dim
    down = g.iota(whole, dim + 1, dtypes.int32) * windows.kernel[1]
    return (down + g.iota(whole, dim + 3, dtypes.int32)).cast(dtypes.uint8)


def _joined(g: Any, windows: Windows, x: Any, shape: Sequence[int]) -> Any:
    """Windows side by side as an image."""
    spatial = [n * k for n, k in zip(windows.sizes, windows.kernel, strict=True)]
    return fitted(g, x.reshape(*shape[: windows.dim], *spatial), shape)


# ---- overlapping


def _gathered(
    g: Any, windows: Windows, share: Callable[[int], Any], shape: Sequence[int], kind
) -> Any:
    """For each place of the image the sum of what windows hand to it: ``share(number)``."""
    phases = []
    for axis in (0, 1):
        s, p, d = windows.stride[axis], windows.padding[axis], windows.dilation[axis]
        own = []
        for first in range(min(s, windows.image[axis])):
            met = [t for t in range(windows.kernel[axis]) if (first + p - d * t) % s == 0]
            count = -(-(windows.image[axis] - first) // s)
            own.append((count, [(t, (first + p - d * t) // s) for t in met]))
        phases.append(own)
    dims = (windows.dim, windows.dim + 1)
    parts: list[list[Any]] = []
    for high, down in phases[0]:
        parts.append([])
        for wide, across in phases[1]:
            total = g.full((*shape[: windows.dim], high, wide), 0, kind)
            terms = [
                shifted(
                    g, share(i * windows.kernel[1] + j), dims, ((y, high, 1), (x, wide, 1))
                )
                for i, y in down
                for j, x in across
            ]
            for number, term in enumerate(terms):
                total = total + term if number else term
            parts[-1].append(total)
    return interleaved(g, parts, windows.image, windows.dim)


# ---- means


def avg_pool(g: Any, x: Any, sizes, kernel, stride, padding, include_pad, divisor) -> Any:
    """Means of windows."""
    windows, kind = _mean_windows(g, x, x.shape, sizes, kernel, stride, padding), x.dtype
    x = x.cast(dtypes.float32) if kind.is_half else x
    if windows.side_by_side and prod(kernel) > 4:
        spatial = [n * k for n, k in zip(sizes, kernel, strict=True)]
        x = fitted(g, x, (*x.shape[: windows.dim], *spatial))
        x = x.reshape(*_parted(windows, x.shape, kernel))
        total = x.sum((windows.dim + 1, windows.dim + 3))
    else:
        parts = [windows.seen(g, x, place, 0) for place in windows.places()]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
    return _divided(g, windows, total, include_pad, divisor).cast(kind)


def avg_gradient(
    g: Any, grad: Any, shape, kernel, stride, padding, include_pad, divisor
) -> Any:
    """Each window's gradient shared out among its places."""
    sizes = grad.shape[-2:]
    windows, kind = _mean_windows(g, grad, shape, sizes, kernel, stride, padding), grad.dtype
    grad = grad.cast(dtypes.float32) if kind.is_half else grad
    grad = _divided(g, windows, grad, include_pad, divisor)
    if windows.side_by_side:
        found = _joined(g, windows, _repeated(g, windows, grad), shape)
    else:
        found = _gathered(g, windows, lambda number: grad, shape, grad.dtype)
    return found.cast(kind)


def _mean_windows(g: Any, x: Any, shape, sizes, kernel, stride, padding) -> Windows:
    windows = Windows(shape, sizes, kernel, stride, padding)
    if len(kernel) != 2 or x.dtype.category != dtypes.FLOATING or not x.numel or 0 in shape:
        raise g.NotNative("means of these windows")
    if prod(kernel) > MOST and not windows.side_by_side:
        raise g.NotNative("means of large windows")
    if any(n * k > m for n, k, m in zip(sizes, kernel, windows.image, strict=True)):
        if windows.side_by_side and prod(kernel) > MOST:
            raise g.NotNative("large windows that pass the end")
    return windows


def _divided(g: Any, windows: Windows, x: Any, include_pad: bool, divisor: Any) -> Any:
    if divisor is not None:
        return x / divisor
    count: Any = None
    for axis in (0, 1):
        n, s, p = windows.sizes[axis], windows.stride[axis], windows.padding[axis]
        k, size = windows.kernel[axis], windows.image[axis]
        inside = (n - 1) * s - p + k <= size + (p if include_pad else 0)
        if inside and (include_pad or not p):
            own: Any = float(k)
        else:
            first = g.iota(x.shape, windows.dim + axis, x.dtype) * s - p
            if include_pad:
                own = (first + k).min(size + p) - first
            else:
                own = (first + k).min(size) - first.max(0)
        count = own if count is None else count * own
    return x / count


# ---- adaptive


def adaptive_avg(g: Any, x: Any, sizes: Sequence[int]) -> Any:
    """Means of the parts that two dimensions are divided into."""
    if len(sizes) != 2 or x.dtype.category != dtypes.FLOATING or not x.numel or 0 in sizes:
        raise g.NotNative("adaptive means of this")
    kind = x.dtype
    x = x.cast(dtypes.float32) if kind.is_half else x
    for dim, n in zip((x.ndim - 2, x.ndim - 1), sizes, strict=True):
        size = x.shape[dim]
        if size % n == 0:
            x = x.reshape(*x.shape[:dim], n, size // n, *x.shape[dim + 1 :])
            x = x.sum(dim + 1) / float(size // n)
        else:
            x = _adapted(g, x, dim, n, size, False)
    return x.cast(kind)


def adaptive_avg_gradient(g: Any, grad: Any, shape: Sequence[int], axes: int) -> Any:
    """The gradient of :func:`adaptive_avg`."""
    if axes != 2 or grad.dtype.category != dtypes.FLOATING or not grad.numel or 0 in shape:
        raise g.NotNative("adaptive means of this")
    kind = grad.dtype
    grad = grad.cast(dtypes.float32) if kind.is_half else grad
    for dim in (grad.ndim - 2, grad.ndim - 1):
        n, size = grad.shape[dim], shape[dim]
        before, after = grad.shape[:dim], grad.shape[dim + 1 :]
        if size % n == 0:
            grad = (grad / float(size // n)).reshape(*before, n, 1, *after)
            grad = grad.expand(*before, n, size // n, *after).reshape(*before, size, *after)
        else:
            grad = _adapted(g, grad, dim, n, size, True)
    return grad.cast(kind)


def _adapted(g: Any, x: Any, dim: int, n: int, size: int, back: bool) -> Any:
    """Means along a dimension of ``size`` in n parts that may overlap, or their gradient."""
    if n * size > 4096:
        raise g.NotNative("many uneven parts")
    before, after = x.shape[:dim], x.shape[dim + 1 :]
    whole = (*before, n, size, *after)
    part, at = g.iota(whole, dim), g.iota(whole, dim + 1)
    first = g.map("floor_div", part * size, n)
    end = g.map("floor_div", (part + 1) * size + (n - 1), n)
    inside = (at >= first) & (at < end)
    x = x.reshape(*before, n, 1, *after) if back else x.reshape(*before, 1, size, *after)
    x = x.expand(*whole) / (end - first).cast(x.dtype)
    return g.where(inside, x, 0).sum(dim if back else dim + 1)
