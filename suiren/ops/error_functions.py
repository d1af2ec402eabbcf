"""The error function, its complement and inverse, and the normal distribution made of them.

All are computed in float64. Near zero ``erf(x) / x`` and elsewhere ``(1 + 2x) exp(x²) erfc(x)`` are
Chebyshev series (the second after Shepherd and Laframboise, "Chebyshev approximation of
(1+2x)exp(x²)erfc x in 0 <= x < inf", Math. Comp. 36, 1981); inverses start from Winitzki's
approximation and take Newton or Halley steps. Source: PyTorch's torch.special page.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from suiren.ops import chebyshev_tables as tables
from suiren.ops.elementwise import elementwise
from suiren.ops.masking import where
from suiren.ops.refusals import refusing

_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
_HALF_ROOT_PI = math.sqrt(math.pi) / 2
_ROOT_2 = math.sqrt(2)


def series(coefficients: tuple[float, ...], t: np.ndarray) -> np.ndarray:
    """The Chebyshev series at t in [-1, 1] (Clenshaw's recurrence)."""
    later = latest = np.zeros_like(t)
    double = 2 * t
    for c in coefficients[:0:-1]:
        later, latest = latest, double * latest - later + c
    return t * latest - later + coefficients[0]


def in_double(function: Callable) -> Callable:
    """The function of float64 arrays for arrays of any floating type."""

    @functools.wraps(function)
    def evaluate(*arrays):
        kind = next(x.dtype for x in arrays if hasattr(x, "dtype"))
        found = function(*[np.asarray(x, np.float64) for x in arrays])
        return found.astype(kind)

    return evaluate


def piecewise(x: np.ndarray, inside: np.ndarray, near: Callable, far: Callable) -> np.ndarray:
    """``near`` of the elements where ``inside`` holds, ``far`` of the others."""
    result = np.empty(x.shape)
    result[inside] = near(x[inside])
    outside = ~inside
    result[outside] = far(x[outside])
    return result


# ---- in NumPy


def erf_near(x):
    """erf on [-1, 1]."""
    return x * series(tables.ERF, 2 * x * x - 1)


def erfcx_positive(x):
    """``exp(x²) erfc(x)`` for x >= 0."""
    t = (x - 3.75) / (x + 3.75)
    return series(tables.ERFCX, np.where(np.isposinf(x), 1, t)) / (1 + 2 * x)


def gauss(x):
    """``exp(-x²)``: x² in two parts, since its rounding error would be an error of the result."""
    high = x.astype(np.float32).astype(np.float64)
    return np.where(np.abs(x) > 30, 0, np.exp(-high * high) * np.exp(-(x - high) * (x + high)))


def erf_of(x):
    """erf in float64."""
    def far(x):
        size = np.abs(x)
        return np.copysign(1 - gauss(size) * erfcx_positive(size), x)

    return piecewise(x, np.abs(x) <= 1, erf_near, far)


def erfc_of(x):
    """erfc in float64, relatively exact for large arguments."""
    def far(x):
        size = np.abs(x)
        tail = gauss(size) * erfcx_positive(size)
        return np.where(x < 0, 2 - tail, tail)

    return piecewise(x, np.abs(x) <= 0.5, lambda x: 1 - erf_near(x), far)


def erfcx_of(x):
    """``exp(x²) erfc(x)`` in float64."""
    size = np.abs(x)
    found = erfcx_positive(size)
    return np.where(x < 0, 2 * np.exp(x * x) - found, found)


def _start_of_inverse(log_rest):
    """Winitzki's approximation of erfinv(y), given log(1 - y²); its relative error is 2e-3."""
    a = 0.147
    middle = 2 / (math.pi * a) + log_rest / 2
    return np.sqrt(np.sqrt(middle * middle - log_rest / a) - middle)


def erfc_inverse(c):
    """x >= 0 with erfc(x) = c, for c in (0, 1/2]: Newton's method for the logarithms."""
    x = _start_of_inverse(np.log(c) + np.log(2 - c))
    target = np.log(c)
    for _ in range(4):
        scaled = erfcx_positive(x)
        x = x + (np.log(scaled) - x * x - target) * scaled * _HALF_ROOT_PI
    return x


def _erf_inverse_near(y):
    size = np.abs(y)
    x = _start_of_inverse(np.log1p(-size * size))
    for _ in range(3):  # Halley
        step = (erf_near(x) - size) / (_TWO_OVER_ROOT_PI * np.exp(-x * x))
        x = x - step / (1 + x * step)
    return np.copysign(x, y)


def erfinv_of(y):
    """The inverse of erf in float64."""
    def far(y):
        found = np.copysign(erfc_inverse(1 - np.abs(y)), y)
        found = np.where(np.abs(y) == 1, np.copysign(np.inf, y), found)
        return np.where(np.abs(y) > 1, np.nan, found)

    return piecewise(y, np.abs(y) <= 0.5, _erf_inverse_near, far)


def ndtri_of(p):
    """The x for which a standard normal number is below x with probability p."""
    def far(p):
        small = np.minimum(p, 1 - p)
        found = np.copysign(_ROOT_2 * erfc_inverse(2 * small), p - 0.5)
        found = np.where(p == 0, -np.inf, np.where(p == 1, np.inf, found))
        return np.where((p < 0) | (p > 1), np.nan, found)

    def near(p):
        return _ROOT_2 * _erf_inverse_near(2 * p - 1)

    return piecewise(p, np.abs(p - 0.5) <= 0.25, near, far)


def log_ndtr_of(x):
    """log(ndtr(x)) in float64."""
    def low(x):
        return np.log(erfcx_positive(-x / _ROOT_2) / 2) - x * x / 2

    def high(x):
        return np.log1p(-erfc_of(x / _ROOT_2) / 2)

    return piecewise(x, x < -1, low, high)


# ---- operators


@elementwise("float", arguments=("input",), aliases=("special.erf",))
class erf:
    """The error function ``2 / sqrt(pi) * integral of exp(-t²) from 0 to input``.

    Source: torch.erf.

    >>> import suiren as torch
    >>> torch.erf(torch.tensor([0., 1.]))
    tensor([0.0000, 0.8427])
    """

    refuse = refusing("erf", "complex")
    evaluate = in_double(erf_of)

    def grad_input(grad, input):
        return grad * (_TWO_OVER_ROOT_PI * (-(input * input)).exp())


@elementwise("float", arguments=("input",), aliases=("special.erfc",))
class erfc:
    """``1 - erf(input)`` without loss of precision where erf is near one. Source: torch.erfc."""

    refuse = refusing("erfc", "complex")
    evaluate = in_double(erfc_of)

    def grad_input(grad, input):
        return grad * (-_TWO_OVER_ROOT_PI * (-(input * input)).exp())


@elementwise("float", arguments=("input",), aliases=("special.erfinv",))
class erfinv:
    """The inverse of erf; infinite at -1 and 1, NaN outside. Source: torch.erfinv."""

    refuse = refusing("erfinv", "complex")
    evaluate = in_double(erfinv_of)

    def grad_input(grad, result):
        return grad * (_HALF_ROOT_PI * (result * result).exp())


@elementwise("float", arguments=("input",), where=("special",), inplace=False)
class erfcx:
    """``exp(input²) * erfc(input)``. Source: torch.special.erfcx."""

    node_name = "SpecialErfcxBackward0"
    refuse = refusing("erfcx", "complex")
    evaluate = in_double(erfcx_of)

    def grad_input(grad, input, result):
        return (2 * input * result - _TWO_OVER_ROOT_PI) * grad


@elementwise("float", arguments=("input",), where=("special",), inplace=False)
class ndtr:
    """The probability that a standard normal number is below ``input``. Source: torch.special.ndtr.

    >>> import suiren as torch
    >>> torch.special.ndtr(torch.tensor([0., 1.]))
    tensor([0.5000, 0.8413])
    """

    refuse = refusing("ndtr", "complex")
    evaluate = in_double(lambda x: erfc_of(-x / _ROOT_2) / 2)

    def decompose(g, input):
        return (input * (-1 / _ROOT_2)).erfc() * 0.5

    def grad_input(grad, input):
        return grad * ((input * input * -0.5).exp() / math.sqrt(2 * math.pi))


@elementwise("float", arguments=("input",), where=("special",), inplace=False)
class ndtri:
    """The inverse of :func:`ndtr`; NaN outside [0, 1]. Source: torch.special.ndtri."""

    node_name = "SpecialNdtriBackward0"
    refuse = refusing("ndtri", "complex")
    evaluate = in_double(ndtri_of)

    def grad_input(grad, result):
        return grad * (math.sqrt(2 * math.pi) * (result * result / 2).exp())


@elementwise("float", arguments=("input",), where=("special",), inplace=False)
class log_ndtr:
    """``log(ndtr(input))``, finite far below zero too. Source: torch.special.log_ndtr."""

    node_name = "SpecialLogNdtrBackward0"
    refuse = refusing("log_ndtr", "complex")
    evaluate = in_double(log_ndtr_of)

    def grad_input(grad, input):
        slope = math.sqrt(2 / math.pi) / erfcx(input * (-1 / _ROOT_2))
        density = (input * input * -0.5).exp() / math.sqrt(2 * math.pi)
        return grad * where(input > 20, density, slope)  # there erfcx overflows
