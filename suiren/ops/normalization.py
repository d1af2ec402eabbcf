"""Batch and layer normalization, each one operator with one for its gradient.

Both subtract a mean and divide by a standard deviation over some dimensions (``moments.py``), then
scale and shift; so does ``group_normalization.py``. When a gradient is itself to be differentiated,
it is composed of other operators instead. Source: PyTorch's torch.nn.functional page,
"Normalization functions"; Ioffe and Szegedy 2015, arXiv:1502.03167; Ba et al. 2016,
arXiv:1607.06450.
"""

from __future__ import annotations

from math import prod

import numpy as np

from suiren.autograd.mode import mode, no_grad
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.elementwise import assign
from suiren.ops.moments import (
    affine,
    composed_gradient,
    gradient_by_input,
    inverse_root,
    kind_of_moments,
    lowered_channels,
    lowered_gradient,
    lowered_moments,
    moments,
    per_channel,
    summed,
)
from suiren.trace import Meta, meta

# ---- batch normalization


def _stat_meta(input: Meta, weight=None) -> Meta:
    return meta((input.shape[1],), kind_of_moments(input.dtype), input.device)


@operator(where=(), name="native_batch_norm")
class _batch_norm:
    """(normalized input, mean, inverse standard deviation, variance) with statistics per channel.

    In training the statistics are the input's own, else ``mean`` and ``variance`` are used.
    """

    one_device = True
    tensors = 6
    results = 4
    widen = True

    def call(*arguments):
        return apply(_batch_norm.operator, arguments[:6], arguments[6:])

    def infer(input, weight, bias, mean, variance, eps, training):
        stat = _stat_meta(input)
        return input.flat, stat, stat, stat

    def evaluate(input, weight, bias, mean, variance, eps, training):
        axes = (0, *range(2, input.ndim))
        ndim = input.ndim
        if training:
            centred, mean, variance = moments(input, axes)
            inverse = inverse_root(variance, eps)
        else:
            mean, variance = (
                per_channel(x.astype(input.dtype, copy=False), ndim) for x in (mean, variance)
            )
            centred, inverse = input - mean, inverse_root(variance, eps)
        result = affine(centred * inverse, per_channel(weight, ndim), per_channel(bias, ndim))
        stats = [np.ascontiguousarray(x.reshape(-1)) for x in (mean, inverse, variance)]
        return result.astype(input.dtype, copy=False), *stats

    def decompose(g, input, weight, bias, mean, variance, eps, training):
        axes = (0, *range(2, input.ndim))
        ndim = input.ndim
        if training:
            centred, mean, variance = lowered_moments(input, axes)
        else:
            mean, variance = (
                lowered_channels(x.cast(input.dtype), ndim) for x in (mean, variance)
            )
            centred = input - mean
        inverse = 1 / (variance + eps).sqrt()
        result = affine(
            centred * inverse, lowered_channels(weight, ndim), lowered_channels(bias, ndim)
        )
        return result, *[x.reshape(input.shape[1]) for x in (mean, inverse, variance)]

    def backward(grad, input, weight, bias_meta, mean, variance, result1, result2, eps, training,
                 needs):  # fmt: skip
        if grad is None:
            return (None,) * 6
        if mode.grad:
            return _composed_batch_norm(grad, input, weight, mean, variance, eps, training)
        found = _batch_norm_gradient(grad, input, weight, result1, result2, bool(training))
        return (*[x if need else None for x, need in zip(found, needs[:3], strict=True)],
                None, None, None)  # fmt: skip


def _composed_batch_norm(grad, input, weight, mean, variance, eps, training):
    axes = (0, *range(2, input._meta.ndim))
    shape = (1, -1, *(1,) * (input._meta.ndim - 2))
    scaled = grad if weight is None else grad * weight.reshape(shape)
    if training:
        normal, by_input = composed_gradient(scaled, input, axes, eps)
    else:
        normal, by_input = composed_gradient(
            scaled, input, axes, eps, mean.reshape(shape), variance.reshape(shape)
        )
    return by_input, (grad * normal).sum(axes), grad.sum(axes), None, None, None


