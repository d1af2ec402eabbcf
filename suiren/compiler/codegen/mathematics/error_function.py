"""The error function and its complement.

Near zero erf(x) = x + x P(x^2). Beyond that erf(x) = 1 - erfc(x), where float takes e^Q(x) with Q
a polynomial for log(erfc(x)), and double, as erfc itself needs small relative errors far out, takes
erfc(x) = e^(-x^2) P(t) / (1 + 2 x) with t = (x - k) / (x + k), which makes one polynomial do for
all x > 0 (Shepherd and Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x", 1981).
"""

from __future__ import annotations

from suiren.compiler.codegen.mathematics.exponential import exp_polynomial, power, reduced
from suiren.compiler.codegen.mathematics.logarithm import combine, split
from suiren.compiler.codegen.mathematics.tables import (
    ERF,
    ERF_TAIL,
    ERFC,
    ERFINV,
    ERFINV_FAR,
    ERFINV_FARTHER,
    EXP,
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
    product_remainder,
    two_product,
    two_sum,
    where,
)

ERFC_CENTRE = 3.75


def erf(x: Value) -> Value:
    a = abs(x)
    near = fma(x, polynomial(x * x, ERF[x.scalar]), x)
    if x.scalar == "float":
        moved, r = reduced(polynomial(at_most(a, 3.95), ERF_TAIL["float"]))
        far = 1.0 - exp_polynomial(r) * power(moved, 0, "float")
        return where(a < 0.9, near, far.with_sign_of(x))
    far = 1.0 - _erfc_of_positive(at_most(a, 6.5), "double")
    return where(a < 1.0, near, far.with_sign_of(x))


def _erfc_of_positive(a: Value, precision: str) -> Value:
    """erfc(a) for 0 <= a <= 28; in double with what sums and products lose along the way."""
    square, low = two_product(a, a)
    divisor, lost = two_sum(a + a, a.constant(1.0))
    t = (a - ERFC_CENTRE) / (a + ERFC_CENTRE)
    first, *others = ERFC[precision]
    p, p_low = fast_two_sum(a.constant(first), t * polynomial(t, others))
    quotient = p / divisor
    moved, r = reduced(-square)
    if precision == "short":
        result = exp_polynomial(r - low, precision)
    else:
        p_low = p_low + ERFC["rest"][0]
        q_low = (product_remainder(quotient, divisor, p) - quotient * lost) + p_low
        factor, lost = fast_two_sum(a.constant(1.0), r)
        lost = fma(r * r, polynomial(r, EXP["double"]), lost)
        result = factor + (lost + (factor + lost) * (q_low / p - low))
    return result * quotient * power(moved, 200, "double") * 2.0**-200


def erfc(x: Value) -> Value:
    """Float goes through double: e^(-x^2) needs x^2 to more than float's precision."""
    if x.scalar == "float":
        return _erfc(x.convert("fpext", "double"), "short").convert("fptrunc", "float")
    return _erfc(x, "double")


def _erfc(x: Value, precision: str) -> Value:
    a = abs(x)
    near = 1.0 - fma(x, polynomial(x * x, ERF[precision]), x)
    far = _erfc_of_positive(at_most(a, 28.0), precision)
    return where(a < 0.5, near, where(x < 0.0, 2.0 - far, far))


def erfinv(x: Value) -> Value:
    """x P(w) with w = -log(1 - x^2), and polynomials in sqrt(w) where w is large.

    The variable is M. B. Giles's ("Approximating the erfinv function", 2010).
    """
    if x.scalar == "float":
        return _erfinv(x.convert("fpext", "double"), "short").convert("fptrunc", "float")
    return _erfinv(x, "double")


def _erfinv(x: Value, precision: str) -> Value:
    a = abs(x)
    # 2^-60 instead of 0, beyond every number below 1: the logarithm needs no care for its ends
    _, e, m = split(at_least((1.0 - a) * (a + 1.0), 2.0**-60))
    w = -combine(e, m - 1.0)
    root = w.sqrt()
    root_low = product_remainder(root, root, w) / (root + 2.0**-60) * 0.5
    p, low = _with_rest(w - 3.125, ERFINV, precision)
    far, far_low = _with_rest((root - 3.25) + root_low, ERFINV_FAR, precision)
    beyond = w > 6.25
    p, low = where(beyond, far, p), where(beyond, far_low, low)
    if precision == "double":
        far, far_low = _with_rest((root - 5.0) + root_low, ERFINV_FARTHER, precision)
        beyond = w > 16.0
        p, low = where(beyond, far, p), where(beyond, far_low, low)
    y = fma(x, p, x * low)
    y = where(a < 1.0, y, where(a.eq(1.0), x * INFINITY, NAN))
    return where(x.eq(0.0), x, y)


def _with_rest(u: Value, table: dict[str, tuple[float, ...]], precision: str) -> Pair:
    """A polynomial, and what is lost by rounding its first coefficient and the last sum."""
    first, *others = table[precision]
    p, low = fast_two_sum(u.constant(first), u * polynomial(u, others))
    return p, low + table["rest"][0] if precision == "double" else low
