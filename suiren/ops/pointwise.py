"""Functions of one element: rounding, signs, exponentials, trigonometry.

The error function and its relatives are in ``special.py``. Integers and truth values become the
default floating type where the function leaves the whole numbers.
Source: PyTorch's "Pointwise Ops" list.
"""

from __future__ import annotations

import math

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.interpreter import accurate
from suiren.operator import composite, operator
from suiren.ops.elementwise import broadcast_meta, elementwise
from suiren.ops.lowering import INFINITY
from suiren.ops.masking import where
from suiren.ops.refusals import conj, refusing, zeros_as

# --------------------------------------------------------------------------
# Absolute value and sign


@operator(name="abs", inplace=True, aliases=("absolute",))
class abs_:
    """The absolute value; for complex numbers their distance from zero, a real number.

    The derivative at zero is zero. Source: torch.abs.

    >>> import suiren as torch
    >>> torch.abs(torch.tensor([-1., 2.]))
    tensor([1., 2.])
    """

    widen = True

    def call(input):
        return apply(abs_.operator, (input,))

    def infer(input):
        if input.dtype is dtypes.bool:
            raise NotImplementedError("\"abs_cpu\" not implemented for 'Bool'; it is its own")
        return broadcast_meta((input,), input.dtype.to_real())

    def evaluate(input):
        return np.abs(input)

    def grad_input(grad, input):
        return grad * input.sgn()


@elementwise("same")
class sign:
    """-1, 0 or 1; complex numbers are refused (see sgn). Source: torch.sign."""

    refuse = refusing("sign is for real numbers, sgn for complex ones: sign", "complex")

    def evaluate(input):
        if input.dtype.kind == "b":
            return input
        if input.dtype.kind == "f":  # NaN gives 0, as in PyTorch
            return np.greater(input, 0).astype(input.dtype) - np.less(input, 0)
        return np.sign(input)

    def decompose(g, input):
        return input if input.dtype is dtypes.bool else g.map("sign", input)

    def grad_input(grad):
        return zeros_as(grad)


@elementwise("same")
class sgn:
    """``input / abs(input)``, zero for zero: the sign, also of complex numbers.

    Source: torch.sgn.
    """

    def evaluate(input):
        if input.dtype.kind != "c":
            return sign.operator.evaluate(input)
        size = np.abs(input)
        zero = size == 0
        return np.where(zero, 0, input / np.where(zero, 1, size)).astype(input.dtype)

    def decompose(g, input):
        return input if input.dtype is dtypes.bool else g.map("sign", input)

    def grad_input(grad, input, result):
        if not input._meta.dtype.is_complex:
            return zeros_as(grad)
        size = input.abs()
        slope = grad / size - (grad / size * result.conj()).real * result
        return where(size == 0, 0, slope)


@elementwise("bool", inplace=False)
class signbit:
    """Whether the sign bit is set: also for -0. Source: torch.signbit."""

    refuse = refusing("signbit", "complex")

    def evaluate(input):
        if input.dtype.kind in "bu":
            return np.zeros(np.shape(input), bool)
        return np.less(input, 0) if input.dtype.kind == "i" else np.signbit(input)

    def decompose(g, input):
        if input.dtype.is_floating_point:
            return g.map("copysign", g.constant(1, input.dtype), input) < 0
        if input.dtype.is_signed:
            return input < 0
        return g.full(input.shape, False, dtypes.bool)


@composite
def positive(input):
    """``+input``: the tensor itself; truth values are refused. Source: torch.positive."""
    if input._meta.dtype is dtypes.bool:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


# --------------------------------------------------------------------------
# Rounding: the derivative is zero, as of every step function


def _rounding(name: str, words: str, function, aliases: tuple[str, ...] = ()):
    class definition:
        refuse = refusing(f"{name}_vml_cpu", "bool", "complex")

        def evaluate(input):
            return function(input) if input.dtype.kind == "f" else input

        def decompose(g, input):
            return g.map(name, input) if input.dtype.is_floating_point else input

        def grad_input(grad):
            return zeros_as(grad)

    definition.__doc__ = f"{words} Integers stay as they are. Source: torch.{name}."
    definition.__module__ = __name__
    return elementwise("same", name=name, aliases=aliases)(definition)