@operator(where=(), name="native_batch_norm_gradient", node_name="NativeBatchNormBackwardBackward0")
class _batch_norm_gradient:
    """Gradients of batch normalization by its input, weight and bias."""

    tensors = 5
    results = 3
    widen = True

    def call(grad, input, weight, mean, inverse, training):
        return apply(
            _batch_norm_gradient.operator, (grad, input, weight, mean, inverse), (training,)
        )

    def infer(grad, input, weight, mean, inverse, training):
        stat = _stat_meta(input)
        return input.flat, stat, stat

    def evaluate(grad, input, weight, mean, inverse, training):
        axes = (0, *range(2, input.ndim))
        mean, inverse = per_channel(mean, input.ndim), per_channel(inverse, input.ndim)
        normal = (input - mean) * inverse
        by_weight = summed(grad * normal, axes).reshape(-1).astype(mean.dtype)
        by_bias = summed(grad, axes).reshape(-1).astype(mean.dtype)
        if training:
            # the two sums that the input's gradient needs are those of weight and bias
            count = grad.dtype.type(prod([grad.shape[a] for a in axes]))
            along = per_channel(by_weight / count, input.ndim)
            level = per_channel(by_bias / count, input.ndim)
            grad = grad - level - normal * along
        scale = inverse if weight is None else inverse * per_channel(weight, input.ndim)
        return grad * scale, by_weight, by_bias

    def decompose(g, grad, input, weight, mean, inverse, training):
        axes = (0, *range(2, input.ndim))
        channels = input.shape[1]
        mean, inverse = (lowered_channels(x, input.ndim) for x in (mean, inverse))
        normal = (input - mean) * inverse
        by_weight, by_bias = (grad * normal).sum(axes, True), grad.sum(axes, True)
        if training:
            count = float(prod([input.shape[a] for a in axes]))
            grad = grad - by_bias / count - normal * (by_weight / count)
        scale = inverse if weight is None else inverse * lowered_channels(weight, input.ndim)
        return grad * scale, by_weight.reshape(channels), by_bias.reshape(channels)


@composite(where=("nn.functional",), out=False)
def batch_norm(
    input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1,
    eps=1e-5,
):  # fmt: skip
    """``(input - mean) / sqrt(variance + eps) * weight + bias`` with statistics of each channel.

    input: (batch, channels, ...); the other tensors (channels,) or None. In training the mean and
    the variance are the batch's own and move ``running_mean`` and ``running_var`` (in place) by
    ``momentum`` towards them, the variance with Bessel's correction; else the running ones are
    used. Raises ValueError for one value per channel in training and for an ``eps`` that is not
    positive (in evaluation: negative), RuntimeError for wrong sizes.
    Source: torch.nn.functional.batch_norm.
    """
    shape = input._meta.shape
    if training:
        values = shape[0] * prod(shape[2:]) if len(shape) > 1 else 0
        if values == 1:
            raise ValueError(
                "Expected more than 1 value per channel when training, got input size "
                f"{input.shape}"
            )
    if eps <= 0 and (training or eps < 0):
        rule = "positive during training" if training else "non-negative"
        raise ValueError(f"batch_norm eps must be {rule}, but got {eps}")
    return _run_batch_norm(
        input, weight, bias, running_mean, running_var, training, momentum, eps
    )[0]


