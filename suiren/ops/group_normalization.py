"""Group normalization, one operator with one for its gradient; see ``normalization.py``.

Source: PyTorch's torch.nn.functional page, "Normalization functions"; Wu and He 2018,
arXiv:1803.08494.
"""

from __future__ import annotations

from math import prod

from suiren.autograd.mode import mode
from suiren.dispatch import apply
from suiren.operator import composite, operator
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
from suiren.trace import meta


def _split_shape(shape, groups: int) -> tuple[int, int, int]:
    return shape[0], groups, prod(shape[1:]) // groups


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
        stat = meta((input.shape[0], groups), kind_of_moments(input.dtype), input.device)
        return input.flat, stat, stat

    def evaluate(input, weight, bias, eps, groups):
        split = input.reshape(_split_shape(input.shape, groups))
        centred, mean, variance = moments(split, (2,))
        inverse = inverse_root(variance, eps)
        ndim = input.ndim
        result = affine(
            (centred * inverse).reshape(input.shape),
            per_channel(weight, ndim),
            per_channel(bias, ndim),
        )
        return result, mean[..., 0], inverse[..., 0]

    def decompose(g, input, weight, bias, eps, groups):
        split = input.reshape(*_split_shape(input.shape, groups))
        centred, mean, variance = lowered_moments(split, (2,))
        inverse = 1 / (variance + eps).sqrt()
        result = affine(
            (centred * inverse).reshape(*input.shape),
            lowered_channels(weight, input.ndim),
            lowered_channels(bias, input.ndim),
        )
        return result, mean.reshape(*mean.shape[:2]), inverse.reshape(*inverse.shape[:2])

    def backward(grads, input, weight, bias_meta, result1, result2, eps, groups, needs):
        grad = grads[0]
        through = _through_group_moments(grads[1], grads[2], input, result1, result2, groups)
        if grad is None:
            return through, None, None, None
        if mode.grad:
            found = _composed_group_norm(grad, input, weight, eps, groups)
        else:
            found = _group_norm_gradient(grad, input, weight, result1, result2, groups)
        by_input, by_weight, by_bias = (
            x if need else None for x, need in zip(found, needs[:3], strict=True)
        )
        if through is not None and by_input is not None:
            by_input = by_input + through
        return by_input, by_weight, by_bias, None


def _composed_group_norm(grad, input, weight, eps, groups):
    shape = tuple(input._meta.shape)
    channel = (1, -1, *(1,) * (len(shape) - 2))
    split = _split_shape(shape, groups)
    scaled = grad if weight is None else grad * weight.reshape(channel)
    normal, by_input = composed_gradient(scaled.reshape(split), input.reshape(split), (2,), eps)
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
        split = _split_shape(shape, groups)
        inverse = inverse[..., None]
        normal = (input.reshape(split) - mean[..., None]) * inverse
        rest = (0, *range(2, input.ndim))
        by_weight = summed(grad * normal.reshape(shape), rest).reshape(-1).astype(grad.dtype)
        by_bias = summed(grad, rest).reshape(-1).astype(grad.dtype)
        scaled = grad if weight is None else grad * per_channel(weight, input.ndim)
        by_input = gradient_by_input(scaled.reshape(split), normal, inverse, (2,))
        return by_input.reshape(shape), by_weight, by_bias

    def decompose(g, grad, input, weight, mean, inverse, groups):
        shape = input.shape
        split = _split_shape(shape, groups)
        inverse = inverse.unsqueeze(2)
        normal = (input.reshape(*split) - mean.unsqueeze(2)) * inverse
        rest = (0, *range(2, input.ndim))
        by_weight = (grad * normal.reshape(*shape)).sum(rest)
        scaled = grad if weight is None else grad * lowered_channels(weight, input.ndim)
        by_input = lowered_gradient(scaled.reshape(*split), normal, inverse, (2,))
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
