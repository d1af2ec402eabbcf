"""Convolution, transposed convolution and their gradients in the NumPy tier.

Pure functions, arrays in and arrays out, for one to three spatial axes.  The conventions (argument
meaning, output sizes, error types) are those of torch.nn.functional.conv2d, conv_transpose2d and
their siblings.  All of it rests on three routines: `_correlate` gathers the windows of a block of
outputs into columns and makes one matrix product of them ("im2col"), `_spread` is its adjoint (a
product, then one addition per kernel offset), and `convolution_weight_gradient` multiplies the
gradient by the columns. Blocks are bounded in bytes, so columns stay near the cache and memory
does not grow with the batch. Half types are computed in float32 and given back in their own type.
Imports NumPy only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from suiren.interpreter.windows import batch_step, overlaps, product, working_dtype

Sizes = tuple[int, ...]

# Bytes of one block of columns.  Measured from 1 to 32 MiB on 2 (busy) cores with 1 MiB of L2 each:
# below 8 MiB a 3x3 convolution of 16x64x56x56 takes up to 1.7 times as long, as one image's columns
# no longer fit in a block; above 8 MiB there is no gain beyond the noise.
_BLOCK_BYTES = 8 << 20
# Outputs in a block worth aiming at.  Measured from 512 to 4096: 512 takes up to twice as long on
# small images (more calls), 4096 is slower where one input channel makes 32, and elsewhere 2048 is
# within a third of the best.
_BLOCK_OUTPUTS = 2048
# Bytes of one block where the work is elementwise (depthwise), so that it stays in the L2 cache.
_ELEMENTWISE_BYTES = 1 << 19


def convolution_output_shape(
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool = False,
    output_padding: Sequence[int] | None = None,
    groups: int = 1,
) -> Sizes:
    """Shape of a convolution's result, after checking that the arguments fit together.

    input_shape is (batch, channels, *spatial).  weight_shape is (out_channels, channels / groups,
    *kernel), or (channels, out_channels / groups, *kernel) if transposed.  The other sequences
    hold one number per spatial axis.  Raises RuntimeError, as torch does, where the arguments
    break a rule.

        >>> convolution_output_shape((8, 3, 32, 32), (16, 3, 3, 3), (2, 2), (1, 1), (1, 1))
        (8, 16, 16, 16)
    """
    name = "conv_transpose" if transposed else "conv"
    input_shape, weight_shape = tuple(input_shape), tuple(weight_shape)
    axes = len(weight_shape) - 2
    if output_padding is None:
        output_padding = (0,) * axes
    if len(input_shape) != axes + 2:
        raise RuntimeError(
            f"{name}{axes}d: got an input of shape {input_shape} and a weight of shape "
            f"{weight_shape}; "
            f"both must have batch or channel axes and the same number of spatial axes; "
            f"reshape the input to {axes + 2} axes"
        )
    _check_numbers(f"{name}{axes}d", axes, stride, padding, dilation, output_padding, groups)
    _check_channels(f"{name}{axes}d", input_shape, weight_shape, transposed, groups)
    kernel = weight_shape[2:]
    sizes = zip(input_shape[2:], kernel, stride, padding, dilation, output_padding, strict=True)
    if transposed:
        spatial = tuple(
            (n - 1) * s - 2 * p + d * (k - 1) + extra + 1 for n, k, s, p, d, extra in sizes
        )
        if any(size < 1 for size in spatial):
            raise RuntimeError(
                f"{name}{axes}d: an input of shape {input_shape} with kernel {kernel} and padding "
                f"{tuple(padding)} would give the spatial size {spatial}. Output size is too "
                f"small; "
                "use less padding"
            )
        return (input_shape[0], weight_shape[1] * groups, *spatial)
    padded = tuple(n + 2 * p for n, p in zip(input_shape[2:], padding, strict=True))
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    if any(r > n for r, n in zip(reach, padded, strict=True)):
        raise RuntimeError(
            f"{name}{axes}d: Calculated padded input size per channel: {padded}. Kernel size: "
            f"{reach}. "
            "Kernel size can't be greater than actual input size; use more padding or a smaller "
            "kernel"
        )
    spatial = tuple((n - r) // s + 1 for n, r, s in zip(padded, reach, stride, strict=True))
    return (input_shape[0], weight_shape[0], *spatial)


def convolution(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool = False,
    output_padding: Sequence[int] | None = None,
    groups: int = 1,
) -> np.ndarray:
    """Convolution (cross-correlation, as deep learning has it) or transposed convolution.

    x: [batch, channels, *spatial]; weight: [out_channels, channels / groups, *kernel], or
    [channels, out_channels / groups, *kernel] if transposed; bias: [out_channels] or None.  One to
    three spatial axes, any numeric dtype, the same for all three; the result is contiguous, of x's
    dtype and of the shape that `convolution_output_shape` gives.  Integers wrap as C's do.  Raises
    RuntimeError where the arguments do not fit.  Source: torch.nn.functional.conv2d and
    conv_transpose2d.

        >>> x = np.arange(5.0).reshape(1, 1, 5)
        >>> convolution(x, np.ones((1, 1, 3)), None, (1,), (1,), (1,))
        array([[[1., 3., 6., 9., 7.]]])
    """
    shape = convolution_output_shape(
        x.shape, weight.shape, stride, padding, dilation, transposed, output_padding, groups
    )
    if bias is not None and bias.shape != (shape[1],):
        raise RuntimeError(
            f"conv{weight.ndim - 2}d: Given weight of size {list(weight.shape)}, expected bias "
            f"to be "
            f"1-dimensional with {shape[1]} elements, but got bias of size {list(bias.shape)} "
            f"instead"
        )
    stride, padding, dilation = tuple(stride), tuple(padding), tuple(dilation)
    dtype = working_dtype(x.dtype)
    routine = _transposed if transposed else _correlate
    result = routine(
        _as(x, dtype), _as(weight, dtype), shape[2:], stride, padding, dilation, groups
    )
    if bias is not None:
        result += _as(bias, dtype).reshape(-1, *(1,) * (x.ndim - 2))
    return _as(result, x.dtype)


def convolution_input_gradient(
    grad_output: np.ndarray,
    weight: np.ndarray,
    input_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool = False,
    output_padding: Sequence[int] | None = None,
    groups: int = 1,
) -> np.ndarray:
    """Gradient by the input of `convolution` with the same arguments; its shape is input_shape.

    This is the plain transpose of a linear map, without conjugation: for complex types give the
    conjugate of the weight.  output_padding is taken for symmetry; the shape of grad_output
    already tells it.
    """
    stride, padding, dilation = tuple(stride), tuple(padding), tuple(dilation)
    dtype = working_dtype(grad_output.dtype)
    routine = _correlate if transposed else _transposed
    result = routine(
        _as(grad_output, dtype),
        _as(weight, dtype),
        tuple(input_shape[2:]),
        stride,
        padding,
        dilation,
        groups,
    )
    return _as(result, grad_output.dtype)


def convolution_weight_gradient(
    grad_output: np.ndarray,
    x: np.ndarray,
    weight_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool = False,
    output_padding: Sequence[int] | None = None,
    groups: int = 1,
) -> np.ndarray:
    """Gradient by the weight of `convolution` with the same arguments; its shape is weight_shape.

    The plain transpose, without conjugation: for complex types give the conjugate of x.
    """
    stride, padding, dilation = tuple(stride), tuple(padding), tuple(dilation)
    if transposed:
        # y = spread(x, w) has <g, spread(x, w)> = <correlate(g, w), x>: the roles are exchanged.
        grad_output, x = x, grad_output
    result_dtype = x.dtype
    dtype = working_dtype(result_dtype)
    grad_output, x = _as(grad_output, dtype), _as(x, dtype)
    weight_shape = tuple(weight_shape)
    if product(weight_shape) == 0 or grad_output.size == 0 or x.size == 0:
        return np.zeros(weight_shape, result_dtype)
    geometry = (grad_output.shape[2:], stride, padding, dilation)
    if groups > 1 and weight_shape[1] == 1 and weight_shape[0] <= 4 * groups:
        result = _depthwise_weight_gradient(grad_output, x, weight_shape, *geometry)
    else:
        taps = product(weight_shape[1:])
        result = np.zeros((groups, weight_shape[0] // groups, taps), dtype)
        for items, region, columns in _columns(x, weight_shape[2:], *geometry, groups):
            block = grad_output[(items, slice(None), *region)].swapaxes(0, 1)
            rows = block.reshape(groups, weight_shape[0] // groups, -1)  # group, out, outputs
            result += rows @ columns.swapaxes(1, 2)  # group, out, channels * kernel
        result = result.reshape(weight_shape)
    return _as(result, result_dtype)


def _as(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return array.astype(dtype, copy=False)


def _check_numbers(
    name: str,
    axes: int,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    output_padding: Sequence[int],
    groups: int,
) -> None:
    if groups <= 0:
        raise RuntimeError(f"{name}: non-positive groups is not supported; got groups={groups}")
    rules = (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1))
    for what, values, least in (*rules, ("output_padding", output_padding, 0)):
        if len(values) != axes:
            raise RuntimeError(
                f"{name}: got {what}={tuple(values)}; it needs one number for each of the {axes} "
                "spatial axes"
            )
        if any(value < least for value in values):
            kind = "non-positive" if least else "negative"
            raise RuntimeError(f"{name}: {kind} {what} is not supported; got {tuple(values)}")
    for extra, step, spacing in zip(output_padding, stride, dilation, strict=True):
        if extra and extra >= max(step, spacing):
            raise RuntimeError(
                f"{name}: output padding must be smaller than either stride or dilation, but got "
                f"output_padding={tuple(output_padding)}, stride={tuple(stride)}, "
                f"dilation={tuple(dilation)}"
            )


def _check_channels(
    name: str, input_shape: Sizes, weight_shape: Sizes, transposed: bool, groups: int
) -> None:
    if weight_shape[0] % groups:
        raise RuntimeError(
            f"{name}: Given groups={groups}, expected weight to be divisible by {groups} at "
            f"dimension 0, "
            f"but got weight of size {list(weight_shape)} instead"
        )
    expected = weight_shape[0] if transposed else weight_shape[1] * groups
    if input_shape[1] != expected:
        raise RuntimeError(
            f"{name}: Given groups={groups}, weight of size {list(weight_shape)}, expected input"
            f"{list(input_shape)} to have {expected} channels, but got {input_shape[1]} channels "
            f"instead"
        )


def _correlate(
    x: np.ndarray,
    weight: np.ndarray,
    outputs: Sizes,
    stride: Sizes,
    low: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """out[n, o, p] = sum over c and k of weight[o, c, k] * x[n, c, p * stride + k * dilation -
    low].

    Elements outside x count as zero; `low` may be negative, which crops.
    """
    batch, kernel = len(x), weight.shape[2:]
    shape = (batch, weight.shape[0], *outputs)
    if product(shape) == 0 or weight.size == 0 or x.size == 0:
        return np.zeros(shape, x.dtype)
    if groups > 1 and weight.shape[1] == 1 and weight.shape[0] <= 4 * groups:
        return _depthwise(x, weight, outputs, stride, low, dilation)
    positions = product(outputs)
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1)  # group, out, channels * kernel
    plain = product(kernel) == 1 and not any(low) and product(stride) == 1
    if plain and outputs == x.shape[2:] and (positions >= 256 or batch == 1):
        columns = x.reshape(batch, groups, -1, positions)
        return (matrix @ columns).reshape(shape)
    result = np.empty(shape, x.dtype)
    for items, region, columns in _columns(x, kernel, outputs, stride, low, dilation, groups):
        target = result[(items, slice(None), *region)]
        if len(target) == 1 and target.flags.c_contiguous:
            np.matmul(matrix, columns, out=target.reshape(*matrix.shape[:2], -1))
        else:
            block = (matrix @ columns).reshape(weight.shape[0], len(target), *target.shape[2:])
            target[...] = block.swapaxes(0, 1)
    return result


def _transposed(
    grad: np.ndarray,
    weight: np.ndarray,
    sizes: Sizes,
    stride: Sizes,
    low: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """Adjoint of `_correlate` by x: [batch, out, *outputs] to [batch, channels, *sizes]."""
    kernel = weight.shape[2:]
    out_channels, channels = weight.shape[0], weight.shape[1] * groups
    if product((len(grad), channels, *sizes)) == 0 or grad.size == 0 or weight.size == 0:
        return np.zeros((len(grad), channels, *sizes), grad.dtype)
    # With unit strides the adjoint is a correlation with the kernel turned round.  It gathers
    # out_channels per output where the other way spreads channels, so the smaller of the two
    # decides.
    if product(stride) == 1 and out_channels <= 2 * channels:
        split = weight.reshape(groups, out_channels // groups, *weight.shape[1:])
        turned = np.flip(split.swapaxes(1, 2), tuple(range(3, split.ndim)))
        turned = turned.reshape(channels, out_channels // groups, *kernel)
        low = tuple(d * (k - 1) - p for k, d, p in zip(kernel, dilation, low, strict=True))
        return _correlate(grad, turned, sizes, stride, low, dilation, groups)
    if groups > 1 and weight.shape[1] == 1 and out_channels <= 4 * groups:
        return _depthwise_transposed(grad, weight, sizes, stride, low, dilation, groups)
    return _spread(grad, weight, sizes, stride, low, dilation, groups)


def _spread(
    grad: np.ndarray,
    weight: np.ndarray,
    sizes: Sizes,
    stride: Sizes,
    low: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """The adjoint as a matrix product and one addition per kernel offset ("col2im")."""
    batch, outputs, kernel = len(grad), grad.shape[2:], weight.shape[2:]
    channels = weight.shape[1] * groups
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1).swapaxes(1, 2)
    result = np.zeros((batch, channels, *sizes), grad.dtype)
    bytes_per_output = channels * product(kernel) * grad.itemsize
    for items, region in _blocks(batch, outputs, bytes_per_output):
        block = grad[(items, slice(None), *region)]
        rows = block.swapaxes(0, 1).reshape(groups, weight.shape[0] // groups, -1)
        columns = (matrix @ rows).reshape(channels, *kernel, len(block), *block.shape[2:])
        shifted = tuple(p - r.start * s for p, r, s in zip(low, region, stride, strict=True))
        target = result[items]
        for index in np.ndindex(*kernel):
            offsets = tuple(i * d for i, d in zip(index, dilation, strict=True))
            taken, met = overlaps(offsets, stride, shifted, block.shape[2:], sizes)
            part = columns[(slice(None), *index)][(slice(None), slice(None), *taken)]
            target[(slice(None), slice(None), *met)] += part.swapaxes(0, 1)
    return result


def _blocks(
    batch: int, outputs: Sizes, bytes_per_output: int
) -> Iterator[tuple[slice, tuple[slice, ...]]]:
    """Cuts [batch, *outputs] into boxes of at most _BLOCK_BYTES (or of one output, if that is
    more).

    Whole images go together while they are small; one too large is cut along its leading spatial
    axes.
    """
    positions = product(outputs)
    most = max(1, _BLOCK_BYTES // max(1, bytes_per_output))
    items = 1
    box = list(outputs)
    if positions <= most:
        items = max(1, min(batch, most // positions, -(-_BLOCK_OUTPUTS // positions)))
    else:
        rest = positions
        for axis, size in enumerate(outputs):
            rest //= size
            box[axis] = max(1, min(size, most // rest))
            if rest <= most:
                break
    starts = [range(0, size, step) for size, step in zip(outputs, box, strict=True)]
    for first in range(0, batch, items):
        taken = slice(first, min(first + items, batch))
        for corner in itertools.product(*starts):
            ends = (min(c + b, o) for c, b, o in zip(corner, box, outputs, strict=True))
            yield taken, tuple(slice(c, e) for c, e in zip(corner, ends, strict=True))


def _columns(
    x: np.ndarray,
    kernel: Sizes,
    outputs: Sizes,
    stride: Sizes,
    low: Sizes,
    dilation: Sizes,
    groups: int,
) -> Iterator[tuple[slice, tuple[slice, ...], np.ndarray]]:
    """Yields (items, region, columns) for each block of outputs.

    columns: [groups, channels / groups * kernel, items * region].  The next block overwrites it.
    """
    batch, channels = x.shape[:2]
    buffer = np.empty(0, x.dtype)
    for items, region in _blocks(batch, outputs, channels * product(kernel) * x.itemsize):
        block = x[items]
        box = tuple(r.stop - r.start for r in region)
        start = tuple(r.start * s - p for r, s, p in zip(region, stride, low, strict=True))
        extent = tuple(
            (b - 1) * s + (k - 1) * d + 1
            for b, s, k, d in zip(box, stride, kernel, dilation, strict=True)
        )
        source = _cut(block, start, extent)
        spatial = source.strides[2:]
        windows = as_strided(
            source,
            (channels, *kernel, len(block), *box),
            (
                source.strides[1],
                *(step * d for step, d in zip(spatial, dilation, strict=True)),
                source.strides[0],
                *(step * s for step, s in zip(spatial, stride, strict=True)),
            ),
            writeable=False,
        )
        if buffer.size < windows.size:
            buffer = np.empty(windows.size, x.dtype)
        columns = buffer[: windows.size].reshape(windows.shape)
        np.copyto(columns, windows)
        yield items, region, columns.reshape(groups, -1, len(block) * product(box))


def _cut(x: np.ndarray, start: Sizes, extent: Sizes) -> np.ndarray:
    """x[..., start : start + extent] on the spatial axes, zero where that lies outside x."""
    sizes = x.shape[2:]
    stops = tuple(s + e for s, e in zip(start, extent, strict=True))
    inner = tuple(
        slice(max(s, 0), max(min(stop, n), max(s, 0)))
        for s, stop, n in zip(start, stops, sizes, strict=True)
    )
    part = x[(slice(None), slice(None), *inner)]
    if part.shape[2:] == extent:
        return part
    result = np.zeros((*x.shape[:2], *extent), x.dtype)
    if part.size:
        place = tuple(
            slice(i.start - s, i.start - s + n)
            for i, s, n in zip(inner, start, part.shape[2:], strict=True)
        )
        result[(slice(None), slice(None), *place)] = part
    return result


def _depthwise_parts(
    x_shape: Sizes, weight_shape: Sizes, outputs: Sizes, stride: Sizes, low: Sizes, dilation: Sizes
) -> Iterator[tuple[tuple, tuple, tuple]]:
    """For each kernel offset: indices into weight, into outputs and into inputs.

    Outputs are indexed as [batch, channels, multiplier, *outputs], inputs as [batch, channels, 1,
    *sizes].
    """
    every = slice(None)
    for index in np.ndindex(*weight_shape[2:]):
        offsets = tuple(i * d for i, d in zip(index, dilation, strict=True))
        taken, met = overlaps(offsets, stride, low, outputs, x_shape[2:])
        yield (every, every, *index), (every, every, every, *taken), (every, every, every, *met)


def _depthwise(
    x: np.ndarray, weight: np.ndarray, outputs: Sizes, stride: Sizes, low: Sizes, dilation: Sizes
) -> np.ndarray:
    """One input channel per group: products of whole images, with no loop over channels."""
    batch, channels = x.shape[:2]
    multiplier = weight.shape[0] // channels
    result = np.zeros((batch, channels, multiplier, *outputs), x.dtype)
    weight = weight.reshape(channels, multiplier, *weight.shape[2:])
    spread = (1,) * len(outputs)
    step = batch_step(batch, result[:1].nbytes, _ELEMENTWISE_BYTES)
    parts = list(_depthwise_parts(x.shape, weight.shape, outputs, stride, low, dilation))
    for first in range(0, batch, step):
        source = x[first : first + step][:, :, None]
        target = result[first : first + step]
        for where, taken, met in parts:
            target[taken] += source[met] * weight[where].reshape(channels, multiplier, *spread)
    return result.reshape(batch, channels * multiplier, *outputs)


def _depthwise_transposed(
    grad: np.ndarray,
    weight: np.ndarray,
    sizes: Sizes,
    stride: Sizes,
    low: Sizes,
    dilation: Sizes,
    channels: int,
) -> np.ndarray:
    """Adjoint of `_depthwise`; weight is [channels * multiplier, 1, *kernel]."""
    batch, outputs = len(grad), grad.shape[2:]
    multiplier = weight.shape[0] // channels
    grad = grad.reshape(batch, channels, multiplier, *outputs)
    weight = weight.reshape(channels, multiplier, *weight.shape[2:])
    result = np.zeros((batch, channels, *sizes), grad.dtype)
    spread = (1,) * len(outputs)
    step = batch_step(batch, grad[:1].nbytes, _ELEMENTWISE_BYTES)
    parts = list(_depthwise_parts(result.shape, weight.shape, outputs, stride, low, dilation))
    for first in range(0, batch, step):
        source = grad[first : first + step]
        target = result[first : first + step][:, :, None]
        for where, taken, met in parts:
            term = source[taken] * weight[where].reshape(channels, multiplier, *spread)
            target[met] += term if multiplier == 1 else term.sum(axis=2, keepdims=True)
    return result


def _depthwise_weight_gradient(
    grad: np.ndarray,
    x: np.ndarray,
    weight_shape: Sizes,
    outputs: Sizes,
    stride: Sizes,
    low: Sizes,
    dilation: Sizes,
) -> np.ndarray:
    """Weight gradient where each group has one input channel: one reduction per kernel offset."""
    batch, channels = x.shape[:2]
    multiplier = weight_shape[0] // channels
    grad = grad.reshape(batch, channels, multiplier, *outputs)
    result = np.empty((channels, multiplier, *weight_shape[2:]), x.dtype)
    axes = "xyz"[: len(outputs)]
    parts = _depthwise_parts(x.shape, result.shape, outputs, stride, low, dilation)
    for where, taken, met in parts:
        # Per image first: a single running sum over the batch would lose digits in float32.
        each = np.einsum(f"ncm{axes},nc{axes}->ncm", grad[taken], x[:, :, None][met][:, :, 0])
        result[where] = each.sum(axis=0)
    return result.reshape(weight_shape)
