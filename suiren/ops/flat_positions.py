"""Positions in the flattened tensor. Source: torch.take, torch.put, torch.unravel_index."""

from __future__ import annotations

from math import prod

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.elementwise import kept_layout
from suiren.ops.lowering import wrapped
from suiren.ops.views import full_like_meta, reshape
from suiren.tensor import Tensor
from suiren.trace import meta


@operator()
class take:
    """The elements at positions of the flattened tensor. Source: torch.take."""

    tensors = 2

    def call(input, index):
        if index._meta.dtype is not dtypes.int64:
            raise RuntimeError(
                f"take(): Expected a long tensor for index, but got {index._meta.dtype.letter_name}"
            )
        if not input._meta.numel and index._meta.numel:
            raise IndexError("take(): tried to take from an empty tensor")
        return apply(take.operator, (input, index))

    def infer(input, index):
        return meta(index.shape, input.dtype, input.device)

    def evaluate(input, index):
        try:
            return np.asarray(np.take(input, index)) if index.size else np.empty(
                index.shape, input.dtype)
        except IndexError:
            raise IndexError(
                f"out of range: tried to access an index beyond the {input.size} elements, in "
                "take()"
            ) from None

    def decompose(g, input, index):
        flat = input.reshape(input.numel)
        return g.take(flat, wrapped(g, index, flat.numel), 0, checked=True)

    def grad_input(grad, input_meta, index):
        return put(full_like_meta(input_meta), index, grad, True)


@operator(inplace=True)
class put:
    """``input`` with ``source`` at positions of the flattened tensor. Source: torch.put."""

    tensors = 3
    consumes = 0
    widen = True

    def call(input, index, source, accumulate=False):
        if index._meta.dtype is not dtypes.int64:
            raise RuntimeError(
                f"put_(): Expected a long tensor for index, but got {index._meta.dtype.letter_name}"
            )
        if source._meta.dtype is not input._meta.dtype:
            raise RuntimeError(
                f"put_(): self and source expected to have the same dtype, but got self.dtype = "
                f"{input._meta.dtype} and source.dtype = {source._meta.dtype}"
            )
        if index._meta.numel != source._meta.numel:
            raise RuntimeError(
                "put_(): Expected source and index to have the same number of elements, but got "
                f"source.numel() = {source._meta.numel}, index.numel() = {index._meta.numel}"
            )
        if index._meta.numel and not input._meta.numel:
            raise IndexError("put_(): Tried to put elements into an empty tensor")
        return apply(put.operator, (input, index, source), (bool(accumulate),))

    def infer(input, index, source, accumulate):
        return kept_layout(input)

    def evaluate(input, index, source, accumulate):
        flat = input.reshape(-1)
        try:
            if accumulate:
                np.add.at(flat, index.reshape(-1), source.reshape(-1))
            else:
                flat[index.reshape(-1)] = source.reshape(-1)
        except IndexError:
            raise IndexError(f"put_(): index out of range of {flat.size} elements") from None
        return input

    def decompose(g, input, index, source, accumulate):
        flat, count = input.reshape(input.numel), index.numel
        places = wrapped(g, index, flat.numel).reshape(count)
        how = "add" if accumulate else "set"
        values = source.reshape(count)
        return g.scatter(how, flat, places, values, 0, checked=True).reshape(*input.shape)

    def grad_input(grad, source_meta, index, accumulate):
        if accumulate:
            return grad
        return put(grad, index, full_like_meta(source_meta), False)

    def grad_source(grad, source_meta, index):
        return reshape(take(grad, index), source_meta.shape)


@composite(out=False)
def unravel_index(indices, shape):
    """Positions in the flattened tensor as a tuple of positions in each dimension.

    Source: torch.unravel_index.
    """
    kind = indices._meta.dtype
    if kind.category != dtypes.INTEGER:
        raise ValueError(f"expected 'indices' to be integer, but got {kind}")
    if isinstance(shape, Tensor):
        shape = shape.tolist()
    shape = (shape,) if hasattr(shape, "__index__") else tuple(shape)
    if any(s < 0 for s in shape):
        raise ValueError(f"'shape' cannot have negative values, but got {shape}")
    found = []
    for d, size in enumerate(shape):
        rest = prod(shape[d + 1 :])
        part = indices if rest == 1 else indices.div(rest, rounding_mode="floor")
        found.append(part.remainder(size))
    return tuple(found)
