"""Logarithms: log, log2, log10, log1p, and the functions that are logarithms of something exact.

x = 2^e m with sqrt(1/2) <= m < sqrt(2) by integer arithmetic on the bits; f = m - 1 is exact, and
log(x) = e ln(2) + log(1 + f). In float log(1 + f) is f - f^2 / 2 + f^3 P(f). In double it is, with
s = f / (2 + f), 2 atanh(s) = 2 s + 2 s^3 P(s^2), where 2 s = f - s f is brought to the same form
f - f^2 / 2 + ..., whose first terms lose nothing (K. C. Ng's arrangement, 1986).
"""

from __future__ import annotations

from suiren.compiler.codegen.mathematics.exponential import (
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    exp_of_negative,
)
from suiren.compiler.codegen.mathematics.tables import ATANH, LOG
from suiren.compiler.codegen.mathematics.values import (
    INFINITY,
    NAN,
    Pair,
    Value,
    fast_two_sum,
    fma,
    polynomial,
    product_remainder,
    two_product,
    two_sum,
    where,
)

ROOT_HALF_BITS = {"float": 0x3F3504F3, "double": 0x3FE6A09E667F3BCD}
ONE_BITS = {"float": 0x3F800000, "double": 0x3FF0000000000000}


def split(x: Value) -> tuple[Value, Value, Value]:
    """e + bias as integers, e, and m; x is positive and normal."""
    mantissa, root_half = x.format.mantissa, ROOT_HALF_BITS[x.scalar]
    shifted = x.bits() + (ONE_BITS[x.scalar] - root_half)
    k = shifted.unsigned_shift(mantissa)
    m = ((shifted & ((1 << mantissa) - 1)) + root_half).floats()
    # the integer in the low bits of 2^23 (2^52): a conversion that every target has
    e = (k | ((x.format.bias + mantissa) << mantissa)).floats()
    return k, e - (2.0**mantissa + x.format.bias), m


def split_any(x: Value) -> Pair:
    """e and f for positive x, denormals too."""
    steps = x.format.mantissa + 1
    small = x < x.format.tiny
    _, e, m = split(where(small, x * 2.0**steps, x))
    return where(small, e - float(steps), e), m - 1.0


def log1p_parts(f: Value) -> Pair:
    """f^2 / 2 and t with log(1 + f) = f - f^2 / 2 + t, for sqrt(1/2) <= 1 + f <= sqrt(2)."""
    square = f * f
    half = square * 0.5
    if f.scalar == "float":
        return half, f * square * polynomial(f, LOG["float"])
    s = f / (f + 2.0)
    z = s * s
    return half, s * fma(z + z, polynomial(z, ATANH["double"]), half)


def combine(e: Value, f: Value) -> Value:
    """e ln(2) + log(1 + f)."""
    half, t = log1p_parts(f)
    low = fma(e, LN2_LOW[f.scalar], t)
    return fma(e, LN2_HIGH[f.scalar], f - (half - low))


def with_ends(x: Value, y: Value) -> Value:
    """y, the logarithm of x, put right where x is 0, negative, infinite or NaN."""
    y = where(x > 0.0, y, where(x.eq(0.0), x.constant(-INFINITY), NAN))
    return where(x.eq(INFINITY), x, y)


def log(x: Value) -> Value:
    return with_ends(x, combine(*split_any(x)))


# 1 / ln(2), 1 / ln(10), log10(2), each as a sum of two numbers of the type
INVERSE_LN2 = (LOG2_E, 2.0355273740931033e-17)
INVERSE_LN10 = (0.4342944819032518, 1.098319650216765e-17)
LOG10_2 = (0.3010299956639812, -2.8037281277851704e-18)


def _two(pair: tuple[float, float], scalar: str, short: bool = False) -> tuple[float, float]:
    """The pair of doubles as a pair of the type; ``short``: e times the first is exact."""
    if short:
        bits = 16 if scalar == "float" else 41
        high = round(pair[0] * 2**bits) / 2**bits
    elif scalar == "float":
        high = round(pair[0] * 2**23) / 2**23 if pair[0] > 1 else round(pair[0] * 2**25) / 2**25
    else:
        return pair
    return high, (pair[0] - high) + pair[1]


def _log_base(x: Value, inverse: tuple[float, float]) -> tuple[Value, Pair]:
    """e, and log(1 + f) times a constant as a sum of two numbers."""
    e, f = split_any(x)
    half, t = log1p_parts(f)
    high, lost = fast_two_sum(f, -half)
    first, second = _two(inverse, x.scalar)
    product, rest = two_product(high, x.constant(first))
    return e, (product, rest + fma(high, second, (lost + t) * first))


def log2(x: Value) -> Value:
    """e + log(1 + f) / ln(2); the product is taken to double length: its error would show."""
    e, (high, low) = _log_base(x, INVERSE_LN2)
    total, lost = fast_two_sum(e, high)
    return with_ends(x, total + (lost + low))


