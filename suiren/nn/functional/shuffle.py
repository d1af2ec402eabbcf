"""Rearrangements of channels, old names of resampling, and convolution with time first."""

from __future__ import annotations

import warnings
from typing import Any

from suiren.autocasting import in_lower
from suiren.nn.functional import _from_ops as ops
from suiren.tensor import Tensor


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Deal the channels out: with g groups, channels 0, c/g, 2c/g, ... come first.

    input: (batch, channels, d1, ...), channels divisible by groups. Same shape.
    Source: Zhang et al. 2017 (ShuffleNet), arXiv:1707.01083; PyTorch, F.channel_shuffle.
    """
    if input.dim() < 3:
        raise RuntimeError(
            "channel_shuffle expects input with > 2 dims, but got input with sizes "
            f"{list(input.shape)}")
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    batch, channels = input.shape[:2]
    if channels % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {channels} channels and "
            f"{groups} groups.")
    if input.numel() == 0:
        return input.view(input.shape)
    split = input.reshape(batch, groups, channels // groups, *input.shape[2:])
    return split.transpose(1, 2).reshape(input.shape)


native_channel_shuffle = channel_shuffle


@in_lower
def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """Convolution over time of (time, batch, channels) by a (width, channels in, out) weight."""
    channels_last = input.permute(1, 2, 0)  # batch, channels, time
    result = ops.conv1d(channels_last, weight.permute(2, 1, 0), bias, padding=pad)
    return result.permute(2, 0, 1)  # time, batch, channels


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """The old name of interpolate."""
    warnings.warn(
        "`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=2)
    return ops.interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """interpolate(mode="nearest")."""
    warnings.warn(
        "`nn.functional.upsample_nearest` is deprecated. Use `nn.functional.interpolate` "
        "instead.", stacklevel=2)
    return ops.interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """interpolate(mode="bilinear", align_corners=True)."""
    warnings.warn(
        "`nn.functional.upsample_bilinear` is deprecated. Use `nn.functional.interpolate` "
        "instead.", stacklevel=2)
    return ops.interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
