"""Pooling that is a composition: power-average, unpooling, fractional max pooling.

Max, average and adaptive pooling are operators of `suiren/ops/pooling.py`.
Source: PyTorch, "Pooling functions".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import suiren
from suiren.autocasting import in_float32
from suiren.nn._sizes import _ntuple
from suiren.nn.functional import _from_ops as ops
from suiren.tensor import Tensor


def _lp_pool(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool, axes: int
) -> Tensor:
    """(sum over the window of x ** p) ** (1 / p), by way of the mean."""
    average = {1: "avg_pool1d", 2: "avg_pool2d", 3: "avg_pool3d"}[axes]
    mean = getattr(ops, average)(
        input.pow(norm_type), kernel_size, kernel_size if stride is None else stride, 0, ceil_mode)
    window = math.prod(_ntuple(axes, "kernel_size")(kernel_size))
    # With odd p the sum may be negative: PyTorch's rule is to take the root of its positive part.
    return (mean.sign() * ops.relu(mean.abs()) * window).pow(1.0 / norm_type)


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: int, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """Power-average pooling of (batch, channels, length) or (channels, length)."""
    return _lp_pool(input, norm_type, kernel_size, stride, ceil_mode, 1)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """Power-average pooling of (batch, channels, height, width) or without the batch."""
    return _lp_pool(input, norm_type, kernel_size, stride, ceil_mode, 2)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """Power-average pooling of (batch, channels, depth, height, width) or without the batch."""
    return _lp_pool(input, norm_type, kernel_size, stride, ceil_mode, 3)


# ---- unpooling


def _unpooled_size(
    spatial: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    wanted: Sequence[int] | None,
) -> list[int]:
    """The spatial size of the result: the smallest that fits, or `wanted` if it could be."""
    default = [
        (size - 1) * step + width - 2 * pad
        for size, step, width, pad in zip(spatial, stride, kernel, padding, strict=True)]
    if wanted is None:
        return default
    if len(wanted) == len(kernel) + 2:
        wanted = wanted[2:]
    if len(wanted) != len(kernel):
        raise ValueError(
            f"output_size should be a sequence containing {len(kernel)} or {len(kernel) + 2} "
            f"elements, but it has a length of '{len(wanted)}'")
    for axis, (size, least, step) in enumerate(zip(wanted, default, stride, strict=True)):
        if not least - step < size < least + step:
            raise ValueError(
                f'invalid output_size "{wanted}" '
                f"(dim {axis} must be between {least - step} and {least + step})")
    return list(wanted)


def _max_unpool(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any, padding: Any,
    output_size: Any, axes: int,
) -> Tensor:
    spread = _ntuple(axes, "sizes")
    kernel = spread(kernel_size)
    step = kernel if stride is None else spread(stride)
    if indices.dtype != suiren.int64:
        raise RuntimeError(
            f"max_unpool{axes}d: indices should be of dtype int64, but they are {indices.dtype}; "
            "use those that max_pool returned")
    if input.dim() not in (axes + 1, axes + 2):
        raise RuntimeError(
            f"Input to max_unpooling{axes}d should be a {axes + 1}d or {axes + 2}d Tensor, "
            f"but got tensor with shape: {list(input.shape)}")
    if tuple(indices.shape) != tuple(input.shape):
        raise RuntimeError(
            "Expected shape of indices to be same as that of the input tensor "
            f"({list(input.shape)}) but got indices tensor with shape: {list(indices.shape)}")
    leading, spatial = input.shape[:-axes], input.shape[-axes:]
    size = _unpooled_size(spatial, kernel, step, spread(padding), output_size)
    places = math.prod(size)
    looked_at = indices.numel() and not indices.is_meta
    if looked_at and bool(((indices < 0) | (indices >= places)).any()):
        bad = int(indices.max())
        raise RuntimeError(
            f"Found an invalid max index: {bad} "
            f"(output volumes are of size {'x'.join(map(str, size))})")
    values = input.reshape(*leading, math.prod(spatial))
    flat = suiren.zeros(
        (*leading, places), dtype=input.dtype, device=input.device)
    flat = flat.scatter(-1, indices.reshape(values.shape), values)
    return flat.view(*leading, *size)


@in_float32
def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Put pooled values back at the indices that max_pool1d returned; zeros elsewhere."""
    return _max_unpool(input, indices, kernel_size, stride, padding, output_size, 1)


@in_float32
def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Put pooled values back at the indices that max_pool2d returned; zeros elsewhere.

    input, indices: (batch, channels, h, w) or (channels, h, w); output_size: needed when several
    input sizes pool to the same.
    """
    return _max_unpool(input, indices, kernel_size, stride, padding, output_size, 2)


@in_float32
def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Put pooled values back at the indices that max_pool3d returned; zeros elsewhere."""
    return _max_unpool(input, indices, kernel_size, stride, padding, output_size, 3)


