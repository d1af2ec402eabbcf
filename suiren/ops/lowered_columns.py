"""Windows as columns and back (im2col, col2im) as nodes of the compiler's graph.

Of small windows each place is a shifted part of the image, and the columns are these side by side;
back, the windows of one phase are added up, as for pooling. Large windows are taken dimension by
dimension, by tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from suiren.interpreter.windows import Taps, transpose_taps
from suiren.ops.lowered_pooling import MOST, Windows, gathered
from suiren.ops.lowered_taps import weighted, widened


def _blocks(sizes, kernel, dilation, padding, stride) -> list[int]:
    return [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, d, p, s in zip(sizes, kernel, dilation, padding, stride, strict=True)
    ]


def unfold(g: Any, x: Any, kernel, dilation, padding, stride) -> Any:
    """[batch, channels, h, w] to [batch, channels * kernel, windows]."""
    if not x.numel:
        raise g.NotNative("windows of nothing")
    batch, channels, *sizes = x.shape
    blocks = _blocks(sizes, kernel, dilation, padding, stride)
    windows = Windows(x.shape, blocks, kernel, stride, padding, dilation)
    if prod(kernel) <= MOST:
        parts = [windows.seen(g, x, place, 0).unsqueeze(2) for place in windows.places()]
        found = g.concat(parts, 2)
    else:
        found = x
        for axis in (1, 0):  # [batch, channels, h, kw * ow], then [batch, channels, kh * oh, ...]
            found = weighted(g, found, 2 + axis, _columns(windows, axis))
        found = found.reshape(batch, channels, kernel[0], blocks[0], kernel[1], blocks[1])
        found = found.permute(0, 1, 2, 4, 3, 5)
    return found.reshape(batch, channels * prod(kernel), prod(blocks))


def fold(g: Any, x: Any, sizes: Sequence[int], kernel, dilation, padding, stride) -> Any:
    """[batch, channels * kernel, windows] added up in [batch, channels, *sizes]."""
    if not x.numel:
        raise g.NotNative("windows of nothing")
    kind, x = x.dtype, widened(x)
    batch, channels = x.shape[0], x.shape[1] // prod(kernel)
    blocks = _blocks(sizes, kernel, dilation, padding, stride)
    shape = (batch, channels, *sizes)
    windows = Windows(shape, blocks, kernel, stride, padding, dilation)
    if prod(kernel) <= MOST:
        x = x.reshape(batch, channels, prod(kernel), *blocks)

        def share(number: int) -> Any:
            ranges = [(0, n, 1) for n in x.shape]
            ranges[2] = (number, 1, 1)
            return g.slice(x, ranges).reshape(batch, channels, *blocks)

        return gathered(g, windows, share, shape, x.dtype).cast(kind)
    x = x.reshape(batch, channels, *kernel, *blocks).permute(0, 1, 2, 4, 3, 5)
    x = x.reshape(batch, channels, kernel[0] * blocks[0], kernel[1] * blocks[1])
    for axis in (0, 1):
        back = transpose_taps(_columns(windows, axis), sizes[axis])
        x = weighted(g, x, 2 + axis, back)
    return x.cast(kind)


def _columns(windows: Windows, axis: int) -> Taps:
    """[place, window] of one axis, one after the other, as the places of the image they meet."""
    n, k = windows.sizes[axis], windows.kernel[axis]
    s, p, d = windows.stride[axis], windows.padding[axis], windows.dilation[axis]
    at = (np.arange(k)[:, None] * d + np.arange(n) * s - p).reshape(-1)
    size = windows.image[axis]
    inside = (at >= 0) & (at < size)
    return Taps(np.clip(at, 0, size - 1)[None], None, inside.astype(np.int64))


__all__ = ["fold", "unfold"]
