"""Triangles and diagonals of matrices, and grids of coordinates.

Source: PyTorch's torch.tril, torch.diag, torch.diag_embed and torch.meshgrid pages.
"""

from __future__ import annotations

import itertools

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.creation import from_array, options
from suiren.ops.indexed_slices import index_select
from suiren.ops.joining import cat, stack, tensor_list
from suiren.ops.lowering import on_diagonal
from suiren.ops.parts import diagonal
from suiren.ops.views import reshape, wrap_dim
from suiren.tensor import Tensor
from suiren.trace import meta


def _check_matrix(input: Tensor, name: str) -> None:
    if input._meta.ndim < 2:
        raise RuntimeError(
            f"{name}: input tensor must have at least 2 dimensions, got {input._meta.ndim}"
        )


@operator(inplace=True)
class tril:
    """The lower triangle of matrices; zeros above diagonal number ``diagonal``.

    Source: torch.tril.

    >>> import suiren as torch
    >>> torch.ones(2, 2).tril()
    tensor([[1., 0.],
            [1., 1.]])
    """

    def call(input, diagonal=0):
        _check_matrix(input, "tril")
        return apply(tril.operator, (input,), (int(diagonal),))

    def infer(input, diagonal):
        return input.flat

    def evaluate(input, diagonal):
        return np.tril(input, diagonal)

    def decompose(g, input, diagonal):
        return g.where(_lowered_above(g, input.shape) <= diagonal, input, 0)

    def grad_input(grad, diagonal):
        return tril(grad, diagonal)


@operator(inplace=True)
class triu:
    """The upper triangle of matrices; zeros below diagonal number ``diagonal``.

    Source: torch.triu.
    """

    def call(input, diagonal=0):
        _check_matrix(input, "triu")
        return apply(triu.operator, (input,), (int(diagonal),))

    def infer(input, diagonal):
        return input.flat

    def evaluate(input, diagonal):
        return np.triu(input, diagonal)

    def decompose(g, input, diagonal):
        return g.where(_lowered_above(g, input.shape) >= diagonal, input, 0)

    def grad_input(grad, diagonal):
        return triu(grad, diagonal)


def _indices(name: str, function):
    def places(row, col, offset=0, *, dtype=dtypes.int64, device=None, layout=None,
               requires_grad=False):  # fmt: skip
        if row < 0 or col < 0:
            raise RuntimeError(f"{name}: row and col must be non-negative, got {row} and {col}")
        kind, where = options(dtype, device, layout)
        found = np.stack(function(row, offset, col)) if row and col else np.zeros((2, 0))
        return from_array(found.astype(kind.numpy), requires_grad, where)

    places.__name__ = places.__qualname__ = name
    places.__doc__ = (
        f"Rows and columns of a {name[:4]}-shaped part of a matrix, as 2 rows of a tensor. "
        f"Source: torch.{name}."
    )
    return composite(places, where=("torch",), out=False)


tril_indices = _indices("tril_indices", np.tril_indices)
triu_indices = _indices("triu_indices", np.triu_indices)


@operator(out=False)
class diag_embed:
    """Matrices with the last dimension of ``input`` on a diagonal. Source: torch.diag_embed.

    >>> import suiren as torch
    >>> torch.diag_embed(torch.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """

    def call(input, offset=0, dim1=-2, dim2=-1):
        ndim = input._meta.ndim + 1
        dim1, dim2 = wrap_dim(dim1, ndim), wrap_dim(dim2, ndim)
        if dim1 == dim2:
            raise RuntimeError(
                f"diagonal dimensions cannot be identical {dim1}, {dim2}, in diag_embed()"
            )
        return apply(diag_embed.operator, (input,), (int(offset), dim1, dim2))

    def infer(input, offset, dim1, dim2):
        size = input.shape[-1] + abs(offset)
        shape = list(input.shape[:-1])
        for d in sorted((dim1, dim2)):
            shape.insert(d, size)
        return meta(shape, input.dtype, input.device)

    def evaluate(input, offset, dim1, dim2):
        shape = diag_embed_shape(input.shape, offset, dim1, dim2)
        found = np.zeros(shape, input.dtype)
        seen = np.diagonal(found, offset, dim1, dim2)
        seen.flags.writeable = True
        seen[...] = input
        return found

    def decompose(g, input, offset, dim1, dim2):
        shape = diag_embed_shape(input.shape, offset, dim1, dim2)
        order = [d for d in range(len(shape)) if d not in (dim1, dim2)] + [dim1, dim2]
        zeros = g.full([shape[d] for d in order], 0, input.dtype)
        found = on_diagonal(g, zeros, input, offset)
        return found.permute(*[order.index(d) for d in range(len(order))])

    def grad_input(grad, offset, dim1, dim2):
        return diagonal(grad, offset, dim1, dim2)


