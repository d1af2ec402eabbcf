"""Pooling and its gradients in the NumPy tier: maximum, average, adaptive, and un-pooling.

Pure functions, arrays in and arrays out.  An array is [*leading, *spatial]: the number of spatial
axes is the length of `kernel` (or of `output_size`), and any leading axes (batch, channels) go
along.  Results, tie rules, sizes and error types follow torch.nn.functional's pooling functions.
Loops run over kernel offsets, or over the elements of one window, never over pixels.  Imports
NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from suiren.interpreter.windows import (
    Taps,
    batch_step,
    gather_taps,
    overlaps,
    product,
    transpose_taps,
    working_dtype,
)

Sizes = tuple[int, ...]

# Bytes of one block of leading items (counted in the output's working dtype), so that the passes
# over it, one for each kernel offset, stay in the L2 cache.
_BLOCK_BYTES = 1 << 18


def pool_output_size(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Sizes:
    """Spatial sizes of a pooling's result, after checking the arguments; RuntimeError if they are
    wrong.

    With ceil_mode a last window may reach past the end, but it must start inside the input or the
    padding before it.

        >>> pool_output_size((5,), (2,), (2,), (0,), ceil_mode=True)
        (3,)
    """
    dilation = dilation or (1,) * len(kernel)
    result = []
    for size, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True):
        _check_axis(k, s, p, d)
        steps = size + 2 * p - d * (k - 1) - 1
        outputs = (-(-steps // s) if ceil_mode else steps // s) + 1
        if ceil_mode and (outputs - 1) * s >= size + p:
            outputs -= 1
        if outputs < 1:
            raise RuntimeError(
                f"pool: Given input size {tuple(sizes)} with kernel {tuple(kernel)}, stride "
                f"{tuple(stride)}, padding {tuple(padding)}: an axis would have {outputs} "
                f"outputs. Output "
                "size is too small; use a smaller kernel or more padding"
            )
        result.append(outputs)
    return tuple(result)


def _check_axis(kernel: int, stride: int, padding: int, dilation: int) -> None:
    for name, value in (("kernel size", kernel), ("stride", stride), ("dilation", dilation)):
        if value <= 0:
            raise RuntimeError(f"pool: {name} should be greater than zero, but got {value}")
    if padding < 0:
        raise RuntimeError(f"pool: pad must be non-negative, but got pad: {padding}")
    if padding > kernel // 2:
        raise RuntimeError(
            f"pool: pad should be at most half of effective kernel size, but got pad={padding}, "
            f"kernel_size={kernel} and dilation={dilation} (which may not make up for it)"
        )


def max_pool(
    x: np.ndarray,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int] | None = None,
    ceil_mode: bool = False,
    indices: bool = True,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Largest element of every window, and where it lies.

    x: [*leading, *sizes], real.  Returns (values, positions): values of x's dtype, positions
    int64, flat over the spatial axes of x, or None if `indices` is False.  Of equal elements the
    first counts.  A NaN wins, of several the last, as torch has it.  Padding is never chosen.

    Source: torch.nn.functional.max_pool2d and siblings.

        >>> max_pool(np.array([[1.0, 5.0, 2.0, 2.0]]), (2,), (2,), (0,))
        (array([[5., 2.]]), array([[1, 2]]))
    """
    kernel, stride, padding = tuple(kernel), tuple(stride), tuple(padding)
    axes = len(kernel)
    dilation = tuple(dilation) if dilation else (1,) * axes
    leading, sizes = x.shape[: x.ndim - axes], x.shape[x.ndim - axes :]
    outputs = pool_output_size(sizes, kernel, stride, padding, dilation, ceil_mode)
    dtype = working_dtype(x.dtype)
    # The offsets go in the order of memory, so "first" is the first in the flat order too.
    # `chosen` holds the number of the winning offset; positions are made of it at the end, in one
    # pass.
    first = _first_offsets(outputs, kernel, stride, padding, dilation)
    starts = [np.arange(o) * s - p for o, s, p in zip(outputs, stride, padding, strict=True)]
    steps = list(np.ndindex(*kernel))
    parts = []
    for index in steps:
        offsets = tuple(i * d for i, d in zip(index, dilation, strict=True))
        parts.append(overlaps(offsets, stride, padding, outputs, sizes))
    values = np.empty((product(leading), *outputs), x.dtype)
    positions = np.empty(values.shape, np.int64) if indices else None
    base, table = _position_parts(starts, steps, dilation, sizes)
    flat = x.reshape(-1, *sizes) if x.size else np.empty((product(leading), *sizes), x.dtype)
    small = np.uint8 if len(steps) <= 256 else np.int64
    block = batch_step(len(flat), product(outputs) * dtype.itemsize, _BLOCK_BYTES)
    lowest = _lowest(dtype)
    for begin in range(0, len(flat) if values.size else 0, block):
        source = flat[begin : begin + block].astype(dtype, copy=False)
        has_nan = dtype.kind == "f" and bool(np.isnan(source).any())
        best = np.full((len(source), *outputs), lowest, dtype)
        chosen: np.ndarray | None = None
        if indices:
            chosen = np.broadcast_to(first, best.shape).astype(small)
        for number, (taken, met) in enumerate(parts):
            target = best[(slice(None), *taken)]
            candidate = source[(slice(None), *met)]
            if chosen is not None:
                # Two passes read it, so a copy to neighbouring elements pays: 68 to 54 ms for
                # 16x64x112x112, kernel 3x3, stride 2.
                candidate = np.ascontiguousarray(candidate)
                wins = candidate > target
                if has_nan:
                    wins |= candidate != candidate
                # Offsets only grow, so the larger number is the later winner.  A masked copy of
                # the number would say the same, but masked copies are slow in NumPy.
                latest = chosen[(slice(None), *taken)]
                np.maximum(latest, wins.view(np.uint8) * small(number), out=latest)
            # maximum() hands NaNs on
            np.maximum(target, candidate, out=target)
        values[begin : begin + block] = best
        if positions is not None and chosen is not None:
            np.add(table.take(chosen), base, out=positions[begin : begin + block])
    if positions is not None and any(d > 1 for d in dilation):
        # With dilation a window can step over a tiny input and hold nothing: -inf, at some position
        # that must still be a valid one.
        np.clip(positions, 0, max(product(sizes) - 1, 0), out=positions)
    values = values.reshape(*leading, *outputs)
    return values, None if positions is None else positions.reshape(values.shape)


