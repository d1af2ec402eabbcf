"""Functions of two elements that are no arithmetic: angles, signs, stable sums of exponentials.

Source: PyTorch's "Pointwise Ops" list.
"""

from __future__ import annotations

import math

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import composite
from suiren.ops.elementwise import elementwise
from suiren.ops.lowering import INFINITY, alike, is_infinite
from suiren.ops.masking import where
from suiren.ops.refusals import as_array, checked_call, refusing, require_tensors, zeros_as
from suiren.tensor import Tensor


@elementwise("float", aliases=("arctan2",))
class atan2:
    """The angle of the point (other, input) in radians, in (-pi, pi]. Source: torch.atan2."""

    refuse = refusing("atan2", "complex")

    call = checked_call("atan2", lambda: atan2)

    def evaluate(input, other):
        return np.arctan2(input, other)

    def grad_input(grad, input, other):
        size = input * input + other * other
        return (grad * other / size).masked_fill(size == 0, 0)

    def grad_other(grad, input, other):
        size = input * input + other * other
        return (grad * -input / size).masked_fill(size == 0, 0)


@elementwise("same")
class hypot:
    """``sqrt(input² + other²)`` without overflow on the way. Source: torch.hypot."""

    refuse = refusing("hypot_cpu", "bool", "integers", "complex")

    call = checked_call("hypot", lambda: hypot)

    def evaluate(input, other):
        return np.hypot(input, other)

    def decompose(g, input, other):
        a, b = (x.abs() for x in alike(input, other))
        large, small = a.max(b), a.min(b)
        ratio = small / g.where(large.eq(0), 1, large)
        found = large * (ratio * ratio + 1).sqrt()
        return g.where(is_infinite(a) | is_infinite(b), INFINITY, found)

    def grad_input(grad, input, result):
        return grad * (input / result)

    def grad_other(grad, other, result):
        return grad * (other / result)


@elementwise("float")
class copysign:
    """The size of ``input`` with the sign of ``other`` (a tensor or a number).

    Source: torch.copysign.
    """

    refuse = refusing("copysign", "complex")
    call = checked_call("copysign", lambda: copysign, both=False)

    def evaluate(input, other):
        return np.copysign(input, other)

    def grad_input(grad, input, result):
        return where(input == 0, 0, grad * result / input)

    def grad_other(grad):
        return zeros_as(grad)


@elementwise("same")
class nextafter:
    """The next floating point number after ``input`` toward ``other``. Source: torch.nextafter."""

    refuse = refusing("nextafter_cpu", "bool", "integers", "complex")
    call = checked_call("nextafter", lambda: nextafter)

    def evaluate(input, other):
        return np.nextafter(input, other)

    def grad_input(grad, input, other):
        return where(input == other, 0, grad)

    def grad_other(grad):
        return zeros_as(grad)


@elementwise("same", inplace=True)
class heaviside:
    """The step function: 0 below zero, 1 above, ``values`` at zero. Source: torch.heaviside."""

    def call(input, values):
        require_tensors("heaviside", input=input, values=values)
        if input._meta.dtype is not values._meta.dtype:
            raise RuntimeError(
                "heaviside is not yet implemented for tensors with different dtypes: got "
                f"{input._meta.dtype} and {values._meta.dtype}"
            )
        if input._meta.dtype.is_complex:
            raise RuntimeError("heaviside is not yet implemented for complex tensors.")
        return apply(heaviside.operator, (input, values))

    def evaluate(input, values):
        above = np.greater(input, 0).astype(input.dtype)
        return np.where(np.equal(input, 0), values, above)

    def decompose(g, input, values):
        input, values = alike(input, values)
        if input.dtype is dtypes.bool:
            raise g.NotNative("truth values")
        return g.where(input.eq(0), values, (input > 0).cast(input.dtype))


