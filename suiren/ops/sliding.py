"""Windows over a dimension: unfold, a view in which an element may appear in several windows.

Source: Tensor.unfold.
"""

from __future__ import annotations

import numpy as np

from suiren.dispatch import apply
from suiren.operator import operator
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

    def grad_input(grad, input_meta, dim, size, step):
        zeros = full_like_meta(input_meta)
        return apply(unfold_add.operator, (zeros, grad), (dim, size, step))

    def write(parent, new, dim, size, step):
        return apply(unfold_write.operator, (parent, new), (dim, size, step))


def _windows(input, dim, size, step):
    places = np.arange(input.size).reshape(input.shape)
    return unfold.operator.evaluate(places, dim, size, step).reshape(-1)


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

    def grad_input(grad, src_meta, dim, size, step):
        zeros = full_like_meta(src_meta)
        return apply(unfold_write.operator, (grad, zeros), (dim, size, step))

    def grad_src(grad, dim, size, step):
        return apply(unfold.operator, (grad,), (dim, size, step))
