"""Bessel functions of orders zero and one, and Airy's function Ai.

Chebyshev series in float64: one around zero, one for the factor that a known asymptotic form
(exponential, or a wave of slowly changing phase) leaves over at large arguments; the split is that
of Abramowitz and Stegun, chapters 9 and 10. Derivatives exist where PyTorch has them: i0, i0e, i1,
i1e. Source: PyTorch's torch.special page.
"""

from __future__ import annotations

import math

import numpy as np

from suiren.ops import chebyshev_tables as tables
from suiren.ops.elementwise import elementwise
from suiren.ops.error_functions import in_double, piecewise, series
from suiren.ops.masking import where
from suiren.ops.refusals import refusing

# ---- modified functions in NumPy


def i0e_of(x):
    """``exp(-|x|) I0(x)``."""
    x = np.abs(x)
    return piecewise(
        x,
        x <= 8,
        lambda x: series(tables.I0E_NEAR, x / 4 - 1),
        lambda x: series(tables.I0E_FAR, 16 / x - 1) / np.sqrt(x),
    )


def i1e_of(x):
    """``exp(-|x|) I1(x)``."""
    size = np.abs(x)
    found = piecewise(
        size,
        size <= 8,
        lambda x: series(tables.I1E_NEAR, x / 4 - 1) * x,
        lambda x: series(tables.I1E_FAR, 16 / x - 1) / np.sqrt(x),
    )
    return np.copysign(found, x)


def i0_of(x):
    """I0."""
    return _grown(i0e_of(x), np.abs(x))


def i1_of(x):
    """I1."""
    return _grown(i1e_of(x), np.abs(x))


def _grown(scaled, size):
    # in two steps: exp alone overflows before the product does
    half = np.exp(size / 2)
    found = half * (half * scaled)
    return np.where(np.isinf(size), np.copysign(np.inf, scaled), found)


def _k(x, near, far, at_zero):
    found = piecewise(x, x <= 2, near, lambda x: far(x) / np.sqrt(x))
    found = np.where(x == 0, at_zero, found)
    found = np.where(np.isposinf(x), 0, found)
    return np.where(x < 0, np.nan, found)


def _k0_near(x):
    return series(tables.K0_NEAR, x * x / 2 - 1) - np.log(x / 2) * i0_of(x)


def _k1_near(x):
    return np.log(x / 2) * i1_of(x) + series(tables.K1_NEAR, x * x / 2 - 1) / x


def k0_of(x, scaled=False):
    """K0, or ``exp(x) K0(x)``."""
    return _k(
        x,
        lambda x: _k0_near(x) * (np.exp(x) if scaled else 1),
        lambda x: series(tables.K0E_FAR, 4 / x - 1) * (1 if scaled else np.exp(-x)),
        np.inf,
    )


def k1_of(x, scaled=False):
    """K1, or ``exp(x) K1(x)``."""
    return _k(
        x,
        lambda x: _k1_near(x) * (np.exp(x) if scaled else 1),
        lambda x: series(tables.K1E_FAR, 4 / x - 1) * (1 if scaled else np.exp(-x)),
        np.inf,
    )


# ---- waves in NumPy


def _wave(x, order: int):
    """J and Y of large x: sqrt(2 / (pi x)) times (P cos - Q sin, P sin + Q cos) of the phase."""
    t = 2 * (8 / x) ** 2 - 1
    p = series(tables.J1_P if order else tables.J0_P, t)
    q = series(tables.J1_Q if order else tables.J0_Q, t) * 8 / x
    phase = x - (2 * order + 1) * math.pi / 4
    size = np.sqrt(2 / (math.pi * x))
    c, s = np.cos(phase), np.sin(phase)
    j, y = size * (p * c - q * s), size * (p * s + q * c)
    far = np.isposinf(x)
    return np.where(far, 0, j), np.where(far, 0, y)


def _j0_near(x):
    return series(tables.J0_NEAR, x * x / 32 - 1)


def _j1_near(x):
    return series(tables.J1_NEAR, x * x / 32 - 1) * x


def j0_of(x):
    """J0."""
    x = np.abs(x)
    return piecewise(x, x <= 8, _j0_near, lambda x: _wave(x, 0)[0])


def j1_of(x):
    """J1."""
    size = np.abs(x)
    found = piecewise(size, size <= 8, _j1_near, lambda x: _wave(x, 1)[0])
    return np.where(x < 0, -found, found)


def y0_of(x):
    """Y0; minus infinity at zero, NaN below."""
    def near(x):
        smooth = series(tables.Y0_NEAR, x * x / 32 - 1)
        return smooth + 2 / math.pi * np.log(x) * _j0_near(x)

    found = piecewise(x, x <= 8, near, lambda x: _wave(x, 0)[1])
    return np.where(x < 0, np.nan, np.where(x == 0, -np.inf, found))


def y1_of(x):
    """Y1; minus infinity at zero, NaN below."""
    def near(x):
        smooth = series(tables.Y1_NEAR, x * x / 32 - 1) * x
        return smooth + 2 / math.pi * (np.log(x) * _j1_near(x) - 1 / x)

    found = piecewise(x, x <= 8, near, lambda x: _wave(x, 1)[1])
    return np.where(x < 0, np.nan, np.where(x == 0, -np.inf, found))


