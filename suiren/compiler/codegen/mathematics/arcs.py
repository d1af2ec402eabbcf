"""asin, acos, atan, atan2.

atan(q) for q = b / a in [0, 1] is a polynomial up to tan(pi / 8), and beyond that
pi / 4 + atan((b - a) / (b + a)): one division either way. asin(x) is a polynomial up to 1/2; beyond
that, with z = (1 - |x|) / 2 and s = sqrt(z), it is pi / 2 - 2 asin(s), what s lacks made good.
"""

from __future__ import annotations

from suiren.compiler.codegen.mathematics.tables import ASIN, ATAN
from suiren.compiler.codegen.mathematics.trigonometric import HALF_PI
from suiren.compiler.codegen.mathematics.values import (
    INFINITY,
    Pair,
    Value,
    fast_two_sum,
    fma,
    polynomial,
    product_remainder,
    sign_bit,
    where,
)

TAN_PI_8 = 0.41421356237309503


def _atan_of_quotient(b: Value, a: Value) -> tuple[Value, Value, Value]:
    """atan(b / a) for 0 <= b <= a as a sum: whether pi / 4 belongs to it, t, and t^3 P(t^2)."""
    steep = b > a * TAN_PI_8
    t = where(steep, b - a, b) / where(steep, b + a, a)
    z = t * t
    return steep, t, (t * z) * polynomial(z, ATAN[t.scalar])


def _angle(steep: Value, t: Value, tail: Value, flip: Value) -> Value:
    """The angle in the first octant, or, where ``flip``, pi / 2 less that angle."""
    high, low, _ = HALF_PI[t.scalar]
    sign = where(flip, t.constant(-1.0), 1.0)
    start = where(steep, t.constant(high / 2), where(flip, t.constant(high), 0.0))
    rest = where(steep, t.constant(low / 2), where(flip, t.constant(low), 0.0))
    total, lost = fast_two_sum(start, sign * t)
    return total + (lost + fma(sign, tail, rest))


def atan(x: Value) -> Value:
    """The angle of the point (1, |x|), with the sign of x."""
    a = abs(x)
    over = a > 1.0
    steep, t, tail = _atan_of_quotient(where(over, 1.0, a), where(over, a, 1.0))
    return _angle(steep, t, tail, over).with_sign_of(x)


def atan2(y: Value, x: Value) -> Value:
    """The angle of the point (x, y); zeros keep their signs, as in C99."""
    a, b = abs(x), abs(y)
    over = b > a
    shorter, longer = where(over, a, b), where(over, b, a)
    # equal infinities, like equal numbers, make pi / 4; sums and differences must not overflow
    infinite = longer.eq(INFINITY)
    shorter = where(infinite, where(shorter.eq(INFINITY), x.constant(1.0), 0.0), shorter)
    longer = where(infinite | longer.eq(0.0), 1.0, longer)
    half_range = 2.0 ** (x.format.bias // 2)
    up = where(longer < 1 / half_range, x.constant(half_range), 1.0)
    scale = where(longer > 2.0 ** (x.format.bias - 2), 0.25, up)
    steep, t, tail = _atan_of_quotient(shorter * scale, longer * scale)
    # a quotient that is denormal is rounded by the division, once
    flat = ~steep & ~over
    t = where(flat, shorter / longer, t)
    angle = _angle(steep, t, tail, over)
    angle = where(flat & (tail.eq(0.0)), t, angle)
    high, low, _ = HALF_PI[x.scalar]
    behind = (2.0 * high - angle) + 2.0 * low
    angle = where(sign_bit(x).ne(0), behind, angle).with_sign_of(y)
    return where(x.is_nan() | y.is_nan(), x + y, angle)


def _root(z: Value) -> Pair:
    """sqrt(z) and what it lacks."""
    s = z.sqrt()
    return s, where(z > 0.0, product_remainder(s, s, z) / (s + s), 0.0)


def asin(x: Value) -> Value:
    a = abs(x)
    near = a < 0.5
    z = where(near, x * x, fma(a, -0.5, 0.5))
    p = z * polynomial(z, ASIN[x.scalar])
    s, rest = _root(z)
    high, low, _ = HALF_PI[x.scalar]
    total, lost = fast_two_sum(x.constant(high), s * -2.0)
    far = total + (lost - fma(s + s, p, rest + rest - low))
    return where(near, fma(a, p, a), far).with_sign_of(x)


def acos(x: Value) -> Value:
    """pi / 2 - asin(x); 2 asin(s) and pi - 2 asin(s) beyond 1/2, s = sqrt((1 - |x|) / 2)."""
    a = abs(x)
    near = a < 0.5
    z = where(near, x * x, fma(a, -0.5, 0.5))
    p = z * polynomial(z, ASIN[x.scalar])
    s, rest = _root(z)
    high, low, _ = HALF_PI[x.scalar]
    total, lost = fast_two_sum(x.constant(high), -x)
    middle = total + (lost - fma(x, p, -low))
    tail = fma(s, p, rest)
    right = (s + tail) * 2.0
    total, lost = fast_two_sum(x.constant(high), -s)
    left = (total + (lost - (tail - low))) * 2.0
    return where(near, middle, where(x < 0.0, left, right))
