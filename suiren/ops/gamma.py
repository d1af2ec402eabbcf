"""The gamma function's logarithm and derivatives, incomplete gamma functions, Hurwitz' zeta.

Computed in float64 with the classical formulas: recurrence into the range of the asymptotic series,
reflection for negative arguments (Abramowitz and Stegun, chapter 6), Euler and Maclaurin's
summation for zeta, series and continued fraction for the incomplete functions (Numerical Recipes,
section 6.2). Source: PyTorch's torch.special page.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import composite
from suiren.ops.elementwise import elementwise
from suiren.ops.error_functions import in_double, piecewise
from suiren.ops.refusals import refusing, require_tensors
from suiren.tensor import Tensor

# B(2k): Bernoulli's numbers, k = 1, 2, ...
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510,
              43867 / 798, -174611 / 330)  # fmt: skip


def _log_gamma_number(x: float) -> float:
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):  # a pole, or too large
        return math.inf


@functools.cache
def _log_gamma_function():
    return np.frompyfunc(_log_gamma_number, 1, 1)


def lgamma_of(x):
    """log |gamma(x)| in float64."""
    return np.asarray(_log_gamma_function()(x), np.float64)


def digamma_of(x):
    """The derivative of log gamma in float64."""
    def positive(x):
        found = np.zeros_like(x)
        for _ in range(10):
            low = x < 10
            found -= np.where(low, 1 / x, 0)
            x = np.where(low, x + 1, x)
        found += np.log(x) - 0.5 / x
        square = 1 / (x * x)
        power = square
        for k, b in enumerate(_BERNOULLI, 1):
            found -= b / (2 * k) * power
            power = power * square
        return found

    def negative(x):
        part = x - np.trunc(x)
        found = positive(1 - x) - math.pi / np.tan(math.pi * part)
        found = np.where(part == 0, np.nan, found)
        return np.where(x == 0, np.copysign(np.inf, -x), found)

    return piecewise(x, (x > 0) | np.isnan(x), positive, negative)


def zeta_of(s, q):
    """Hurwitz' zeta: the sum of (q + k) ** -s for k = 0, 1, ..., in float64."""
    s, q = np.broadcast_arrays(s, q)
    total = np.zeros(q.shape)
    at = np.array(q)
    steps = 0
    # the formula for the rest wants a starting point of ten or more
    while steps < 100_000:
        active = (at < 10) if steps >= 10 else np.ones(q.shape, bool)
        if not active.any():
            break
        total += np.where(active, np.power(at, -s), 0)
        at = np.where(active, at + 1, at)
        steps += 1
    power = np.power(at, -s)
    vanished = power == 0  # with a huge exponent only the first terms are left
    total += np.where(vanished, 0, power * at / (s - 1) + power / 2)
    factor, power = s, power / at
    for k, b in enumerate(_BERNOULLI, 1):
        total += np.where(vanished, 0, b / math.factorial(2 * k) * factor * power)
        factor = factor * (s + 2 * k - 1) * (s + 2 * k)
        power = power / (at * at)
    total = np.where(np.isposinf(q), 0, total)
    whole = q == np.floor(q)
    total = np.where((q <= 0) & ~whole & (s != np.floor(s)), np.nan, total)
    total = np.where((q <= 0) & whole, np.inf, total)
    total = np.where(s == 1, np.inf, np.where(s < 1, np.nan, total))
    return np.where(np.isnan(s) | np.isnan(q), np.nan, total)


def polygamma_of(n, x):
    """The n-th derivative of digamma in float64."""
    if n == 0:
        return digamma_of(x)
    if n == 1:
        def reflected(x):
            sine = np.sin(math.pi * x)
            return (math.pi / sine) ** 2 - zeta_of(np.float64(2), 1 - x)

        return piecewise(x, ~(x < 0.5), lambda x: zeta_of(np.float64(2), x), reflected)
    sign = 1 if n % 2 else -1
    return sign * math.exp(math.lgamma(n + 1)) * zeta_of(np.float64(n + 1), x)