ceil = _rounding("ceil", "The smallest whole number that is not below the element.", np.ceil)
floor = _rounding("floor", "The largest whole number that is not above the element.", np.floor)
trunc = _rounding("trunc", "The element without its fraction.", np.trunc, ("fix",))


@elementwise("same", name="round", tensors=1)
class round_:
    """The nearest whole number, of two the even one; or rounded to ``decimals`` places.

    Source: torch.round.

    >>> import suiren as torch
    >>> torch.round(torch.tensor([0.5, 1.5, -2.7]))
    tensor([ 0.,  2., -3.])
    >>> torch.round(torch.tensor([0.1234567]), decimals=3)
    tensor([0.1230])
    """

    refuse = refusing("round_vml_cpu", "bool", "complex")

    def node_name_of(metas, attributes):
        return "RoundBackward1" if attributes[0] else "RoundBackward0"

    def call(input, *, decimals=0):
        if decimals and not input._meta.dtype.is_floating_point:
            raise NotImplementedError(
                f'"round_cpu" not implemented for \'{input._meta.dtype.letter_name}\' with '
                "decimals: they need a floating point tensor"
            )
        return apply(round_.operator, (input,), (decimals,))

    def evaluate(input, decimals):
        if input.dtype.kind != "f":
            return input
        if not decimals:
            return np.rint(input)
        scale = input.dtype.type(10.0 ** abs(decimals))
        if decimals < 0:
            return np.rint(input / scale) * scale
        return np.rint(input * scale) / scale

    def decompose(g, input, decimals):
        if not input.dtype.is_floating_point:
            return input
        if not decimals:
            return input.round()
        scale = 10.0 ** abs(decimals)
        if decimals < 0:
            return (input / scale).round() * scale
        return (input * scale).round() / scale

    def grad_input(grad):
        return zeros_as(grad)


@elementwise("same")
class frac:
    """``input - trunc(input)``: the part after the point, with its sign. Source: torch.frac."""

    refuse = refusing("frac_cpu", "bool", "integers", "complex")

    def evaluate(input):
        return input - np.trunc(input)

    def decompose(g, input):
        return input - input.trunc()

    def grad_input(grad):
        return grad


@elementwise("same", tensors=1)
class nan_to_num:
    """``input`` with NaN, infinity and minus infinity replaced by finite numbers.

    By default by zero, the largest and the smallest number of the type. Source: torch.nan_to_num.

    >>> import suiren as torch
    >>> torch.nan_to_num(torch.tensor([float("nan"), 1.]))
    tensor([0., 1.])
    """

    def call(input, nan=None, posinf=None, neginf=None):
        kind = input._meta.dtype
        numbers = [None if x is None else float(x) for x in (nan, posinf, neginf)]
        if kind.is_half:  # evaluated in float32, but bounded by the half type
            limits = dtypes.finfo(kind)
            numbers[1] = limits.max if numbers[1] is None else numbers[1]
            numbers[2] = limits.min if numbers[2] is None else numbers[2]
        return apply(nan_to_num.operator, (input,), tuple(numbers))

    def evaluate(input, nan, posinf, neginf):
        if input.dtype.kind not in "fc":
            return input
        return np.nan_to_num(input, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)

    def decompose(g, input, nan, posinf, neginf):
        if not input.dtype.is_floating_point:
            return input
        limit = np.finfo(input.dtype.numpy).max.item()
        found = g.where(input.eq(-INFINITY), -limit if neginf is None else neginf, input)
        found = g.where(input.eq(INFINITY), limit if posinf is None else posinf, found)
        return g.where(input.isnan(), 0.0 if nan is None else nan, found)

    def grad_input(grad, input):
        return grad.masked_fill(~input.isfinite(), 0)


# --------------------------------------------------------------------------
# Exponentials and logarithms


@elementwise("float")
class exp:
    """e to the power of each element. Source: torch.exp.

    >>> import suiren as torch
    >>> torch.exp(torch.tensor([0., 1.]))
    tensor([1.0000, 2.7183])
    """

    def evaluate(input):
        return accurate.exp(input)

    def grad_input(grad, result):
        return grad * conj(result)


