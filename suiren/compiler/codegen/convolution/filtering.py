"""Winograd's minimal filtering along one axis: two results of a few taps with fewer products.

F(2, taps) of "Fast Algorithms for Convolutional Neural Networks" (Lavin & Gray, 2015): from
``taps + 1`` places of the image two results need ``taps + 1`` multiplications, of transformed
places by transformed taps, ``y = A' [(G w) * (B' d)]``. Written here for one, two and three taps
(the first saves nothing, and stands beside the others where an image's phases have unlike taps).
The constants are 1 and 1/2, so that rounding stays that of plain sums, about. Two dimensions are
one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from suiren.compiler.codegen.emitter import Emitter, Operand

Line: TypeAlias = Callable[[Emitter, list[Operand]], list[Operand]]
RESULTS = 2


def image(b: Emitter, x: list[Operand]) -> list[Operand]:
    """``B' x`` of ``taps + 1`` places."""
    if len(x) == 2:
        return x
    if len(x) == 3:
        return [b.fsub(x[0], x[1]), x[1], b.fsub(x[1], x[2])]
    return [b.fsub(x[0], x[2]), b.fadd(x[1], x[2]), b.fsub(x[2], x[1]), b.fsub(x[1], x[3])]


def weight(b: Emitter, x: list[Operand]) -> list[Operand]:
    """``G x`` of the taps."""
    if len(x) == 1:
        return [x[0], x[0]]
    if len(x) == 2:
        return [x[0], b.fadd(x[0], x[1]), x[1]]
    ends, half = b.fadd(x[0], x[2]), b.const(x[0].type, 0.5)
    return [x[0], b.fmul(b.fadd(ends, x[1]), half), b.fmul(b.fsub(ends, x[1]), half), x[2]]


def result(b: Emitter, x: list[Operand]) -> list[Operand]:
    """``A' x`` of ``taps + 1`` products: two results."""
    if len(x) == 2:
        return x
    if len(x) == 3:
        return [b.fadd(x[0], x[1]), b.fsub(x[1], x[2])]
    return [b.fadd(b.fadd(x[0], x[1]), x[2]), b.fsub(b.fsub(x[1], x[2]), x[3])]


def gradient(side: int) -> Line:
    """``A x`` of the gradients of two results, for squares with so many places on this side."""

    def turned(b: Emitter, x: list[Operand]) -> list[Operand]:
        if side == 2:
            return x
        plus = b.fadd(x[0], x[1])
        middle = [plus] if side == 3 else [plus, b.fsub(x[0], x[1])]
        return [x[0], *middle, b.fneg(x[1])]

    return turned


def weight_gradient(b: Emitter, x: list[Operand]) -> list[Operand]:
    """``G' x`` of ``taps + 1`` sums: the gradient of the taps."""
    if len(x) == 2:
        return [b.fadd(x[0], x[1])]
    if len(x) == 3:
        return [b.fadd(x[0], x[1]), b.fadd(x[1], x[2])]
    half = b.const(x[0].type, 0.5)
    plus = b.fmul(b.fadd(x[1], x[2]), half)
    return [b.fadd(x[0], plus), b.fmul(b.fsub(x[1], x[2]), half), b.fadd(plus, x[3])]


def both(
    b: Emitter, lines: Sequence[list[Operand]], across: Line, down: Line | None = None
) -> list[Operand]:
    """A transformation of the rows, and of their columns: the result row after row."""
    turned = [across(b, list(row)) for row in lines]
    columns = [(down or across)(b, [row[j] for row in turned]) for j in range(len(turned[0]))]
    return [column[i] for i in range(len(columns[0])) for column in columns]
