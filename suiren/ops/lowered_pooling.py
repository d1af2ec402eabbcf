"""Pooling over one to three dimensions as nodes of the compiler's graph.

Windows are shifted and strided parts of the image, one for each place in the window: the maximum is
a chain of comparisons, the mean a sum. Beside the maximum goes its number within the window, one
byte, of which flat positions are made only if someone asks; the gradient compares that number (it
finds it by ``g.facts``) and needs no scattering. The gradient of overlapping windows is put
together from phases: rows and columns that are alike modulo the stride meet the same places of
windows. Large windows and those of adaptive pooling are taken dimension by dimension, by tables
(`lowered_taps.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from suiren import dtypes
from suiren.compiler.images import fitted, interleaved, shifted
from suiren.interpreter.windows import Taps, transpose_taps
from suiren.ops.lowered_taps import along, taken, weighted, widened

MOST = 36  # places in a window that are compared one by one
LONG = 9  # places side by side: from here on a reduction along them is faster


class Windows:
    """Where windows lie: of the last dimensions, which begin at ``dim``."""

    def __init__(self, shape, sizes, kernel, stride, padding, dilation=None):
        self.axes = len(kernel)
        self.dim = len(shape) - self.axes
        self.image = tuple(shape[self.dim :])
        self.sizes = tuple(sizes)
        self.kernel, self.stride = tuple(kernel), tuple(stride)
        self.padding, self.dilation = tuple(padding), tuple(dilation or (1,) * self.axes)

    @property
    def dims(self) -> range:
        """The spatial dimensions."""
        return range(self.dim, self.dim + self.axes)

    @property
    def side_by_side(self) -> bool:
        """Whether no place belongs to two windows, and none lies outside."""
        return self.kernel == self.stride and not self.outside() and set(self.dilation) == {1}

    def places(self) -> list[tuple[int, ...]]:
        """The places of a window, row by row."""
        return list(product(*map(range, self.kernel)))

    def seen(self, g: Any, x: Any, place: tuple[int, ...], value: Any) -> Any:
        """The image as each window sees it at one of its places."""
        axes = [
            (i * d - p, n, s)
            for i, d, p, n, s in zip(
                place, self.dilation, self.padding, self.sizes, self.stride, strict=True
            )
        ]
        return shifted(g, x, self.dims, axes, value)

    def outside(self) -> bool:
        """Whether a window begins before the image."""
        return any(self.padding)

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
    if 0 in x.shape or 0 in sizes:
        raise g.NotNative("pooling of nothing")
    windows = Windows(x.shape, sizes, kernel, stride, padding, dilation)
    if windows.may_be_empty():
        raise g.NotNative("windows that hold nothing")
    long = windows.side_by_side and kernel[-1] >= LONG
    if prod(kernel) > MOST or long:
        best, positions = _max_by_dimensions(g, x, [_within(windows, a) for a in range(len(sizes))])
        g.facts[positions] = (windows, None)
        return best, positions
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
    for axis in range(windows.axes):
        inside = windows.padding[axis] - g.iota(shape, windows.dim + axis, dtypes.int32) * (
            windows.stride[axis]
        )
        d = windows.dilation[axis]
        before = inside.max(0) if d == 1 else g.map("floor_div", inside.max(0) + (d - 1), d)
        found = found * windows.kernel[axis] + before
    return found.cast(dtypes.uint8)


def _positions(g: Any, windows: Windows, code: Any) -> Any:
    code = code.cast(dtypes.int64)
    places: list[Any] = []
    for size in windows.kernel[:0:-1]:
        places.insert(0, g.map("remainder", code, size))
        code = g.map("floor_div", code, size)
    places.insert(0, code)
    found: Any = None
    for axis, place in enumerate(places):
        along = g.iota(code.shape, windows.dim + axis) * windows.stride[axis]
        along = along - windows.padding[axis] + place * windows.dilation[axis]
        found = along if found is None else found * windows.image[axis] + along
    return found


def max_gradient(g: Any, grad: Any, positions: Any, shape: Sequence[int], axes: int) -> Any:
    """Each gradient added where its maximum was."""
    fact = g.facts.get(positions)
    if fact is None or fact[0].image != tuple(shape[len(shape) - axes :]):
        return _scattered(g, grad, positions, shape, axes)
    windows, code = fact
    if code is None:
        if not windows.side_by_side:
            return _scattered(g, grad, positions, shape, axes)
        chosen, own = _repeated(g, windows, positions), _repeated(g, windows, grad)
        place = _place(g, windows, chosen.shape)
        return _joined(g, windows, g.where(chosen.eq(place), own, 0), shape)

    def share(number: int) -> Any:
        return g.where(code.eq(number), grad, 0)

    if windows.side_by_side:
        number = _number(g, windows, grad.shape)
        chosen = g.where(
            _repeated(g, windows, code).eq(number), _repeated(g, windows, grad), 0
        )
        return _joined(g, windows, chosen, shape)
    return gathered(g, windows, share, shape, grad.dtype)


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


def _parted(windows: Windows, shape: Sequence[int], inner: Sequence[int]) -> tuple[int, ...]:
    pairs = zip(windows.sizes, inner, strict=True)
    return (*shape[: windows.dim], *[n for pair in pairs for n in pair])


def _repeated(g: Any, windows: Windows, x: Any) -> Any:
    """What belongs to a window at each of its places: [..., row, place, column, place]."""
    whole = _parted(windows, x.shape, windows.kernel)
    return x.reshape(*_parted(windows, x.shape, (1,) * windows.axes)).expand(*whole)


def _number(g: Any, windows: Windows, shape: Sequence[int]) -> Any:
    whole = _parted(windows, shape, windows.kernel)
    found: Any = None
    for axis, size in enumerate(windows.kernel):
        own = g.iota(whole, windows.dim + 2 * axis + 1, dtypes.int32)
        found = own if found is None else found * size + own
    return found.cast(dtypes.uint8)


def _place(g: Any, windows: Windows, whole: Sequence[int]) -> Any:
    """The flat position of each place of windows side by side."""
    found: Any = None
    for axis, (size, k) in enumerate(zip(windows.image, windows.kernel, strict=True)):
        at = windows.dim + 2 * axis
        own = g.iota(whole, at) * k + g.iota(whole, at + 1)
        found = own if found is None else found * size + own
    return found


def _joined(g: Any, windows: Windows, x: Any, shape: Sequence[int]) -> Any:
    """Windows side by side as an image."""
    spatial = [n * k for n, k in zip(windows.sizes, windows.kernel, strict=True)]
    return fitted(g, x.reshape(*shape[: windows.dim], *spatial), shape)


# ---- overlapping


def gathered(
    g: Any, windows: Windows, share: Callable[[int], Any], shape: Sequence[int], kind
) -> Any:
    """For each place of the image the sum of what windows hand to it: ``share(number)``."""
    phases = []
    for axis in range(windows.axes):
        s, p, d = windows.stride[axis], windows.padding[axis], windows.dilation[axis]
        own = []
        for first in range(min(s, windows.image[axis])):
            met = [t for t in range(windows.kernel[axis]) if (first + p - d * t) % s == 0]
            count = -(-(windows.image[axis] - first) // s)
            own.append((count, [(t, (first + p - d * t) // s) for t in met]))
        phases.append(own)

    def part(chosen: tuple) -> Any:
        """One phase of each axis: what its places meet, added up."""
        counts = [count for count, _ in chosen]
        total = None
        for met in product(*[taps for _, taps in chosen]):
            number = 0
            for size, (tap, _) in zip(windows.kernel, met, strict=True):
                number = number * size + tap
            axes = [(at, count, 1) for (_, at), count in zip(met, counts, strict=True)]
            term = shifted(g, share(number), windows.dims, axes)
            total = term if total is None else total + term
        return g.full((*shape[: windows.dim], *counts), 0, kind) if total is None else total

    def nested(chosen: tuple) -> Any:
        if len(chosen) == windows.axes:
            return part(chosen)
        return [nested((*chosen, own)) for own in phases[len(chosen)]]

    return interleaved(g, nested(()), windows.image, windows.dim)


# ---- means


def avg_pool(g: Any, x: Any, sizes, kernel, stride, padding, include_pad, divisor) -> Any:
    """Means of windows."""
    windows, kind = _mean_windows(g, x, x.shape, sizes, kernel, stride, padding), x.dtype
    x = widened(x)
    fits = all(n * k <= m for n, k, m in zip(sizes, kernel, windows.image, strict=True))
    if prod(kernel) > MOST and not (windows.side_by_side and fits):
        total = x
        for axis, dim in list(enumerate(windows.dims))[::-1]:
            total = weighted(g, total, dim, _window_taps(windows, axis))
    elif windows.side_by_side and prod(kernel) > 4:
        spatial = [n * k for n, k in zip(sizes, kernel, strict=True)]
        x = fitted(g, x, (*x.shape[: windows.dim], *spatial))
        x = x.reshape(*_parted(windows, x.shape, kernel))
        total = x.sum([dim + axis + 1 for axis, dim in enumerate(windows.dims)])
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
    sizes = grad.shape[len(shape) - len(kernel) :]
    windows, kind = _mean_windows(g, grad, shape, sizes, kernel, stride, padding), grad.dtype
    grad = _divided(g, windows, widened(grad), include_pad, divisor)
    if prod(kernel) > MOST and not windows.side_by_side:
        found = grad
        for axis, dim in enumerate(windows.dims):
            back = transpose_taps(_window_taps(windows, axis), windows.image[axis])
            found = weighted(g, found, dim, back)
    elif windows.side_by_side:
        found = _joined(g, windows, _repeated(g, windows, grad), shape)
    else:
        found = gathered(g, windows, lambda number: grad, shape, grad.dtype)
    return found.cast(kind)


def _mean_windows(g: Any, x: Any, shape, sizes, kernel, stride, padding) -> Windows:
    windows = Windows(shape, sizes, kernel, stride, padding)
    if x.dtype.category != dtypes.FLOATING or not x.numel or 0 in shape or 0 in sizes:
        raise g.NotNative("means of these windows")
    return windows


def _divided(g: Any, windows: Windows, x: Any, include_pad: bool, divisor: Any) -> Any:
    if divisor is not None:
        return x / divisor
    count: Any = None
    for axis in range(windows.axes):
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


# ---- dimension by dimension


def _within(windows: Windows, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Of one axis: the positions that each window meets [windows, places], and which are real."""
    n, k = windows.sizes[axis], windows.kernel[axis]
    s, p, d = windows.stride[axis], windows.padding[axis], windows.dilation[axis]
    at = np.arange(n)[:, None] * s - p + np.arange(k) * d
    size = windows.image[axis]
    return np.clip(at, 0, size - 1), (at >= 0) & (at < size)


