"""Derives the polynomials of the compiler's vectorised mathematics and writes their tables.

Each table is a minimax fit (Remez's exchange on a dense grid, in 150-digit arithmetic with mpmath)
of the function in its entry, for the error that its weight makes relative to the result.
Coefficients are rounded one after another from the lowest, and after each rounding the remaining
ones are fitted anew, so that what one rounding loses the others win back (the method of Brisebarre
and Chevillard's "fpminimax" in its simplest form).

    python tools/fit_mathematics.py            # writes the package's mathematics/tables.py
    python tools/fit_mathematics.py --only EXP # prints one family

Needs mpmath; the package itself does not.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Callable
from pathlib import Path

import mpmath
from mpmath import mp, mpf

TABLES = Path(__file__).parent.parent / "suiren/compiler/codegen/mathematics/tables.py"
mp.prec = 500  # weights of late terms are as small as 1e-90

Function = Callable[[mpf], mpf]


def grid(low: mpf, high: mpf, count: int) -> list[mpf]:
    """Points that crowd at both ends as Chebyshev's do, without the ends themselves."""
    middle, half = (low + high) / 2, (high - low) / 2
    return [middle + half * mpmath.cos(mp.pi * (i + mpf(0.5)) / count) for i in range(count)][::-1]


def evaluate(coefficients: list[mpf], x: mpf) -> mpf:
    total = mpf(0)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def remez(xs: list[mpf], ys: list[mpf], ws: list[mpf], count: int) -> tuple[list[mpf], mpf]:
    """``count`` coefficients with the least largest |w (p(x) - y)| on the grid, and that error."""
    total = len(xs)
    if count == 0:
        return [], max(abs(w * y) for w, y in zip(ws, ys, strict=True))
    chosen = [int((total - 1) * (1 - mpmath.cos(mp.pi * i / count)) / 2) for i in range(count + 1)]
    for i in range(1, count + 1):
        chosen[i] = max(chosen[i], chosen[i - 1] + 1)
    best: tuple[list[mpf], mpf] = ([], mpf("inf"))
    for _ in range(40):
        rows = []
        for sign, i in enumerate(chosen):
            powers, power = [], mpf(1)
            for _k in range(count):
                powers.append(power)
                power *= xs[i]
            rows.append([*powers, (-1) ** sign / ws[i]])
        solved = mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix([ys[i] for i in chosen]))
        coefficients, level = [solved[i] for i in range(count)], abs(solved[count])
        errors = [
            w * (evaluate(coefficients, x) - y) for x, y, w in zip(xs, ys, ws, strict=True)
        ]
        worst = max(abs(e) for e in errors)
        if worst < best[1]:
            best = (coefficients, worst)
        if worst <= level * mpf(1.001):
            break
        # the largest error of each stretch of one sign; of those the best run of count + 1
        peaks: list[int] = []
        for i, e in enumerate(errors):
            if peaks and (errors[peaks[-1]] > 0) == (e > 0):
                if abs(e) > abs(errors[peaks[-1]]):
                    peaks[-1] = i
            else:
                peaks.append(i)
        while len(peaks) > count + 1:
            peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
        if len(peaks) < count + 1:
            break
        chosen = peaks
    return best


def rounded(value: mpf, scalar: str) -> mpf:
    if scalar == "float":
        # via double: twice rounding is of no matter here, the fit goes on from what comes out
        return mpf(struct.unpack("f", struct.pack("f", float(value)))[0])
    return mpf(float(value))