def log10(x: Value) -> Value:
    e, (high, low) = _log_base(x, INVERSE_LN10)
    first, second = _two(LOG10_2, x.scalar, short=True)
    total, lost = fast_two_sum(e * first, high)
    return with_ends(x, total + (lost + fma(e, second, low)))


def of_pair(high: Value, low: Value) -> Value:
    """log(high + low) for low small beside high > 0, which is normal; exact near 1 too."""
    mantissa, bias = high.format.mantissa, high.format.bias
    k, e, m = split(high)
    # low 2^-e; where 2^-e is too small to be a normal number, low does not matter
    scale = where(high < 2.0 ** (bias - 2), ((2 * bias - k) << mantissa).floats(), 0.0)
    return combine(e, fma(low, scale, m - 1.0))


def log1p(x: Value) -> Value:
    """log of 1 + x, which is taken as an exact sum of two numbers."""
    high, low = two_sum(x.constant(1.0), x)
    y = with_ends(high, of_pair(high, low))
    return where(abs(x) < 2.0 ** -(x.format.mantissa + 2), x, y)


def _log1p_of_unit(z: Value) -> Value:
    """log(1 + z) for 0 <= z <= 1: no ends to put right."""
    return of_pair(*fast_two_sum(z.constant(1.0), z))


def softplus(x: Value) -> Value:
    """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)."""
    z = exp_of_negative(-abs(x))
    tail = where(z < 2.0 ** -(x.format.mantissa + 2), z, _log1p_of_unit(z))
    return where(x > 0.0, x, 0.0) + tail


def log_sigmoid(x: Value) -> Value:
    return 0.0 - softplus(-x)  # where that is nothing, zero and not -0


def root_of_pair(high: Value, low: Value) -> Pair:
    """sqrt(high + low) as a sum of two numbers; high > 0."""
    root = high.sqrt()
    return root, (product_remainder(root, root, high) + low) / (root + root)


def asinh(x: Value) -> Value:
    """log(a + sqrt(a^2 + 1)), a = |x|, with the sum to double length; log(2 a) for large a."""
    if x.scalar == "float":
        return asinh(x.convert("fpext", "double")).convert("fptrunc", "float")
    a = abs(x)
    large = a > 2.0**60
    b = where(large, a * 2.0**-60, a)  # its square does not overflow
    square, rest = two_product(b, b)
    square, lost = two_sum(square, x.constant(1.0))
    root, root_low = root_of_pair(square, lost + rest)
    high, low = two_sum(b, root)
    high, low = where(large, b, high), where(large, 0.0, low + root_low)
    y = of_pair(high, low)
    y = where(large, y + 61 * (LN2_HIGH["double"] + LN2_LOW["double"]), y)
    y = where(a < 2.0**-28, fma(a * a * a, -1 / 6, a), y)
    return where(a < INFINITY, y, a).with_sign_of(x)


def acosh(x: Value) -> Value:
    """log(x + sqrt(x^2 - 1)), with d = x - 1 (exact near 1) as log1p(d + sqrt(d (d + 2)))."""
    if x.scalar == "float":
        return acosh(x.convert("fpext", "double")).convert("fptrunc", "float")
    large = x > 2.0**60
    a = where(large, x * 2.0**-60, x)
    square, rest = two_product(a, a)
    square, lost = fast_two_sum(square, x.constant(-1.0))
    square, lost = fast_two_sum(square, lost + rest)
    root, root_low = root_of_pair(square, lost)
    high, low = fast_two_sum(a, root)
    high, low = where(large, a, high), where(large, 0.0, low + root_low)
    y = of_pair(high, low)
    y = where(large, y + 61 * (LN2_HIGH["double"] + LN2_LOW["double"]), y)
    y = where(x < INFINITY, y, x)
    return where(x > 1.0, y, where(x.eq(1.0), x.constant(0.0), NAN))


def atanh(x: Value) -> Value:
    """log((1 + a) / (1 - a)) / 2, a = |x|, with the quotient to double length."""
    if x.scalar == "float":
        return atanh(x.convert("fpext", "double")).convert("fptrunc", "float")
    a = abs(x)
    one = x.constant(1.0)
    above, above_low = fast_two_sum(one, a)
    below, below_low = fast_two_sum(one, -a)
    quotient = above / below
    error = (product_remainder(quotient, below, above) + above_low) - quotient * below_low
    y = of_pair(*fast_two_sum(quotient, error / below)) * 0.5
    y = where(a < 2.0**-28, fma(a * a * a, 1 / 3, a), y)
    y = where(a < 1.0, y, where(a.eq(1.0), x.constant(INFINITY), NAN))
    return y.with_sign_of(x)


__all__ = [
    "acosh", "asinh", "atanh", "log", "log10", "log1p", "log2", "log_sigmoid", "softplus",
]  # fmt: skip