def _window_taps(windows: Windows, axis: int) -> Taps:
    """The sum of each window's places along one axis, without those outside."""
    at = np.arange(windows.sizes[axis]) * windows.stride[axis] - windows.padding[axis]
    first = np.maximum(at, 0)
    counts = np.minimum(at + windows.kernel[axis], windows.image[axis]) - first
    return _run_taps(first, np.maximum(counts, 0), windows.image[axis])


def _run_taps(first: np.ndarray, counts: np.ndarray, size: int) -> Taps:
    steps = np.arange(int(counts.max(initial=0)))[:, None]
    return Taps(np.clip(first + steps, 0, size - 1), None, counts)


def _max_by_dimensions(g: Any, x: Any, axes: Sequence[tuple]) -> tuple[Any, Any]:
    """Maxima of windows given by :func:`_within`, and flat positions."""
    kind, x = x.dtype, widened(x)
    image = x.shape[x.ndim - len(axes) :]
    places = None
    for axis in range(len(axes) - 1, -1, -1):
        dim = x.ndim - len(axes) + axis
        x, own = _max_along(g, x, dim, *axes[axis])
        if places is None:
            places = own
        else:
            places = g.take_along(places, own, dim, checked=True) + own * prod(image[axis + 1 :])
    return x.cast(kind), places


