"""Reductions over dimensions: sums, means, extremes, variances. Source: PyTorch's list of them."""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.casts import to_dtype
from suiren.ops.views import wrap_dim
from suiren.trace import meta


def reduced_dims(dim, ndim: int) -> tuple[int, ...]:
    """The dimensions to reduce, counted from the front: all of them for None or ()."""
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, (tuple, list)):
        dims = tuple([wrap_dim(d, ndim) for d in dim])
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"dim {dims} appears multiple times in the list of dims")
        return dims if dims else tuple(range(ndim))
    return (wrap_dim(dim, ndim),) if ndim else (wrap_dim(dim, ndim), )[:0]


def reduced_shape(shape, dims, keepdim: bool) -> list[int]:
    """The shape after reducing these dimensions."""
    if keepdim:
        return [1 if d in dims else s for d, s in enumerate(shape)]
    return [s for d, s in enumerate(shape) if d not in dims]


def restore(grad, shape, dims, keepdim: bool):
    """A gradient of a reduction's result, seen in the shape of its input."""
    if not keepdim:
        for d in sorted(dims):
            grad = grad.unsqueeze(d)
    return grad.expand(shape)


@operator(name="sum")
class sum_:
    """The sum over dimensions (all by default); integers are added in int64.

    Source: torch.sum.

    >>> import suiren as torch
    >>> torch.ones(2, 3).sum(dim=1)
    tensor([3., 3.])
    """

    widen = True

    def call(input, dim=None, keepdim=False, *, dtype=None):
        kind = dtype or input._meta.dtype
        if dtype is None and kind.category < dtypes.FLOATING:
            kind = dtypes.int64
        dims = reduced_dims(dim, input._meta.ndim)
        return apply(sum_.operator, (to_dtype(input, kind),), (dims, bool(keepdim)))

    def infer(input, dim, keepdim):
        return meta(reduced_shape(input.shape, dim, keepdim), input.dtype, input.device)

    def evaluate(input, dim, keepdim):
        return np.sum(input, axis=dim, keepdims=keepdim, dtype=input.dtype)

    def grad_input(grad, input_meta, dim, keepdim):
        return restore(grad, input_meta.shape, dim, keepdim)


@composite(where=("Tensor",))
def sum_to_size(input, *size):
    """Sums over dimensions until the shape is ``size``: undoes broadcasting.

    Source: Tensor.sum_to_size.
    """
    from suiren.ops.views import sizes_of

    size = sizes_of(size)
    shape = input._meta.shape
    lead = len(shape) - len(size)
    if lead < 0 or any(s not in (1, shape[lead + i]) for i, s in enumerate(size)):
        raise RuntimeError(
            f"size {{{list(size)}}} is not expandable to size {{{list(shape)}}}: sum_to_size() "
            "can only undo broadcasting"
        )
    dims = tuple(range(lead)) + tuple(
        [lead + i for i, s in enumerate(size) if s == 1 and shape[lead + i] != 1]
    )
    if not dims:
        return input
    kept = apply(sum_.operator, (input,), (dims, True))
    return kept.reshape(size) if lead else kept
