"""Activation functions: elementwise operators, each with its own node in the autograd graph.

Formulas, defaults and the derivative at kinks follow PyTorch's "torch.nn.functional" page
("Non-linear activation functions"). Parameters such as slopes are run-time inputs, so changing
one compiles nothing anew. Derivatives are written with operators and can be differentiated again.
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.autocasting import in_lower
from suiren.device import META
from suiren.dispatch import apply
from suiren.interpreter import accurate
from suiren.operator import NAMESPACES, composite, operator
from suiren.ops.creation import from_array
from suiren.ops.elementwise import assign, elementwise
from suiren.ops.extremes import larger, smaller
from suiren.ops.lowering import exact, narrow
from suiren.ops.views import wrap_dim
from suiren.trace import Meta

FUNCTIONAL = ("nn.functional",)
BOTH = ("torch", "nn.functional")


def floating_only(common, metas) -> None:
    """Raises NotImplementedError for other types, as PyTorch's kernels of activations do."""
    kind = metas[0].dtype if metas[0].__class__ is Meta else common
    if not kind.is_floating_point:
        raise NotImplementedError(
            f"this activation is not implemented for {kind}; convert the input to a "
            "floating type first"
        )


def _placed(input, result, inplace: bool, name: str):
    return assign(input, result, name) if inplace else result


# ---- piecewise linear


@elementwise("real", where=("torch", "Tensor", "nn.functional"), inplace=False, out=False)
class relu:
    """``max(input, 0)``; its derivative at zero is zero. NaN stays NaN.

    Source: torch.nn.functional.relu.

    >>> import suiren as torch
    >>> torch.relu(torch.tensor([-1., 0., 2.]))
    tensor([0., 0., 2.])
    """

    def call(input, inplace=False):
        return _placed(input, apply(relu.operator, (input,)), inplace, "relu_")

    def refuse(common, metas):
        if common is dtypes.bool:
            raise RuntimeError(
                "Boolean inputs not supported for relu; convert the input to a number type"
            )

    def evaluate(input):
        return larger(input, 0)

    def decompose(g, input):
        return input.max(0)

    def grad_input(grad, result):
        return grad.masked_fill(result <= 0, 0)


@elementwise("same", where=FUNCTIONAL, inplace=False, out=False)
class leaky_relu:
    """``input`` where it is positive, else ``negative_slope * input``.

    Source: torch.nn.functional.leaky_relu.
    """

    refuse = floating_only

    def call(input, negative_slope=0.01, inplace=False):
        result = apply(leaky_relu.operator, (input, negative_slope))
        return _placed(input, result, inplace, "leaky_relu_")

    def evaluate(input, negative_slope):
        return np.where(input > 0, input, input * negative_slope)

    def decompose(g, input, negative_slope):
        return g.where(input > 0, input, input * negative_slope)

    def grad_input(grad, input, negative_slope):
        return grad.where(input > 0, grad * negative_slope)


@elementwise("same", where=BOTH, inplace=False, out=False)
class threshold:
    """``input`` where it is greater than ``threshold``, else ``value``.

    Source: torch.nn.functional.threshold.
    """

    def call(input, threshold, value, inplace=False):
        result = apply(_threshold, (input, threshold, value))
        return _placed(input, result, inplace, "threshold_")

    def evaluate(input, threshold, value):
        return np.where(input <= threshold, input.dtype.type(value), input)

    def decompose(g, input, threshold, value):
        return g.where(input <= threshold, value, input)

    def grad_input(grad, input, threshold):
        return grad.masked_fill(input <= threshold, 0)


_threshold = threshold.operator


