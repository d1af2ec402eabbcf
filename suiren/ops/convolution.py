"""Convolutions of one to three dimensions, plain and transposed, with derivatives of any order.

Three linear operators that are each other's derivatives: the convolution, its gradient by the
input and its gradient by the weight. The arithmetic is in ``suiren/interpreter/convolution.py``.
Source: PyTorch's torch.nn.functional page, "Convolution functions".
"""

from __future__ import annotations

from typing import Any, NamedTuple

from suiren import dtypes
from suiren.autocasting import in_lower
from suiren.dispatch import apply
from suiren.interpreter import convolution as kernels
from suiren.operator import composite, operator
from suiren.ops import lowered_volumes as volumes
from suiren.ops.arithmetic import conj
from suiren.trace import meta

WHERE = ("torch", "nn.functional")


@operator(where=(), name="convolution")
class _convolution:
    """Convolution with all its numbers given, one for each spatial dimension."""

    tensors = 3

    def call(input, weight, bias, *numbers):
        return apply(_convolution.operator, (input, weight, bias), numbers)

    def infer(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
        shape = kernels.convolution_output_shape(
            input.shape, weight.shape, stride, padding, dilation, transposed, output_padding, groups
        )
        _check_kinds(input, weight, bias, shape[1])
        return meta(shape, input.dtype, input.device)

    def evaluate(
        input, weight, bias, stride, padding, dilation, transposed, output_padding, groups
    ):
        return kernels.convolution(
            input, weight, bias, stride, padding, dilation, transposed, output_padding, groups
        )

    def decompose(
        g, input, weight, bias, stride, padding, dilation, transposed, output_padding, groups
    ):
        numbers = _lowered_numbers(stride, padding, dilation, groups)
        kind, x, w = input.dtype, _channels_last(g, input), _lowered_weight(weight)
        if transposed:
            spatial = kernels.convolution_output_shape(
                input.shape, weight.shape, stride, padding, dilation, True, output_padding, groups
            )[2:]
            spatial = (1,) * (2 - len(spatial)) + tuple(spatial)
            found = _space(g, w).input_gradient(x, w, spatial, *numbers)
        else:
            found = _space(g, w).conv(x, w, *numbers)
        found = _channels_first(found, input.ndim)
        if bias is not None:
            ones = (1,) * (input.ndim - 2)
            found = found + _wide(bias).reshape(1, bias.shape[0], *ones)
        return found.cast(kind)

    def grad_input(
        grad, input_meta, weight, stride, padding, dilation, transposed, output_padding, groups
    ):
        numbers = (stride, padding, dilation, transposed, output_padding, groups)
        return _by_input(grad, conj(weight), input_meta.shape, *numbers)

    def grad_weight(
        grad, input, weight_meta, stride, padding, dilation, transposed, output_padding, groups
    ):
        numbers = (stride, padding, dilation, transposed, output_padding, groups)
        return _by_weight(grad, conj(input), weight_meta.shape, *numbers)

    def grad_bias(grad):
        return grad.sum((0, *range(2, grad._meta.ndim)))


def _check_kinds(input, weight, bias, channels: int) -> None:
    for what, m in (("weight", weight), ("bias", bias)):
        if m is not type(None) and m.dtype is not input.dtype:
            raise RuntimeError(
                f"convolution: Input type ({input.dtype}) and {what} type ({m.dtype}) should be "
                "the same; convert one of them"
            )
    if bias is not type(None) and tuple(bias.shape) != (channels,):
        raise RuntimeError(
            f"convolution: Given weight of size {list(weight.shape)}, expected bias to be "
            f"1-dimensional with {channels} elements, but got bias of size {list(bias.shape)} "
            "instead"
        )


@operator(where=(), name="convolution_input_gradient", node_name="ConvolutionBackwardBackward0")
class _by_input:
    """The gradient of a convolution by its input, of shape ``input_shape``."""

    tensors = 2

    def call(grad_output, weight, *numbers):
        return apply(_by_input.operator, (grad_output, weight), numbers)

    def infer(grad_output, weight, input_shape, *numbers):
        return grad_output.like(shape=input_shape)

    def evaluate(
        grad_output, weight, input_shape, stride, padding, dilation, transposed, output_padding,
        groups,
    ):  # fmt: skip
        return kernels.convolution_input_gradient(
            grad_output, weight, input_shape, stride, padding, dilation, transposed,
            output_padding, groups,
        )  # fmt: skip

    def decompose(
        g, grad_output, weight, input_shape, stride, padding, dilation, transposed,
        output_padding, groups,
    ):  # fmt: skip
        numbers = _lowered_numbers(stride, padding, dilation, groups)
        grad, w = _channels_last(g, grad_output), _lowered_weight(weight)
        if transposed:
            found = _space(g, w).conv(grad, w, *numbers)
        else:
            spatial = (1,) * (4 - len(input_shape)) + tuple(input_shape[2:])
            found = _space(g, w).input_gradient(grad, w, spatial, *numbers)
        return _channels_first(found, grad_output.ndim).cast(grad_output.dtype)

    def grad_grad_output(
        grad, weight, stride, padding, dilation, transposed, output_padding, groups
    ):
        numbers = (stride, padding, dilation, transposed, output_padding, groups)
        return _convolution(grad, conj(weight), None, *numbers)

    def grad_weight(
        grad, grad_output, weight_meta, stride, padding, dilation, transposed, output_padding,
        groups,
    ):  # fmt: skip
        numbers = (stride, padding, dilation, transposed, output_padding, groups)
        return _by_weight(conj(grad_output), grad, weight_meta.shape, *numbers)


@operator(where=(), name="convolution_weight_gradient", node_name="ConvolutionBackwardBackward0")
class _by_weight:
    """The gradient of a convolution by its weight, of shape ``weight_shape``."""

    tensors = 2

    def call(grad_output, input, *numbers):
        return apply(_by_weight.operator, (grad_output, input), numbers)

    def infer(grad_output, input, weight_shape, *numbers):
        return input.like(shape=weight_shape)

    def evaluate(
        grad_output, input, weight_shape, stride, padding, dilation, transposed, output_padding,
        groups,
    ):  # fmt: skip
        return kernels.convolution_weight_gradient(
            grad_output, input, weight_shape, stride, padding, dilation, transposed,
            output_padding, groups,
        )  # fmt: skip

    def decompose(
        g, grad_output, input, weight_shape, stride, padding, dilation, transposed,
        output_padding, groups,
    ):  # fmt: skip
        numbers = _lowered_numbers(stride, padding, dilation, groups)
        grad, x = _channels_last(g, grad_output), _channels_last(g, input)
        if transposed:
            grad, x = x, grad
        kernel = (1,) * (4 - len(weight_shape)) + tuple(weight_shape[2:])
        found = _space(g, x).weight_gradient(grad, x, kernel, *numbers)
        return found.reshape(*weight_shape).cast(input.dtype)

    def grad_grad_output(
        grad, input, stride, padding, dilation, transposed, output_padding, groups
    ):
        numbers = (stride, padding, dilation, transposed, output_padding, groups)
        return _convolution(conj(input), grad, None, *numbers)

    def grad_input(
        grad, grad_output, input_meta, stride, padding, dilation, transposed, output_padding,
        groups,
    ):  # fmt: skip
        numbers = (stride, padding, dilation, transposed, output_padding, groups)
        return _by_input(conj(grad_output), grad, input_meta.shape, *numbers)


# ---- lowering: images channels-last, one dimension as two


def _wide(x):
    return x.cast(dtypes.float32) if x.dtype.is_half else x


class _space(NamedTuple):
    """The three operations, of images or volumes: told by the dimensions of an operand."""

    g: Any
    like: Any

    def conv(self, x, w, *numbers):
        if self.like.ndim == 5:
            return volumes.conv(self.g, x, w, *numbers)
        return self.g.conv(x, w, *numbers)

    def input_gradient(self, grad, w, spatial, *numbers):
        if self.like.ndim == 5:
            return volumes.input_gradient(self.g, grad, w, spatial, *numbers)
        return self.g.conv_input_gradient(grad, w, spatial, *numbers)

    def weight_gradient(self, grad, x, kernel, *numbers):
        if self.like.ndim == 5:
            return volumes.weight_gradient(self.g, grad, x, kernel, *numbers)
        return self.g.conv_weight_gradient(grad, x, kernel, *numbers)


def _lowered_numbers(stride, padding, dilation, groups):
    more = max(2 - len(stride), 0)
    return (1,) * more + stride, (0,) * more + padding, (1,) * more + dilation, groups


def _channels_last(g, x):
    x = _wide(x)
    if x.ndim == 3:
        x = x.permute(0, 2, 1)
        return x.reshape(x.shape[0], 1, *x.shape[1:])
    return x.permute(0, *range(2, x.ndim), 1)


def _channels_first(x, ndim: int):
    if ndim == 3:
        return x.reshape(x.shape[0], *x.shape[2:]).permute(0, 2, 1)
    return x.permute(0, ndim - 1, *range(1, ndim - 1))


def _lowered_weight(w):
    w = _wide(w)
    return w.reshape(*w.shape[:2], 1, w.shape[2]) if w.ndim == 3 else w


# ---- what users call


def one_per_axis(value, axes: int, name: str) -> tuple[int, ...]:
    """A number, or a sequence of one or ``axes`` numbers, as ``axes`` ints."""
    if hasattr(value, "__index__"):
        return (value.__index__(),) * axes
    found = tuple([v.__index__() for v in value])
    if len(found) == 1:
        return found * axes
    if len(found) != axes:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {axes} values to match "
            f"the convolution dimensions, but got {name}={list(found)}"
        )
    return found


