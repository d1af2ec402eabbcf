"""Interpolation, unfold and fold, and the non-constant padding modes, in the NumPy tier.

Pure functions, arrays in and arrays out.  Interpolation and padding are linear maps along one axis
at a time: each mode makes a small table of taps (windows.Taps) for an axis; the function gathers
by the table and the gradient gathers by its transpose.  Source positions are computed in float32
for float32 and half inputs and in float64 for float64, as torch does, so both round to the same
pixel.  Follows torch.nn.functional.interpolate, pad, unfold and fold.  Imports NumPy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from suiren.interpreter.pooling import adaptive_avg_pool, adaptive_avg_pool_gradient
from suiren.interpreter.windows import (
    Taps,
    gather_taps,
    overlaps,
    product,
    transpose_taps,
    working_dtype,
)

Sizes = tuple[int, ...]

# Spatial axes of each mode; None for modes that take any number.
_MODE_AXES = {
    "nearest": None,
    "nearest-exact": None,
    "area": None,
    "linear": 1,
    "bilinear": 2,
    "trilinear": 3,
    "bicubic": 2,
    "lanczos": 2,
}
# Keys' cubic convolution coefficient, torch's choice.
_CUBIC = -0.75


def interpolate_output_size(sizes: Sequence[int], scale_factors: Sequence[float]) -> Sizes:
    """Spatial sizes for given scale factors: floor(size * factor), in double precision."""
    return tuple(
        math.floor(float(size) * factor) for size, factor in zip(sizes, scale_factors, strict=True)
    )


def interpolate(
    x: np.ndarray,
    output_size: Sequence[int],
    mode: str = "nearest",
    align_corners: bool = False,
    scales: Sequence[float | None] | None = None,
    antialias: bool = False,
) -> np.ndarray:
    """x with its spatial axes resampled to output_size; of x's dtype.

    x: [batch, channels, *sizes].  mode: nearest, nearest-exact, area, linear, bilinear, trilinear
    or bicubic.  `scales` holds the scale factors that the user gave: with them positions are
    computed from the factor, and not from the ratio of the sizes (torch, recompute_scale_factor
    unset).  None, for all or for one axis, takes the ratio.  `antialias` filters
    when shrinking (bilinear, bicubic, lanczos). Raises NotImplementedError for integers in modes
    that average.  Source:
    torch.nn.functional.interpolate.

        >>> interpolate(np.array([[[0.0, 1.0]]]), (4,), "linear")
        array([[[0.  , 0.25, 0.75, 1.  ]]])
    """
    output_size = tuple(output_size)
    _check_interpolate(x.shape, output_size, mode, antialias)
    if mode == "area":
        return adaptive_avg_pool(x, output_size)
    if x.dtype.kind in "iub" and not mode.startswith("nearest"):
        raise NotImplementedError(
            f"interpolate: mode {mode!r} got an array of {x.dtype}; averaging modes take "
            f"floating types; "
            "convert to float first"
        )
    tables = interpolation_taps(
        x.shape, output_size, mode, align_corners, scales, x.dtype, antialias
    )
    result = x.astype(working_dtype(x.dtype), copy=False)
    for axis, table in reversed(list(enumerate(tables, 2))):
        result = gather_taps(result, axis, table)
    return result.astype(x.dtype, copy=False)


def interpolate_gradient(
    grad_output: np.ndarray,
    input_shape: Sequence[int],
    mode: str = "nearest",
    align_corners: bool = False,
    scales: Sequence[float | None] | None = None,
    antialias: bool = False,
) -> np.ndarray:
    """Gradient by the input of `interpolate` with the same arguments; its shape is input_shape.

    It is the exact transpose of `interpolate`.  torch's own differs from its forward where a factor
    other than 1 is given and the size stays (nearest with one or three axes, bicubic): there its
    gradient is that of a copy.
    """
    input_shape = tuple(input_shape)
    output_size = grad_output.shape[2:]
    _check_interpolate(input_shape, output_size, mode, antialias)
    if mode == "area":
        return adaptive_avg_pool_gradient(grad_output, input_shape, len(output_size))
    dtype = grad_output.dtype
    tables = interpolation_taps(
        input_shape, output_size, mode, align_corners, scales, dtype, antialias
    )
    result = grad_output.astype(working_dtype(dtype), copy=False)
    for axis, table in enumerate(tables, 2):
        result = gather_taps(result, axis, transpose_taps(table, input_shape[axis]))
    return result.astype(dtype, copy=False)


def _check_interpolate(shape: Sizes, output_size: Sizes, mode: str, antialias: bool) -> None:
    if mode not in _MODE_AXES:
        raise NotImplementedError(
            f"interpolate: got mode {mode!r}; it must be one of {', '.join(_MODE_AXES)}"
        )
    if antialias and mode not in _FILTERS:
        raise NotImplementedError(
            f"interpolate: antialias=True is for {', '.join(_FILTERS)}, got mode {mode!r}"
        )
    axes = _MODE_AXES[mode]
    if len(shape) != len(output_size) + 2 or (axes is not None and axes != len(output_size)):
        raise NotImplementedError(
            f"interpolate: got an input of shape {shape}, output size {output_size} and mode "
            f"{mode!r}; "
            f"the input needs batch and channel axes and {axes or 'as many'} spatial axes"
        )
    if mode != "area" and any(n <= 0 for n in (*shape[2:], *output_size)):
        raise RuntimeError(
            f"interpolate: Input and output sizes should be greater than 0, but got input "
            f"{shape[2:]} and "
            f"output {output_size}"
        )


def interpolation_taps(
    sizes: Sequence[int],
    output_size: Sequence[int],
    mode: str,
    align_corners: bool,
    scales: Sequence[float | None] | None,
    dtype: np.dtype,
    antialias: bool = False,
) -> list[Taps]:
    """For each spatial axis the taps of `interpolate`; `sizes` are those of the whole array."""
    sizes = tuple(sizes)[2:]
    precision = np.dtype(np.float64) if dtype == np.float64 else np.dtype(np.float32)
    scales = scales or (None,) * len(sizes)
    # Small images take another routine in torch, which does without a ratio where the size stays or
    # doubles; it tells only if the user's factor is not that ratio (1.05 on a size of 10, say).
    short = len(sizes) == 2 and sum(output_size) <= 128
    tables = []
    for size, outputs, scale in zip(sizes, output_size, scales, strict=True):
        if antialias:
            tables.append(_filter_taps(size, outputs, scale, align_corners, mode, precision))
            continue
        if mode.startswith("nearest"):
            tables.append(_nearest_taps(size, outputs, scale, mode == "nearest-exact", short))
            continue
        if outputs == size and mode != "bicubic":
            scale = None  # torch copies an axis that keeps its size, whatever factor was given
        source = _source_positions(size, outputs, scale, align_corners, precision)
        tables.append(
            _cubic_taps(source, size) if mode == "bicubic" else _linear_taps(source, size)
        )
    return tables


def _nearest_taps(size: int, outputs: int, scale: float | None, exact: bool, short: bool) -> Taps:
    index = np.arange(outputs)
    if short and not exact and outputs == size:
        return Taps(index[None])
    if short and not exact and outputs == 2 * size:
        return Taps(index[None] >> 1)
    # float32 whatever the input: torch computes these positions in C's float.
    ratio = np.float32(1.0 / scale) if scale else np.float32(size) / np.float32(outputs)
    middle = index.astype(np.float32) + np.float32(0.5 if exact else 0)
    positions = np.minimum((middle * ratio).astype(np.int64), size - 1)
    return Taps(positions[None])


def _source_positions(
    size: int, outputs: int, scale: float | None, align_corners: bool, precision: np.dtype
) -> np.ndarray:
    """Where each output lies on the input's axis, in pixels; unclamped."""
    index = np.arange(outputs, dtype=precision)
    real = precision.type
    if align_corners:
        return index * (real(size - 1) / real(outputs - 1) if outputs > 1 else real(0))
    ratio = real(1.0 / scale) if scale else real(size) / real(outputs)
    return ratio * (index + real(0.5)) - real(0.5)


