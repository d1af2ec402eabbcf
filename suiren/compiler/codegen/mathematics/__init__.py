"""Elementary functions as straight-line vector arithmetic.

Each function takes the emitter and operands of one type ("float", "double" or vectors of them) and
appends the instructions that compute it; no library is called, and every width, one element
included, gives the same bits. Results are within 2 units in the last place for all arguments (3
and more for lgamma and digamma of doubles: see gamma.py);
denormals, infinities, NaN and signed zeros come out as in C99 and PyTorch. tests/ and
tools/check_mathematics.py measure that. On targets without fused multiply-add set
``emitter.fused = False``: the bits then differ, the bounds hold too.

    y = mathematics.exp(b, x)
    y = mathematics.FUNCTIONS["pow"](b, x, y)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from suiren.compiler.codegen.emitter import Emitter, Operand
from suiren.compiler.codegen.mathematics import (
    arcs,
    error_function,
    exponential,
    gamma,
    logarithm,
    powers,
    rounding,
    trigonometric,
)
from suiren.compiler.codegen.mathematics.values import FORMATS, Value


class Function(NamedTuple):
    """An elementary function; called with the emitter and its operands it gives the result."""

    name: str
    formula: Callable[..., Value]
    operands: int

    def __call__(self, b: Emitter, *operands: Operand) -> Operand:
        if len(operands) != self.operands:
            raise TypeError(f"{self.name} takes {self.operands} operands, got {len(operands)}")
        return self.formula(*[Value(b, operand) for operand in operands]).operand


FUNCTIONS: dict[str, Function] = {
    formula.__name__: Function(formula.__name__, formula, operands)
    for operands, formulas in (
        (
            1,
            (
                exponential.exp, exponential.exp2, exponential.expm1, exponential.sigmoid,
                exponential.tanh, exponential.sinh, exponential.cosh,
                logarithm.log, logarithm.log2, logarithm.log10, logarithm.log1p,
                logarithm.softplus, logarithm.log_sigmoid,
                logarithm.asinh, logarithm.acosh, logarithm.atanh,
                error_function.erf, error_function.erfc, error_function.erfinv,
                powers.sqrt, powers.rsqrt,
                rounding.floor, rounding.ceil, rounding.trunc, rounding.round,
                trigonometric.sin, trigonometric.cos, trigonometric.tan,
                arcs.asin, arcs.acos, arcs.atan,
                gamma.lgamma, gamma.digamma,
            ),
        ),
        (2, (powers.pow, arcs.atan2, rounding.fmod, rounding.remainder)),
    )
    for formula in formulas
}  # fmt: skip


def supports(name: str, scalar: str) -> bool:
    """Whether there is a function of this name for elements of this type."""
    return name in FUNCTIONS and scalar in FORMATS


def __getattr__(name: str) -> Function:
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    raise AttributeError(f"mathematics has no function {name!r}")
