"""Powers and roots. Source: torch.pow, torch.float_power, torch.square, torch.sqrt, torch.rsqrt.

Small constant exponents are computed with products and roots, as PyTorch does it: faster than a
general power, and exact where that one rounds.
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.interpreter import accurate
from suiren.operator import composite
from suiren.ops.casts import to_dtype
from suiren.ops.elementwise import elementwise
from suiren.ops.masking import where
from suiren.ops.refusals import as_array, conj, zeros_as
from suiren.tensor import Tensor

_SHORTCUTS = {
    2: np.square,
    0.5: np.sqrt,
    3: lambda x: x * x * x,
    -1: lambda x: 1 / x,
    -2: lambda x: 1 / (x * x),
    -0.5: lambda x: 1 / np.sqrt(x),
}


@elementwise("same", name="pow_number", tensors=1, where=(), inplace=False, out=False,
             node_name="PowBackward0")  # fmt: skip
class _shortcut:
    """A power with one of the exponents of ``_SHORTCUTS``, which is part of the program.

    Other exponents are numbers of the run: a program that squares need not ask each time.
    """

    def call(input, exponent):
        return apply(_shortcut.operator, (input,), (exponent,))

    def evaluate(input, exponent):
        return _SHORTCUTS[exponent](input)

    def decompose(g, input, exponent):
        if exponent in (0.5, -0.5):
            return input.sqrt() if exponent > 0 else 1 / input.sqrt()
        found = input
        for _ in range(int(abs(exponent)) - 1):
            found = found * input
        return found if exponent > 0 else 1 / found

    def grad_input(grad, input, exponent):
        slope = input if exponent == 2 else input ** (exponent - 1)
        return grad * conj(exponent * slope)


def _integer_power(base, exponent):
    # PyTorch: the reciprocal cut off, which only leaves something for bases of 1 and -1
    negative = np.less(exponent, 0)
    if not np.any(negative):
        return accurate.power(base, exponent)
    found = accurate.power(base, np.where(negative, 0, exponent).astype(base.dtype))
    odd = np.where(np.bitwise_and(exponent, 1), -1, 1)
    below_one = np.where(np.equal(base, 1), 1, np.where(np.equal(base, -1), odd, 0))
    return np.where(negative, below_one, found).astype(found.dtype)


def _refuse(common, metas):
    if common is dtypes.bool and metas[1] is not True.__class__:
        raise NotImplementedError(
            '"pow" not implemented for \'Bool\': bool tensors are no base for a tensor of '
            "exponents; convert one with .to(torch.int64)"
        )


@elementwise("same", name="pow")
class pow_:
    """``input`` to the power ``exponent``; either may be a number, not both.

    Integers to negative integer numbers raise RuntimeError. Source: torch.pow.

    >>> import suiren as torch
    >>> torch.pow(torch.tensor([1., 2., 3.]), 2)
    tensor([1., 4., 9.])
    """

    refuse = _refuse

    def call(input, exponent):
        if exponent.__class__ is int and exponent < 0:
            if input._meta.dtype.category < dtypes.FLOATING:
                raise RuntimeError(
                    "Integers to negative integer powers are not allowed: pow got an exponent of "
                    f"{exponent} for a tensor of {input._meta.dtype}; use float_power"
                )
        if exponent.__class__ in (int, float) and exponent in _SHORTCUTS:
            if isinstance(input, Tensor) and input._meta.dtype.is_floating_point:
                return apply(_shortcut.operator, (input,), (exponent,))
        result = apply(pow_.operator, (input, exponent))
        node = result._grad_fn
        if node is not None and isinstance(exponent, Tensor):  # PyTorch has a node for each form
            node.label = "PowBackward1" if isinstance(input, Tensor) else "PowBackward2"
        return result

    def evaluate(input, exponent):
        if exponent.__class__ in (int, float):
            shortcut = _SHORTCUTS.get(exponent)
            if shortcut is not None and input.dtype.kind == "c":
                return shortcut(input)
        input = as_array(input, exponent)
        if input.dtype.kind == "b":
            return np.logical_or(input, not exponent)
        if input.dtype.kind in "iu":
            return _integer_power(input, exponent)
        return accurate.power(input, exponent)

    def grad_input(grad, input, exponent):
        if not isinstance(exponent, Tensor):
            if exponent == 0:
                return zeros_as(grad)
            return grad * conj(exponent * input ** (exponent - 1))
        slope = grad * conj(exponent * input ** (exponent - 1))
        return where(exponent == 0, 0, slope)

    def grad_exponent(grad, input, exponent, result):
        if not isinstance(input, Tensor):
            if input == 0:
                slope = grad * conj(result * float("-inf"))
                return where(_real(exponent) >= 0, 0, slope)
            return grad * conj(result * _log_of_number(input))
        slope = grad * conj(result * input.log())
        return where((input == 0) & (_real(exponent) >= 0), 0, slope)


def _real(x):
    return x.real if x._meta.dtype.is_complex else x


def _log_of_number(base):
    import cmath
    import math

    if isinstance(base, complex):
        return cmath.log(base)
    return math.log(base) if base > 0 else math.nan


@composite(inplace=True)
def float_power(input, exponent):
    """``input`` to the power ``exponent``, in float64 (complex128 for complex numbers).

    Source: torch.float_power.

    >>> import suiren as torch
    >>> torch.float_power(torch.tensor([2, 4]), -1)
    tensor([0.5000, 0.2500], dtype=torch.float64)
    """
    complex_ = any(
        x._meta.dtype.is_complex if isinstance(x, Tensor) else isinstance(x, complex)
        for x in (input, exponent)
    )
    kind = dtypes.complex128 if complex_ else dtypes.float64
    input, exponent = (
        to_dtype(x, kind) if isinstance(x, Tensor) else complex(x) if complex_ else float(x)
        for x in (input, exponent)
    )
    return pow_(input, exponent)


@composite(inplace=True)
def square(input):
    """``input * input``. Source: torch.square.

    >>> import suiren as torch
    >>> torch.square(torch.tensor([-2., 3.]))
    tensor([4., 9.])
    """
    return pow_(input, 2)


@elementwise("float")
class sqrt:
    """The square root; NaN below zero. Its derivative at zero is infinite. Source: torch.sqrt.

    >>> import suiren as torch
    >>> torch.sqrt(torch.tensor([4., 9.]))
    tensor([2., 3.])
    """

    def evaluate(input):
        return np.sqrt(input)

    def grad_input(grad, result):
        return grad / (2 * conj(result))


@elementwise("float")
class rsqrt:
    """``1 / sqrt(input)``; NaN below zero. Source: torch.rsqrt."""

    def evaluate(input):
        return 1 / np.sqrt(input)

    def grad_input(grad, result):
        return -0.5 * grad * conj(result * result * result)