def _linear_taps(source: np.ndarray, size: int) -> Taps:
    source = np.maximum(source, 0)
    low = np.minimum(source.astype(np.int64), size - 1)
    fraction = np.clip(source - low.astype(source.dtype), 0, 1)
    positions = np.stack([low, np.minimum(low + 1, size - 1)])
    return Taps(positions, np.stack([1 - fraction, fraction]))


def _cubic_taps(source: np.ndarray, size: int) -> Taps:
    low = np.floor(source)
    t = source - low
    weights = [_cubic_far(t + 1), _cubic_near(t), _cubic_near(1 - t), _cubic_far(2 - t)]
    positions = np.clip(low.astype(np.int64) + np.arange(-1, 3)[:, None], 0, size - 1)
    return Taps(positions, np.stack(weights))


def _cubic_near(t: np.ndarray) -> np.ndarray:
    """Keys' kernel for a distance t up to one."""
    return ((_CUBIC + 2) * t - (_CUBIC + 3)) * t * t + 1


def _cubic_far(t: np.ndarray) -> np.ndarray:
    """Keys' kernel for a distance t from one to two."""
    return ((_CUBIC * t - 5 * _CUBIC) * t + 8 * _CUBIC) * t - 4 * _CUBIC


def _triangle(t: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(t), 0)