@composite(inplace=True)
def ldexp(input, other):
    """``input * 2 ** other``, in floating point. Source: torch.ldexp.

    >>> import suiren as torch
    >>> torch.ldexp(torch.tensor([1.]), torch.tensor([3]))
    tensor([8.])
    """
    require_tensors("ldexp", input=input, other=other)
    return input * 2.0**other


# ---- logarithms of sums of exponentials


@elementwise("same", inplace=False)
class logaddexp:
    """``log(exp(input) + exp(other))`` without overflow. Source: torch.logaddexp."""

    refuse = refusing("logaddexp_cpu", "bool", "integers")
    call = checked_call("logaddexp", lambda: logaddexp)

    def evaluate(input, other):
        if np.asarray(input).dtype.kind != "c":
            return np.logaddexp(input, other)
        first = np.real(input) >= np.real(other)
        large, small = np.where(first, input, other), np.where(first, other, input)
        same = np.isinf(np.real(input)) & (np.real(input) == np.real(other))
        found = large + np.log1p(np.exp(small - large))
        return np.where(same, np.where(np.real(input) > 0, np.log(np.exp(input) + np.exp(other)),
                                       input), found).astype(input.dtype)  # fmt: skip

    def decompose(g, input, other):
        input, other = alike(input, other)
        apart = -(input - other).abs()
        found = input.max(other) + apart.exp().log1p()
        return g.where(input.eq(other), input + math.log(2), found)

    def grad_input(grad, input, other):
        slope = grad / (1 + (other - input).exp().conj())
        return slope

    def grad_other(grad, input, other):
        return grad / (1 + (input - other).exp().conj())


@elementwise("same", inplace=False)
class logaddexp2:
    """``log2(2 ** input + 2 ** other)`` without overflow. Source: torch.logaddexp2."""

    refuse = refusing("logaddexp2_cpu", "bool", "integers", "complex")
    call = checked_call("logaddexp2", lambda: logaddexp2)

    def evaluate(input, other):
        return np.logaddexp2(input, other)

    def decompose(g, input, other):
        input, other = alike(input, other)
        apart = -(input - other).abs()
        found = input.max(other) + apart.exp2().log1p() * (1 / math.log(2))
        return g.where(input.eq(other), input + 1, found)

    def grad_input(grad, input, other):
        return grad / (1 + (other - input).exp2())

    def grad_other(grad, input, other):
        return grad / (1 + (input - other).exp2())


@elementwise("float", aliases=("special.xlogy",))
class xlogy:
    """``input * log(other)``, zero where input is zero (NaN where other is).

    Source: torch.xlogy.
    """

    refuse = refusing("xlogy_cpu", "complex")

    def evaluate(input, other):
        other = as_array(other, input)
        product = np.multiply(input, np.log(other))
        return np.where(np.equal(input, 0) & ~np.isnan(other), 0, product).astype(product.dtype)

    def decompose(g, input, other):
        input, other = alike(input, other)
        return g.where(input.eq(0) & ~other.isnan(), 0, input * other.log())

    def grad_input(grad, input, other):
        logarithm = other.log() if isinstance(other, Tensor) else _log(other)
        return (grad * logarithm).masked_fill((input == 0) & (other <= 0), 0)

    def grad_other(grad, input, other):
        return grad * input / other


def _log(x):
    return math.log(x) if x > 0 else (-math.inf if x == 0 else math.nan)


# ---- whole numbers


@elementwise("same")
class gcd:
    """The greatest common divisor of integers; ``gcd(0, 0) = 0``. Source: torch.gcd."""

    refuse = refusing("gcd_cpu", "bool", "floats", "complex")
    call = checked_call("gcd", lambda: gcd)

    def evaluate(input, other):
        return np.gcd(input, other)


@elementwise("same")
class lcm:
    """The least common multiple of integers; ``lcm(0, x) = 0``. Source: torch.lcm."""

    refuse = refusing("lcm_cpu", "bool", "floats", "complex")
    call = checked_call("lcm", lambda: lcm)

    def evaluate(input, other):
        return np.lcm(input, other)