def _run_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps):
    shape = input._meta.shape
    if len(shape) < 2:
        # what PyTorch makes of a single dimension: nothing to normalize, if it is empty
        if len(shape) == 1 and not input._meta.numel:
            return (input.clone(),) * 4
        raise RuntimeError(
            f"batch_norm: expected an input of (batch, channels, ...), got {list(shape)}"
        )
    names = ("running_mean", "running_var", "weight", "bias")
    for name, x in zip(names, (running_mean, running_var, weight, bias), strict=True):
        if x is not None and x._meta.numel != shape[1]:
            raise RuntimeError(
                f"{name} should contain {shape[1]} elements not {x._meta.numel}: batch_norm got "
                f"an input of size {list(shape)}"
            )
        if x is not None and x._meta.dtype is not input._meta.dtype:
            if not input._meta.dtype.is_half:
                raise RuntimeError(
                    f"batch_norm: expected {name} to have type {input._meta.dtype} but got "
                    f"{x._meta.dtype}"
                )
    if not training and (running_mean is None or running_var is None):
        if running_mean is None:
            raise RuntimeError("running_mean must be defined in evaluation mode")
        raise RuntimeError("running_var must be defined in evaluation mode")
    training = bool(training)
    # in training the running statistics are no input: they take part in nothing differentiable
    stats = (None, None) if training else (running_mean, running_var)
    found = apply(
        _batch_norm.operator, (input, weight, bias, *stats, float(eps)), (training,)
    )
    if training and (running_mean is not None or running_var is not None) and input._meta.numel:
        with no_grad():
            count = input._meta.numel // shape[1]
            _move(running_mean, found[1], momentum)
            correction = count / max(count - 1, 1)
            _move(running_var, found[3] * correction if correction != 1 else found[3], momentum)
    return found


def _move(running, new, momentum: float) -> None:
    if running is not None:
        moved = running * (1 - momentum) + new.to(running._meta.dtype) * momentum
        assign(running, moved, "batch_norm")


@composite(where=("torch",), name="batch_norm", out=False)
def torch_batch_norm(
    input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled=False
):
    """:func:`torch.nn.functional.batch_norm` with its arguments in another order."""
    return _run_batch_norm(
        input, weight, bias, running_mean, running_var, training, momentum, eps
    )[0]


@composite(where=("torch",), out=False)
def native_batch_norm(
    input, weight, bias, running_mean, running_var, training, momentum, eps
):
    """batch_norm's result with the mean and the inverse standard deviation it used.

    Outside training the latter two are empty. Source: torch.native_batch_norm.
    """
    result, mean, inverse, _ = _run_batch_norm(
        input, weight, bias, running_mean, running_var, training, momentum, eps
    )
    if not training:
        return result, mean.detach()[:0], inverse.detach()[:0]
    return result, mean.detach(), inverse.detach()


# ---- layer normalization


@operator(where=(), name="native_layer_norm")
class _layer_norm:
    """(normalized input, mean, inverse standard deviation) over the last ``count`` dimensions."""

    one_device = True
    tensors = 4
    results = 3
    widen = True

    def call(*arguments):
        return apply(_layer_norm.operator, arguments[:4], arguments[4:])

    def infer(input, weight, bias, eps, count):
        lead = input.ndim - count
        shape = (*input.shape[:lead], *(1,) * count)
        stat = meta(shape, kind_of_moments(input.dtype), input.device)
        return input.flat, stat, stat

    def evaluate(input, weight, bias, eps, count):
        axes = tuple(range(input.ndim - count, input.ndim))
        centred, mean, variance = moments(input, axes)
        inverse = inverse_root(variance, eps)
        return affine(centred * inverse, weight, bias), mean, inverse

    def decompose(g, input, weight, bias, eps, count):
        axes = tuple(range(input.ndim - count, input.ndim))
        centred, mean, variance = lowered_moments(input, axes)
        inverse = 1 / (variance + eps).sqrt()
        return affine(centred * inverse, weight, bias), mean, inverse

    def backward(grad, input, weight, bias_meta, result1, result2, eps, count, needs):
        if grad is None:
            return (None,) * 4
        lead = tuple(range(input._meta.ndim - count))
        axes = tuple(range(len(lead), input._meta.ndim))
        if mode.grad:
            scaled = grad if weight is None else grad * weight
            normal, by_input = composed_gradient(scaled, input, axes, eps)
            by_weight = grad * normal
            if lead:
                by_weight, grad = by_weight.sum(lead), grad.sum(lead)
            return by_input, by_weight, grad, None
        found = _layer_norm_gradient(grad, input, weight, result1, result2, count)
        return (*[x if need else None for x, need in zip(found, needs[:3], strict=True)], None)