def fit(
    function: Function, low: float, high: float, count: int, scalar: str, weight: Function
) -> tuple[list[float], float, float]:
    """A polynomial with ``count`` terms: its rounded coefficients, log2 of its largest error, and
    what the first coefficient lost by being rounded."""
    xs = [x for x in grid(mpf(low), mpf(high), 24 * (count + 3)) if x != 0]
    ys, ws = [function(x) for x in xs], [weight(x) for x in xs]
    if low < 0 < high and weight(mpf(2) ** -40) > 0.01:
        # nothing to win back at zero, inside of the interval, where only the lowest one counts
        free, _ = remez(xs, ys, ws, count)
        coefficients = [rounded(c, scalar) for c in free]
        errors = [w * (evaluate(coefficients, x) - y) for x, y, w in zip(xs, ys, ws, strict=True)]
        return [float(c) for c in coefficients], float(mpmath.log(max(map(abs, errors)), 2)), float(
            free[0] - coefficients[0]
        )
    targets, weights, fixed = list(ys), list(ws), []
    while len(fixed) < count:
        free, _ = remez(xs, targets, weights, count - len(fixed))
        c = rounded(free[0], scalar)
        fixed.append(c)
        targets = [(y - c) / x for x, y in zip(xs, targets, strict=True)]
        weights = [w * abs(x) for x, w in zip(xs, weights, strict=True)]
    error = max(abs(w * (evaluate(fixed, x) - y)) for x, y, w in zip(xs, ys, ws, strict=True))
    return [float(c) for c in fixed], float(mpmath.log(error, 2)), 0.0


# ---- the families: what is fitted, where, and how many terms for each precision

LN2 = mpmath.log(2)
ROOT = mpmath.sqrt


def series(function: Function, expansion: Function) -> Function:
    """The function; near zero, where its formula cancels, the beginning of its series."""
    return lambda x: expansion(x) if abs(x) < mpf(2) ** -40 else function(x)


def atanh_tail(z: mpf) -> mpf:
    """(atanh(s) - s) / s^3 for z = s^2."""
    s = ROOT(z)
    return series(lambda z: (mpmath.atanh(s) - s) / (s * z), lambda z: mpf(1) / 3 + z / 5)(z)


def atan_tail(z: mpf) -> mpf:
    s = ROOT(z)
    return series(lambda z: (mpmath.atan(s) - s) / (s * z), lambda z: -mpf(1) / 3 + z / 5)(z)


def asin_tail(z: mpf) -> mpf:
    s = ROOT(z)
    return series(lambda z: (mpmath.asin(s) - s) / (s * z), lambda z: mpf(1) / 6 + 3 * z / 40)(z)


def sin_tail(z: mpf) -> mpf:
    s = ROOT(z)
    return series(lambda z: (mpmath.sin(s) - s) / (s * z), lambda z: -mpf(1) / 6 + z / 120)(z)


def cos_tail(z: mpf) -> mpf:
    s = ROOT(z)
    return series(
        lambda z: (mpmath.cos(s) - 1 + z / 2) / (z * z), lambda z: mpf(1) / 24 - z / 720
    )(z)


def sinh_tail(z: mpf) -> mpf:
    s = ROOT(z)
    return series(lambda z: (mpmath.sinh(s) - s) / (s * z), lambda z: mpf(1) / 6 + z / 120)(z)


def exp_tail(r: mpf) -> mpf:
    """(e^r - 1 - r) / r^2."""
    return series(
        lambda r: (mpmath.exp(r) - 1 - r) / r**2, lambda r: mpf(1) / 2 + r / 6 + r * r / 24
    )(r)


def log_tail(f: mpf) -> mpf:
    """(log(1 + f) - f + f^2 / 2) / f^3."""
    return series(
        lambda f: (mpmath.log1p(f) - f + f * f / 2) / f**3,
        lambda f: mpf(1) / 3 - f / 4 + f * f / 5,
    )(f)


def log1p_relative(f: mpf) -> mpf:
    return mpmath.log1p(f) / f


def erfc_scaled(t: mpf) -> mpf:
    """(1 + 2 x) e^(x^2) erfc(x) for t = (x - 3.75) / (x + 3.75)."""
    x = mpf(3.75) * (1 + t) / (1 - t)
    return (1 + 2 * x) * mpmath.exp(x * x) * mpmath.erfc(x)


def log_erfc(x: mpf) -> mpf:
    return mpmath.log(mpmath.erfc(x))


def erfinv_relative(w: mpf) -> mpf:
    """erfinv(x) / x for w = -log(1 - x^2)."""
    x = ROOT(-mpmath.expm1(-w))
    return mpmath.erfinv(x) / x


def atanh_second_tail(z: mpf) -> mpf:
    """(atanh(s) / s - 1 - z / 3) / z^2 for z = s^2."""
    s = ROOT(z)
    return series(
        lambda z: (mpmath.atanh(s) / s - 1 - z / 3) / z**2, lambda z: mpf(1) / 5 + z / 7
    )(z)