@elementwise("same", where=FUNCTIONAL, inplace=False, out=False)
class hardtanh:
    """``input`` limited to [min_val, max_val]; the derivative is zero at both ends.

    Raises ValueError for min_val > max_val. Source: torch.nn.functional.hardtanh.
    """

    def call(input, min_val=-1.0, max_val=1.0, inplace=False):
        if min_val > max_val:
            raise ValueError("min_val cannot be greater than max_val")
        kind = input._meta.dtype
        if kind is dtypes.bool:
            raise NotImplementedError("Bool inputs not supported for hardtanh")
        if kind.category < dtypes.FLOATING:
            if min_val < 0 and not kind.is_signed:
                raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
            min_val, max_val = int(min_val), int(max_val)
        result = apply(hardtanh.operator, (input, min_val, max_val))
        return _placed(input, result, inplace, "hardtanh_")

    def evaluate(input, min_val, max_val):
        kind = input.dtype.type
        return smaller(larger(input, kind(min_val)), kind(max_val))

    def decompose(g, input, min_val, max_val):
        return input.max(min_val).min(max_val)

    def grad_input(grad, input, min_val, max_val):
        return grad.masked_fill((input <= min_val) | (input >= max_val), 0)


@elementwise("same", where=FUNCTIONAL, inplace=False, out=False)
class hardsigmoid:
    """``clip(input + 3, 0, 6) / 6``; the derivative is zero at -3 and 3.

    Source: torch.nn.functional.hardsigmoid.
    """

    refuse = floating_only

    def call(input, inplace=False):
        return _placed(input, apply(hardsigmoid.operator, (input,)), inplace, "hardsigmoid_")

    def evaluate(input):
        kind = input.dtype.type
        return np.minimum(np.maximum(input + kind(3), kind(0)), kind(6)) / kind(6)

    def decompose(g, input):
        return (input + 3).max(0).min(6) / 6

    def grad_input(grad, input):
        return (grad / 6).masked_fill((input <= -3) | (input >= 3), 0)


@elementwise("same", where=FUNCTIONAL, inplace=False, out=False)
class hardswish:
    """``input * clip(input + 3, 0, 6) / 6`` (Howard et al. 2019, arXiv:1905.02244).

    Source: torch.nn.functional.hardswish.
    """

    refuse = floating_only

    def call(input, inplace=False):
        return _placed(input, apply(hardswish.operator, (input,)), inplace, "hardswish_")

    def evaluate(input):
        kind = input.dtype.type
        return input * np.minimum(np.maximum(input + kind(3), kind(0)), kind(6)) / kind(6)

    def decompose(g, input):
        return input * (input + 3).max(0).min(6) / 6

    def grad_input(grad, input):
        between = grad * (input / 3 + 0.5)
        return grad.where(input >= 3, between).masked_fill(input <= -3, 0)


@elementwise("same", where=("torch", "Tensor", "nn.functional"), inplace=False, out=False)
class hardshrink:
    """Zero where ``-lambd <= input <= lambd``, else ``input``.

    Source: torch.nn.functional.hardshrink.
    """

    refuse = floating_only

    def call(input, lambd=0.5):
        return apply(hardshrink.operator, (input, lambd))

    def evaluate(input, lambd):
        inside = (input >= -lambd) & (input <= lambd)
        return np.where(inside, input.dtype.type(0), input)

    def decompose(g, input, lambd):
        lambd = lambd.cast(input.dtype)
        return g.where((input >= -lambd) & (input <= lambd), 0, input)

    def grad_input(grad, input, lambd):
        return grad.masked_fill((input >= -lambd) & (input <= lambd), 0)


@elementwise("same", where=FUNCTIONAL, inplace=False, out=False)
class softshrink:
    """``input`` moved ``lambd`` towards zero, where zero stops it.

    Raises RuntimeError for a negative ``lambd``. Source: torch.nn.functional.softshrink.
    """

    refuse = floating_only

    def call(input, lambd=0.5):
        if lambd < 0:
            raise RuntimeError(
                f"lambda must be greater or equal to 0, but found to be {lambd:g}: softshrink "
                "moves elements towards zero"
            )
        return apply(softshrink.operator, (input, lambd))

    def evaluate(input, lambd):
        near = np.where(input < -lambd, input + lambd, input * input.dtype.type(0))
        return np.where(input > lambd, input - lambd, near)

    def decompose(g, input, lambd):
        lambd = lambd.cast(input.dtype)
        near = g.where(input < -lambd, input + lambd, input * 0)
        return g.where(input > lambd, input - lambd, near)

    def grad_input(grad, input, lambd):
        return grad.masked_fill((input >= -lambd) & (input <= lambd), 0)