def _lower_series(a, x):
    """gamma(a, x) / gamma(a) by its series: quick for x < a + 1."""
    term = total = 1 / a
    k = a
    for _ in range(20_000):
        k = k + 1
        term = term * x / k
        total = total + term
        if not np.any(np.abs(term) > np.abs(total) * 1e-17):
            break
    return total * np.exp(a * np.log(x) - x - lgamma_of(a))


def _upper_fraction(a, x):
    """1 - gamma(a, x) / gamma(a) by Legendre's continued fraction (Lentz): for x >= a + 1."""
    tiny = 1e-300
    b = x + 1 - a
    c = np.full(np.shape(x), 1 / tiny)
    d = 1 / b
    found = d
    for i in range(1, 20_000):
        factor = -i * (i - a)
        b = b + 2
        d = factor * d + b
        d = 1 / np.where(np.abs(d) < tiny, tiny, d)
        c = b + factor / c
        c = np.where(np.abs(c) < tiny, tiny, c)
        step = c * d
        found = found * step
        if not np.any(np.abs(step - 1) > 1e-16):
            break
    return found * np.exp(a * np.log(x) - x - lgamma_of(a))


def _log_gamma_after_one(a):
    """log gamma(1 + a), also relatively exact for tiny a (its Taylor series)."""
    small = np.abs(a) < 0.3
    part = np.where(small, a, 0)
    total = np.zeros_like(part)
    for k in range(40, 1, -1):
        total = (total + float(zeta_of(np.float64(k), np.float64(1))) / k * (-1) ** k) * part
    return np.where(small, (total - np.euler_gamma) * part, lgamma_of(1 + a))


def _upper_series(a, x):
    """1 - gamma(a, x) / gamma(a) by a series that does not cancel: for small a and x <= 1.1."""
    total, term = np.zeros_like(x), np.ones_like(x)
    for n in range(1, 60):
        term = term * -x / n
        total = total + term / (a + n)
    log_x = np.log(x)
    first = -np.expm1(a * log_x - _log_gamma_after_one(a))
    return first - np.exp(a * log_x - lgamma_of(a)) * total


def incomplete_gamma(a, x, upper: bool):
    """The regularized incomplete gamma function in float64, lower or upper."""
    a, x = (np.array(v) for v in np.broadcast_arrays(a, x))
    plain = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    lower = np.full(a.shape, np.nan)
    rest = np.full(a.shape, np.nan)
    with_series = plain & (x < a + 1)
    lower[with_series] = _lower_series(a[with_series], x[with_series])
    rest[with_series] = 1 - lower[with_series]
    near_one = plain & (((x <= 0.5) & (a <= -0.4 / np.log(x))) | (
        (x > 0.5) & (x <= 1.1) & (a <= 0.75 * x)))  # fmt: skip
    rest[near_one] = _upper_series(a[near_one], x[near_one])
    with_fraction = plain & ~with_series & ~near_one
    lower[near_one] = 1 - rest[near_one]
    rest[with_fraction] = _upper_fraction(a[with_fraction], x[with_fraction])
    lower[with_fraction] = 1 - rest[with_fraction]
    none = ((x == 0) & (a > 0)) | (np.isposinf(a) & (x >= 0) & np.isfinite(x))
    whole = ((a == 0) & (x > 0)) | (np.isposinf(x) & (a >= 0) & np.isfinite(a))
    lower = np.where(none, 0, np.where(whole, 1, lower))
    rest = np.where(none, 1, np.where(whole, 0, rest))
    return rest if upper else lower


# ---- operators


@elementwise("float", arguments=("input",), aliases=("special.gammaln",))
class lgamma:
    """The logarithm of the absolute value of the gamma function. Source: torch.lgamma.

    >>> import suiren as torch
    >>> torch.lgamma(torch.tensor([0.5, 1., 5.]))
    tensor([0.5724, 0.0000, 3.1781])
    """

    refuse = refusing("lgamma", "complex")
    evaluate = in_double(lgamma_of)

    def grad_input(grad, input):
        return grad * digamma(input)


