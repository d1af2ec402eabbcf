"""The logarithm of the gamma function, and its derivative digamma.

lgamma: for |x| < 1.5 and around 2 polynomials times the distance from the roots 1 and 2; up to 8
these, reached by the recurrence, whose product goes into one logarithm; beyond, Stirling's formula
with the logarithm to double length. digamma: between 1 and 2 a polynomial times the distance from
the root; below 10 the recurrence, whose fractions are added up as one; beyond, the asymptotic
series. Negative arguments by reflection. float goes through double, with shorter polynomials.

In double the errors are within 3 (lgamma) and 4 units in the last place. Between the negative
poles both have roots where large terms cancel: there the error is small beside these terms
(Abramowitz and Stegun, "Handbook of Mathematical Functions", chapter 6).
"""

from __future__ import annotations

from suiren.compiler.codegen.mathematics.logarithm import (
    LN2_HIGH,
    LN2_LOW,
    log,
    log1p_parts,
    split_any,
)
from suiren.compiler.codegen.mathematics.tables import (
    DIGAMMA,
    DIGAMMA_TAIL,
    LGAMMA_ONE,
    LGAMMA_TAIL,
    LGAMMA_TWO,
    SINPI,
)
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
    two_product,
    two_sum,
    where,
)

PI, PI_LOW = 3.141592653589793, 1.2246467991473532e-16
STIRLING = 0.4189385332046727  # log(2 pi) / 2 - 1/2
ROOT, ROOT_LOW = 1.4616321449683622, 9.549995429965697e-17
FAR = 8  # from which on Stirling's formula does
FAR_DIGAMMA = 10


def lgamma(x: Value) -> Value:
    if x.scalar == "float":
        return _lgamma(x.convert("fpext", "double"), "short").convert("fptrunc", "float")
    return _lgamma(x, "double")


def digamma(x: Value) -> Value:
    if x.scalar == "float":
        return _digamma(x.convert("fpext", "double"), "short").convert("fptrunc", "float")
    return _digamma(x, "double")


def _log_pair(x: Value) -> Pair:
    """log(x) as a sum of two numbers; x is positive and finite."""
    e, f = split_any(x)
    half, t = log1p_parts(f)
    high, low = two_sum(e * LN2_HIGH["double"], f)  # the product is exact
    return high, low + (fma(e, LN2_LOW["double"], t) - half)


def _from_root(y: Value, table: dict, precision: str) -> Value:
    """y times a polynomial; in double with what the first coefficient lacks."""
    first, *others = table[precision]
    (rest,) = table.get("rest", (0.0,)) if precision == "double" else (0.0,)
    tail = y * polynomial(y, others)
    return fma(y, first, y * (tail + rest))


def _sine(r: Value, precision: str) -> Value:
    """sin(pi r) / pi for |r| <= 1/2."""
    square = r * r
    return fma(r * square, polynomial(square, SINPI[precision]), r)


def _lgamma(x: Value, precision: str) -> Value:
    a = abs(x)
    small, large = a < 0.5, a >= float(FAR)
    n = at_most(at_least(a.rounded(), 1.0), float(FAR))
    y = where(small, x, a - n)
    one = _from_root(y, LGAMMA_ONE, precision)
    two = _from_root(y, LGAMMA_TWO, precision)
    near = where(n < 1.5, one, two)
    product = x.constant(1.0)
    for k in range(2, FAR):
        product = where(n > k + 0.5, product * (y + float(k)), product)
    high, low = _log_pair(where(a < 1.5, a, where(large, a, product)))
    with_log = near + (high + low)
    # Stirling: (a - 1/2) (log(a) - 1) + log(2 pi) / 2 - 1/2 + ...
    first, second = fast_two_sum(high, x.constant(-1.0))
    inverse = 1.0 / a
    tail = inverse * polynomial(inverse * inverse, LGAMMA_TAIL[precision])
    moved = a - 0.5
    main, rest = two_product(moved, first)
    rest = rest + moved * (second + low)
    far = where(main < INFINITY, main + (rest + (STIRLING + tail)), main)
    found = where(a < 1.5, near, where(large, far, with_log))
    found = where(small, near - (high + low), found)
    # lgamma(-a) = log(pi / (a |sin(pi a)|)) - lgamma(a)
    r = a - a.rounded()
    turned = log(1.0 / (a * abs(_sine(r, precision)))) - found
    found = where(x > -0.5, found, where(r.eq(0.0), INFINITY, turned))
    found = where(x.eq(0.0), INFINITY, found)
    return where(a.eq(INFINITY), a, where(x.is_nan(), x, found))


def _digamma(x: Value, precision: str) -> Value:
    negative = x < 0.0
    total, lost = two_sum(x.constant(1.0), -x)
    a, a_low = where(negative, total, x), where(negative, lost, 0.0)
    below, large = a < 1.0, a >= float(FAR_DIGAMMA)
    steps = at_most(at_least(a.floor() - 1.0, 0.0), FAR_DIGAMMA - 2.0)
    y = where(below, a + 1.0, a - steps)
    # the fractions 1 / (a - 1) + 1 / (a - 2) + ..., or - 1 / a, over one denominator
    above = where(below, x.constant(-1.0), 0.0)
    under = where(below, a, 1.0)
    for k in range(1, FAR_DIGAMMA - 1):
        d = a - float(k)
        more = steps > k - 0.5
        above = where(more, fma(above, d, under), above)
        under = where(more, under * d, under)
    distance = (y - ROOT) + (a_low - ROOT_LOW)
    near = fma(distance, polynomial(y - 1.5, DIGAMMA[precision]), above / under)
    inverse = 1.0 / a
    square = inverse * inverse
    tail = fma(square, polynomial(square, DIGAMMA_TAIL[precision]), inverse * 0.5)
    found = where(large, log(a) - tail, near)
    # digamma(x) = digamma(1 - x) - pi cot(pi x)
    r = x - x.rounded()
    sine = _sine(r, precision)
    cosine = _sine(0.5 - abs(r), precision)  # over pi
    turned = found - fma(cosine, PI, cosine * PI_LOW) / sine
    turned = where(r.eq(0.0), NAN, turned)
    return where(negative, turned, found)


__all__ = ["digamma", "lgamma"]