# ---- exponential below zero


def _elu(input, alpha, scale, input_scale):
    below = accurate.expm1(smaller(input, 0) * input_scale)
    return np.where(input > 0, input * scale, below * (alpha * scale))


def _elu_gradient(grad, input, alpha, scale, input_scale):
    # clamped, so that where's unused side stays finite for the second derivative
    below = (input.clamp(max=0) * input_scale).exp() * (alpha * scale * input_scale)
    return grad * below.where(input <= 0, scale)


def _lowered_elu(g, input, alpha, scale, input_scale):
    factor = exact(alpha, input.dtype)
    if scale is not None:
        factor = factor * exact(scale, input.dtype)
    below = (input.min(0) * input_scale).expm1() * factor.cast(input.dtype)
    return g.where(input > 0, input if scale is None else input * scale, below)


@elementwise("same", where=FUNCTIONAL, inplace=False, out=False)
class elu:
    """``input`` where it is positive, else ``alpha * (exp(input) - 1)``.

    Source: torch.nn.functional.elu; Clevert et al. 2015, arXiv:1511.07289.
    """

    refuse = floating_only

    def call(input, alpha=1.0, inplace=False):
        result = apply(elu.operator, (input, alpha, 1.0, 1.0))
        return _placed(input, result, inplace, "elu_")

    def evaluate(input, alpha, scale, input_scale):
        return _elu(input, alpha, scale, input_scale)

    def decompose(g, input, alpha, scale, input_scale):
        return _lowered_elu(g, input, alpha, scale, input_scale)

    def grad_input(grad, input, alpha, scale, input_scale):
        return _elu_gradient(grad, input, alpha, scale, input_scale)


@composite(where=BOTH, out=False)
def selu(input, inplace=False):
    """elu with the constants that keep mean 0 and variance 1 from layer to layer.

    Source: torch.nn.functional.selu; Klambauer et al. 2017, arXiv:1706.02515.
    """
    result = apply(elu.operator, (input, 1.6732632423543772, 1.0507009873554805, 1.0))
    return _placed(input, result, inplace, "selu_")


@elementwise("same", where=BOTH, inplace=False, out=False)
class celu:
    """``input`` where it is positive, else ``alpha * (exp(input / alpha) - 1)``.

    Raises RuntimeError for alpha = 0. Source: torch.nn.functional.celu; arXiv:1704.07483.
    """

    refuse = floating_only

    def call(input, alpha=1.0, inplace=False):
        if alpha == 0:
            raise ZeroDivisionError("ZeroDivisionError: alpha cannot be 0 for CELU")
        result = apply(celu.operator, (input, alpha, 1.0 / alpha))
        return _placed(input, result, inplace, "celu_")

    def evaluate(input, alpha, input_scale):
        return _elu(input, alpha, 1.0, input_scale)

    def decompose(g, input, alpha, input_scale):
        return _lowered_elu(g, input, alpha, None, input_scale)

    def grad_input(grad, input, alpha, input_scale):
        return _elu_gradient(grad, input, alpha, 1.0, input_scale)


# ---- smooth


@elementwise("same", where=FUNCTIONAL, inplace=False, out=False)
class silu:
    """``input * sigmoid(input)``. Source: torch.nn.functional.silu; arXiv:1702.03118."""

    def refuse(common, metas):
        if common.category < dtypes.FLOATING:
            floating_only(common, metas)

    def call(input, inplace=False):
        return _placed(input, apply(silu.operator, (input,)), inplace, "silu_")

    def evaluate(input):
        return input / (input.dtype.type(1) + accurate.exp(-input))

    def decompose(g, input):
        return input / ((-input).exp() + 1)

    def grad_input(grad, input):
        gate = input.sigmoid()
        factor = gate * (1 + input * (1 - gate))
        return grad * (factor.conj() if factor.dtype.is_complex else factor)


