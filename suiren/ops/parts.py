"""Views of parts of a tensor, and of one part in several places: expand, slice, select, diagonal.

Each of the partial ones has an operator that writes such a part, which is how one writes through
the view and the derivative of the view. How views work: ``views.py``. Source: PyTorch's pages.
"""

from __future__ import annotations

from math import prod

import numpy as np

from suiren.dispatch import apply
from suiren.operator import operator
from suiren.ops.elementwise import kept_layout
from suiren.ops.lowering import narrow, on_diagonal, put_slice
from suiren.ops.views import as_index, full_like_meta, reshaped, sizes_of, wrap_dim
from suiren.trace import meta
from suiren.views import make_view, offset_of


@operator(out=False)
class expand:
    """Dimensions of size one seen as larger ones, without copying.

    Source: Tensor.expand.

    >>> import suiren as torch
    >>> torch.tensor([[1], [2]]).expand(2, 3)
    tensor([[1, 1, 1],
            [2, 2, 2]])
    """

    def call(input, *given, size=None, implicit=False):
        size = sizes_of(given if size is None else (size,))
        old = input._meta
        missing = len(size) - old.ndim
        if missing < 0:
            raise RuntimeError(
                f"expand({old.dtype.letter_name}Tensor{{{list(old.shape)}}}, size={list(size)}): "
                f"the number of sizes provided ({len(size)}) must be greater or equal to the "
                f"number of dimensions in the tensor ({old.ndim})"
            )
        shape, strides = [], []
        for i, wanted in enumerate(size):
            have = old.shape[i - missing] if i >= missing else 1
            if wanted == -1 and i < missing:
                raise RuntimeError(
                    f"The expanded size of the tensor ({wanted}) isn't allowed in a leading, "
                    f"non-existing dimension {i}"
                )
            if wanted == -1 or wanted == have:
                shape.append(have)
                if i >= missing:
                    strides.append(old.strides[i - missing])
                else:
                    strides.append(0)
                continue
            if have != 1 or wanted < 0:
                raise RuntimeError(
                    f"The expanded size of the tensor ({wanted}) must match the existing size "
                    f"({have}) at non-singleton dimension {i}.  Target sizes: {list(size)}.  "
                    f"Tensor sizes: {list(old.shape)}"
                )
            shape.append(wanted)
            strides.append(0)
        for i in reversed(range(missing)):
            if shape[i] == 1:  # a new leading dimension of size one has a stride all the same
                strides[i] = shape[i + 1] * strides[i + 1] if old.ndim else 0
        seen = meta(shape, old.dtype, old.device, strides)
        return make_view(expand.operator, input, (seen.shape,), seen, offset_of(input))

    def infer(input, size):
        return meta(size, input.dtype, input.device)

    def evaluate(input, size):
        return np.broadcast_to(input, size)

    def decompose(g, input, size):
        return input.expand(*size)

    def grad_input(grad, input_meta):
        return grad.sum_to_size(input_meta.shape)

    def write(parent, new, size):
        if prod(size) != parent._meta.numel:
            raise RuntimeError(
                "unsupported operation: more than one element of the written-to tensor refers to "
                "a single memory location. Please clone() the tensor before performing the "
                "operation."
            )
        return apply(reshaped.operator, (new,), (parent._meta.shape,))


