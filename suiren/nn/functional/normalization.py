"""Normalizations that are compositions. Source: PyTorch, "torch.nn.functional"."""

from __future__ import annotations

import math
from collections.abc import Sequence

import suiren
from suiren.nn.functional import _from_ops as ops
from suiren.tensor import Tensor


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel of each sample over its own spatial axes.

    input: (batch, channels, d1, ..., dk). running_mean, running_var, weight, bias: (channels).
    use_input_stats: normalize by the input's statistics (and update the running ones), else by
    the running ones. Source: Ulyanov et al. 2016, arXiv:1607.08022.
    """
    if not use_input_stats and (running_mean is None or running_var is None):
        raise RuntimeError(
            "Expected running_mean and running_var to be defined when use_input_stats is false")
    if use_input_stats and input.dim() > 2 and math.prod(input.shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {input.shape}")
    batch, channels = input.shape[:2]

    def per_sample(vector: Tensor | None) -> Tensor | None:
        return None if vector is None else vector.repeat(batch)  # batch * channels

    mean, variance = per_sample(running_mean), per_sample(running_var)
    # Each sample's channels become channels of a single sample.
    joined = input.reshape(1, batch * channels, *input.shape[2:])
    result = ops.batch_norm(
        joined, mean, variance, per_sample(weight), per_sample(bias),
        training=use_input_stats, momentum=momentum, eps=eps)
    if use_input_stats:
        with suiren.no_grad():
            if running_mean is not None and mean is not None:
                running_mean.copy_(mean.view(batch, channels).mean(0))
            if running_var is not None and variance is not None:
                running_var.copy_(variance.view(batch, channels).mean(0))
    return result.view(input.shape)


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """input / sqrt(mean(input ** 2) + eps) over the last axes, times weight.

    input: (..., *normalized_shape); weight: normalized_shape; eps defaults to the machine
    epsilon of the dtype. Half types are computed in float32.
    Source: Zhang and Sennrich 2019, arXiv:1910.07467; PyTorch, F.rms_norm.
    """
    shape = list(normalized_shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least "
            f"one element, but got normalized_shape = {shape}")
    if weight is not None and list(weight.shape) != shape:
        raise RuntimeError(
            "Expected weight to be of same shape as normalized_shape, but got weight of shape "
            f"{list(weight.shape)} and normalized_shape = {shape}")
    if list(input.shape[-len(shape):]) != shape:
        sizes = ", ".join(["*", *map(str, shape)]).replace("*, ", "*", 1)
        raise RuntimeError(
            f"Given normalized_shape={shape}, expected input with shape [{sizes}], but got input "
            f"of size{list(input.shape)}")
    half = input.dtype in (suiren.float16, suiren.bfloat16)
    wide = input.float() if half else input
    if eps is None:
        eps = suiren.finfo(wide.dtype).eps
    axes = tuple(range(-len(shape), 0))
    mean_square = (wide * wide).mean(axes, keepdim=True)  # ..., 1, ..., 1
    result = wide * (mean_square + eps).rsqrt()
    if weight is not None:
        result = result * weight
    return result.to(input.dtype) if half else result


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """input / (k + alpha * mean of squares over `size` neighbouring channels) ** beta.

    input: (batch, channels, d1, ..., dk), k at least 1.
    Source: Krizhevsky et al. 2012; PyTorch, F.local_response_norm.
    """
    if input.dim() < 3:
        raise ValueError(
            "local_response_norm: expected 3D or higher dimensionality input "
            f"(got {input.dim()} dimensions)")
    if input.numel() == 0:
        return input
    before, after = size // 2, (size - 1) // 2
    batch, channels = input.shape[:2]
    # Channels become the axis of a window; the places after them one long axis.
    squares = (input * input).reshape(batch, 1, channels, -1)
    padded = ops.pad(squares, (0, 0, before, after))  # batch, 1, channels + size - 1, places
    mean = ops.avg_pool2d(padded, (size, 1), stride=1)  # batch, 1, channels, places
    return input / (mean.reshape(input.shape) * alpha + k).pow(beta)