@elementwise("same", where=FUNCTIONAL, inplace=False, out=False)
class mish:
    """``input * tanh(softplus(input))``. Source: torch.nn.functional.mish; arXiv:1908.08681."""

    refuse = floating_only

    def call(input, inplace=False):
        return _placed(input, apply(mish.operator, (input,)), inplace, "mish_")

    def evaluate(input):
        return input * accurate.tanh(accurate.log1p(accurate.exp(input)))

    def decompose(g, input):
        return input * input.exp().log1p().tanh()

    def grad_input(grad, input):
        gate = softplus(input).tanh()
        return grad * (gate + input * input.sigmoid() * (1 - gate * gate))


@elementwise("same", where=FUNCTIONAL, inplace=False, out=False)
class softplus:
    """``log(1 + exp(beta * input)) / beta``; the input itself where beta * input > threshold.

    Source: torch.nn.functional.softplus.
    """

    refuse = floating_only

    def call(input, beta=1.0, threshold=20.0):
        return apply(softplus.operator, (input, beta, threshold))

    def evaluate(input, beta, threshold):
        scaled = input * beta
        return np.where(scaled > threshold, input, accurate.log1p(accurate.exp(scaled)) / beta)

    def decompose(g, input, beta, threshold):
        scaled = input * beta
        return g.where(scaled > threshold, input, scaled.exp().log1p() / beta)

    def grad_input(grad, input, beta, threshold):
        scaled = input * beta
        return grad * scaled.sigmoid().masked_fill(scaled > threshold, 1)


@elementwise("same", name="log_sigmoid", where=(), inplace=False, out=False)
class logsigmoid:
    """``log(1 / (1 + exp(-input)))``, without overflow. Source: torch.nn.functional.logsigmoid."""

    refuse = floating_only

    def evaluate(input):
        return np.minimum(input, input.dtype.type(0)) - accurate.log1p(accurate.exp(-np.abs(input)))

    def grad_input(grad, input):
        return grad * (-input).sigmoid()


NAMESPACES["nn.functional"]["logsigmoid"] = logsigmoid


# ---- with tensors of parameters or noise


@elementwise("same", name="prelu_kernel", where=(), inplace=False)
class _prelu_kernel:
    """``input`` where it is positive, else ``weight * input``; broadcast."""

    def evaluate(input, weight):
        return np.where(input > 0, input, input * weight)

    def decompose(g, input, weight):
        return g.where(input > 0, input, input * weight)

    def grad_input(grad, input, weight):
        return grad.where(input > 0, weight * grad)

    def grad_weight(grad, input):
        return (input * grad).masked_fill(input > 0, 0)


@composite(where=("torch", "Tensor", "nn.functional"), out=False)
@in_lower
def prelu(input, weight):
    """``input`` where it is positive, else ``weight * input`` with one weight for each channel.

    input: (batch, channels, ...); weight: (channels,), (1,) or (). Raises RuntimeError if they do
    not fit. Source: torch.nn.functional.prelu; He et al. 2015, arXiv:1502.01852.
    """
    shape, ndim = weight._meta.shape, input._meta.ndim
    if weight._meta.dtype is not input._meta.dtype:
        raise RuntimeError(
            f"prelu: Type promoting not supported. Got {input._meta.dtype} and "
            f"{weight._meta.dtype}; convert one of them"
        )
    if weight._meta.numel != 1:
        if ndim == 0:
            raise RuntimeError("prelu: Not allow zero-dim input tensor with several weights.")
        channels = input._meta.shape[1] if ndim > 1 else 1
        if channels != weight._meta.numel:
            raise RuntimeError(
                "prelu: Mismatch of parameter numbers and input channel size. Found parameter "
                f"numbers = {weight._meta.numel} and channel size = {channels}."
            )
    if len(shape) > 1:
        raise RuntimeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {len(shape)}"
        )
    if ndim != len(shape) or ndim != 1:
        target = [1] * ndim
        if ndim > 1:
            target[1] = weight._meta.numel
        weight = weight.reshape(target)
    return _prelu_kernel(input, weight)


