"""Roots and powers: sqrt, rsqrt, pow.

x^y = 2^(y log2(x)). The logarithm is multiplied by up to 1024 before its integer part goes, so it
needs some twelve bits more than the result: float computes in double, double in pairs of doubles.
"""

from __future__ import annotations

from suiren.compiler.codegen.mathematics.exponential import (
    LN2,
    LN2_REST,
    LOG2_E,
    exp_polynomial,
    power,
    scaled,
)
from suiren.compiler.codegen.mathematics.logarithm import INVERSE_LN2, split, split_any
from suiren.compiler.codegen.mathematics.tables import EXP, LOG_SHORT, POW
from suiren.compiler.codegen.mathematics.values import (
    INFINITY,
    NAN,
    Pair,
    Value,
    at_least,
    at_most,
    fast_two_sum,
    fma,
    polynomial,
    product_remainder,
    sign_bit,
    two_product,
    where,
)


def sqrt(x: Value) -> Value:
    return x.sqrt()


def rsqrt(x: Value) -> Value:
    return 1.0 / x.sqrt()


def pow(x: Value, y: Value) -> Value:
    """C99's pow: 1 for y = 0 and for x = 1 whatever the other is; NaN for negative x unless y is
    an integer; the sign of x for odd y."""
    a = abs(x)
    if x.scalar == "float":
        magnitude = _magnitude_short(a.convert("fpext", "double"), y.convert("fpext", "double"))
        magnitude = magnitude.convert("fptrunc", "float")
    else:
        magnitude = _magnitude(a, y)
    half = y * 0.5
    integer = y.floor().eq(y)
    odd = integer & half.floor().ne(half)
    signed = (magnitude.bits() ^ where(odd, sign_bit(x), 0)).floats()
    invalid = (x < 0.0) & (x > -INFINITY) & ~integer
    return where(x.eq(1.0) | y.eq(0.0), 1.0, where(invalid, NAN, signed))


def _finite(y: Value) -> Value:
    """Very large instead of infinite: times log2(1) it is 0."""
    return at_least(at_most(y, 1e300), -1e300)


def _magnitude_short(a: Value, y: Value) -> Value:
    """a^y for a >= 0, in double to float's precision; every float is a normal double."""
    _, e, m = split(a)
    f = m - 1.0
    log2 = fma(f * polynomial(f, LOG_SHORT["short"]), LOG2_E, e)
    log2 = where(a.eq(0.0), -INFINITY, where(a < INFINITY, log2, a))
    exponent = at_least(at_most(_finite(y) * log2, 200.0), -200.0)
    moved = exponent + exponent.format.magic
    part = exponent - (moved - exponent.format.magic)
    return exp_polynomial(part * LN2, "short") * power(moved.bits() << 52, 0, "double")


def _log2_pair(a: Value) -> Pair:
    """log2(a) to some 68 bits, for positive a.

    With s = f / (2 + f): log(1 + f) = 2 s (1 + s^2 / 3 + s^4 Q(s^2)), all but Q to double length.
    """
    e, f = split_any(a)
    divisor, lost = fast_two_sum(f.constant(2.0), f)
    s = f / divisor
    s_low = (product_remainder(s, divisor, f) - s * lost) / divisor
    z, z_low = two_product(s, s)
    z_low = fma(s + s, s_low, z_low)
    # u = z / 3 + z^2 Q
    u, u_low = two_product(z, z.constant(1 / 3))
    u_low = u_low + fma(z, 1.850371707708594e-17, z_low * (1 / 3))
    u, more = fast_two_sum(u, z * z * polynomial(z, POW["double"]))
    u_low = u_low + more
    # s + s u
    v, v_low = two_product(s, u)
    v_low = v_low + fma(s, u_low, s_low * u)
    total, low = fast_two_sum(s, v)
    low = low + (s_low + v_low)
    # times 2 / ln(2), plus e
    first, second = 2 * INVERSE_LN2[0], 2 * INVERSE_LN2[1]
    p, p_low = two_product(total, f.constant(first))
    p_low = p_low + fma(total, second, low * first)
    result, lost = fast_two_sum(e, p)
    return result, lost + p_low


def _magnitude(a: Value, y: Value) -> Value:
    """a^y for a >= 0 in double."""
    y = _finite(y)
    log2, low = _log2_pair(a)
    ordinary = (a > 0.0) & (a < INFINITY)
    log2 = where(ordinary, log2, where(a.eq(0.0), -INFINITY, a))
    exponent, rest = two_product(y, log2)
    rest = where(ordinary & (abs(exponent) < 1100.0), fma(y, low, rest), 0.0)
    exponent = at_least(at_most(exponent, 1025.0), -1077.0)
    moved = exponent + exponent.format.magic
    part = exponent - (moved - exponent.format.magic)
    # e^r with r and the leading sum to double length: what is exact, such as 3^2, comes out so
    r, r_low = two_product(part, part.constant(LN2))
    r, lost = fast_two_sum(r, r_low + fma(part, LN2_REST, rest * LN2))
    one, low = fast_two_sum(r.constant(1.0), r)
    low = low + fma(r * r, polynomial(r, EXP["double"]), lost + lost * r)
    return scaled(one + low, moved.bits() << 52, exponent)