def _max_along(
    g: Any, x: Any, dim: int, positions: np.ndarray, real: np.ndarray
) -> tuple[Any, Any]:
    """The largest elements of windows along one dimension, and their positions there."""
    part = taken(g, x, dim, positions)  # [..., windows, places, ...]
    floating = x.dtype.category == dtypes.FLOATING
    inside = None
    if not real.all():
        inside = along(g, real, part.ndim, dim).expand(*part.shape)
        part = g.where(inside, part, _lowest(x.dtype))
    best = part.amax(dim + 1, True)
    number = g.iota(part.shape, dim + 1, dtypes.int32)
    hit = part.eq(best.expand(*part.shape))
    hit = hit if inside is None else hit & inside
    places = positions.shape[1]
    chosen = g.where(hit, number, places - 1).amin(dim + 1)
    best = best.reshape(*chosen.shape)
    if floating:  # of several NaN the last one counts, as in a chain of comparisons
        chosen = g.where(
            best.isnan(), g.where(part.isnan(), number, 0).amax(dim + 1), chosen
        )
    chosen = chosen.cast(dtypes.int64)
    flat = g.iota(chosen.shape, dim) * places + chosen
    return best, g.take(g.table(positions.reshape(-1).astype(np.int64)), flat, 0, checked=True)


