"""Addition, multiplication, division, powers: the arithmetic of Python's operators.

Source: PyTorch's torch.add, torch.sub, torch.mul, torch.div, torch.pow pages.
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import composite
from suiren.ops.elementwise import elementwise
from suiren.tensor import Tensor


def conj(x):
    """The complex conjugate; numbers and real tensors come back as they are."""
    if isinstance(x, Tensor):
        return x.conj() if x.dtype.is_complex else x
    return x.conjugate() if isinstance(x, complex) else x


def _scaled(other, alpha):
    return other if alpha == 1 else mul(other, alpha)


@elementwise("same")
class add:
    """``input + alpha * other``, broadcast and promoted.

    Source: torch.add.

    >>> import suiren as torch
    >>> torch.add(torch.tensor([1, 2]), 10, alpha=2)
    tensor([21, 22])
    """

    def call(input, other, *, alpha=1):
        return apply(add.operator, (input, _scaled(other, alpha)))

    def evaluate(input, other):
        return np.add(input, other)

    def grad_input(grad):
        return grad

    def grad_other(grad):
        return grad


@elementwise("same", aliases=("subtract",))
class sub:
    """``input - alpha * other``, broadcast and promoted; truth values are refused.

    Source: torch.sub.

    >>> import suiren as torch
    >>> torch.tensor([1., 2.]) - 3
    tensor([-2., -1.])
    """

    def call(input, other, *, alpha=1):
        return apply(sub.operator, (input, _scaled(other, alpha)))

    def refuse(common, metas):
        if common is dtypes.bool:
            raise RuntimeError(
                "Subtraction, the `-` operator, with two bool tensors is not supported. "
                "Use the `^` or `logical_xor()` operator instead."
            )

    def evaluate(input, other):
        return np.subtract(input, other)

    def grad_input(grad):
        return grad

    def grad_other(grad):
        return -grad


@elementwise("same", aliases=("multiply",))
class mul:
    """``input * other``, broadcast and promoted.

    Source: torch.mul.

    >>> import suiren as torch
    >>> torch.tensor([1., 2.]) * torch.tensor([[2.], [3.]])
    tensor([[2., 4.],
            [3., 6.]])
    """

    def evaluate(input, other):
        return np.multiply(input, other)

    def grad_input(grad, other):
        return grad * conj(other)

    def grad_other(grad, input):
        return grad * conj(input)


@elementwise("same")
class neg:
    """``-input``; truth values are refused. Source: torch.neg."""

    def refuse(common, metas):
        if common is dtypes.bool:
            raise RuntimeError(
                "Negation, the `-` operator, on a bool tensor is not supported. "
                "Use the `~` or `logical_not()` operator instead."
            )

    def evaluate(input):
        return np.negative(input)

    def grad_input(grad):
        return -grad


@elementwise("float", name="div", where=())
class true_divide:
    """``input / other`` in floating point."""

    def evaluate(input, other):
        return np.true_divide(input, other)

    def grad_input(grad, other):
        return grad / conj(other)

    def grad_other(grad, input, other):
        return -grad * conj(input / other / other)


@composite(inplace=True, aliases=("divide",))
def div(input, other, *, rounding_mode=None):
    """``input / other``; with ``rounding_mode`` "trunc" or "floor" rounded to whole numbers.

    Division by zero gives infinities or NaN in floating point. Source: torch.div.

    >>> import suiren as torch
    >>> torch.div(torch.tensor([7., -7.]), 2, rounding_mode="floor")
    tensor([ 3., -4.])
    """
    if rounding_mode is None:
        return apply(true_divide.operator, (input, other))
    raise NotImplementedError("rounding")