@elementwise("same", name="rrelu_with_noise", where=(), inplace=False)
class _rrelu_with_noise:
    """``input * noise``, where noise is one for positive elements."""

    def evaluate(input, noise):
        return np.where(input > 0, input, input * noise)

    def decompose(g, input, noise):
        return g.where(input > 0, input, input * noise)

    def grad_input(grad, input, noise):
        return grad.where(input > 0, grad * noise)


@composite(where=BOTH, out=False)
def rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False, inplace=False):
    """leaky_relu with slopes drawn from [lower, upper], or their mean unless training.

    How many numbers are drawn depends on how many elements are negative, so this looks at the
    input. Source: torch.nn.functional.rrelu; Xu et al. 2015, arXiv:1505.00853.
    """
    if not lower <= upper:
        raise RuntimeError(
            f"Lower bound should be less than or equal to the upper bound: rrelu got {lower} and "
            f"{upper}"
        )
    noise = (lower + upper) / 2
    if training and input._meta.device is not META:
        from suiren.random import default_generator

        values = input.peek()
        kind = input._meta.dtype
        wide = values.astype(np.float32) if kind.is_half else values
        noise = from_array(default_generator.stream.rrelu_noise(wide, lower, upper)).to(kind)
    result = _rrelu_with_noise(input, noise)
    return _placed(input, result, inplace, "rrelu_")


@operator(where=FUNCTIONAL, out=False)
class glu:
    """The first half of ``input`` along ``dim`` times the sigmoid of the second half.

    Raises RuntimeError for an odd size. Source: torch.nn.functional.glu; arXiv:1612.08083.
    """

    widen = True

    def call(input, dim=-1):
        if input._meta.ndim == 0:
            raise RuntimeError("glu does not support 0-dimensional tensors")
        axis = wrap_dim(dim, input._meta.ndim)
        if input._meta.shape[axis] % 2:
            raise RuntimeError(
                f"Halving dimension must be even, but dimension {axis} is size "
                f"{input._meta.shape[axis]}"
            )
        return apply(glu.operator, (input,), (axis,))

    def infer(input, dim):
        floating_only(input.dtype, (input,))
        shape = [*input.shape]
        shape[dim] //= 2
        return input.like(shape=shape)

    def evaluate(input, dim):
        first, second = np.split(input, 2, axis=dim)
        return first / (input.dtype.type(1) + accurate.exp(-second))

    def decompose(g, input, dim):
        half = input.shape[dim] // 2
        first, second = (narrow(g, input, dim, i * half, half) for i in (0, 1))
        return first / ((-second).exp() + 1)

    def grad_input(grad, input, dim):
        half = input._meta.shape[dim] // 2
        first = input.narrow(dim, 0, half)
        gate = input.narrow(dim, half, half).sigmoid()
        to_first = grad * gate
        return NAMESPACES["torch"]["cat"]((to_first, to_first * first * (1 - gate)), dim)


# ---- in-place functions, under the names that PyTorch has in several places


def _in_place(name: str, where: tuple[str, ...]) -> None:
    function = NAMESPACES["nn.functional"][name]

    def change(input, *args, **kwargs):
        return assign(input, function(input, *args, **kwargs), name + "_")

    change.__name__ = change.__qualname__ = name + "_"
    change.__doc__ = f"In-place form of :func:`{name}`: writes the result into ``input``."
    for space in where:
        NAMESPACES[space][name + "_"] = change


_in_place("relu", ("torch", "Tensor", "nn.functional"))
for _name in ("celu", "rrelu", "selu", "threshold"):
    _in_place(_name, BOTH)
for _name in ("elu", "hardtanh", "leaky_relu"):
    _in_place(_name, FUNCTIONAL)
