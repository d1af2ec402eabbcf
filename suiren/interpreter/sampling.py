"""Sampling images at given places, and its gradients, in the NumPy tier.

Pure functions, arrays in and arrays out, for two and three spatial axes. Along each axis a place
becomes a few taps (a position, a weight, the weight's derivative); an output is the sum over all
combinations of taps. Conventions (which pixel -1 and 1 mean, how places outside are treated) are
those of torch.nn.functional.grid_sample. Imports NumPy only.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from suiren.interpreter.windows import product

_CUBIC = -0.75  # Keys' coefficient, torch's choice


class _Tap(NamedTuple):
    """One neighbour along one axis: [batch, places] each."""

    position: np.ndarray  # int64, inside the axis
    inside: np.ndarray | None  # False where the neighbour is padding that counts as zero
    weight: np.ndarray
    slope: np.ndarray  # derivative of the weight by the normalized coordinate


def _pixels(place: np.ndarray, size: int, align: bool) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in [-1, 1] as pixels, and the derivative."""
    kind = place.dtype.type
    if align:
        scale = kind((size - 1) / 2)
        return (place + kind(1)) * scale, np.full_like(place, scale)
    return ((place + kind(1)) * kind(size) - kind(1)) / kind(2), np.full_like(place, kind(size / 2))


def _reflected(x: np.ndarray, size: int, align: bool) -> tuple[np.ndarray, np.ndarray]:
    kind = x.dtype.type
    low, high = (0, 2 * (size - 1)) if align else (-1, 2 * size - 1)
    if low == high:
        return np.zeros_like(x), np.zeros_like(x)
    start, span = kind(low / 2), kind((high - low) / 2)
    sign = np.where(x < start, kind(-1), kind(1))
    distance = np.abs(x - start)
    extra = np.fmod(distance, span)
    odd = np.floor(distance / span) % 2 == 1
    return (
        np.where(odd, span - extra + start, extra + start),
        np.where(odd, -sign, sign),
    )