def erf_relative(z: mpf) -> mpf:
    """erf(x) / x - 1 for z = x^2."""
    x = ROOT(z)
    return mpmath.erf(x) / x - 1


def tanh_tail(z: mpf) -> mpf:
    x = ROOT(z)
    return series(lambda z: (mpmath.tanh(x) - x) / (x * z), lambda z: -mpf(1) / 3 + 2 * z / 15)(z)


def lgamma_after(n: int) -> Function:
    """lgamma(n + y) / y; lgamma(1) = lgamma(2) = 0."""
    slope = mpmath.digamma(n)
    return series(
        lambda y: mpmath.log(mpmath.gamma(n + y)) / y,
        lambda y: slope + y * mpmath.psi(1, n) / 2,
    )


def lgamma_tail(z: mpf) -> mpf:
    """What Stirling's formula lacks, times x, for z = 1 / x^2."""
    if z < mpf(2) ** -60:
        return mpf(1) / 12 - z / 360
    x = 1 / ROOT(z)
    main = (x - mpf(0.5)) * mpmath.log(x) - x + mpmath.log(2 * mp.pi) / 2
    return (mpmath.loggamma(x) - main) * x


def sinpi_tail(z: mpf) -> mpf:
    """(sin(pi r) / (pi r) - 1) / r^2 for z = r^2."""
    return series(
        lambda z: (mpmath.sin(mp.pi * ROOT(z)) / (mp.pi * ROOT(z)) - 1) / z,
        lambda z: -mp.pi**2 / 6 + z * mp.pi**4 / 120,
    )(z)


DIGAMMA_ROOT = mpmath.findroot(mpmath.digamma, mpf("1.4616321449683623"))


def digamma_near(u: mpf) -> mpf:
    """digamma(x) / (x - root) for u = x - 3/2, root the positive one."""
    x = u + mpf(1.5)
    return mpmath.digamma(x) / (x - DIGAMMA_ROOT)


def digamma_tail(z: mpf) -> mpf:
    """(log(x) - 1 / (2 x) - digamma(x)) x^2 for z = 1 / x^2."""
    if z < mpf(2) ** -60:
        return mpf(1) / 12 - z / 120
    x = 1 / ROOT(z)
    return (mpmath.log(x) - 1 / (2 * x) - mpmath.digamma(x)) * x * x


class Family:
    """One function's fits: precision -> (low, high, terms)."""

    def __init__(self, about: str, function: Function, weight: Function, **fits: tuple):
        self.about, self.function, self.weight, self.fits = about, function, weight, fits