@elementwise("float", arguments=("input",), aliases=("special.digamma", "special.psi"))
class digamma:
    """The derivative of lgamma; at zero minus infinity. Source: torch.digamma."""

    refuse = refusing("digamma", "complex")
    evaluate = in_double(digamma_of)

    def grad_input(grad, input):
        return grad * polygamma(1, input)


@elementwise("float", where=(), tensors=1, inplace=False, name="polygamma")
class derivative_of_digamma:
    """The n-th derivative of digamma."""

    refuse = refusing("polygamma", "complex")

    def call(input, n):
        return apply(derivative_of_digamma.operator, (input,), (n,))

    def evaluate(input, n):
        return polygamma_of(n, np.asarray(input, np.float64)).astype(input.dtype)

    def grad_input(grad, input, n):
        return grad * derivative_of_digamma(input, n + 1)


@composite(where=("torch",), aliases=("special.polygamma",))
def polygamma(n, input):
    """The ``n``-th derivative of digamma, n >= 0. Source: torch.polygamma.

    >>> import suiren as torch
    >>> torch.polygamma(1, torch.tensor([1.]))
    tensor([1.6449])
    """
    if isinstance(n, Tensor) or not hasattr(n, "__index__"):
        raise TypeError(f"polygamma(): argument 'n' must be int, not {type(n).__name__}")
    if n < 0:
        raise RuntimeError(f"polygamma(n, x) does not support negative n, got {n}")
    return derivative_of_digamma(input, int(n))


@composite(where=("Tensor",), inplace=True, name="polygamma")
def _polygamma_method(input, n):
    """``torch.polygamma(n, input)``. Source: Tensor.polygamma."""
    return polygamma(n, input)


@composite(inplace=True, aliases=("special.multigammaln",))
def mvlgamma(input, p):
    """The logarithm of the multivariate gamma function of dimension ``p``.

    Raises RuntimeError for p < 1. Source: torch.mvlgamma.
    """
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    if input._meta.dtype.category < dtypes.FLOATING:
        input = input.to(dtypes.get_default_dtype())
    total = p * (p - 1) / 4 * math.log(math.pi)
    for i in range(p):
        total = lgamma(input - i / 2) + total
    return total


@elementwise("float", aliases=("special.gammainc",))
class igamma:
    """The regularized lower incomplete gamma function P(input, other). Source: torch.igamma.

    Its derivative is known with respect to ``other`` only.
    """

    refuse = refusing("igamma", "bool", "integers", "complex")

    def call(input, other):
        require_tensors("igamma", input=input, other=other)
        return apply(igamma.operator, (input, other))

    def evaluate(input, other):
        return _incomplete(input, other, False)

    def grad_other(grad, input, other):
        return grad * _density(input, other)


@elementwise("float", aliases=("special.gammaincc",))
class igammac:
    """The regularized upper incomplete gamma function Q = 1 - P. Source: torch.igammac.

    Its derivative is known with respect to ``other`` only.
    """

    refuse = refusing("igammac", "bool", "integers", "complex")

    def call(input, other):
        require_tensors("igammac", input=input, other=other)
        return apply(igammac.operator, (input, other))

    def evaluate(input, other):
        return _incomplete(input, other, True)

    def grad_other(grad, input, other):
        return -grad * _density(input, other)


def _incomplete(a, x, upper):
    kind = a.dtype
    found = incomplete_gamma(np.asarray(a, np.float64), np.asarray(x, np.float64), upper)
    return found.astype(kind)


def _density(a, x):
    return ((a - 1) * x.log() - x - lgamma(a)).exp()


@elementwise("float", where=("special",), inplace=False, arguments=("input", "other"))
class zeta:
    """Hurwitz' zeta function: the sum of ``(other + k) ** -input``. Source: torch.special.zeta.

    Its derivative is known with respect to ``other`` only.
    """

    node_name = "SpecialZetaBackward0"
    refuse = refusing("zeta", "complex")
    evaluate = in_double(zeta_of)

    def grad_other(grad, input, other):
        return grad * -input * zeta(input + 1, other)
