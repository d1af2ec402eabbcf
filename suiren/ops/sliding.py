"""Windows over a dimension: unfold, a view in which an element may appear in several windows.

Source: Tensor.unfold.
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import operator
from suiren.ops.lowering import flat_positions, narrow, row_major, widened
from suiren.ops.views import full_like_meta, wrap_dim
from suiren.trace import meta
from suiren.views import make_view, offset_of


@operator(where=("Tensor",))
class unfold:
    """All windows of ``size`` along a dimension, ``step`` apart, as a last dimension: a view.

    Source: Tensor.unfold.

    >>> import suiren as torch
    >>> torch.arange(5).unfold(0, 3, 2)
    tensor([[0, 1, 2],
            [2, 3, 4]])
    """

    def call(input, dimension, size, step):
        old = input._meta
        dim = wrap_dim(dimension, old.ndim)
        length = old.shape[dim] if old.ndim else 1
        if size > length:
            raise RuntimeError(
                f"maximum size for tensor at dimension {dim} is {length} but size is {size}"
            )
        if size < 0:
            raise RuntimeError(f"size is {size} but must be >= 0")
        if step <= 0:
            raise RuntimeError(f"step is {step} but must be > 0")
        if not old.ndim:
            strides: list[int] = [1]
        else:
            strides = [*old.strides, old.strides[dim]]
            strides[dim] *= step
        shape = unfold.operator.infer(old, dim, size, step).shape
        seen = meta(shape, old.dtype, old.device, strides)
        return make_view(unfold.operator, input, (dim, size, step), seen, offset_of(input))

    def infer(input, dim, size, step):
        if not input.ndim:
            return meta((size,), input.dtype, input.device)
        shape = [*input.shape, size]
        shape[dim] = (shape[dim] - size) // step + 1
        return meta(shape, input.dtype, input.device)

    def evaluate(input, dim, size, step):
        if not np.ndim(input):
            return np.reshape(input, (1,))[:size]
        every = (slice(None),) * dim + (slice(None, None, step),)
        if size == 0:
            shape = [*input.shape, 0]
            shape[dim] = shape[dim] // step + 1
            return np.empty(shape, input.dtype)
        return np.lib.stride_tricks.sliding_window_view(input, size, dim)[every]

    def decompose(g, input, dim, size, step):
        if not input.ndim or not size:
            raise g.NotNative("no dimension or no windows")
        count = (input.shape[dim] - size) // step + 1
        order = [d for d in range(input.ndim + 1) if d != dim + 1] + [dim + 1]
        if size <= step:  # windows side by side
            missing = max(count * step - input.shape[dim], 0)
            x = narrow(g, widened(g, input, dim, 0, missing), dim, 0, count * step)
            x = x.reshape(*x.shape[:dim], count, step, *x.shape[dim + 1 :])
            return narrow(g, x, dim + 1, 0, size).permute(*order)
        index = flat_positions(g, (count, size), (step, 1))
        return g.take(input, index, dim, checked=True).permute(*order)

    def grad_input(grad, input_meta, dim, size, step):
        zeros = full_like_meta(input_meta)
        return apply(unfold_add.operator, (zeros, grad), (dim, size, step))

    def write(parent, new, dim, size, step):
        return apply(unfold_write.operator, (parent, new), (dim, size, step))


def _windows(input, dim, size, step):
    places = np.arange(input.size).reshape(input.shape)
    return unfold.operator.evaluate(places, dim, size, step).reshape(-1)


def _lowered_write(g, how, input, src, dim, step):
    if not input.ndim or input.dtype is dtypes.bool:
        raise g.NotNative("no dimension, or truth values")
    strides = row_major(input.shape)
    strides.append(strides[dim])
    strides[dim] *= step
    places = flat_positions(g, src.shape, strides).reshape(src.numel)
    flat, values = input.reshape(input.numel), src.reshape(src.numel)
    return g.scatter(how, flat, places, values, 0, checked=True).reshape(*input.shape)


@operator(where=())
class unfold_add:
    """``input`` plus ``src`` added where the windows of an unfold look."""

    tensors = 2
    consumes = 0
    widen = True

    def call(input, src, dim, size, step):
        return apply(unfold_add.operator, (input, src), (dim, size, step))

    def infer(input, src, dim, size, step):
        return input.flat

    def evaluate(input, src, dim, size, step):
        np.add.at(input.reshape(-1), _windows(input, dim, size, step), src.reshape(-1))
        return input

    def decompose(g, input, src, dim, size, step):
        return _lowered_write(g, "add", input, src, dim, step)

    def grad_input(grad):
        return grad

    def grad_src(grad, dim, size, step):
        return apply(unfold.operator, (grad,), (dim, size, step))


@operator(where=())
class unfold_write:
    """``input`` with ``src`` where the windows of an unfold look."""

    tensors = 2
    consumes = 0

    def call(input, src, dim, size, step):
        return apply(unfold_write.operator, (input, src), (dim, size, step))

    def infer(input, src, dim, size, step):
        return input.flat

    def evaluate(input, src, dim, size, step):
        input.reshape(-1)[_windows(input, dim, size, step)] = src.reshape(-1)
        return input

    def decompose(g, input, src, dim, size, step):
        return _lowered_write(g, "set", input, src, dim, step)

    def grad_input(grad, src_meta, dim, size, step):
        zeros = full_like_meta(src_meta)
        return apply(unfold_write.operator, (grad, zeros), (dim, size, step))

    def grad_src(grad, dim, size, step):
        return apply(unfold.operator, (grad,), (dim, size, step))