_AIRY_EDGE = 2 / 3 * 2**1.5  # zeta at x = 2, where the exponential form begins
_AIRY_WAVE = 2 / 3 * 8**1.5  # zeta at x = -8, where the wave begins


def airy_of(x):
    """Airy's Ai."""
    def right(x):
        zeta = 2 / 3 * x * np.sqrt(x)
        size = np.exp(-zeta) / (2 * math.sqrt(math.pi) * np.sqrt(np.sqrt(x)))
        return np.where(np.isinf(x), 0, series(tables.AIRY_FAR, 2 * _AIRY_EDGE / zeta - 1) * size)

    def left(x):
        x = -x
        zeta = 2 / 3 * x * np.sqrt(x)
        t = 2 * (_AIRY_WAVE / zeta) ** 2 - 1
        f, g = series(tables.AIRY_F, t), series(tables.AIRY_G, t) / zeta
        phase = zeta + math.pi / 4
        wave = np.sin(phase) * f - np.cos(phase) * g
        return wave / (math.sqrt(math.pi) * np.sqrt(np.sqrt(x)))

    def middle(x):
        return piecewise(x, x >= -8, lambda x: series(tables.AIRY_NEAR, (x + 3) / 5), left)

    return piecewise(x, x <= 2, middle, right)


# ---- operators with derivatives


@elementwise("float", arguments=("input",), aliases=("special.i0",))
class i0:
    """The modified Bessel function of the first kind, order zero. Source: torch.special.i0."""

    refuse = refusing("i0", "complex")
    evaluate = in_double(i0_of)

    def grad_input(grad, input):
        return grad * i1(input)


@elementwise("float", arguments=("input",), where=("special",), inplace=False)
class i0e:
    """``exp(-|input|) * i0(input)``. Source: torch.special.i0e."""

    node_name = "SpecialI0EBackward0"
    refuse = refusing("i0e", "complex")
    evaluate = in_double(i0e_of)

    def grad_input(grad, input, result):
        return grad * (i1e(input) - input.sgn() * result)


@elementwise("float", arguments=("input",), where=("special",), inplace=False)
class i1:
    """The modified Bessel function of the first kind, order one. Source: torch.special.i1."""

    node_name = "SpecialI1Backward0"
    refuse = refusing("i1", "complex")
    evaluate = in_double(i1_of)

    def grad_input(grad, input, result):
        return grad * where(input == 0, 0.5, i0(input) - result / input)


@elementwise("float", arguments=("input",), where=("special",), inplace=False)
class i1e:
    """``exp(-|input|) * i1(input)``. Source: torch.special.i1e."""

    node_name = "SpecialI1EBackward0"
    refuse = refusing("i1e", "complex")
    evaluate = in_double(i1e_of)

    def grad_input(grad, input, result):
        slope = i0e(input) - result * (input.sgn() + 1 / input)
        return grad * where(input == 0, 0.5, slope)


# ---- operators without


def _plain(name: str, words: str, function):
    class definition:
        refuse = refusing(name, "complex")
        evaluate = in_double(function)

    definition.__doc__ = f"{words} It has no derivative. Source: torch.special.{name}."
    definition.__module__ = __name__
    return elementwise(
        "float", name=name, arguments=("input",), tensors=1, where=("special",), inplace=False
    )(definition)


_MODIFIED = "The modified Bessel function of the {} kind, order {}."
airy_ai = _plain("airy_ai", "Airy's function Ai.", airy_of)
bessel_j0 = _plain("bessel_j0", "The Bessel function of the first kind, order zero.", j0_of)
bessel_j1 = _plain("bessel_j1", "The Bessel function of the first kind, order one.", j1_of)
bessel_y0 = _plain("bessel_y0", "The Bessel function of the second kind, order zero.", y0_of)
bessel_y1 = _plain("bessel_y1", "The Bessel function of the second kind, order one.", y1_of)
modified_bessel_i0 = _plain("modified_bessel_i0", _MODIFIED.format("first", "zero"), i0_of)
modified_bessel_i1 = _plain("modified_bessel_i1", _MODIFIED.format("first", "one"), i1_of)
modified_bessel_k0 = _plain("modified_bessel_k0", _MODIFIED.format("second", "zero"), k0_of)
modified_bessel_k1 = _plain("modified_bessel_k1", _MODIFIED.format("second", "one"), k1_of)
scaled_modified_bessel_k0 = _plain(
    "scaled_modified_bessel_k0", "``exp(x) K0(x)``.", lambda x: k0_of(x, True)
)
scaled_modified_bessel_k1 = _plain(
    "scaled_modified_bessel_k1", "``exp(x) K1(x)``.", lambda x: k1_of(x, True)
)


def _spherical(x):
    # the quotient loses digits near zero, where two terms of the series are exact
    near = np.abs(x) < 0.5
    square = x * x
    small = 1 + square * (-1 / 6 + square * (1 / 120 + square * (-1 / 5040 + square * (
        1 / 362880 + square * (-1 / 39916800 + square / 6227020800)))))  # fmt: skip
    quotient = np.where(np.isinf(x), 0, np.sin(x) / np.where(x == 0, 1, x))
    return np.where(near, small, quotient)


spherical_bessel_j0 = _plain(
    "spherical_bessel_j0", "The spherical Bessel function of order zero, sin(x) / x.", _spherical
)
