"""e^x and what is made of it: exp, exp2, expm1, sigmoid, tanh, sinh, cosh.

e^x = 2^n e^r with n the integer nearest to x / ln(2) and |r| <= ln(2) / 2 (Cody and Waite's
reduction: ln(2) in two parts, n times the first is exact). e^r is a polynomial. n is found by
adding 1.5 * 2^23 (2^52), which leaves it in the low bits; a shift brings it to the exponent.
"""

from __future__ import annotations

from suiren.compiler.codegen.mathematics.tables import EXP, EXPM1, SINH, TANH
from suiren.compiler.codegen.mathematics.values import (
    Pair,
    Value,
    at_least,
    at_most,
    fma,
    polynomial,
    where,
)

LOG2_E = 1.4426950408889634
LN2 = 0.6931471805599453
LN2_REST = 2.3190468138462996e-17  # ln(2) = LN2 + LN2_REST to 107 bits
LN2_HIGH = {"float": round(LN2 * 2**16) / 2**16, "double": round(LN2 * 2**42) / 2**42}
LN2_LOW = {
    "float": LN2 - LN2_HIGH["float"],
    "double": (LN2 - LN2_HIGH["double"]) + LN2_REST,
}
# e^x is 0 below the first, infinite above the second; both leave n a few steps beyond the ends.
RANGE = {"float": (-104.0, 89.0), "double": (-746.0, 710.0)}
# Tiny results are made in two steps, the second a factor of 2^-these, where rounding happens once.
STEPS_DOWN = {"float": 64, "double": 200}


def reduce(x: Value) -> tuple[Value, Value, Value]:
    """n moved to the place of the exponent, n, and r (before the low part is taken off)."""
    moved = fma(x, LOG2_E, x.format.magic)
    n = moved - x.format.magic
    r = fma(n, -LN2_HIGH[x.scalar], x)
    return moved.bits() << x.format.mantissa, n, r


def reduced(x: Value) -> Pair:
    """n moved to the place of the exponent, and r."""
    moved, n, r = reduce(x)
    return moved, fma(n, -LN2_LOW[x.scalar], r)


def exp_polynomial(r: Value, precision: str = "") -> Value:
    """e^r for |r| <= ln(2) / 2."""
    return polynomial(r, (1.0, 1.0, *EXP[precision or r.scalar]))


def power(moved: Value, steps: int, scalar: str) -> Value:
    """2^(n + steps) where ``moved`` is n at the place of the exponent, for normal results."""
    bias, mantissa = (127, 23) if scalar == "float" else (1023, 52)
    return (moved + ((bias + steps) << mantissa)).floats()


def exp(x: Value) -> Value:
    """2^n may lie outside the normal numbers at both ends, so it is multiplied in two factors."""
    low, high = RANGE[x.scalar]
    return scaled(*_exp_parts(at_least(at_most(x, high), low)), x)


def _exp_parts(x: Value) -> Pair:
    moved, r = reduced(x)
    return exp_polynomial(r), moved


def scaled(p: Value, moved: Value, x: Value) -> Value:
    """p 2^n, n of the sign of x, with one rounding at the end where the result is denormal."""
    down, mantissa, bias = STEPS_DOWN[x.scalar], x.format.mantissa, x.format.bias
    negative = x < 0.0
    first = where(negative, moved.constant((bias + down) << mantissa), (bias - 1) << mantissa)
    return p * (moved + first).floats() * where(negative, x.constant(2.0**-down), 2.0)


def exp_of_negative(x: Value) -> Value:
    """e^x for x <= 0."""
    moved, r = reduced(at_least(x, RANGE[x.scalar][0]))
    down = STEPS_DOWN[x.scalar]
    return exp_polynomial(r) * power(moved, down, x.scalar) * 2.0**-down


def exp2(x: Value) -> Value:
    """As exp; here the reduction is exact: r = (x - n) ln(2)."""
    low, high = {"float": (-151.0, 129.0), "double": (-1077.0, 1025.0)}[x.scalar]
    clamped = at_least(at_most(x, high), low)
    moved = clamped + x.format.magic
    part = clamped - (moved - x.format.magic)
    return scaled(exp_polynomial(part * LN2), moved.bits() << x.format.mantissa, x)


def expm1_parts(x: Value) -> tuple[Value, Value, Value]:
    """n moved, r and t with e^x - 1 = 2^n (r + t) + (2^n - 1); t is small beside r.

    r is kept to more than its own precision: what its last step rounds off goes to t.
    """
    moved, n, before = reduce(x)
    low = -LN2_LOW[x.scalar]
    r = fma(n, low, before)
    lost = fma(n, low, before - r)
    return moved, r, fma(r * r, polynomial(r, EXPM1[x.scalar]), lost)


def expm1(x: Value) -> Value:
    """All in halves, so that 2^128 (2^1024) does not come up; doubled at the end."""
    low, high = {"float": (-18.0, 89.0), "double": (-38.0, 710.0)}[x.scalar]
    moved, r, t = expm1_parts(at_least(at_most(x, high), low))
    scale = power(moved, -1, x.scalar)
    half = fma(scale, t, fma(scale, r, scale - 0.5))
    return where(abs(x) < 2.0 ** -(x.format.mantissa + 2), x, half + half)


def tanh(x: Value) -> Value:
    """A polynomial up to 0.55; then 1 - 2 / (e^(2 |x|) + 1), which is 1 from 10 (20) on."""
    a = at_most(abs(x), 10.0 if x.scalar == "float" else 20.0)
    moved, r = reduced(a + a)
    large = 1.0 - 2.0 / fma(exp_polynomial(r), power(moved, 0, x.scalar), 1.0)
    square = x * x
    small = fma(x * square, polynomial(square, TANH[x.scalar]), x)
    return where(a < 0.55, small, large).with_sign_of(x)


def sigmoid(x: Value) -> Value:
    """1 - w or z - z w for x < 0, where z = e^-|x| and w = z / (1 + z).

    So what goes wrong in w counts little: dividing directly would be off by more than 2 units.
    """
    z = exp_of_negative(-abs(x))
    first = where(x < 0.0, z, 1.0)
    return fma(-first, z / (z + 1.0), first)


def _half_exp(a: Value) -> Value:
    """e^a / 2 for a >= 0: overflows later than e^a."""
    moved, r = reduced(at_most(a, 90.0 if a.scalar == "float" else 711.0))
    return exp_polynomial(r) * power(moved, -2, a.scalar) * 2.0


def cosh(x: Value) -> Value:
    """h + 1 / (4 h), h = e^|x| / 2."""
    h = _half_exp(abs(x))
    return h + 0.25 / h


def sinh(x: Value) -> Value:
    """A polynomial up to 1; then h - 1 / (4 h), h = e^|x| / 2."""
    h = _half_exp(abs(x))
    square = x * x
    small = fma(x * square, polynomial(square, SINH[x.scalar]), x)
    return where(abs(x) < 1.0, small, (h - 0.25 / h).with_sign_of(x))