@elementwise("float", aliases=("special.exp2",))
class exp2:
    """Two to the power of each element. Source: torch.exp2."""

    def evaluate(input):
        return accurate.exp2(input)

    def grad_input(grad, result):
        return grad * conj(result) * math.log(2)


@elementwise("float", aliases=("special.expm1",))
class expm1:
    """``exp(input) - 1`` without loss of precision near zero. Source: torch.expm1."""

    def evaluate(input):
        return accurate.expm1(input)

    def grad_input(grad, result):
        return grad * conj(result + 1)


@elementwise("float")
class log:
    """The natural logarithm; NaN below zero, minus infinity at zero. Source: torch.log.

    >>> import suiren as torch
    >>> torch.log(torch.tensor([1., 10.]))
    tensor([0.0000, 2.3026])
    """

    def evaluate(input):
        return accurate.log(input)

    def grad_input(grad, input):
        return grad / conj(input)


@elementwise("float")
class log2:
    """The logarithm to base two. Source: torch.log2."""

    def evaluate(input):
        return accurate.log2(input)

    def grad_input(grad, input):
        return grad / (conj(input) * math.log(2))


@elementwise("float")
class log10:
    """The logarithm to base ten. Source: torch.log10."""

    def evaluate(input):
        return accurate.log10(input)

    def grad_input(grad, input):
        return grad / (conj(input) * math.log(10))


@elementwise("float", aliases=("special.log1p",))
class log1p:
    """``log(1 + input)`` without loss of precision near zero. Source: torch.log1p."""

    node_name = "Log1PBackward0"

    def evaluate(input):
        return accurate.log1p(input)

    def grad_input(grad, input):
        return grad / conj(input + 1)


# --------------------------------------------------------------------------
# Trigonometric and hyperbolic functions


@elementwise("float")
class sin:
    """The sine of angles in radians. Source: torch.sin."""

    def evaluate(input):
        return accurate.sin(input)

    def grad_input(grad, input):
        return grad * conj(cos(input))


@elementwise("float")
class cos:
    """The cosine of angles in radians. Source: torch.cos."""

    def evaluate(input):
        return accurate.cos(input)

    def grad_input(grad, input):
        return grad * -conj(sin(input))


@elementwise("float")
class tan:
    """The tangent of angles in radians. Source: torch.tan."""

    def evaluate(input):
        return accurate.tan(input)

    def grad_input(grad, result):
        return grad * conj(1 + result * result)


@elementwise("float", aliases=("arcsin",))
class asin:
    """The inverse sine, in radians; NaN outside [-1, 1]. Source: torch.asin."""

    def evaluate(input):
        return np.arcsin(input)

    def grad_input(grad, input):
        return grad * conj((1 - input * input).rsqrt())


@elementwise("float", aliases=("arccos",))
class acos:
    """The inverse cosine, in radians; NaN outside [-1, 1]. Source: torch.acos."""

    def evaluate(input):
        return np.arccos(input)

    def grad_input(grad, input):
        return grad * -conj((1 - input * input).rsqrt())


@elementwise("float", aliases=("arctan",))
class atan:
    """The inverse tangent, in radians. Source: torch.atan."""

    def evaluate(input):
        return accurate.arctan(input)

    def grad_input(grad, input):
        return grad / conj(1 + input * input)


@elementwise("float")
class sinh:
    """The hyperbolic sine. Source: torch.sinh."""

    def evaluate(input):
        return accurate.sinh(input)

    def grad_input(grad, input):
        return grad * conj(cosh(input))


@elementwise("float")
class cosh:
    """The hyperbolic cosine. Source: torch.cosh."""

    def evaluate(input):
        return accurate.cosh(input)

    def grad_input(grad, input):
        return grad * conj(sinh(input))


@elementwise("float")
class tanh:
    """The hyperbolic tangent. Source: torch.tanh.

    >>> import suiren as torch
    >>> torch.tanh(torch.tensor([0., 1.]))
    tensor([0.0000, 0.7616])
    """

    def evaluate(input):
        return accurate.tanh(input)

    def grad_input(grad, result):
        return grad * conj(1 - result * result)


