"""Batch, layer and group normalization, each one operator with one for its gradient.

All three subtract a mean and divide by a standard deviation over some dimensions, then scale and
shift. Both moments are found in two passes (the variance from differences to the mean), partial
sums are added in float64. When a gradient is itself to be differentiated, it is composed of other
operators instead. Source: PyTorch's torch.nn.functional page, "Normalization functions"; Ioffe and
Szegedy 2015, arXiv:1502.03167; Ba et al. 2016, arXiv:1607.06450; Wu and He 2018, arXiv:1803.08494.
"""

from __future__ import annotations

from math import prod

import numpy as np

from suiren import dtypes
from suiren.autograd.mode import mode, no_grad
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.elementwise import assign
from suiren.trace import Meta, meta

# ---- arrays


def _sum(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Sums over axes, kept as ones: pairwise within the last axes, then in float64."""
    count = 0
    while count < len(axes) and axes[len(axes) - 1 - count] == x.ndim - 1 - count:
        count += 1
    inner = tuple(range(x.ndim - count, x.ndim))
    if inner:
        x = np.add.reduce(x, axis=inner, keepdims=True)
    outer = tuple([a for a in axes if a not in inner])
    return np.add.reduce(x, axis=outer, keepdims=True, dtype=np.float64) if outer else x


def _moments(x: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Differences to the mean, the mean and the variance (not corrected), both in x's dtype."""
    count = prod([x.shape[a] for a in axes])
    with np.errstate(all="ignore"):
        mean = (_sum(x, axes) / np.float64(count)).astype(x.dtype)
        centred = x - mean
        variance = (_sum(centred * centred, axes) / np.float64(count)).astype(x.dtype)
    return centred, mean, variance


def _inverse_root(variance: np.ndarray, eps: float) -> np.ndarray:
    kind = variance.dtype.type
    return kind(1) / np.sqrt(variance + kind(eps))


def _affine(x: np.ndarray, weight, bias) -> np.ndarray:
    if weight is not None:
        x = x * weight
    if bias is not None:
        x = x + bias
    return x


def _gradient_by_input(grad, normal, inverse, axes) -> np.ndarray:
    """Through the normalization; grad is the gradient of its result, before scale and shift."""
    count = grad.dtype.type(prod([grad.shape[a] for a in axes]))
    mean = (_sum(grad, axes) / count).astype(grad.dtype)
    along = (_sum(grad * normal, axes) / count).astype(grad.dtype)
    return (grad - mean - normal * along) * inverse


def _lowered_moments(x, axes):
    """As :func:`_moments`, for nodes of a graph."""
    count = float(prod([x.shape[a] for a in axes]))
    mean = x.sum(axes, True) / count
    centred = x - mean
    return centred, mean, (centred * centred).sum(axes, True) / count


def _lowered_gradient(grad, normal, inverse, axes):
    """As :func:`_gradient_by_input`, for nodes of a graph."""
    count = float(prod([grad.shape[a] for a in axes]))
    mean, along = grad.sum(axes, True) / count, (grad * normal).sum(axes, True) / count
    return (grad - mean - normal * along) * inverse


def _lowered_channels(x, ndim: int):
    return None if x is None else x.reshape(x.numel, *(1,) * (ndim - 2))


def _split_shape(shape, groups: int) -> tuple[int, int, int]:
    return shape[0], groups, prod(shape[1:]) // groups


def _composed_gradient(grad, input, axes, eps, mean=None, variance=None):
    """The same with operators, to be differentiated again."""
    count = prod([input._meta.shape[a] for a in axes])
    if mean is None:
        mean = input.sum(axes, True) / count
        centred = input - mean
        variance = (centred * centred).sum(axes, True) / count
        inverse = (variance + eps).rsqrt()
        normal = centred * inverse
        return normal, (
            grad - grad.sum(axes, True) / count - normal * ((grad * normal).sum(axes, True) / count)
        ) * inverse
    inverse = (variance + eps).rsqrt()
    return (input - mean) * inverse, grad * inverse


# ---- batch normalization


def _per_channel(x: np.ndarray | None, ndim: int):
    return None if x is None else x.reshape(-1, *(1,) * (ndim - 2))


def _stat_meta(input: Meta, weight=None) -> Meta:
    # statistics of half types are float32, as PyTorch keeps them
    return meta((input.shape[1],), _wide(input.dtype), input.device)


def _wide(kind):
    return dtypes.float32 if kind.is_half else kind


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
            centred, mean, variance = _moments(input, axes)
            inverse = _inverse_root(variance, eps)
        else:
            mean, variance = (
                _per_channel(x.astype(input.dtype, copy=False), ndim) for x in (mean, variance)
            )
            centred, inverse = input - mean, _inverse_root(variance, eps)
        result = _affine(centred * inverse, _per_channel(weight, ndim), _per_channel(bias, ndim))
        stats = [np.ascontiguousarray(x.reshape(-1)) for x in (mean, inverse, variance)]
        return result.astype(input.dtype, copy=False), *stats

    def decompose(g, input, weight, bias, mean, variance, eps, training):
        axes = (0, *range(2, input.ndim))
        ndim = input.ndim
        if training:
            centred, mean, variance = _lowered_moments(input, axes)
        else:
            mean, variance = (
                _lowered_channels(x.cast(input.dtype), ndim) for x in (mean, variance)
            )
            centred = input - mean
        inverse = 1 / (variance + eps).sqrt()
        result = _affine(
            centred * inverse, _lowered_channels(weight, ndim), _lowered_channels(bias, ndim)
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
        normal, by_input = _composed_gradient(scaled, input, axes, eps)
    else:
        normal, by_input = _composed_gradient(
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
        mean, inverse = _per_channel(mean, input.ndim), _per_channel(inverse, input.ndim)
        normal = (input - mean) * inverse
        by_weight = _sum(grad * normal, axes).reshape(-1).astype(mean.dtype)
        by_bias = _sum(grad, axes).reshape(-1).astype(mean.dtype)
        if training:
            # the two sums that the input's gradient needs are those of weight and bias
            count = grad.dtype.type(prod([grad.shape[a] for a in axes]))
            along = _per_channel(by_weight / count, input.ndim)
            level = _per_channel(by_bias / count, input.ndim)
            grad = grad - level - normal * along
        scale = inverse if weight is None else inverse * _per_channel(weight, input.ndim)
        return grad * scale, by_weight, by_bias

    def decompose(g, grad, input, weight, mean, inverse, training):
        axes = (0, *range(2, input.ndim))
        channels = input.shape[1]
        mean, inverse = (_lowered_channels(x, input.ndim) for x in (mean, inverse))
        normal = (input - mean) * inverse
        by_weight, by_bias = (grad * normal).sum(axes, True), grad.sum(axes, True)
        if training:
            count = float(prod([input.shape[a] for a in axes]))
            grad = grad - by_bias / count - normal * (by_weight / count)
        scale = inverse if weight is None else inverse * _lowered_channels(weight, input.ndim)
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
        stat = meta((*input.shape[:lead], *(1,) * count), _wide(input.dtype), input.device)
        return input.flat, stat, stat

    def evaluate(input, weight, bias, eps, count):
        axes = tuple(range(input.ndim - count, input.ndim))
        centred, mean, variance = _moments(input, axes)
        inverse = _inverse_root(variance, eps)
        return _affine(centred * inverse, weight, bias), mean, inverse

    def decompose(g, input, weight, bias, eps, count):
        axes = tuple(range(input.ndim - count, input.ndim))
        centred, mean, variance = _lowered_moments(input, axes)
        inverse = 1 / (variance + eps).sqrt()
        return _affine(centred * inverse, weight, bias), mean, inverse

    def backward(grad, input, weight, bias_meta, result1, result2, eps, count, needs):
        if grad is None:
            return (None,) * 4
        lead = tuple(range(input._meta.ndim - count))
        axes = tuple(range(len(lead), input._meta.ndim))
        if mode.grad:
            scaled = grad if weight is None else grad * weight
            normal, by_input = _composed_gradient(scaled, input, axes, eps)
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
        by_weight = _sum(grad * normal, lead).astype(grad.dtype).reshape(part)
        by_bias = _sum(grad, lead).astype(grad.dtype).reshape(part)
        scaled = grad if weight is None else grad * weight
        return _gradient_by_input(scaled, normal, inverse, axes), by_weight, by_bias

    def decompose(g, grad, input, weight, mean, inverse, count):
        lead = tuple(range(input.ndim - count))
        normal = (input - mean) * inverse
        scaled = grad if weight is None else grad * weight
        by_input = _lowered_gradient(scaled, normal, inverse, range(len(lead), input.ndim))
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


# ---- group normalization


@operator(where=(), name="native_group_norm")
class _group_norm:
    """(normalized input, mean, inverse standard deviation) over groups of channels."""

    one_device = True
    tensors = 4
    results = 3
    widen = True

    def call(*arguments):
        return apply(_group_norm.operator, arguments[:4], arguments[4:])

    def infer(input, weight, bias, eps, groups):
        stat = meta((input.shape[0], groups), _wide(input.dtype), input.device)
        return input.flat, stat, stat

    def evaluate(input, weight, bias, eps, groups):
        split = input.reshape(len(input), groups, prod(input.shape[1:]) // groups)
        centred, mean, variance = _moments(split, (2,))
        inverse = _inverse_root(variance, eps)
        ndim = input.ndim
        result = _affine(
            (centred * inverse).reshape(input.shape),
            _per_channel(weight, ndim),
            _per_channel(bias, ndim),
        )
        return result, mean[..., 0], inverse[..., 0]

    def decompose(g, input, weight, bias, eps, groups):
        split = input.reshape(*_split_shape(input.shape, groups))
        centred, mean, variance = _lowered_moments(split, (2,))
        inverse = 1 / (variance + eps).sqrt()
        result = _affine(
            (centred * inverse).reshape(*input.shape),
            _lowered_channels(weight, input.ndim),
            _lowered_channels(bias, input.ndim),
        )
        return result, mean.reshape(*mean.shape[:2]), inverse.reshape(*inverse.shape[:2])

    def backward(grads, input, weight, bias_meta, result1, result2, eps, groups, needs):
        grad = grads[0]
        moments = _through_group_moments(grads[1], grads[2], input, result1, result2, groups)
        if grad is None:
            return moments, None, None, None
        if mode.grad:
            found = _composed_group_norm(grad, input, weight, eps, groups)
        else:
            found = _group_norm_gradient(grad, input, weight, result1, result2, groups)
        by_input, by_weight, by_bias = (
            x if need else None for x, need in zip(found, needs[:3], strict=True)
        )
        if moments is not None and by_input is not None:
            by_input = by_input + moments
        return by_input, by_weight, by_bias, None


def _composed_group_norm(grad, input, weight, eps, groups):
    shape = tuple(input._meta.shape)
    channel = (1, -1, *(1,) * (len(shape) - 2))
    split = (shape[0], groups, prod(shape[1:]) // groups)
    scaled = grad if weight is None else grad * weight.reshape(channel)
    normal, by_input = _composed_gradient(scaled.reshape(split), input.reshape(split), (2,), eps)
    rest = (0, *range(2, len(shape)))
    by_weight = (grad * normal.reshape(shape)).sum(rest)
    return by_input.reshape(shape), by_weight, grad.sum(rest)


def _through_group_moments(by_mean, by_inverse, input, mean, inverse, groups):
    """What gradients of the mean and of the inverse deviation add to the input's; None: nothing.

    The mean moves by 1 / count with each element, the inverse deviation r by -r**3 times the
    element's difference to the mean / count.
    """
    if by_mean is None and by_inverse is None:
        return None
    shape = tuple(input._meta.shape)
    count = prod(shape[1:]) // groups
    split = input.reshape((shape[0], groups, count))
    found = by_mean.unsqueeze(-1).expand(split._meta.shape) if by_mean is not None else 0
    if by_inverse is not None:
        slope = (by_inverse * inverse**3).unsqueeze(-1)
        found = found - slope * (split - mean.unsqueeze(-1))
    return (found / count).reshape(shape)


@operator(where=(), name="native_group_norm_gradient", node_name="NativeGroupNormBackwardBackward0")
class _group_norm_gradient:
    """Gradients of group normalization by its input, weight and bias."""

    tensors = 5
    results = 3
    widen = True

    def call(grad, input, weight, mean, inverse, groups):
        return apply(
            _group_norm_gradient.operator, (grad, input, weight, mean, inverse), (groups,)
        )

    def infer(grad, input, weight, mean, inverse, groups):
        channel = meta((input.shape[1],), input.dtype, input.device)
        return input.flat, channel, channel

    def evaluate(grad, input, weight, mean, inverse, groups):
        shape = input.shape
        split = (len(input), groups, prod(shape[1:]) // groups)
        inverse = inverse[..., None]
        normal = (input.reshape(split) - mean[..., None]) * inverse
        rest = (0, *range(2, input.ndim))
        by_weight = _sum(grad * normal.reshape(shape), rest).reshape(-1).astype(grad.dtype)
        by_bias = _sum(grad, rest).reshape(-1).astype(grad.dtype)
        scaled = grad if weight is None else grad * _per_channel(weight, input.ndim)
        by_input = _gradient_by_input(scaled.reshape(split), normal, inverse, (2,))
        return by_input.reshape(shape), by_weight, by_bias

    def decompose(g, grad, input, weight, mean, inverse, groups):
        shape = input.shape
        split = _split_shape(shape, groups)
        inverse = inverse.unsqueeze(2)
        normal = (input.reshape(*split) - mean.unsqueeze(2)) * inverse
        rest = (0, *range(2, input.ndim))
        by_weight = (grad * normal.reshape(*shape)).sum(rest)
        scaled = grad if weight is None else grad * _lowered_channels(weight, input.ndim)
        by_input = _lowered_gradient(scaled.reshape(*split), normal, inverse, (2,))
        return by_input.reshape(*shape), by_weight, grad.sum(rest)


def _run_group_norm(input, groups, weight, bias, eps):
    shape = input._meta.shape
    if len(shape) < 2:
        raise RuntimeError(
            f"Expected at least 2 dimensions for input tensor but received {len(shape)}"
        )
    if groups <= 0:
        raise RuntimeError(f"num groups must be greater than 0, got {groups}")
    if shape[1] % groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input "
            f"of shape {list(shape)} and num_groups={groups}"
        )
    for name, x in (("weight", weight), ("bias", bias)):
        if x is not None and tuple(x._meta.shape) != (shape[1],):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in "
                f"input, but got {name} of shape {list(x._meta.shape)} and input of shape "
                f"{list(shape)}"
            )
    if not input._meta.dtype.is_floating_point:
        raise NotImplementedError(f"group_norm is not implemented for {input._meta.dtype}")
    return apply(_group_norm.operator, (input, weight, bias, float(eps)), (groups,))


@composite(where=("nn.functional",), out=False)
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """``(input - mean) / sqrt(variance + eps) * weight + bias`` over groups of channels.

    input: (batch, channels, ...), channels divisible by num_groups; weight, bias: (channels,) or
    None. Raises ValueError for one value per group. Source: torch.nn.functional.group_norm.
    """
    shape = input._meta.shape
    if len(shape) < 2:
        raise RuntimeError(
            f"Expected at least 2 dimensions for input tensor but received {len(shape)}"
        )
    if groups_hold_one_value(shape, num_groups):
        raise ValueError(
            "Expected more than 1 value per channel when training, got input size "
            f"{[shape[0] * shape[1] // num_groups, num_groups, *shape[2:]]}"
        )
    return _run_group_norm(input, num_groups, weight, bias, eps)[0]


def groups_hold_one_value(shape, groups: int) -> bool:
    """Whether nothing would be left to normalize."""
    return bool(groups) and shape[0] * (shape[1] // groups) * prod(shape[2:]) == 1


@composite(where=("torch",), name="group_norm", out=False)
def torch_group_norm(
    input, num_groups, weight=None, bias=None, eps=1e-5, cudnn_enabled=True
):
    """:func:`torch.nn.functional.group_norm`."""
    return _run_group_norm(input, num_groups, weight, bias, eps)[0]


@composite(where=("torch",), out=False)
def native_group_norm(input, weight, bias, N, C, HxW, group, eps):
    """group_norm's result, mean and inverse standard deviation. Source: torch.native_group_norm."""
    return _run_group_norm(input, group, weight, bias, eps)