# ---- fractional max pooling


def _window_starts(samples: Tensor, size: int, out: int, width: int) -> Tensor:
    """Where the pooling windows begin along one axis: (batch, channels, out), int64.

    The sequence is pseudo-random with step alpha, shifted by the sample (Graham 2014,
    arXiv:1412.6071); the last window touches the end.
    """
    if out == 1:
        return suiren.full(
            (*samples.shape, 1), size - width, dtype=suiren.int64, device=samples.device)
    alpha = (size - width) / (out - 1)
    order = suiren.arange(out - 1, dtype=samples.dtype, device=samples.device)
    shift = samples.unsqueeze(-1)  # batch, channels, 1
    starts = ((order + shift) * alpha).long() - (shift * alpha).long()
    last = suiren.full(
        (*samples.shape, 1), size - width, dtype=suiren.int64, device=samples.device)
    return suiren.cat([starts, last], -1)


def _fractional_max_pool(
    input: Tensor, kernel_size: Any, output_size: Any, output_ratio: Any,
    _random_samples: Tensor | None, axes: int,
) -> tuple[Tensor, Tensor]:
    spread = _ntuple(axes, "sizes")
    name = f"fractional_max_pool{axes}d"
    kernel = spread(kernel_size)
    if input.dim() not in (axes + 1, axes + 2):
        raise RuntimeError(
            f"{name}: Expected {axes + 1}D or {axes + 2}D tensor, but got: {list(input.shape)}")
    spatial = input.shape[-axes:]
    if output_size is None:
        if output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
        ratios = spread(output_ratio)
        output_size = [int(size * ratio) for size, ratio in zip(spatial, ratios, strict=True)]
    out = spread(output_size)
    for size, width, wanted in zip(spatial, kernel, out, strict=True):
        if wanted + width - 1 > size:
            raise RuntimeError(
                f"{name}(): pool size {list(kernel)} too large relative to input size "
                f"{list(spatial)} for an output of {list(out)}")
    batched = input if input.dim() == axes + 2 else input.unsqueeze(0)
    batch, channels = batched.shape[:2]
    samples = _random_samples
    if samples is None:
        samples = suiren.rand(batch, channels, axes, dtype=input.dtype, device=input.device)
    samples = samples[:batch]  # an input without batch takes the first of the given ones
    # In two dimensions the first sample is for the width, in three for the depth: PyTorch's order.
    columns = range(axes - 1, -1, -1) if axes == 2 else range(axes)
    place = suiren.zeros(
        (1, 1, *[1] * axes, *[1] * axes), dtype=suiren.int64, device=input.device)
    for axis, column in enumerate(columns):
        starts = _window_starts(samples[..., column], spatial[axis], out[axis], kernel[axis])
        shape = [batch, channels] + [1] * (2 * axes)
        shape[2 + axis] = out[axis]
        within = [1] * (2 + 2 * axes)
        within[2 + axes + axis] = kernel[axis]
        inside = suiren.arange(kernel[axis], device=input.device).view(within)
        along = starts.view(shape) + inside
        place = place * spatial[axis] + along
    windows = place.reshape(batch, channels, math.prod(out), math.prod(kernel))
    flat = batched.reshape(batch, channels, math.prod(spatial))
    values = flat.gather(2, windows.flatten(2)).view(windows.shape)
    best, where = values.max(-1)  # batch, channels, places
    indices = windows.gather(-1, where.unsqueeze(-1)).squeeze(-1)
    result_shape = (*input.shape[:-axes], *out)
    return best.view(result_shape), indices.view(result_shape)


@in_float32
def fractional_max_pool2d_with_indices(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """fractional_max_pool2d and where in each plane the maxima were."""
    return _fractional_max_pool(
        input, kernel_size, output_size, output_ratio, _random_samples, 2)


@in_float32
def fractional_max_pool2d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> Any:
    """Max pooling over windows at random, evenly spread places.

    input: (batch, channels, h, w) or (channels, h, w). One of output_size and output_ratio (a
    share of the input's size) is needed. Source: Graham 2014, arXiv:1412.6071.
    """
    values, indices = _fractional_max_pool(
        input, kernel_size, output_size, output_ratio, _random_samples, 2)
    return (values, indices) if return_indices else values


@in_float32
def fractional_max_pool3d_with_indices(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """fractional_max_pool3d and where in each volume the maxima were."""
    return _fractional_max_pool(
        input, kernel_size, output_size, output_ratio, _random_samples, 3)


@in_float32
def fractional_max_pool3d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> Any:
    """Max pooling over boxes at random, evenly spread places; see fractional_max_pool2d."""
    values, indices = _fractional_max_pool(
        input, kernel_size, output_size, output_ratio, _random_samples, 3)
    return (values, indices) if return_indices else values