@elementwise("float", aliases=("arcsinh",))
class asinh:
    """The inverse hyperbolic sine. Source: torch.asinh."""

    def evaluate(input):
        return np.arcsinh(input)

    def grad_input(grad, input):
        return grad * conj((input * input + 1).rsqrt())


@elementwise("float", aliases=("arccosh",))
class acosh:
    """The inverse hyperbolic cosine; NaN below one. Source: torch.acosh."""

    def evaluate(input):
        return np.arccosh(input)

    def grad_input(grad, input):
        return grad * conj((input - 1).rsqrt() * (input + 1).rsqrt())


@elementwise("float", aliases=("arctanh",))
class atanh:
    """The inverse hyperbolic tangent; NaN outside [-1, 1]. Source: torch.atanh."""

    def evaluate(input):
        return np.arctanh(input)

    def grad_input(grad, input):
        return grad / conj(1 - input * input)


@elementwise("float", aliases=("special.sinc",))
class sinc:
    """``sin(pi x) / (pi x)``, one at zero. Source: torch.sinc."""

    def evaluate(input):
        angle = np.asarray(np.pi, input.dtype) * input
        zero = angle == 0
        return np.where(zero, 1, accurate.sin(angle) / np.where(zero, 1, angle)).astype(input.dtype)

    def decompose(g, input):
        angle = input * math.pi
        zero = angle.eq(0)
        return g.where(zero, 1, angle.sin() / g.where(zero, 1, angle))

    def grad_input(grad, input):
        angle = input * math.pi
        slope = (angle * cos(angle) - sin(angle)) / (angle * input)
        return grad * conj(where(input == 0, 0, slope))


@elementwise("float", node_name="Deg2RadBackward0")
class deg2rad:
    """Degrees as radians. Source: torch.deg2rad."""

    refuse = refusing("deg2rad", "complex", error=RuntimeError)

    def evaluate(input):
        return input * input.dtype.type(math.pi / 180)

    def decompose(g, input):
        return input * (math.pi / 180)

    def grad_input(grad):
        return grad * (math.pi / 180)


@elementwise("float", node_name="Rad2DegBackward0")
class rad2deg:
    """Radians as degrees. Source: torch.rad2deg."""

    refuse = refusing("rad2deg", "complex", error=RuntimeError)

    def evaluate(input):
        return input * input.dtype.type(180 / math.pi)

    def decompose(g, input):
        return input * (180 / math.pi)

    def grad_input(grad):
        return grad * (180 / math.pi)


# --------------------------------------------------------------------------
# The logistic function


def logistic(x):
    """1 / (1 + exp(-x)) in NumPy; the exponential of a large number only gives a true zero."""
    return np.reciprocal(1 + accurate.exp(-x))


@elementwise("float", aliases=("special.expit", "nn.functional.sigmoid"))
class sigmoid:
    """The logistic function ``1 / (1 + exp(-input))``. Source: torch.sigmoid.

    >>> import suiren as torch
    >>> torch.sigmoid(torch.tensor([0., 2.]))
    tensor([0.5000, 0.8808])
    """

    def evaluate(input):
        return logistic(input)

    def grad_input(grad, result):
        return grad * conj((1 - result) * result)


@elementwise("float", tensors=1, aliases=("special.logit",))
class logit:
    """``log(input / (1 - input))``: the inverse of sigmoid; NaN outside [0, 1].

    With ``eps`` the input is first clamped to [eps, 1 - eps]; outside of it the derivative is zero.
    Source: torch.logit.
    """

    refuse = refusing("logit_cpu", "complex")

    def call(input, eps=None):
        return apply(logit.operator, (input,), (None if eps is None else float(eps),))

    def evaluate(input, eps):
        if eps is not None:
            kind = input.dtype.type
            input = np.minimum(np.maximum(input, kind(eps)), kind(1 - eps))
        return accurate.log(input / (1 - input))

    def decompose(g, input, eps):
        if eps is not None:
            input = input.max(eps).min(1 - eps)
        return (input / (1 - input)).log()

    def grad_input(grad, input, eps):
        slope = grad / (input * (1 - input))
        if eps is None:
            return where((input >= 0) & (input <= 1), slope, math.nan)
        return where((input >= eps) & (input <= 1 - eps), slope, 0)