def _lowest(dtype: np.dtype) -> float | int:
    if dtype.kind == "f":
        return -np.inf
    return 0 if dtype.kind == "b" else int(np.iinfo(dtype).min)


def _first_offsets(
    outputs: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> np.ndarray:
    """Number, in the kernel's flat order, of each window's first offset inside the input."""
    result = np.zeros((), np.int64)
    for o, k, s, p, d in zip(outputs, kernel, stride, padding, dilation, strict=True):
        start = np.arange(o) * s - p
        # A window with no element inside keeps its last offset; max_pool clips the position.
        inside = np.minimum(np.maximum(-(start // d), 0), k - 1)
        result = result[..., None] * k + inside
    return result


def _position_parts(
    starts: list[np.ndarray], steps: list[Sizes], dilation: Sizes, sizes: Sizes
) -> tuple[np.ndarray, np.ndarray]:
    """Flat positions of the windows' starts, and what each kernel offset adds to them."""
    base = np.zeros((), np.int64)
    table = np.zeros(len(steps), np.int64)
    for axis, (start, d, size) in enumerate(zip(starts, dilation, sizes, strict=True)):
        base = base[..., None] * size + start
        table = table * size + np.array([step[axis] for step in steps], np.int64) * d
    return base, table


def max_pool_gradient(
    grad_output: np.ndarray, positions: np.ndarray, input_shape: Sequence[int], axes: int
) -> np.ndarray:
    """Gradient by the input of `max_pool` or `adaptive_max_pool`: grad_output added up at
    `positions`.

    `axes` is the number of spatial axes.  The result is of shape input_shape.
    """
    input_shape = tuple(input_shape)
    dtype = working_dtype(grad_output.dtype)
    pixels = product(input_shape[len(input_shape) - axes :])
    items = product(input_shape[: len(input_shape) - axes])
    result = np.zeros((items, pixels), grad_output.dtype)
    if grad_output.size and result.size:
        grad = grad_output.reshape(items, -1)
        where = positions.reshape(items, -1)
        block = batch_step(items, pixels * 8, 8 * _BLOCK_BYTES)
        for begin in range(0, items, block):
            part = where[begin : begin + block]
            rows = part + np.arange(len(part))[:, None] * pixels
            weights = grad[begin : begin + block].astype(dtype, copy=False)
            sums = np.zeros(len(part) * pixels, dtype)
            # Flat and of equal dtypes, as here, add.at is quick: 0.08 ms for 65536 elements where
            # bincount takes 0.56 ms.
            np.add.at(sums, rows.ravel(), weights.ravel())
            result[begin : begin + block] = sums.reshape(-1, pixels)
    return result.reshape(input_shape)


def gather_positions(x: np.ndarray, positions: np.ndarray, axes: int) -> np.ndarray:
    """Elements of x at flat spatial `positions`: the second derivative of max pooling.

    x: [*leading, *sizes], positions: [*leading, *outputs] with `axes` spatial axes each.
    """
    leading = x.shape[: x.ndim - axes]
    if positions.size == 0:
        return np.empty(positions.shape, x.dtype)
    flat = x.reshape(*leading, -1)
    return np.take_along_axis(flat, positions.reshape(*leading, -1), -1).reshape(positions.shape)


def max_unpool(
    x: np.ndarray, positions: np.ndarray, output_size: Sequence[int], axes: int | None = None
) -> np.ndarray:
    """Zeros of the given spatial size with x's elements put at `positions`; of several, the last
    stays.

    x, positions: [*leading, *sizes]; the result is [*leading, *output_size].  Raises RuntimeError
    for a position outside.  Its gradient is `gather_positions`.  Source:
    torch.nn.functional.max_unpool2d.
    """
    output_size = tuple(output_size)
    axes = len(output_size) if axes is None else axes
    leading = x.shape[: x.ndim - axes]
    pixels = product(output_size)
    if positions.shape != x.shape:
        raise RuntimeError(
            f"max_unpool: Expected shape of indices to be same as that of the input tensor "
            f"({list(x.shape)}) but got indices tensor with shape: {list(positions.shape)}"
        )
    result = np.zeros((product(leading), pixels), x.dtype)
    if x.size:
        wrong = (positions < 0) | (positions >= pixels)
        if wrong.any():
            raise RuntimeError(
                f"max_unpool: Found an invalid max index: {positions[wrong][0]} (output volumes "
                f"are of "
                f"size {'x'.join(map(str, output_size))}); give the output size of the pooled input"
            )
        rows = positions.reshape(len(result), -1)
        np.put_along_axis(result, rows, x.reshape(rows.shape), 1)
    return result.reshape(*leading, *output_size)


def avg_pool(
    x: np.ndarray,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> np.ndarray:
    """Mean of every window; [*leading, *sizes] to [*leading, *outputs], of x's dtype.

    A sum is divided by divisor_override if given, else by the number of elements in the window:
    padding counts if count_include_pad, and what a ceil_mode window has past the padding never
    does.  Integer means are cut towards zero.  Source: torch.nn.functional.avg_pool2d and
    siblings.

        >>> avg_pool(np.array([[1.0, 3.0, 5.0]]), (2,), (2,), (1,), count_include_pad=False)
        array([[1., 4.]])
    """
    kernel, stride, padding = tuple(kernel), tuple(stride), tuple(padding)
    axes = len(kernel)
    leading, sizes = x.shape[: x.ndim - axes], x.shape[x.ndim - axes :]
    outputs = pool_output_size(sizes, kernel, stride, padding, None, ceil_mode)
    divisor = _divisors(
        sizes, outputs, kernel, stride, padding, count_include_pad, divisor_override
    )
    dtype = working_dtype(x.dtype)
    result = np.empty((product(leading), *outputs), x.dtype)
    flat = x.reshape(len(result), *sizes)
    parts = [overlaps(index, stride, padding, outputs, sizes) for index in np.ndindex(*kernel)]
    block = batch_step(len(flat), product(outputs) * dtype.itemsize, _BLOCK_BYTES)
    for begin in range(0, len(flat) if result.size else 0, block):
        source = flat[begin : begin + block].astype(dtype, copy=False)
        total = np.zeros((len(source), *outputs), dtype)
        for taken, met in parts:
            total[(slice(None), *taken)] += source[(slice(None), *met)]
        result[begin : begin + block] = _divide(total, divisor)
    return result.reshape(*leading, *outputs)


def avg_pool_gradient(
    grad_output: np.ndarray,
    input_shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> np.ndarray:
    """Gradient by the input of `avg_pool` with the same arguments; its shape is input_shape."""
    kernel, stride, padding = tuple(kernel), tuple(stride), tuple(padding)
    input_shape = tuple(input_shape)
    axes = len(kernel)
    sizes, outputs = (
        input_shape[len(input_shape) - axes :],
        grad_output.shape[grad_output.ndim - axes :],
    )
    divisor = _divisors(
        sizes, outputs, kernel, stride, padding, count_include_pad, divisor_override
    )
    dtype = working_dtype(grad_output.dtype)
    result = np.empty((product(input_shape[: len(input_shape) - axes]), *sizes), grad_output.dtype)
    flat = grad_output.reshape(len(result), *outputs)
    parts = [overlaps(index, stride, padding, outputs, sizes) for index in np.ndindex(*kernel)]
    block = batch_step(len(flat), product(sizes) * dtype.itemsize, _BLOCK_BYTES)
    for begin in range(0, len(flat) if result.size else 0, block):
        share = _divide(flat[begin : begin + block].astype(dtype, copy=False), divisor)
        total = np.zeros((len(share), *sizes), dtype)
        for taken, met in parts:
            total[(slice(None), *met)] += share[(slice(None), *taken)]
        result[begin : begin + block] = total
    return result.reshape(input_shape)


def _divide(total: np.ndarray, divisor: np.ndarray | int) -> np.ndarray:
    if total.dtype.kind in "iu":
        quotient = np.abs(total) // np.abs(divisor)
        return quotient * np.sign(total) * np.sign(divisor)
    return total / np.asarray(divisor, total.real.dtype)


def _divisors(
    sizes: Sizes,
    outputs: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    count_include_pad: bool,
    divisor_override: int | None,
) -> np.ndarray | int:
    """Number each window's sum is divided by: [*outputs], or one number for all."""
    if divisor_override is not None:
        if divisor_override == 0:
            raise RuntimeError(
                "avg_pool: divisor must be not zero; leave divisor_override out or change it"
            )
        return divisor_override
    result = np.ones((), np.int64)
    for size, o, k, s, p in zip(sizes, outputs, kernel, stride, padding, strict=True):
        start = np.arange(o) * s - p
        if count_include_pad:
            counts = np.minimum(start + k, size + p) - start
        else:
            counts = np.minimum(start + k, size) - np.maximum(start, 0)
        result = result[..., None] * counts
    return result


def _adaptive_bounds(size: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of each adaptive window: floor(i * size / outputs), and so on."""
    index = np.arange(outputs)
    start = index * size // max(outputs, 1)
    stop = -(-(index + 1) * size // max(outputs, 1))
    return start, stop - start


def _adaptive_taps(size: int, outputs: int) -> Taps:
    start, length = _adaptive_bounds(size, outputs)
    depth = np.arange(int(length.max(initial=0)))[:, None]
    return Taps(np.minimum(start + depth, max(size - 1, 0)), None, length)


def _uniform(sizes: Sizes, output_size: Sizes) -> Sizes | None:
    """The kernel, if the adaptive windows are all alike and side by side; else None."""
    pairs = list(zip(sizes, output_size, strict=True))
    if any(o == 0 or size == 0 or size % o for size, o in pairs):
        return None
    return tuple(size // o for size, o in pairs)


def _check_adaptive(name: str, x_shape: Sizes, output_size: Sizes) -> None:
    sizes = x_shape[len(x_shape) - len(output_size) :]
    if any(size == 0 for size in sizes):
        raise RuntimeError(
            f"{name}: Expected input to have non-zero size for non-batch dimensions, but input "
            f"has sizes "
            f"{list(x_shape)}; there is nothing to pool from"
        )
    if any(o < 0 for o in output_size):
        raise RuntimeError(
            f"{name}: elements of output_size must be greater than or equal to 0 but received "
            f"{output_size}"
        )


def adaptive_avg_pool(x: np.ndarray, output_size: Sequence[int]) -> np.ndarray:
    """Means of the windows that divide the spatial axes of x into output_size parts; of x's dtype.

    x: [*leading, *sizes], floating.  Part i of n goes from floor(i size / n) to ceil((i + 1) size
    / n). Source: torch.nn.functional.adaptive_avg_pool2d and siblings.

        >>> adaptive_avg_pool(np.array([[1.0, 2.0, 3.0]]), (2,))
        array([[1.5, 2.5]])
    """
    output_size = tuple(output_size)
    axes = len(output_size)
    _check_adaptive("adaptive_avg_pool", x.shape, output_size)
    sizes = x.shape[x.ndim - axes :]
    result = x.astype(working_dtype(x.dtype), copy=False)
    for axis in range(-1, -axes - 1, -1):
        size, outputs = sizes[axis], output_size[axis]
        column = (-1,) + (1,) * (-axis - 1)
        if outputs == 1:
            result = result.sum(axis=axis, keepdims=True) / result.dtype.type(size)
            continue
        counts = _adaptive_bounds(size, outputs)[1].astype(result.real.dtype).reshape(column)
        result = gather_taps(result, axis, _adaptive_taps(size, outputs)) / counts
    return result.astype(x.dtype, copy=False)


def adaptive_avg_pool_gradient(
    grad_output: np.ndarray, input_shape: Sequence[int], axes: int
) -> np.ndarray:
    """Gradient by the input of `adaptive_avg_pool`; `axes` is the number of spatial axes."""
    input_shape = tuple(input_shape)
    result = grad_output.astype(working_dtype(grad_output.dtype), copy=False)
    for axis in range(-1, -axes - 1, -1):
        size, outputs = input_shape[axis], grad_output.shape[axis]
        column = (-1,) + (1,) * (-axis - 1)
        counts = _adaptive_bounds(size, outputs)[1].astype(result.real.dtype).reshape(column)
        result = gather_taps(
            result / counts, axis, transpose_taps(_adaptive_taps(size, outputs), size)
        )
    return result.astype(grad_output.dtype, copy=False)


def adaptive_max_pool(x: np.ndarray, output_size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Largest elements of adaptive windows, and their flat spatial positions (int64).

    Windows as in `adaptive_avg_pool`, ties and NaNs as in `max_pool`.  Its gradient is
    `max_pool_gradient`.  Source: torch.nn.functional.adaptive_max_pool2d and siblings.
    """
    output_size = tuple(output_size)
    axes = len(output_size)
    _check_adaptive("adaptive_max_pool", x.shape, output_size)
    sizes = x.shape[x.ndim - axes :]
    kernel = _uniform(sizes, output_size)
    if kernel is not None:
        best, where = max_pool(x, kernel, kernel, (0,) * axes)
        assert where is not None, "max_pool gives positions unless told not to"
        return best, where
    values = x.astype(working_dtype(x.dtype), copy=False)
    positions = np.arange(product(sizes)).reshape(sizes)
    positions = np.broadcast_to(positions, x.shape)
    # Axis after axis, last first.  Within a row the first of the largest is kept, then the first
    # of the rows: the first in flat order.  The last NaN is kept in the same way.
    for axis in range(-1, -axes - 1, -1):
        values, positions = _adaptive_max_axis(values, positions, axis, output_size[axis])
    return values.astype(x.dtype, copy=False), np.ascontiguousarray(positions)


def _adaptive_max_axis(
    values: np.ndarray, positions: np.ndarray, axis: int, outputs: int
) -> tuple[np.ndarray, np.ndarray]:
    start, length = _adaptive_bounds(values.shape[axis], outputs)
    best, where = values.take(start, axis=axis), positions.take(start, axis=axis)
    for depth in range(1, int(length.max(initial=0))):
        # A window that is already at its end meets its last element again, which changes nothing.
        index = start + np.minimum(depth, length - 1)
        candidate = values.take(index, axis=axis)
        wins = (candidate > best) | (candidate != candidate)
        np.copyto(best, candidate, where=wins)
        np.copyto(where, positions.take(index, axis=axis), where=wins)
    return best, where