def _clipped(x: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Limited to the axis; the derivative is zero from the ends on, as torch has it."""
    kind = x.dtype.type
    slope = np.where((x <= 0) | (x >= size - 1), kind(0), kind(1))
    # minimum and maximum in this order turn NaN into 0, not into a position outside
    return np.fmin(np.fmax(x, kind(0)), kind(size - 1)), slope


def _bounded(x, slope, size, padding, align):
    if padding == "border":
        x, factor = _clipped(x, size)
        return x, slope * factor
    if padding == "reflection":
        x, factor = _reflected(x, size, align)
        x, again = _clipped(x, size)
        return x, slope * factor * again
    return x, slope


def _whole(x: np.ndarray) -> np.ndarray:
    """As int64; what no int32 holds (and NaN) becomes a place outside."""
    fits = np.abs(x) < 2.0**31
    return np.where(fits, x, x.dtype.type(-100)).astype(np.int64)


def _tap(position, weight, slope, size, padded: bool) -> _Tap:
    inside = (position >= 0) & (position < size)
    return _Tap(np.clip(position, 0, size - 1), inside if padded else None, weight, slope)


def _cubic(t: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights of the neighbours at -1, 0, 1, 2 and their derivatives by t."""
    a = _CUBIC
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for distance, sign in ((t + 1, 1), (t, 1), (1 - t, -1), (2 - t, -1)):
        d = distance
        if len(found) in (1, 2):
            value = ((a + 2) * d - (a + 3)) * d * d + 1
            slope = (3 * (a + 2) * d - 2 * (a + 3)) * d
        else:
            value = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
            slope = (3 * a * d - 10 * a) * d + 8 * a
        found.append((value, slope * sign))
    return found


def _taps(place, size, mode, padding, align) -> list[_Tap]:
    x, slope = _pixels(place, size, align)
    if mode == "bicubic":
        low = np.floor(x)
        result = []
        for step, (weight, derivative) in enumerate(_cubic(x - low), -1):
            at, _ = _bounded(low + x.dtype.type(step), slope, size, padding, align)
            result.append(_tap(_whole(at), weight, derivative * slope, size, padding == "zeros"))
        return result
    x, slope = _bounded(x, slope, size, padding, align)
    if mode == "nearest":
        return [_tap(_whole(np.rint(x)), np.ones_like(x), np.zeros_like(x), size, True)]
    low = np.floor(x)
    fraction = x - low
    position = _whole(low)
    return [
        _tap(position, x.dtype.type(1) - fraction, -slope, size, True),
        _tap(position + 1, fraction, slope, size, True),
    ]


def _combinations(grid: np.ndarray, sizes, mode, padding, align):
    """Yields (flat position, inside, taps) for each combination of neighbours."""
    batch = len(grid)
    places = grid.reshape(batch, -1, len(sizes))
    # the last coordinate of a place belongs to the first axis
    axes = [
        _taps(np.ascontiguousarray(places[..., len(sizes) - 1 - a]), size, mode, padding, align)
        for a, size in enumerate(sizes)
    ]
    for taps in itertools.product(*axes):
        position = np.zeros(places.shape[:2], np.int64)
        inside = None
        for tap, size in zip(taps, sizes, strict=True):
            position = position * size + tap.position
            if tap.inside is not None:
                inside = tap.inside if inside is None else inside & tap.inside
        yield position, inside, taps


def _values(flat: np.ndarray, position: np.ndarray, inside) -> np.ndarray:
    found = np.take_along_axis(flat, position[:, None], 2)  # batch, channels, places
    return found if inside is None else np.where(inside[:, None], found, flat.dtype.type(0))


def _weight(factors: list[np.ndarray]) -> Any:
    """The product of the weights along the axes; the number 1 where there are none."""
    return math.prod(factors)


def grid_sample(
    x: np.ndarray, grid: np.ndarray, mode: str, padding: str, align: bool
) -> np.ndarray:
    """x sampled at the places of grid.

    x: [batch, channels, *sizes]; grid: [batch, *places, axes], coordinates of the last axis first,
    -1 and 1 being the ends. The result is [batch, channels, *places].
    Source: torch.nn.functional.grid_sample.
    """
    batch, channels, *sizes = x.shape
    shape = (batch, channels, *grid.shape[1:-1])
    flat = x.reshape(batch, channels, product(sizes))
    result = np.zeros((batch, channels, product(grid.shape[1:-1])), x.dtype)
    if not result.size:
        return result.reshape(shape)
    for position, inside, taps in _combinations(grid, sizes, mode, padding, align):
        weight = _weight([tap.weight for tap in taps])
        result += _values(flat, position, inside) * weight[:, None]
    return result.reshape(shape)


def grid_sample_gradient(
    grad_output: np.ndarray, x: np.ndarray, grid: np.ndarray, mode: str, padding: str, align: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of `grid_sample` by x and by grid, in their shapes."""
    batch, channels, *sizes = x.shape
    flat = x.reshape(batch, channels, product(sizes))
    grad = grad_output.reshape(batch, channels, product(grid.shape[1:-1]))
    by_x = np.zeros(flat.size, x.dtype)
    by_grid = np.zeros((batch, grad.shape[2], len(sizes)), x.dtype)
    rows = np.arange(batch * channels).reshape(batch, channels, 1) * flat.shape[2]
    for position, inside, taps in _combinations(grid, sizes, mode, padding, align):
        weights = [tap.weight for tap in taps]
        term = grad * _weight(weights)[:, None]
        if inside is not None:
            term = np.where(inside[:, None], term, x.dtype.type(0))
        np.add.at(by_x, (rows + position[:, None]).ravel(), term.ravel())
        if mode == "nearest":
            continue
        level = (_values(flat, position, inside) * grad).sum(axis=1)  # batch, places
        for axis, tap in enumerate(taps):
            others = _weight([w for i, w in enumerate(weights) if i != axis])
            by_grid[..., len(sizes) - 1 - axis] += level * tap.slope * others
    return by_x.reshape(x.shape), by_grid.reshape(grid.shape)