# ---- adaptive


def _adaptive_bounds(size: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """First place and length of each of n parts."""
    first = np.arange(n) * size // n
    return first, -(-(np.arange(n) + 1) * size // n) - first


def adaptive_avg(g: Any, x: Any, sizes: Sequence[int]) -> Any:
    """Means of the parts that the last dimensions are divided into."""
    if x.dtype.category != dtypes.FLOATING or not x.numel or 0 in sizes:
        raise g.NotNative("adaptive means of this")
    kind, x = x.dtype, widened(x)
    for dim, n in enumerate(sizes, x.ndim - len(sizes)):
        first, counts = _adaptive_bounds(x.shape[dim], n)
        x = weighted(g, x, dim, _run_taps(first, counts, x.shape[dim]))
        x = _shared(g, x, dim, counts)
    return x.cast(kind)


def adaptive_avg_gradient(g: Any, grad: Any, shape: Sequence[int], axes: int) -> Any:
    """The gradient of :func:`adaptive_avg`."""
    if grad.dtype.category != dtypes.FLOATING or not grad.numel or 0 in shape:
        raise g.NotNative("adaptive means of this")
    kind, grad = grad.dtype, widened(grad)
    for dim in range(grad.ndim - axes, grad.ndim):
        first, counts = _adaptive_bounds(shape[dim], grad.shape[dim])
        back = transpose_taps(_run_taps(first, counts, shape[dim]), shape[dim])
        grad = weighted(g, _shared(g, grad, dim, counts), dim, back)
    return grad.cast(kind)


def _shared(g: Any, x: Any, dim: int, counts: np.ndarray) -> Any:
    """Divided by the number of places of each part."""
    if (counts == counts[0]).all():
        return x / float(counts[0]) if counts[0] != 1 else x
    return x / along(g, counts.astype(x.dtype.numpy), x.ndim, dim)


def adaptive_max(g: Any, x: Any, sizes: Sequence[int]) -> tuple[Any, Any]:
    """(largest elements, their flat positions) of the parts of the last dimensions."""
    if not x.numel or 0 in sizes:
        raise g.NotNative("adaptive maxima of nothing")
    axes = len(sizes)
    image = x.shape[x.ndim - axes :]
    if all(size % n == 0 for size, n in zip(image, sizes, strict=True)):
        kernel = tuple([size // n for size, n in zip(image, sizes, strict=True)])
        return max_pool(g, x, sizes, kernel, kernel, (0,) * axes, (1,) * axes)
    tables = []
    for size, n in zip(image, sizes, strict=True):
        first, counts = _adaptive_bounds(size, n)
        steps = np.arange(int(counts.max()))
        at = np.minimum(first[:, None] + steps, size - 1)
        tables.append((at, steps < counts[:, None]))
    return _max_by_dimensions(g, x, tables)