def _catmull_rom(t: np.ndarray) -> np.ndarray:
    """Keys' kernel with the coefficient -1/2, which images are filtered with."""
    t, a = np.abs(t), -0.5
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = (((t - 5) * t + 8) * t - 4) * a
    return np.where(t < 1, near, np.where(t < 2, far, 0))


def _lanczos(t: np.ndarray) -> np.ndarray:
    return np.where((t >= -3) & (t < 3), np.sinc(t) * np.sinc(t / 3), 0)


# Filters of antialiased resampling, and how far each reaches.
_FILTERS = {"bilinear": (_triangle, 1), "bicubic": (_catmull_rom, 2), "lanczos": (_lanczos, 3)}


def _filter_taps(
    size: int, outputs: int, scale: float | None, align: bool, mode: str, precision: np.dtype
) -> Taps:
    """Taps over all that an output covers: the filter is stretched when shrinking."""
    weight_of, reach = _FILTERS[mode]
    real = precision.type
    if align:
        ratio = real(size - 1) / real(outputs - 1) if outputs > 1 else real(0)
    else:
        ratio = real(1.0 / scale) if scale else real(size) / real(outputs)
    support = real(reach) * max(ratio, real(1))
    centre = ratio * (np.arange(outputs, dtype=precision) + real(0.5))
    first = np.maximum((centre - support + real(0.5)).astype(np.int64), 0)
    stop = np.minimum((centre + support + real(0.5)).astype(np.int64), size)
    counts = np.maximum(stop - first, 1)
    steps = np.arange(int(counts.max(initial=1)))[:, None]
    distance = (steps + first - centre + real(0.5)) * (1 / max(ratio, real(1)))
    weights = np.where(steps < counts, weight_of(distance.astype(np.float64)), 0)
    total = weights.sum(axis=0)
    weights = weights / np.where(total == 0, 1, total)
    return Taps(np.clip(first + steps, 0, size - 1), weights, counts)


