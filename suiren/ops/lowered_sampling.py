"""Sampling images at given places, and its gradients, as nodes of the compiler's graph.

The conventions are those of `suiren/interpreter/sampling.py`, function by function: along each axis
a place becomes a few taps, and an output is the sum over all combinations of taps. The gradient by
the image adds in order, so that its bits do not depend on the number of threads.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any, NamedTuple

from suiren import dtypes

_CUBIC = -0.75  # Keys' coefficient, torch's choice


class _Tap(NamedTuple):
    """One neighbour along one axis: [batch, places] each."""

    position: Any  # int32, inside the axis
    inside: Any  # where the neighbour is no padding that counts as zero; None: everywhere
    weight: Any  # None: one
    slope: Any  # derivative of the weight by the normalized coordinate; None: zero


def _pixels(place: Any, size: int, align: bool) -> tuple[Any, float]:
    """Coordinates in [-1, 1] as pixels, and the derivative."""
    if align:
        return (place + 1) * ((size - 1) / 2), (size - 1) / 2
    return ((place + 1) * size - 1) / 2, size / 2


def _reflected(g: Any, x: Any, size: int, align: bool) -> tuple[Any, Any]:
    low, high = (0, 2 * (size - 1)) if align else (-1, 2 * size - 1)
    zero = x * 0
    if low == high:
        return zero, zero
    start, span = low / 2, (high - low) / 2
    sign = g.where(x < start, zero - 1, zero + 1)
    distance = (x - start).abs()
    extra = g.map("fmod", distance, span)
    half = (distance / span).floor() / 2
    odd = half.ne(half.floor())
    return g.where(odd, span - extra + start, extra + start), g.where(odd, -sign, sign)


def _clipped(g: Any, x: Any, size: int) -> tuple[Any, Any]:
    """Limited to the axis; the derivative is zero from the ends on, as torch has it."""
    outside = (x <= 0) | (x >= size - 1)
    slope = g.where(outside, g.full(x.shape, 0, x.dtype), 1)
    x = g.where(x > 0, x, 0)  # of NaN this makes 0, not a position outside
    return g.where(x < size - 1, x, size - 1), slope


def _bounded(g: Any, x: Any, slope: Any, size: int, padding: str, align: bool) -> tuple[Any, Any]:
    if padding == "zeros":
        return x, slope
    if padding == "reflection":
        x, factor = _reflected(g, x, size, align)
        slope = slope * factor
    x, factor = _clipped(g, x, size)
    return x, slope * factor


def _whole(g: Any, x: Any) -> Any:
    """As int32; what that does not hold (and NaN) becomes a place outside."""
    return g.where(x.abs() < 2.0**30, x, -100).cast(dtypes.int32)


def _tap(position: Any, weight: Any, slope: Any, size: int, padded: bool) -> _Tap:
    inside = (position >= 0) & (position < size) if padded else None
    return _Tap(position.max(0).min(size - 1), inside, weight, slope)


def _cubic(t: Any) -> list[tuple[Any, Any]]:
    """Weights of the neighbours at -1, 0, 1, 2 and their derivatives by t."""
    a = _CUBIC
    found: list[tuple[Any, Any]] = []
    for d, sign in ((t + 1, 1), (t, 1), (1 - t, -1), (2 - t, -1)):
        if len(found) in (1, 2):
            value = (d * (a + 2) - (a + 3)) * d * d + 1
            slope = (d * (3 * (a + 2)) - 2 * (a + 3)) * d
        else:
            value = ((d * a - 5 * a) * d + 8 * a) * d - 4 * a
            slope = (d * (3 * a) - 10 * a) * d + 8 * a
        found.append((value, slope * sign))
    return found


def _taps(g: Any, place: Any, size: int, mode: str, padding: str, align: bool) -> list[_Tap]:
    x, slope = _pixels(place, size, align)
    if mode == "bicubic":
        low = x.floor()
        result = []
        for step, (weight, derivative) in enumerate(_cubic(x - low), -1):
            at, _ = _bounded(g, low + step, slope, size, padding, align)
            padded = padding == "zeros"
            result.append(_tap(_whole(g, at), weight, derivative * slope, size, padded))
        return result
    x, slope = _bounded(g, x, slope, size, padding, align)
    if mode == "nearest":
        return [_tap(_whole(g, x.round()), None, None, size, True)]
    low = x.floor()
    fraction = x - low
    position = _whole(g, low)
    rising = fraction * 0 + slope
    return [
        _tap(position, 1 - fraction, -rising, size, True),
        _tap(position + 1, fraction, rising, size, True),
    ]


def _combinations(g: Any, grid: Any, sizes, mode: str, padding: str, align: bool) -> list[tuple]:
    """(flat position, inside, taps) for each combination of neighbours, [batch, places]."""
    batch, axes = grid.shape[0], len(sizes)
    places = grid.reshape(batch, prod(grid.shape[1:-1]), axes)
    taps = []
    for axis, size in enumerate(sizes):
        at = axes - 1 - axis  # the last coordinate of a place belongs to the first axis
        own = g.slice(places, [(0, batch, 1), (0, places.shape[1], 1), (at, 1, 1)])
        taps.append(_taps(g, own.reshape(*places.shape[:2]), size, mode, padding, align))
    found = []
    for chosen in product(*taps):
        position = inside = None
        for tap, size in zip(chosen, sizes, strict=True):
            position = tap.position if position is None else position * size + tap.position
            if tap.inside is not None:
                inside = tap.inside if inside is None else inside & tap.inside
        found.append((position, inside, chosen))
    return found


def _spread(x: Any, channels: int) -> Any:
    """[batch, places] as [batch, channels, places]."""
    return x.unsqueeze(1).expand(x.shape[0], channels, x.shape[1])


def _values(g: Any, flat: Any, position: Any, inside: Any) -> Any:
    channels = flat.shape[1]
    found = g.take_along(flat, _spread(position, channels), 2, checked=True)
    return found if inside is None else g.where(_spread(inside, channels), found, 0)


def _product(factors: list) -> Any:
    known = [x for x in factors if x is not None]
    total: Any = None
    for x in known:
        total = x if total is None else total * x
    return total


def _check(g: Any, x: Any, grid: Any) -> None:
    if not x.numel or not grid.numel:
        raise g.NotNative("places in nothing")
    if x.numel >= 1 << 30:
        raise g.NotNative("an image with more places than int32 counts")


def grid_sample(g: Any, x: Any, grid: Any, mode: str, padding: str, align: bool) -> Any:
    """x [batch, channels, *sizes] at the places of grid [batch, *places, axes]."""
    _check(g, x, grid)
    batch, channels, *sizes = x.shape
    flat = x.reshape(batch, channels, prod(sizes))
    total: Any = None
    for position, inside, taps in _combinations(g, grid, sizes, mode, padding, align):
        term = _values(g, flat, position, inside)
        weight = _product([tap.weight for tap in taps])
        if weight is not None:
            term = term * _spread(weight, channels)
        total = term if total is None else total + term
    return total.reshape(batch, channels, *grid.shape[1:-1])


def gradients(
    g: Any, grad: Any, x: Any, grid: Any, mode: str, padding: str, align: bool
) -> tuple[Any, Any]:
    """Gradients of :func:`grid_sample` by x and by grid, in their shapes."""
    _check(g, x, grid)
    batch, channels, *sizes = x.shape
    axes, places = len(sizes), prod(grid.shape[1:-1])
    flat = x.reshape(batch, channels, prod(sizes))
    grad = grad.reshape(batch, channels, places)
    by_x = g.full(flat.shape, 0, x.dtype)
    by_grid: list[Any] = [None] * axes
    for position, inside, taps in _combinations(g, grid, sizes, mode, padding, align):
        weights = [tap.weight for tap in taps]
        weight = _product(weights)
        term = grad if weight is None else grad * _spread(weight, channels)
        if inside is not None:
            term = g.where(_spread(inside, channels), term, 0)
        by_x = g.scatter_along("add", by_x, _spread(position, channels), term, 2, checked=True)
        if mode == "nearest":
            continue
        level = (_values(g, flat, position, inside) * grad).sum(1)  # batch, places
        for axis, tap in enumerate(taps):
            others = _product([w for i, w in enumerate(weights) if i != axis])
            own = level * tap.slope * others
            at = axes - 1 - axis
            by_grid[at] = own if by_grid[at] is None else by_grid[at] + own
    if mode == "nearest":
        return by_x.reshape(*x.shape), g.full(grid.shape, 0, grid.dtype)
    parts = [own.unsqueeze(2) for own in by_grid]
    return by_x.reshape(*x.shape), g.concat(parts, 2).reshape(*grid.shape)


__all__ = ["gradients", "grid_sample"]