HALF_LN2 = 0.34658
LOG_LOW, LOG_HIGH = float(ROOT(0.5)) - 1 - 1e-7, float(ROOT(2)) - 1 + 1e-7
S2 = 0.029438  # ((sqrt 2 - 1) / (sqrt 2 + 1))^2
TAN8 = 0.171573  # tan(pi / 8)^2
# "float" and "double": evaluated in that type for that type's accuracy; "short": evaluated in
# double for float's accuracy.
FAMILIES = {
    "EXP": Family(
        "(e^r - 1 - r) / r^2 for |r| <= ln(2) / 2, error relative to e^r",
        exp_tail, lambda r: r * r / mpmath.exp(r),
        float=(-HALF_LN2, HALF_LN2, 5), short=(-HALF_LN2, HALF_LN2, 6),
        double=(-HALF_LN2, HALF_LN2, 10),
    ),
    "EXPM1": Family(
        "(e^r - 1 - r) / r^2 for |r| <= ln(2) / 2, error relative to e^r - 1",
        exp_tail, lambda r: abs(r * r / mpmath.expm1(r)),
        float=(-HALF_LN2, HALF_LN2, 5), double=(-HALF_LN2, HALF_LN2, 11),
    ),
    "LOG": Family(
        "(log(1 + f) - f + f^2 / 2) / f^3 for sqrt(1/2) <= 1 + f <= sqrt(2), "
        "error relative to log(1 + f)",
        log_tail, lambda f: abs(f**3 / mpmath.log1p(f)), float=(LOG_LOW, LOG_HIGH, 9),
    ),
    "LOG_SHORT": Family(
        "log(1 + f) / f for sqrt(1/2) <= 1 + f <= sqrt(2), relative error; good for float's pow",
        log1p_relative, lambda f: abs(f / mpmath.log1p(f)), short=(LOG_LOW, LOG_HIGH, 13),
    ),
    "ATANH": Family(
        "(atanh(s) - s) / s^3 in s^2 for |s| <= (sqrt(2) - 1) / (sqrt(2) + 1), "
        "error relative to atanh(s)",
        atanh_tail, lambda z: z * ROOT(z) / mpmath.atanh(ROOT(z)),
        double=(0, S2, 7),
    ),
    "SIN": Family(
        "(sin(r) - r) / r^3 in r^2 for |r| <= pi / 4, error relative to sin(r)",
        sin_tail, lambda z: z * ROOT(z) / mpmath.sin(ROOT(z)),
        float=(0, 0.64, 3), double=(0, 0.6175, 6),
    ),
    "COS": Family(
        "(cos(r) - 1 + r^2 / 2) / r^4 in r^2 for |r| <= pi / 4, error relative to cos(r)",
        cos_tail, lambda z: z * z / mpmath.cos(ROOT(z)),
        float=(0, 0.64, 3), double=(0, 0.6175, 6),
    ),
    "ATAN": Family(
        "(atan(t) - t) / t^3 in t^2 for |t| <= tan(pi / 8), error relative to atan(t)",
        atan_tail, lambda z: z * ROOT(z) / mpmath.atan(ROOT(z)),
        float=(0, TAN8, 5), double=(0, TAN8, 11),
    ),
    "ASIN": Family(
        "(asin(s) - s) / s^3 in s^2 for |s| <= 1/2, error relative to asin(s)",
        asin_tail, lambda z: z * ROOT(z) / mpmath.asin(ROOT(z)),
        float=(0, 0.25, 5), double=(0, 0.25, 13),
    ),
    "SINH": Family(
        "(sinh(x) - x) / x^3 in x^2 for |x| <= 1, error relative to sinh(x)",
        sinh_tail, lambda z: z * ROOT(z) / mpmath.sinh(ROOT(z)),
        float=(0, 1, 3), double=(0, 1, 7),
    ),
    "TANH": Family(
        "(tanh(x) - x) / x^3 in x^2 for |x| <= 0.55, error relative to tanh(x)",
        tanh_tail, lambda z: z * ROOT(z) / mpmath.tanh(ROOT(z)),
        float=(0, 0.3025, 5), double=(0, 0.3025, 11),
    ),
    "ERF": Family(
        "erf(x) / x - 1 in x^2 for |x| <= 1, error relative to erf(x) / x",
        erf_relative, lambda z: 1 / (1 + erf_relative(z)), float=(0, 0.81, 7),
        short=(0, 0.25, 6), double=(0, 1, 14),
    ),
    "ERF_TAIL": Family(
        "log(erfc(x)) for 0.9 <= x <= 3.95, error relative to erf(x)",
        log_erfc, lambda x: mpmath.erfc(x) / mpmath.erf(x), float=(0.9, 3.95, 7),
    ),
    "ERFC": Family(
        "(1 + 2 x) e^(x^2) erfc(x) in t = (x - 3.75) / (x + 3.75) for 0.4 <= x <= 28, "
        "relative error",
        erfc_scaled, lambda t: 1 / erfc_scaled(t),
        short=(-0.81, 0.49, 12), double=(-0.81, 0.7638, 24),
    ),
    "ERFINV": Family(
        "erfinv(x) / x in w - 3.125, w = -log(1 - x^2), for 0 <= w <= 6.25, relative error",
        lambda u: erfinv_relative(u + 3.125), lambda u: 1 / erfinv_relative(u + 3.125),
        short=(-3.125, 3.125, 13), double=(-3.125, 3.125, 26),
    ),
    "ERFINV_FAR": Family(
        "erfinv(x) / x in sqrt(w) - 3.25 for 2.5 <= sqrt(w) <= 4, relative error",
        lambda u: erfinv_relative((u + 3.25) ** 2), lambda u: 1 / erfinv_relative((u + 3.25) ** 2),
        short=(-0.7501, 0.7501, 11), double=(-0.7501, 0.7501, 22),
    ),
    "ERFINV_FARTHER": Family(
        "erfinv(x) / x in sqrt(w) - 5 for 4 <= sqrt(w) <= 6.01, relative error",
        lambda u: erfinv_relative((u + 5) ** 2), lambda u: 1 / erfinv_relative((u + 5) ** 2),
        double=(-1.0001, 1.01, 20),
    ),
    "POW": Family(
        "(atanh(s) / s - 1 - s^2 / 3) / s^4 in s^2 for |s| <= (sqrt(2) - 1) / (sqrt(2) + 1), "
        "error relative to atanh(s) / s",
        atanh_second_tail, lambda z: z * z, double=(0, S2, 8),
    ),
    "LGAMMA_ONE": Family(
        "lgamma(1 + y) / y for |y| <= 1/2, relative error",
        lgamma_after(1), lambda y: 1 / abs(lgamma_after(1)(y)),
        short=(-0.5, 0.5, 17), double=(-0.5, 0.5, 30),
    ),
    "LGAMMA_TWO": Family(
        "lgamma(2 + y) / y for |y| <= 1/2, relative error",
        lgamma_after(2), lambda y: 1 / abs(lgamma_after(2)(y)),
        short=(-0.5, 0.5, 11), double=(-0.5, 0.5, 20),
    ),
    "LGAMMA_TAIL": Family(
        "(lgamma(x) - (x - 1/2) log(x) + x - log(2 pi) / 2) x in 1 / x^2 for x >= 8, "
        "relative error",
        lgamma_tail, lambda z: 12, short=(0, 1 / 64, 3), double=(0, 1 / 64, 7),
    ),
    "SINPI": Family(
        "(sin(pi r) / (pi r) - 1) / r^2 in r^2 for |r| <= 1/2, error relative to sin(pi r)",
        sinpi_tail, lambda z: z / (1 + z * sinpi_tail(z)), short=(0, 0.25, 5), double=(0, 0.25, 9),
    ),
    "DIGAMMA": Family(
        "digamma(x) / (x - 1.46163...) in x - 3/2 for 1 <= x <= 2, relative error",
        digamma_near, lambda u: 1 / digamma_near(u), short=(-0.5, 0.5, 13),
        double=(-0.5, 0.5, 24),
    ),
    "DIGAMMA_TAIL": Family(
        "(log(x) - 1 / (2 x) - digamma(x)) x^2 in 1 / x^2 for x >= 10, relative error",
        digamma_tail, lambda z: 12, short=(0, 0.01, 3), double=(0, 0.01, 7),
    ),
}  # fmt: skip