@operator(where=(), name="slice")
class slice_:
    """Every ``step``-th element of a dimension from ``start`` to before ``stop``."""

    def call(input, dim, start, stop, step):
        old = input._meta
        length = max(0, (stop - start + step - 1) // step)
        shape, strides = list(old.shape), list(old.strides)
        offset = offset_of(input) + start * strides[dim]
        shape[dim] = length
        strides[dim] *= step
        seen = meta(shape, old.dtype, old.device, strides)
        return make_view(slice_.operator, input, (dim, start, stop, step), seen, offset)

    def infer(input, dim, start, stop, step):
        shape = list(input.shape)
        shape[dim] = max(0, (stop - start + step - 1) // step)
        return meta(shape, input.dtype, input.device)

    def evaluate(input, dim, start, stop, step):
        return input[(slice(None),) * dim + (slice(start, stop, step),)]

    def decompose(g, input, dim, start, stop, step):
        return narrow(g, input, dim, start, max(0, (stop - start + step - 1) // step), step)

    def grad_input(grad, input_meta, dim, start, stop, step):
        zeros = full_like_meta(input_meta)
        return apply(slice_write.operator, (zeros, grad), (dim, start, stop, step))

    def write(parent, new, dim, start, stop, step):
        return apply(slice_write.operator, (parent, new), (dim, start, stop, step))


@operator(where=(), name="slice_scatter")
class slice_write:
    """``input`` with ``src`` in the place of a slice."""

    tensors = 2
    consumes = 0

    def call(input, src, dim, start, stop, step):
        return apply(slice_write.operator, (input, src), (dim, start, stop, step))

    def infer(input, src, dim, start, stop, step):
        return kept_layout(input)

    def evaluate(input, src, dim, start, stop, step):
        input[(slice(None),) * dim + (slice(start, stop, step),)] = src
        return input

    def decompose(g, input, src, dim, start, stop, step):
        shape = list(input.shape)
        shape[dim] = max(0, (stop - start + step - 1) // step)
        return put_slice(g, input, src.expand(*shape), dim, start, step)

    def grad_input(grad, src_meta, dim, start, stop, step):
        zeros = full_like_meta(src_meta)
        return apply(slice_write.operator, (grad, zeros), (dim, start, stop, step))

    def grad_src(grad, dim, start, stop, step):
        return apply(slice_.operator, (grad,), (dim, start, stop, step))


@operator(out=False)
class select:
    """One position of a dimension, which disappears. Source: torch.select.

    >>> import suiren as torch
    >>> torch.tensor([[1, 2], [3, 4]]).select(1, 0)
    tensor([1, 3])
    """

    def call(input, dim, index):
        old = input._meta
        if not old.ndim:
            raise IndexError("select() cannot be applied to a 0-dim tensor.")
        dim = wrap_dim(dim, old.ndim)
        index = index if index.__class__ is int else as_index(index)
        size = old.shape[dim]
        if not -size <= index < size:
            raise IndexError(
                f"select(): index {index} out of range for tensor of size {list(old.shape)} at "
                f"dimension {dim}"
            )
        index += size if index < 0 else 0
        shape, strides = list(old.shape), list(old.strides)
        offset = offset_of(input) + index * strides[dim]
        del shape[dim], strides[dim]
        seen = meta(shape, old.dtype, old.device, strides)
        return make_view(select.operator, input, (dim, index), seen, offset)

    def infer(input, dim, index):
        shape = list(input.shape)
        del shape[dim]
        return meta(shape, input.dtype, input.device)

    def evaluate(input, dim, index):
        return input[(slice(None),) * dim + (index,)]

    def decompose(g, input, dim, index):
        rest = input.shape[:dim] + input.shape[dim + 1 :]
        return narrow(g, input, dim, index, 1).reshape(*rest)

    def grad_input(grad, input_meta, dim, index):
        return apply(select_write.operator, (full_like_meta(input_meta), grad), (dim, index))

    def write(parent, new, dim, index):
        return apply(select_write.operator, (parent, new), (dim, index))


@operator(where=(), name="select_scatter")
class select_write:
    """``input`` with ``src`` in one position of a dimension."""

    tensors = 2
    consumes = 0

    def call(input, src, dim, index):
        return apply(select_write.operator, (input, src), (dim, index))

    def infer(input, src, dim, index):
        return kept_layout(input)

    def evaluate(input, src, dim, index):
        input[(slice(None),) * dim + (index,)] = src
        return input

    def decompose(g, input, src, dim, index):
        rest = input.shape[:dim] + input.shape[dim + 1 :]
        return put_slice(g, input, src.expand(*rest).unsqueeze(dim), dim, index)

    def grad_input(grad, src_meta, dim, index):
        return apply(select_write.operator, (grad, full_like_meta(src_meta)), (dim, index))

    def grad_src(grad, dim, index):
        return apply(select.operator, (grad,), (dim, index))


@operator(out=False)
class diagonal:
    """The elements whose positions in two dimensions differ by ``offset``, as a last dimension.

    Source: torch.diagonal.

    >>> import suiren as torch
    >>> torch.tensor([[1, 2], [3, 4]]).diagonal()
    tensor([1, 4])
    """

    def call(input, offset=0, dim1=0, dim2=1):
        old = input._meta
        dim1, dim2 = wrap_dim(dim1, old.ndim), wrap_dim(dim2, old.ndim)
        if dim1 == dim2:
            raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
        seen = diagonal.operator.infer(old, offset, dim1, dim2)
        strides = [s for d, s in enumerate(old.strides) if d not in (dim1, dim2)]
        strides.append(old.strides[dim1] + old.strides[dim2])
        start = offset_of(input)
        if seen.shape[-1]:
            start += offset * old.strides[dim2] if offset >= 0 else -offset * old.strides[dim1]
        seen = meta(seen.shape, old.dtype, old.device, strides)
        return make_view(diagonal.operator, input, (offset, dim1, dim2), seen, start)

    def infer(input, offset, dim1, dim2):
        shape = [s for d, s in enumerate(input.shape) if d not in (dim1, dim2)]
        rows, columns = input.shape[dim1], input.shape[dim2]
        length = min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns)
        return meta([*shape, max(length, 0)], input.dtype, input.device)

    def evaluate(input, offset, dim1, dim2):
        return np.diagonal(input, offset, dim1, dim2)

    def decompose(g, input, offset, dim1, dim2):
        order = [d for d in range(input.ndim) if d not in (dim1, dim2)]
        x = input.permute(*order, dim1, dim2)
        n = x.ndim - 2
        first, other = max(-offset, 0), max(offset, 0)
        length = max(min(x.shape[n] - first, x.shape[n + 1] - other), 0)
        lead = x.shape[:n]
        if not length:
            return g.full((*lead, 0), 0, x.dtype)
        square = narrow(g, narrow(g, x, n, first, length), n + 1, other, length)
        return narrow(g, square.reshape(*lead, length * length), n, 0, length, length + 1)

    def grad_input(grad, input_meta, offset, dim1, dim2):
        zeros = full_like_meta(input_meta)
        return apply(diagonal_write.operator, (zeros, grad), (offset, dim1, dim2))

    def write(parent, new, offset, dim1, dim2):
        return apply(diagonal_write.operator, (parent, new), (offset, dim1, dim2))


@operator(where=(), name="diagonal_scatter")
class diagonal_write:
    """``input`` with ``src`` on a diagonal."""

    tensors = 2
    consumes = 0

    def call(input, src, offset, dim1, dim2):
        return apply(diagonal_write.operator, (input, src), (offset, dim1, dim2))

    def infer(input, src, offset, dim1, dim2):
        return kept_layout(input)

    def evaluate(input, src, offset, dim1, dim2):
        seen = np.diagonal(input, offset, dim1, dim2)
        seen.flags.writeable = True
        seen[...] = src
        return input

    def decompose(g, input, src, offset, dim1, dim2):
        order = [d for d in range(input.ndim) if d not in (dim1, dim2)] + [dim1, dim2]
        x = input.permute(*order)
        back = [order.index(d) for d in range(input.ndim)]
        return on_diagonal(g, x, src, offset).permute(*back)

    def grad_input(grad, src_meta, offset, dim1, dim2):
        zeros = full_like_meta(src_meta)
        return apply(diagonal_write.operator, (grad, zeros), (offset, dim1, dim2))

    def grad_src(grad, offset, dim1, dim2):
        return apply(diagonal.operator, (grad,), (offset, dim1, dim2))