def _batched(name: str, input, weight, axes: int):
    """input with a batch dimension, and whether one had to be added."""
    ndim = input._meta.ndim
    if weight._meta.ndim != axes + 2:
        raise RuntimeError(
            f"{name}: expected a weight of {axes + 2} dimensions (output channels, channels, "
            f"kernel), but got {list(weight._meta.shape)}"
        )
    if ndim not in (axes + 1, axes + 2):
        raise RuntimeError(
            f"Expected {axes + 1}D (unbatched) or {axes + 2}D (batched) input to {name}, but got "
            f"input of size: {list(input._meta.shape)}"
        )
    return (input, False) if ndim == axes + 2 else (input.unsqueeze(0), True)


def _conv(axes: int, input, weight, bias, stride, padding, dilation, groups):
    input, added = _batched(f"conv{axes}d", input, weight, axes)
    stride = one_per_axis(stride, axes, "stride")
    dilation = one_per_axis(dilation, axes, "dilation")
    if isinstance(padding, str):
        input, padding = _named_padding(padding, input, weight, stride, dilation)
    padding = one_per_axis(padding, axes, "padding")
    result = apply(
        _convolution.operator,
        (input, weight, bias),
        (stride, padding, dilation, False, (0,) * axes, groups),
    )
    return result.squeeze(0) if added else result