# ---- files


def text_of(name: str, family: Family) -> str:
    lines = [f"# {family.about}"]
    lines = []
    words, line = family.about.split(), "#"
    for word in words:
        if len(line) + 1 + len(word) > 98:
            lines.append(line)
            line = "#"
        line += " " + word
    lines += [line, f"{name} = {{"]
    for precision, (low, high, count) in family.fits.items():
        scalar = "float" if precision == "float" else "double"
        coefficients, error, rest_of_first = fit(
            family.function, low, high, count, scalar, family.weight
        )
        lines.append(f'    "{precision}": (  # largest error 2^{error:.1f}')
        lines += [f"        {c!r}," for c in coefficients]
        lines.append("    ),")
        if rest_of_first and precision == "double":
            lines.append(f'    "rest": ({rest_of_first!r},),  # what the first one lacks')
    return "\n".join([*lines, "}"])


HEAD = '''"""Coefficients of the polynomials, lowest power first.

Written by tools/fit_mathematics.py, which says how they are derived. ``float`` and ``double`` are
evaluated in that type for that type's accuracy, ``short`` in double for float's accuracy.
"""

'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", help="print these families instead of writing")
    only = parser.parse_args().only
    if only:
        for name in only:
            print(text_of(name, FAMILIES[name]))
        return
    parts = [text_of(name, family) for name, family in FAMILIES.items()]
    TABLES.write_text(HEAD + "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