def pad_by_mode(x: np.ndarray, padding: Sequence[int], mode: str) -> np.ndarray:
    """x grown at the ends of its last axes by copies of its own elements; of x's dtype.

    padding: (before, after) of the last axis, then of the one before it, and so on, as torch
    counts; a negative number cuts.  mode: reflect (mirrored at the edge element), replicate (the
    edge element again) or circular (the other end).  Raises RuntimeError where reflect or circular
    would run past the array.  Source: torch.nn.functional.pad.

        >>> pad_by_mode(np.array([1, 2, 3]), (2, 1), "reflect")
        array([3, 2, 1, 2, 3, 2])
    """
    for axis, before, after in _padded_axes(x.ndim, padding):
        x = x.take(_pad_positions(x.shape, axis, before, after, mode), axis=axis)
    return x


def pad_by_mode_gradient(
    grad_output: np.ndarray, input_shape: Sequence[int], padding: Sequence[int], mode: str
) -> np.ndarray:
    """Gradient by the input of `pad_by_mode` with the same arguments; its shape is input_shape."""
    input_shape = tuple(input_shape)
    result = grad_output.astype(working_dtype(grad_output.dtype), copy=False)
    for axis, before, after in _padded_axes(len(input_shape), padding):
        taps = Taps(_pad_positions(input_shape, axis, before, after, mode)[None])
        result = gather_taps(result, axis, transpose_taps(taps, input_shape[axis]))
    return result.astype(grad_output.dtype, copy=False)


def check_padding(shape: Sequence[int], padding: Sequence[int], mode: str) -> None:
    """Raises RuntimeError where `pad_by_mode` would."""
    shape = tuple(shape)
    for axis, before, after in _padded_axes(len(shape), padding):
        _pad_positions(shape, axis, before, after, mode)


def padded_positions(
    shape: Sequence[int], padding: Sequence[int], mode: str
) -> list[tuple[int, np.ndarray]]:
    """(axis, the positions that `pad_by_mode` reads there) of each padded axis."""
    shape = tuple(shape)
    return [
        (axis, _pad_positions(shape, axis, before, after, mode))
        for axis, before, after in _padded_axes(len(shape), padding)
    ]


def _padded_axes(axes: int, padding: Sequence[int]) -> list[tuple[int, int, int]]:
    if len(padding) % 2 or len(padding) > 2 * axes:
        raise RuntimeError(
            f"pad: Padding length must be even and at most twice the number of axes ({axes}); "
            f"got {tuple(padding)}"
        )
    pairs = enumerate(zip(padding[0::2], padding[1::2], strict=True))
    return [(axes - 1 - i, before, after) for i, (before, after) in pairs]


def _pad_positions(shape: Sizes, axis: int, before: int, after: int, mode: str) -> np.ndarray:
    size = shape[axis]
    index = np.arange(-before, size + after)
    what = f"got padding ({before}, {after}) at dimension {axis} of input {list(shape)}"
    if size + before + after < 0:
        raise RuntimeError(f"pad: {what}; the resulting size would be negative; cut less")
    if len(index) and size == 0:
        raise RuntimeError(f"pad: {what}; mode {mode!r} needs at least one element to copy")
    if mode == "reflect":
        if max(before, after) >= max(size, 1):
            raise RuntimeError(
                f"pad: {what}; Padding size should be less than the corresponding input dimension"
            )
        index = np.abs(index)
        return np.where(index >= size, 2 * (size - 1) - index, index)
    if mode == "replicate":
        return np.clip(index, 0, max(size - 1, 0))
    if mode == "circular":
        # What a negative padding cuts is gone before the rest is wrapped round.
        cut = max(-before, 0)
        kept = size - cut - max(-after, 0)
        if max(before, after) > kept:
            raise RuntimeError(f"pad: {what}; Padding value causes wrapping around more than once")
        return (index - cut) % max(kept, 1) + cut
    raise NotImplementedError(f"pad: got mode {mode!r}; it must be reflect, replicate or circular")


