"""The arithmetic behind :mod:`suiren.mt19937`: from uniform deviates to normals and permutations.

These functions know nothing of generators. They exist because "the same numbers as PyTorch" is a
matter of rounding: PyTorch's CPU kernels are compiled with fused multiply-add (one rounding for
``a * b + c``) and take float32 logarithms, sines and cosines from the polynomials of the Cephes
library (S. Moshier, single precision ``logf``, ``sinf``, ``cosf``), while float64 goes to the
platform's libm. NumPy has neither, so fused operations are imitated in wider arithmetic and libm
is reached through Python's ``math``. Imports NumPy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np

_F32 = np.float32
_F64 = np.float64


def _rounded(*constants: float) -> list[float]:
    """The constants as float32 holds them, as Python floats."""
    return np.array(constants, _F32).astype(_F64).tolist()


def libm(function: Callable[[float], float], values: np.ndarray) -> np.ndarray:
    """``function`` (of the ``math`` module) of each element: about 50 ns each, but libm's bits.

    NumPy's own vector functions may differ from libm in the last bit and between machines.
    """
    flat = values.ravel().tolist()
    return np.fromiter(map(function, flat), _F64, count=len(flat)).reshape(values.shape)


def exponential_function(values: np.ndarray) -> np.ndarray:
    """libm's exp with overflow to infinity, which ``math.exp`` reports as an error."""

    def exp(x: float) -> float:
        return math.exp(x) if x < 709.78 or x != x else float(np.exp(_F64(x)))

    with np.errstate(over="ignore"):
        return libm(exp, values)


# -- fused multiply-add ------------------------------------------------------------------------


def _fma(a: np.ndarray, b: np.ndarray | float, c: np.ndarray | float) -> np.ndarray:
    """float32 ``a * b + c`` rounded once, save for a double rounding about once in 10**9.

    The product of two float32 numbers is exact in float64; the sum is rounded there and then
    again to float32, which matters only if the first rounding lands on a midpoint of the second.
    """
    total = np.multiply(a, b, dtype=_F64)
    total += c
    return total.astype(_F32)


def fma32(a: np.ndarray, b: float, c: float) -> np.ndarray:
    """``a * b + c`` for float32 ``a`` and float32-valued ``b``, ``c``, rounded exactly once."""
    product = np.multiply(a, b, dtype=_F64)
    total = product + c
    # A float64 that ends in 1 followed by 28 zeros lies midway between two float32 numbers.
    midway = (total.view(np.int64) & 0x1FFFFFFF) == 0x10000000
    if midway.any():
        at = np.nonzero(midway)
        exact, near = product[at], total[at]
        part = near - exact
        lost = (exact - (near - part)) + (c - part)  # two-sum (Knuth): near + lost is exact
        toward = np.where(lost > 0, np.inf, -np.inf)
        total[at] = np.where(lost == 0, near, np.nextafter(near, toward))
    return total.astype(_F32)


def fma64(a: np.ndarray, b: float, c: float) -> np.ndarray:
    """``a * b + c`` in float64 rounded once (Dekker's product and Knuth's sum keep the errors)."""
    split = 134217729.0  # 2**27 + 1
    with np.errstate(over="ignore", invalid="ignore"):
        product = a * b
        high = split * a
        a_high = high - (high - a)
        a_low = a - a_high
        high_b = split * b
        b_high = high_b - (high_b - b)
        b_low = b - b_high
        lost = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
        total = product + c
        part = total - product
        lost += (product - (total - part)) + (c - part)
        fused = total + lost
        return np.where(np.isfinite(fused), fused, total)


# -- normal deviates ---------------------------------------------------------------------------

