"""Convolutions over three dimensions as convolutions over two.

The slices of a volume are images. The slices that a kernel's depth reaches over are laid side by
side as channels, so that one convolution of images adds up everything; the gradient by the input is
one too, of the slices of the gradient that meet a place (with a stride in depth, for each phase).
Depthwise convolutions, whose channels must stay apart, are sums over the depth instead.
Volumes are [N, D, H, W, C] here, weights [O, C / groups, KD, KH, KW] as they come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from suiren.compiler.images import interleaved, shifted


def _slices(g: Any, x: Any, first: int, count: int, step: int) -> Any:
    return shifted(g, x, (1,), [(first, count, step)])


def _images(x: Any) -> Any:
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _volumes(x: Any, batch: int) -> Any:
    return x.reshape(batch, x.shape[0] // batch, *x.shape[1:])


def _side_by_side(g: Any, parts: Sequence[Any], groups: int) -> Any:
    """Slices as channels of one image: of each group its own."""
    if len(parts) == 1:
        return parts[0]
    *lead, channels = parts[0].shape
    apart = [x.reshape(*lead, groups, 1, channels // groups) for x in parts]
    return g.concat(apart, len(lead) + 1).reshape(*lead, len(parts) * channels)


def _taps(g: Any, w: Any, taps: Sequence[int]) -> Any:
    """The weight at these depths, which are evenly spaced."""
    step = taps[1] - taps[0] if len(taps) > 1 else 1
    ranges = [(0, n, 1) for n in w.shape]
    ranges[2] = (taps[0], len(taps), step)
    return g.slice(w, ranges)


def _tap(g: Any, w: Any, tap: int) -> Any:
    return _taps(g, w, [tap]).reshape(*w.shape[:2], *w.shape[3:])


def _is_depthwise(w_shape: Sequence[int], groups: int) -> bool:
    return groups > 1 and w_shape[0] == groups and w_shape[1] == 1


def _count(size: int, taps: int, s: int, p: int, d: int) -> int:
    return (size + 2 * p - d * (taps - 1) - 1) // s + 1


def conv(g: Any, x: Any, w: Any, stride, padding, dilation, groups: int) -> Any:
    """The convolution, [N, OD, OH, OW, O]."""
    o, c, taps, kh, kw = w.shape
    s, p, d = stride[0], padding[0], dilation[0]
    count = _count(x.shape[1], taps, s, p, d)
    flat = (stride[1:], padding[1:], dilation[1:], groups)
    parts = [_slices(g, x, t * d - p, count, s) for t in range(taps)]
    if _is_depthwise(w.shape, groups):
        total = None
        for t, part in enumerate(parts):
            term = g.conv(_images(part), _tap(g, w, t), *flat)
            total = term if total is None else total + term
        return _volumes(total, x.shape[0])
    images = _images(_side_by_side(g, parts, groups))
    joined = w.permute(0, 2, 1, 3, 4).reshape(o, taps * c, kh, kw)
    return _volumes(g.conv(images, joined, *flat), x.shape[0])


def input_gradient(
    g: Any, grad: Any, w: Any, spatial: Sequence[int], stride, padding, dilation, groups: int
) -> Any:
    """The gradient of :func:`conv` by x, whose volumes have the sizes ``spatial``."""
    o, c, taps, kh, kw = w.shape
    n, _, oh, ow, _ = grad.shape
    s, p, d = stride[0], padding[0], dilation[0]
    size, image = spatial[0], tuple(spatial[1:])
    flat = (image, stride[1:], padding[1:], dilation[1:], groups)
    phases = []
    for first in range(min(s, size)):
        met = [t for t in range(taps) if (first + p - d * t) % s == 0]
        count = -(-(size - first) // s)
        if not met:
            phases.append(g.full((n, count, *image, c * groups), 0, grad.dtype))
            continue
        parts = [_slices(g, grad, (first + p - d * t) // s, count, 1) for t in met]
        if _is_depthwise(w.shape, groups):
            total = None
            for t, part in zip(met, parts, strict=True):
                term = g.conv_input_gradient(_images(part), _tap(g, w, t), *flat)
                total = term if total is None else total + term
            phases.append(_volumes(total, n))
            continue
        images = _images(_side_by_side(g, parts, groups))
        own = _taps(g, w, met).reshape(groups, o // groups, c, len(met), kh, kw)
        joined = own.permute(0, 3, 1, 2, 4, 5).reshape(o * len(met), c, kh, kw)
        phases.append(_volumes(g.conv_input_gradient(images, joined, *flat), n))
    return interleaved(g, phases, (size,), 1)


def weight_gradient(
    g: Any, grad: Any, x: Any, kernel: Sequence[int], stride, padding, dilation, groups: int
) -> Any:
    """The gradient of :func:`conv` by its weight, [O, C / groups, *kernel]."""
    o, c = grad.shape[4], x.shape[4] // groups
    taps, kh, kw = kernel
    s, p, d = stride[0], padding[0], dilation[0]
    flat = ((kh, kw), stride[1:], padding[1:], dilation[1:], groups)
    parts = [_slices(g, x, t * d - p, grad.shape[1], s) for t in range(taps)]
    grad = _images(grad)
    if _is_depthwise((o, c), groups):
        found = [
            g.conv_weight_gradient(grad, _images(part), *flat).reshape(o, c, 1, kh, kw)
            for part in parts
        ]
        return g.concat(found, 2)
    joined = g.conv_weight_gradient(grad, _images(_side_by_side(g, parts, groups)), *flat)
    return joined.reshape(o, taps, c, kh, kw).permute(0, 2, 1, 3, 4)


__all__ = ["conv", "input_gradient", "weight_gradient"]