@operator(where=(), name="native_layer_norm_gradient", node_name="NativeLayerNormBackwardBackward0")
class _layer_norm_gradient:
    """Gradients of layer normalization by its input, weight and bias."""

    tensors = 5
    results = 3
    widen = True

    def call(grad, input, weight, mean, inverse, count):
        return apply(
            _layer_norm_gradient.operator, (grad, input, weight, mean, inverse), (count,)
        )

    def infer(grad, input, weight, mean, inverse, count):
        part = meta(input.shape[input.ndim - count :], input.dtype, input.device)
        return input.flat, part, part

    def evaluate(grad, input, weight, mean, inverse, count):
        axes = tuple(range(input.ndim - count, input.ndim))
        lead = tuple(range(input.ndim - count))
        normal = (input - mean) * inverse
        part = input.shape[input.ndim - count :]
        by_weight = summed(grad * normal, lead).astype(grad.dtype).reshape(part)
        by_bias = summed(grad, lead).astype(grad.dtype).reshape(part)
        scaled = grad if weight is None else grad * weight
        return gradient_by_input(scaled, normal, inverse, axes), by_weight, by_bias

    def decompose(g, grad, input, weight, mean, inverse, count):
        lead = tuple(range(input.ndim - count))
        normal = (input - mean) * inverse
        scaled = grad if weight is None else grad * weight
        by_input = lowered_gradient(scaled, normal, inverse, range(len(lead), input.ndim))
        return by_input, (grad * normal).sum(lead), grad.sum(lead)


def _check_normalized(input, normalized_shape, weight, bias, name: str) -> tuple[int, ...]:
    shape = tuple([int(n) for n in normalized_shape])
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least "
            f"one element, but got normalized_shape = [] ({name})"
        )
    for what, x in (("weight", weight), ("bias", bias)):
        if x is not None and tuple(x._meta.shape) != shape:
            raise RuntimeError(
                f"Expected {what} to be of same shape as normalized_shape, but got {what} of "
                f"shape {list(x._meta.shape)} and normalized_shape = {list(shape)} ({name})"
            )
    sizes = tuple(input._meta.shape)
    if sizes[len(sizes) - len(shape) :] != shape or len(sizes) < len(shape):
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape "
            f"[*, {', '.join(map(str, shape))}], but got input of size{list(sizes)} ({name})"
        )
    return shape


@composite(where=("torch",), out=False)
def native_layer_norm(input, normalized_shape, weight, bias, eps):
    """layer_norm's result, mean and inverse standard deviation, the latter two without history.

    Source: torch.native_layer_norm.
    """
    result, mean, inverse = _run_layer_norm(input, normalized_shape, weight, bias, eps)
    return result, mean.detach(), inverse.detach()


def _run_layer_norm(input, normalized_shape, weight, bias, eps):
    shape = _check_normalized(input, normalized_shape, weight, bias, "layer_norm")
    if not input._meta.dtype.is_floating_point:
        raise NotImplementedError(f"layer_norm is not implemented for {input._meta.dtype}")
    return apply(_layer_norm.operator, (input, weight, bias, float(eps)), (len(shape),))


@composite(where=("nn.functional",), out=False)
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """``(input - mean) / sqrt(variance + eps) * weight + bias`` over the last dimensions.

    input: (..., *normalized_shape); weight, bias: normalized_shape, or None. Raises RuntimeError
    where shapes do not fit. Source: torch.nn.functional.layer_norm.
    """
    return _run_layer_norm(input, normalized_shape, weight, bias, eps)[0]


@composite(where=("torch",), name="layer_norm", out=False)
def torch_layer_norm(
    input, normalized_shape, weight=None, bias=None, eps=1e-5, cudnn_enable=True
):
    """:func:`torch.nn.functional.layer_norm`."""
    return _run_layer_norm(input, normalized_shape, weight, bias, eps)[0]