def _lowered_above(g, shape):
    """How far above the main diagonal each place of the matrices is."""
    return g.iota(shape, len(shape) - 1) - g.iota(shape, len(shape) - 2)


def diag_embed_shape(shape, offset: int, dim1: int, dim2: int) -> list[int]:
    """The shape of diag_embed's result."""
    size = shape[-1] + abs(offset)
    found = list(shape[:-1])
    for d in sorted((dim1, dim2)):
        found.insert(d, size)
    return found


@composite()
def diag(input, diagonal=0):
    """The diagonal of a matrix, or a matrix with this vector on the diagonal.

    Source: torch.diag.
    """
    if input._meta.ndim == 1:
        return diag_embed(input, diagonal)
    if input._meta.ndim == 2:
        return input.diagonal(diagonal).clone()
    raise RuntimeError(
        f"diag(): Supports 1D or 2D tensors. Got {input._meta.ndim}D; use diagonal() or "
        "diag_embed()"
    )


@composite(out=False)
def diagflat(input, offset=0):
    """A matrix with all elements of ``input`` on a diagonal. Source: torch.diagflat."""
    return diag_embed(reshape(input, (input._meta.numel,)), offset)


# ---- grids


@composite(where=("torch",), out=False)
def meshgrid(*tensors, indexing=None):
    """For each vector the coordinate along it of each point of the grid that they span.

    ``indexing`` "ij" keeps the order of the vectors, "xy" exchanges the first two.
    Source: torch.meshgrid.
    """
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    tensors = tensor_list(tensors, "meshgrid")
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for x in tensors:
        if x._meta.ndim > 1:
            raise RuntimeError(
                "torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: "
                f"{list(x._meta.shape)}"
            )
        if x._meta.dtype is not tensors[0]._meta.dtype:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    indexing = indexing or "ij"
    if indexing not in ("ij", "xy"):
        raise RuntimeError(
            'torch.meshgrid: indexing must be one of "xy" or "ij", but received: ' + indexing
        )
    swap = indexing == "xy" and len(tensors) > 1
    order = [1, 0, *range(2, len(tensors))] if swap else list(range(len(tensors)))
    given = [tensors[i] for i in order]
    shape = tuple([x._meta.numel for x in given])
    found = []
    for i, x in enumerate(given):
        own = [1] * len(given)
        own[i] = shape[i]
        found.append(reshape(x, own).expand(shape))
    return tuple([found[i] for i in order])


@composite(where=("torch",), out=False)
def cartesian_prod(*tensors):
    """All combinations of one element of each vector, as rows. Source: torch.cartesian_prod."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    tensors = tensor_list(tensors, "cartesian_prod")
    for x in tensors:
        if x._meta.ndim != 1:
            raise RuntimeError(
                f"Expect a 1D vector, but got shape {list(x._meta.shape)}, in cartesian_prod()"
            )
    if len(tensors) == 1:
        return tensors[0]
    return stack([reshape(x, (-1,)) for x in meshgrid(*tensors)], 1)


@composite(out=False)
def combinations(input, r=2, with_replacement=False):
    """All choices of ``r`` elements of a vector, as rows. Source: torch.combinations."""
    if input._meta.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input._meta.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    places = list(choose(range(input._meta.numel), r))
    if not r:
        return input.new_empty(0)
    rows = from_array(np.array(places, np.int64).reshape(-1))
    return reshape(index_select(input, 0, rows), (len(places), r))


__all__ = ["cat", "diag", "tril", "triu"]