def _named_padding(padding: str, input, weight, stride, dilation):
    if padding == "valid":
        return input, 0
    if padding != "same":
        raise RuntimeError(
            f"Invalid padding string: '{padding}'; a convolution takes 'valid', 'same' or numbers"
        )
    if any(s != 1 for s in stride):
        raise RuntimeError(
            f"padding='same' is not supported for strided convolutions, got stride {stride}"
        )
    kernel = weight._meta.shape[2:]
    total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if any(t % 2 for t in total):
        from suiren.ops.padding import pad

        # the one that is left over goes behind the last element
        more = [n for t in reversed(total) for n in (0, t % 2)]
        input = pad(input, more)
    return input, tuple([t // 2 for t in total])


def _conv_transpose(axes, input, weight, bias, stride, padding, output_padding, groups, dilation):
    name = f"conv_transpose{axes}d"
    input, added = _batched(name, input, weight, axes)
    result = apply(
        _convolution.operator,
        (input, weight, bias),
        (
            one_per_axis(stride, axes, "stride"),
            one_per_axis(padding, axes, "padding"),
            one_per_axis(dilation, axes, "dilation"),
            True,
            one_per_axis(output_padding, axes, "output_padding"),
            groups,
        ),
    )
    return result.squeeze(0) if added else result


@composite(where=WHERE, out=False)
@in_lower
def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Convolution of (batch, channels, length), or of (channels, length).

    weight: (out_channels, channels / groups, kernel); bias: (out_channels,) or None; padding may
    be "valid" or "same". Raises RuntimeError where the arguments do not fit.
    Source: torch.nn.functional.conv1d.
    """
    return _conv(1, input, weight, bias, stride, padding, dilation, groups)


@composite(where=WHERE, out=False)
@in_lower
def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Convolution of (batch, channels, height, width), or of (channels, height, width).

    weight: (out_channels, channels / groups, *kernel); bias: (out_channels,) or None; padding may
    be "valid" or "same". Raises RuntimeError where the arguments do not fit.
    Source: torch.nn.functional.conv2d.

    >>> import suiren as torch
    >>> torch.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3), padding=1)
    tensor([[[[4., 6., 4.],
              [6., 9., 6.],
              [4., 6., 4.]]]])
    """
    return _conv(2, input, weight, bias, stride, padding, dilation, groups)


@composite(where=WHERE, out=False)
@in_lower
def conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Convolution of (batch, channels, depth, height, width), or without batch.

    Arguments as for :func:`conv2d`. Source: torch.nn.functional.conv3d.
    """
    return _conv(3, input, weight, bias, stride, padding, dilation, groups)


@composite(where=WHERE, out=False)
@in_lower
def conv_transpose1d(
    input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """The transpose of :func:`conv1d`; weight: (channels, out_channels / groups, kernel).

    Source: torch.nn.functional.conv_transpose1d.
    """
    return _conv_transpose(
        1, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


@composite(where=WHERE, out=False)
@in_lower
def conv_transpose2d(
    input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """The transpose of :func:`conv2d`; weight: (channels, out_channels / groups, *kernel).

    Source: torch.nn.functional.conv_transpose2d.
    """
    return _conv_transpose(
        2, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


@composite(where=WHERE, out=False)
@in_lower
def conv_transpose3d(
    input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """The transpose of :func:`conv3d`; weight: (channels, out_channels / groups, *kernel).

    Source: torch.nn.functional.conv_transpose3d.
    """
    return _conv_transpose(
        3, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


@composite(where=("torch",), out=False)
def convolution(
    input, weight, bias, stride, padding, dilation, transposed, output_padding, groups
):
    """Any convolution, by numbers. Source: torch.convolution."""
    axes = weight._meta.ndim - 2
    if transposed:
        return _conv_transpose(
            axes, input, weight, bias, stride, padding, output_padding, groups, dilation
        )
    return _conv(axes, input, weight, bias, stride, padding, dilation, groups)
