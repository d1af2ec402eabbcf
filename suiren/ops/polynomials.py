"""Orthogonal polynomials p_n(x) by their recurrences: Chebyshev, Hermite, Laguerre, Legendre.

``n`` is a tensor or a number whose fraction is cut off; a negative degree gives zero. None has a
derivative, as in PyTorch. Source: PyTorch's torch.special page.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from suiren.ops.elementwise import elementwise
from suiren.ops.error_functions import in_double
from suiren.ops.refusals import refusing


def _by_recurrence(x, n, first: Callable, step: Callable):
    """p_n(x) from p_0 = 1, p_1 = first(x), p_{k+1} = step(x, k, p_k, p_{k-1})."""
    x, n = np.broadcast_arrays(x, n)
    n = np.trunc(np.where(np.isnan(n), -1, n))
    result = np.where(n < 0, 0.0, 1.0)
    previous, current = np.ones(x.shape), first(x)
    top = int(n.max()) if n.size else 0
    for k in range(1, top + 1):
        result = np.where(n == k, current, result)
        previous, current = current, step(x, k, current, previous)
    return result


def _chebyshev_step(x, k, current, previous):
    return 2 * x * current - previous


def _chebyshev(first: Callable, wave: Callable, shifted: bool):
    """Inside (-1, 1) high degrees are waves of the angle whose cosine is x: no loop, no error."""

    def evaluate(x, n):
        x, n = np.broadcast_arrays(2 * x - 1 if shifted else x, n)
        high = (np.abs(x) < 1) & (n > 6)
        found = _by_recurrence(x, np.where(high, 0, n), first, _chebyshev_step)
        return np.where(high, wave(np.arccos(np.clip(x, -1, 1)), np.trunc(n)), found)

    return evaluate


_FAMILIES = {
    "t": (lambda x: x, lambda angle, n: np.cos(n * angle)),
    "u": (lambda x: 2 * x, lambda angle, n: np.sin((n + 1) * angle) / np.sin(angle)),
    "v": (lambda x: 2 * x - 1, lambda angle, n: np.cos((n + 0.5) * angle) / np.cos(angle / 2)),
    "w": (lambda x: 2 * x + 1, lambda angle, n: np.sin((n + 0.5) * angle) / np.sin(angle / 2)),
}


def _polynomial(name: str, words: str, function: Callable):
    class definition:
        refuse = refusing(name, "complex")
        evaluate = in_double(function)

    definition.__doc__ = f"{words} of degree ``n`` at ``input``. Source: torch.special.{name}."
    definition.__module__ = __name__
    return elementwise(
        "float", name=name, arguments=("input", "n"), tensors=2, where=("special",), inplace=False
    )(definition)


def _hermite(first: Callable, step: Callable):
    def evaluate(x, n):
        found = _by_recurrence(x, np.minimum(n, 513), first, step)
        return np.where(n > 512, np.nan, found)  # PyTorch's bound

    return evaluate


for _letter, (_first, _wave) in _FAMILIES.items():
    _polynomial(
        f"chebyshev_polynomial_{_letter}",
        f"The Chebyshev polynomial {_letter.upper()}",
        _chebyshev(_first, _wave, False),
    )
    _polynomial(
        f"shifted_chebyshev_polynomial_{_letter}",
        f"The Chebyshev polynomial {_letter.upper()} of 2 input - 1,",
        _chebyshev(_first, _wave, True),
    )

hermite_polynomial_h = _polynomial(
    "hermite_polynomial_h",
    "The physicists' Hermite polynomial H",
    _hermite(lambda x: 2 * x, lambda x, k, p, q: 2 * x * p - 2 * k * q),
)
hermite_polynomial_he = _polynomial(
    "hermite_polynomial_he",
    "The probabilists' Hermite polynomial He",
    _hermite(lambda x: x, lambda x, k, p, q: x * p - k * q),
)
laguerre_polynomial_l = _polynomial(
    "laguerre_polynomial_l",
    "The Laguerre polynomial L",
    lambda x, n: _by_recurrence(
        x, n, lambda x: 1 - x, lambda x, k, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1)
    ),
)
legendre_polynomial_p = _polynomial(
    "legendre_polynomial_p",
    "The Legendre polynomial P",
    lambda x, n: _by_recurrence(
        x, n, lambda x: x, lambda x, k, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1)
    ),
)