def unfold(
    x: np.ndarray,
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> np.ndarray:
    """The windows of x as columns ("im2col"): [batch, channels * kernel, windows], of x's dtype.

    x: [batch, channels, *sizes].  Elements outside x are zero.  Raises RuntimeError if no window
    fits. Its gradient is `fold` with output_size = sizes.  Source: torch.nn.functional.unfold.

        >>> unfold(np.arange(4).reshape(1, 1, 2, 2), (1, 2), (1, 1), (0, 0), (1, 1))
        array([[[0, 2],
                [1, 3]]])
    """
    batch, channels, *sizes = x.shape
    blocks = _block_counts("unfold", tuple(sizes), kernel, dilation, padding, stride)
    result = np.zeros((batch, channels, *kernel, *blocks), x.dtype)
    for where, taken, met in _kernel_parts(tuple(sizes), kernel, dilation, padding, stride, blocks):
        result[where][taken] = x[met]
    return result.reshape(batch, channels * product(kernel), product(blocks))


def fold(
    columns: np.ndarray,
    output_size: Sequence[int],
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> np.ndarray:
    """Columns added up where their windows lie ("col2im"): the transpose of `unfold`.

    columns: [batch, channels * kernel, windows]; the result is [batch, channels, *output_size] of
    the same dtype.  Raises RuntimeError if the columns do not fit.  Its gradient is `unfold`.
    Source: torch.nn.functional.fold.
    """
    sizes, kernel = tuple(output_size), tuple(kernel)
    blocks = _block_counts("fold", sizes, kernel, dilation, padding, stride)
    batch, rows, windows = columns.shape
    if rows % product(kernel):
        raise RuntimeError(
            "fold: Expected size of input's dimension 1 to be divisible by the product of "
            "kernel_size, but "
            f"got input.size(1)={rows} and kernel_size={kernel}"
        )
    if windows != product(blocks):
        raise RuntimeError(
            f"fold: Given output_size={sizes}, kernel_size={kernel}, dilation={tuple(dilation)}, "
            f"padding={tuple(padding)}, stride={tuple(stride)}, expected size of input's "
            f"dimension 2 to "
            f"match the calculated number of sliding blocks {product(blocks)}, but got {windows}"
        )
    channels = rows // product(kernel)
    dtype = working_dtype(columns.dtype)
    source = columns.reshape(batch, channels, *kernel, *blocks)
    result = np.zeros((batch, channels, *sizes), dtype)
    for where, taken, met in _kernel_parts(sizes, kernel, dilation, padding, stride, blocks):
        result[met] += source[where][taken]
    return result.astype(columns.dtype, copy=False)


def _block_counts(
    name: str,
    sizes: Sizes,
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Sizes:
    for what, values, least in (
        ("kernel size", kernel, 1),
        ("dilation", dilation, 1),
        ("padding", padding, 0),
        ("stride", stride, 1),
    ):
        if any(value < least for value in values):
            raise RuntimeError(
                f"{name}: {what} should be at least {least}, but got {tuple(values)}"
            )
    blocks = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, d, p, s in zip(sizes, kernel, dilation, padding, stride, strict=True)
    )
    if any(block < 1 for block in blocks):
        raise RuntimeError(
            f"{name}: Given spatial size {sizes}, kernel_size={tuple(kernel)}, "
            f"dilation={tuple(dilation)}, "
            f"padding={tuple(padding)}, calculated shape of the array of sliding blocks as "
            f"{blocks}, but "
            "its components must be at least one"
        )
    return blocks


def _kernel_parts(
    sizes: Sizes,
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
    blocks: Sizes,
) -> list[tuple[tuple, tuple, tuple]]:
    """For each kernel offset: its place in the columns, its windows, the elements they meet."""
    every = (slice(None), slice(None))
    parts = []
    for index in np.ndindex(*kernel):
        offsets = tuple(i * d for i, d in zip(index, dilation, strict=True))
        taken, met = overlaps(offsets, tuple(stride), tuple(padding), blocks, sizes)
        parts.append(((*every, *index), (*every, *taken), (*every, *met)))
    return parts
