"""What a mask selects, and where there is something: masked_select, masked_scatter, nonzero.

How many elements masked_select and nonzero find depends on the data, so they compute at once.
Source: PyTorch's pages of torch.masked_select, Tensor.masked_scatter and torch.nonzero.
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.device import META
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.creation import fill, from_array, without_data
from suiren.ops.elementwise import broadcast_shapes
from suiren.ops.flat_positions import put
from suiren.ops.indexing import choose
from suiren.ops.views import full_like_meta
from suiren.trace import meta


@composite()
def masked_select(input, mask):
    """The elements where the (broadcast) mask is True, in one dimension.

    Its shape depends on the mask, so this waits for it. Source: torch.masked_select.

    >>> import suiren as torch
    >>> torch.tensor([1, 2, 3]).masked_select(torch.tensor([True, False, True]))
    tensor([1, 3])
    """
    if mask._meta.dtype is not dtypes.bool:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = broadcast_shapes(input._meta.shape, mask._meta.shape)
    chosen = np.broadcast_to(mask.peek(), shape)
    places = from_array(np.flatnonzero(chosen))
    wide = input.expand(shape) if input._meta.shape != shape else input
    return apply(masked_taken.operator, (wide, places), ())


@operator(where=(), name="masked_select")
class masked_taken:
    """Elements at positions of the flattened tensor, found from a mask."""

    tensors = 2

    def call(input, places):
        return apply(masked_taken.operator, (input, places))

    def infer(input, places):
        return meta(places.shape, input.dtype, input.device)

    def evaluate(input, places):
        return input.reshape(-1)[places]

    def grad_input(grad, input_meta, places):
        return put(full_like_meta(input_meta), places, grad)


@operator(inplace=True)
class masked_scatter:
    """``input`` with the elements of ``source``, in order, where the mask is True.

    Source: torch.masked_scatter.
    """

    tensors = 3
    consumes = 0

    def call(input, mask, source):
        if mask._meta.dtype is not dtypes.bool:
            raise RuntimeError(
                "masked_scatter_ only supports boolean masks, but got mask with dtype "
                f"{mask._meta.dtype}"
            )
        if source._meta.dtype is not input._meta.dtype:
            raise RuntimeError(
                "masked_scatter: expected self and source to have same dtypes but got "
                f"{input._meta.dtype.letter_name} and {source._meta.dtype.letter_name}"
            )
        shape = broadcast_shapes(input._meta.shape, mask._meta.shape)
        input = input if input._meta.shape == shape else input.expand(shape)
        mask = mask if mask._meta.shape == shape else mask.expand(shape)
        return apply(masked_scatter.operator, (input, mask, source), ())

    def infer(input, mask, source):
        return input.flat

    def evaluate(input, mask, source):
        count = int(np.count_nonzero(mask))
        if count > source.size:
            raise RuntimeError(
                "masked_scatter: expected source to have at least as many elements as the mask "
                f"has True: {source.size} for {count}"
            )
        input[mask] = source.reshape(-1)[:count]
        return input

    def grad_input(grad, mask):
        return choose(mask, fill((), 0, grad._meta.dtype, False, grad._meta.device), grad)

    def grad_source(grad, mask, source_meta):
        return apply(masked_gathered.operator, (grad, mask), (source_meta.flat,))


@operator(where=())
class masked_gathered:
    """The elements where the mask is True, in order, in the first places of zeros."""

    tensors = 2

    def call(input, mask, m):
        return apply(masked_gathered.operator, (input, mask), (m,))

    def infer(input, mask, m):
        return m

    def evaluate(input, mask, m):
        found = input[mask]
        result = np.zeros(m.numel, m.dtype.numpy)
        result[: found.size] = found
        return result.reshape(m.shape)

    def grad_input(grad, input_meta, mask):
        return masked_scatter(full_like_meta(input_meta), mask, grad)


@composite()
def nonzero(input, *, as_tuple=False):
    """The positions of the elements that are not zero, one row for each (or a tuple of columns).

    Its shape depends on the values, so this waits for them. Source: torch.nonzero.

    >>> import suiren as torch
    >>> torch.tensor([[0, 5], [6, 0]]).nonzero()
    tensor([[0, 1],
            [1, 0]])
    """
    array = input.peek()
    if as_tuple:
        return tuple([from_array(x.astype(np.int64)) for x in np.atleast_1d(array).nonzero()])
    if not array.ndim:
        return from_array(np.zeros((int(bool(array)), 0), np.int64))
    return from_array(np.stack(array.nonzero(), axis=1).astype(np.int64))


@composite()
def argwhere(input):
    """nonzero(): the positions of what is not zero. Source: torch.argwhere."""
    return nonzero(input)


@composite()
def nonzero_static(input, *, size, fill_value=-1):
    """nonzero() cut or filled up to ``size`` rows. Source: torch.nonzero_static."""
    if size < 0:
        raise RuntimeError(f"nonzero_static: 'size' must be an non-negative integer, got {size}")
    if input._meta.device is META:
        return without_data(meta((size, input._meta.ndim), dtypes.int64))
    array = input.peek()
    found = np.full((size, array.ndim), fill_value, np.int64)
    if array.ndim:
        rows = np.stack(array.nonzero(), axis=1)[:size]
        found[: len(rows)] = rows
    return from_array(found)