_SQRT_HALF = _F32(0.707106781186547524)
_LOG_POLYNOMIAL = _rounded(
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_LOG_TWO_LOW, _LOG_TWO_HIGH = _F32(-2.12194440e-4), 0.693359375  # their sum is log 2
_FOUR_OVER_PI = _F32(1.27323954473516)
_QUARTER_PI_PARTS = _rounded(-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8)
_COS_POLYNOMIAL = _rounded(2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_SIN_POLYNOMIAL = _rounded(-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_TWO_PI_32 = _F32(2 * math.pi)


def _log32(x: np.ndarray) -> np.ndarray:
    """The natural logarithm of float32 x in (0, 1] as Cephes' ``logf`` computes it with fma."""
    bits = x.view(np.int32)
    exponent = ((bits >> 23) - 126).astype(_F32)
    mantissa = ((bits & 0x007FFFFF) | 0x3F000000).view(_F32)  # in [1/2, 1)
    small = mantissa < _SQRT_HALF
    exponent -= small
    x = (mantissa - _F32(1)) + np.where(small, mantissa, _F32(0))  # in [-0.293, 0.414]
    wide = x.astype(_F64)
    square = x * x
    y = (wide * _LOG_POLYNOMIAL[0] + _LOG_POLYNOMIAL[1]).astype(_F32)
    for coefficient in _LOG_POLYNOMIAL[2:]:
        y = _fma(y, wide, coefficient)
    y *= x
    y = _fma(y, square, exponent * _LOG_TWO_LOW)
    y -= square * _F32(0.5)
    return _fma(exponent, _LOG_TWO_HIGH, x + y)


def _sin_cos32(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sine and cosine of float32 x >= 0 as Cephes' ``sinf``/``cosf`` compute them with fma."""
    octant = (x * _FOUR_OVER_PI).astype(np.int32)
    octant = (octant + 1) & ~1
    turns = octant.astype(_F64)
    for part in _QUARTER_PI_PARTS:  # x - octant * pi/4 without cancellation (Cody and Waite)
        x = _fma(turns, part, x)
    square = x * x
    wide = square.astype(_F64)
    cosine = (wide * _COS_POLYNOMIAL[0] + _COS_POLYNOMIAL[1]).astype(_F32)
    cosine = _fma(cosine, wide, _COS_POLYNOMIAL[2])
    cosine *= square
    cosine = _fma(cosine, wide, square * _F32(-0.5)) + _F32(1)
    sine = (wide * _SIN_POLYNOMIAL[0] + _SIN_POLYNOMIAL[1]).astype(_F32)
    sine = _fma(sine, wide, _SIN_POLYNOMIAL[2])
    sine *= square
    sine = _fma(sine, x, x)
    straight = (octant & 2) == 0  # else the octant swaps the roles of the two polynomials
    sign_of_sine = (octant & 4) << 29
    sign_of_cosine = (~(octant - 2) & 4) << 29
    sine, cosine = np.where(straight, sine, cosine), np.where(straight, cosine, sine)
    return (
        (sine.view(np.int32) ^ sign_of_sine).view(_F32),
        (cosine.view(np.int32) ^ sign_of_cosine).view(_F32),
    )


def box_muller32(uniform: np.ndarray, mean: float, std: float) -> np.ndarray:
    """Normal deviates from float32 uniforms in [0, 1), in blocks of 16.

    uniform: (16 * blocks,). Within a block element k < 8 gives the radius ``sqrt(-2 log(1 - u))``
    and element k + 8 the angle ``2 pi u`` of the pair that replaces both (cosine first).
    Returns (16 * blocks,) float32. Source: Box and Muller 1958; the layout by experiment.
    """
    pairs = uniform.reshape(-1, 16)
    radius = np.sqrt(_F32(-2) * _log32(_F32(1) - pairs[:, :8]))  # (blocks, 8)
    sine, cosine = _sin_cos32(_TWO_PI_32 * pairs[:, 8:])
    mean, std = float(_F32(mean)), float(_F32(std))
    out = np.empty_like(pairs)
    out[:, :8] = _fma(radius * cosine, std, mean)
    out[:, 8:] = _fma(radius * sine, std, mean)
    return out.reshape(-1)


def box_muller64(uniform: np.ndarray, mean: float, std: float) -> np.ndarray:
    """As :func:`box_muller32` for float64, with libm's functions."""
    pairs = uniform.reshape(-1, 16)
    radius = np.sqrt(-2.0 * libm(math.log, 1.0 - pairs[:, :8]))  # (blocks, 8)
    angle = (2.0 * math.pi) * pairs[:, 8:]
    out = np.empty_like(pairs)
    out[:, :8] = radius * libm(math.cos, angle)
    out[:, 8:] = radius * libm(math.sin, angle)
    return fma64(out.reshape(-1), float(std), float(mean))


# -- permutations ------------------------------------------------------------------------------


def swap_forward(offsets: np.ndarray) -> np.ndarray:
    """The permutation that Fisher and Yates' swaps leave: for i upwards, swap i and i + offset.

    offsets: (n - 1,) int64, ``0 <= offsets[i] < n - i``. Returns (n,) int64.

    The swaps look sequential but are not. Swap i puts what slot i held into slot j = i + offset
    and never touches slot i again, so ``result[i]`` is what slot j held just before swap i: the
    content of slot t at time t for the latest earlier swap t that aimed at j, else j itself. And
    the content of slot t at time t is, by the same rule, found by following "latest swap that
    aimed at me" to its root, which pointer doubling does in few rounds.
    """
    n = len(offsets) + 1
    if n <= 256:  # plain swaps cost less than forty NumPy calls
        slots = list(range(n))
        for i, offset in enumerate(offsets.tolist()):
            j = i + offset
            slots[i], slots[j] = slots[j], slots[i]
        return np.array(slots, np.int64)
    step = np.arange(n)
    target = step.copy()
    target[:-1] += offsets
    content = step.copy()  # content[t]: what slot t holds when its own swap comes
    moving = target != step
    content[target[moving]] = step[moving]  # with repeated targets the last one stays
    while True:
        doubled = content[content]
        if np.array_equal(doubled, content):
            break
        content = doubled
    order = np.sort((target << 32) | step)  # by target, then by time
    by_target, by_time = order >> 32, order & 0xFFFFFFFF
    repeats = by_target[1:] == by_target[:-1]
    result = target
    result[by_time[1:][repeats]] = content[by_time[:-1][repeats]]
    return result


def insert_inside_out(targets: np.ndarray, slots: np.ndarray, start: int) -> None:
    """Continues an inside-out shuffle in place: slot i takes slot z's content, slot z takes i.

    targets: z for i = start, start + 1, ...; slots: (n,) int64, of which [:start] is shuffled.
    """
    view = memoryview(cast(Any, slots))  # NumPy's stubs do not say that arrays are buffers
    for i, z in enumerate(targets.tolist(), start):
        view[i] = view[z]
        view[z] = i


# -- one number at a time, and choices ----------------------------------------------------------


def poisson_one(rate: float, uniform: Callable[[], float]) -> int:
    """A count of this mean from successive numbers of ``uniform``; see ``Stream.poisson``."""
    if rate == 0:
        return 0
    if rate < 10:
        count, product, bound = 0, uniform(), math.exp(-rate)
        while product > bound:
            count += 1
            product *= uniform()
        return count
    b = 0.931 + 2.53 * math.sqrt(rate)
    a = -0.059 + 0.02483 * b
    log_inverse_alpha = math.log(1.1239 + 1.1328 / (b - 3.4))
    sure = 0.9277 - 3.6224 / (b - 2)
    log_rate = math.log(rate)
    while True:
        u = uniform() - 0.5
        v = uniform()
        edge = 0.5 - abs(u)
        count = math.floor((2 * a / edge + b) * u + rate + 0.43) if edge else -1
        if edge >= 0.07 and v <= sure:
            return count
        if count < 0 or (edge < 0.013 and v > edge):
            continue
        bound = -rate + count * log_rate - math.lgamma(count + 1)
        log_v = math.log(v) if v else -math.inf
        if log_v + log_inverse_alpha - math.log(a / (edge * edge) + b) <= bound:
            return count


def gamma_one(
    concentration: float, uniform: Callable[[], float], normal: Callable[[], float]
) -> float:
    """A gamma number from successive uniform and normal ones; see ``Stream.gamma``."""
    scale = 1.0
    if concentration < 1:
        if concentration == 0:
            return 0.0
        scale = (1 - uniform()) ** (1 / concentration)
        concentration += 1
    d = concentration - 1 / 3
    c = 1 / math.sqrt(9 * d)
    while True:
        x = normal()
        cube = (1 + c * x) ** 3
        if cube <= 0:
            continue
        u = 1 - uniform()
        squared = x * x
        if u < 1 - 0.0331 * squared * squared:
            return scale * d * cube
        if math.log(u) < 0.5 * squared + d * (1 - cube + math.log(cube)):
            return scale * d * cube


def largest(row: np.ndarray, count: int) -> np.ndarray:
    """``argsort(-row)[:count]``, stable, without sorting all of the row."""
    least = np.partition(row, row.size - count)[row.size - count]
    candidates = np.flatnonzero(row >= least)  # more than count if others equal the least
    if len(candidates) < count:  # there is a NaN
        candidates = np.arange(row.size)
    return candidates[np.argsort(-row[candidates], kind="stable")[:count]]
