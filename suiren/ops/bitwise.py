"""Operators on the bits of integers (and on truth values). Source: torch.bitwise_and and others.

Floating point and complex tensors are refused; none has a derivative.
"""

from __future__ import annotations

import numpy as np

from suiren.ops.elementwise import elementwise
from suiren.ops.lowering import alike
from suiren.ops.refusals import as_array, refusing


@elementwise("same")
class bitwise_and:
    """``input & other``, bit by bit. Source: torch.bitwise_and.

    >>> import suiren as torch
    >>> torch.bitwise_and(torch.tensor([5, 6]), 3)
    tensor([1, 2])
    """

    refuse = refusing("bitwise_and_cpu", "floats", "complex")

    def evaluate(input, other):
        return np.bitwise_and(input, other)

    def decompose(g, input, other):
        return input & other


@elementwise("same")
class bitwise_or:
    """``input | other``, bit by bit. Source: torch.bitwise_or."""

    refuse = refusing("bitwise_or_cpu", "floats", "complex")

    def evaluate(input, other):
        return np.bitwise_or(input, other)

    def decompose(g, input, other):
        return input | other


@elementwise("same")
class bitwise_xor:
    """``input ^ other``, bit by bit. Source: torch.bitwise_xor."""

    refuse = refusing("bitwise_xor_cpu", "floats", "complex")

    def evaluate(input, other):
        return np.bitwise_xor(input, other)

    def decompose(g, input, other):
        return input ^ other


@elementwise("same")
class bitwise_not:
    """``~input``: every bit turned over; for truth values, not. Source: torch.bitwise_not."""

    refuse = refusing(
        "~ (operator.invert) is only implemented on integer and Boolean-type tensors: bitwise_not",
        "floats",
        "complex",
    )

    def evaluate(input):
        return np.bitwise_not(input)

    def decompose(g, input):
        return ~input


def _shift_outside(input, other):
    # Shifts by less than zero or by all bits: PyTorch leaves nothing (or the sign, to the right).
    return np.less(other, 0) | np.greater_equal(other, 8 * input.dtype.itemsize)


@elementwise("same", aliases=())
class bitwise_left_shift:
    """``input << other``; shifts outside the width of the type give 0.

    Source: torch.bitwise_left_shift.
    """

    refuse = refusing("lshift_cpu", "bool", "floats", "complex")

    def evaluate(input, other):
        input = as_array(input, other)
        outside = _shift_outside(input, other)
        return np.where(outside, 0, np.left_shift(input, np.where(outside, 0, other))).astype(
            input.dtype
        )

    def decompose(g, input, other):
        input, other = alike(input, other)
        outside = (other < 0) | (other >= 8 * input.dtype.itemsize)
        return g.where(outside, 0, g.map("shl", input, g.where(outside, 0, other)))


@elementwise("same")
class bitwise_right_shift:
    """``input >> other``; shifts outside the width of the type leave 0, or -1 below zero.

    Source: torch.bitwise_right_shift.
    """

    refuse = refusing("rshift_cpu", "bool", "floats", "complex")

    def evaluate(input, other):
        input = as_array(input, other)
        outside = _shift_outside(input, other)
        moved = np.right_shift(input, np.where(outside, 0, other))
        return np.where(outside, np.where(np.less(input, 0), -1, 0), moved).astype(input.dtype)

    def decompose(g, input, other):
        input, other = alike(input, other)
        outside = (other < 0) | (other >= 8 * input.dtype.itemsize)
        moved = g.map("shr", input, g.where(outside, 0, other))
        sign = g.where(input < 0, g.constant(-1, input.dtype), 0)
        return g.where(outside, sign, moved)

