"""Norms of vectors and matrices. Source: torch.linalg.vector_norm, matrix_norm, norm, torch.norm.

The size of a vector is one operator for all orders; matrix norms are made of it and of singular
values, as in PyTorch.
"""

from __future__ import annotations

from math import inf

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import NAMESPACES, composite, operator
from suiren.ops.casts import to_dtype
from suiren.ops.reductions import (
    kept,
    reduced_dims,
    reduced_meta,
    sum_array,
)
from suiren.ops.views import wrap_dim


def _real_kind(kind):
    return kind.to_real()


def _lowered_norm(g, x, order, dim, keepdim):
    if order == 2:
        return (x * x).sum(dim, keepdim).sqrt()
    size = x.abs()
    if order == 1:
        return size.sum(dim, keepdim)
    if order == 0:
        return size.ne(0).cast(size.dtype).sum(dim, keepdim)
    if order == inf:
        return size.amax(dim, keepdim) if size.numel else size.sum(dim, keepdim)
    if order == -inf:
        return size.amin(dim, keepdim)
    return (size**order).sum(dim, keepdim) ** (1 / order)


@operator(name="linalg_vector_norm", where=(), out=False)
class _vector_norm:
    """The norm of any order over dimensions."""

    widen = True

    def call(input, order, dims, keepdim):
        return apply(_vector_norm.operator, (input,), (order, dims, keepdim))

    def infer(input, order, dim, keepdim):
        return reduced_meta(input, dim, keepdim, _real_kind(input.dtype))

    def evaluate(input, order, dim, keepdim):
        input = np.asarray(input)
        size = np.abs(input)
        if order == 2:
            return np.sqrt(sum_array(size * size, dim, keepdim))
        if order == 1:
            return sum_array(size, dim, keepdim)
        if order == 0:
            return sum_array((size != 0).astype(size.dtype), dim, keepdim)
        if order == inf:
            if not size.size:
                return np.max(size, axis=dim, keepdims=keepdim, initial=0)
            return np.max(size, axis=dim, keepdims=keepdim)
        if order == -inf:
            return np.min(size, axis=dim, keepdims=keepdim)
        return sum_array(size**order, dim, keepdim) ** (1 / order)

    def decompose(g, input, order, dim, keepdim):
        return _lowered_norm(g, input, order, dim, keepdim)

    def grad_input(grad, input, result, order, dim, keepdim):
        shape = input._meta.shape
        grad = kept(grad, dim, keepdim)
        result = kept(result, dim, keepdim)
        return _norm_gradient(grad, input, result, order, dim, shape)


def _norm_gradient(grad, x, norm, order, dims, shape):
    if order == 0:
        return x * 0
    if order == 1:
        return x.sgn() * grad
    if order == 2:
        return x * (grad / norm).masked_fill(norm == 0, 0)
    size = x.abs()
    if order in (inf, -inf):
        # elements that share the extreme share the gradient
        mask = (size == norm).logical_or(size.isnan().logical_and(norm.isnan()))
        return x.sgn() * (mask * grad / mask.sum(dims, True))
    if order < 1:
        power = x * size.pow(order - 2).masked_fill(x == 0, 0)
        return power * grad * norm.pow(1 - order)
    if order < 2:
        scale = (grad / norm.pow(order - 1)).masked_fill(norm == 0, 0)
        return x.sgn() * size.pow(order - 1) * scale
    scale = (grad / norm.pow(order - 1)).masked_fill(norm == 0, 0)
    return x * size.pow(order - 2) * scale


def _check_kinds(name: str, kind, dtype) -> None:
    if kind.category < dtypes.FLOATING:
        raise RuntimeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {kind.letter_name}"
        )
    if dtype is None:
        return
    if dtype.category < dtypes.FLOATING:
        raise RuntimeError(
            f"{name}: dtype should be floating point or complex, but got {dtype.letter_name}"
        )
    if kind.is_complex != dtype.is_complex:
        wanted = "complex" if kind.is_complex else "real"
        raise RuntimeError(
            f"{name}: dtype should be {wanted} for {wanted} inputs, but got {dtype.letter_name}"
        )
    if dtypes.promote_types(kind, dtype) is not dtype:
        raise RuntimeError(
            f"{name}: the dtype of the input ({kind.letter_name}) should be convertible without "
            f"narrowing to the specified dtype ({dtype.letter_name})"
        )


@composite(where=("linalg",))
def vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None):
    """The norm of order ``ord`` (any number, inf, -inf, 0: how many are not zero).

    Over all elements, or over dimensions ``dim``; real for complex input. Zero of no elements;
    RuntimeError where a negative or infinite order gets no elements, and for integers.
    Source: torch.linalg.vector_norm.

    >>> import suiren as torch
    >>> torch.linalg.vector_norm(torch.tensor([3., 4.]))
    tensor(5.)
    """
    m = x._meta
    _check_kinds("linalg.vector_norm", m.dtype, dtype)
    if isinstance(ord, (str, complex)) or isinstance(ord, bool):
        raise TypeError(
            f"linalg_vector_norm(): argument 'ord' must be Number, not {type(ord).__name__}"
        )
    order = float(ord)
    dims = reduced_dims(dim, m.ndim)
    if not m.numel and (order < 0 or order == inf):
        if dim is None or dim == ():
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {ord} norm on an empty tensor because the "
                f"operation does not have an identity; got shape {list(m.shape)}"
            )
        for d in dims:
            if m.shape[d] == 0:
                raise RuntimeError(
                    f"linalg.vector_norm cannot compute the {ord} norm on the dimension {d} "
                    "because this dimension is empty and the operation does not have an identity"
                )
    if dtype is not None:
        x = to_dtype(x, dtype)
    return _vector_norm(x, order, dims, bool(keepdim))


def _matrix_dims(dim, ndim: int, name: str) -> tuple[int, int]:
    dim = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if len(dim) != 2:
        raise RuntimeError(f"{name}: dim must be a 2-tuple. Got {list(dim)}")
    first, second = (wrap_dim(d, ndim) for d in dim)
    if first == second:
        raise RuntimeError(f"{name}: dims must be different. Got ({dim[0]}, {dim[1]})")
    return first, second


@composite(where=("linalg",))
def matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None):
    """The norm of matrices in two dimensions, of order "fro", "nuc", inf, -inf, 1, -1, 2 or -2.

    Source: torch.linalg.matrix_norm.

    >>> import suiren as torch
    >>> torch.linalg.matrix_norm(torch.tensor([[3., 0.], [4., 0.]]))
    tensor(5.)
    """
    m = A._meta
    name = "linalg.matrix_norm"
    _check_kinds(name, m.dtype, dtype)
    if m.ndim < 2:
        raise RuntimeError(
            f"{name}: The input tensor A must have at least 2 dimensions. Got {m.ndim}"
        )
    dims = _matrix_dims(dim, m.ndim, name)
    if ord not in ("fro", "nuc", 1, -1, 2, -2, inf, -inf):
        raise RuntimeError(f"{name}: Order {ord} not supported.")
    if dtype is not None:
        A = to_dtype(A, dtype)
    if ord == "fro":
        return vector_norm(A, 2, dims, keepdim)
    if ord == "nuc" or abs(ord) == 2:
        return _singular_norm(A, ord, dims, keepdim)
    # the largest or smallest sum of a column (1, -1) or a row (inf, -inf)
    along, across = dims if abs(ord) == 1 else dims[::-1]
    sums = vector_norm(A, 1, along, True)
    extreme = _largest(sums, across, True) if ord > 0 else sums.amin(across, True)
    if keepdim:
        return extreme
    return extreme.squeeze(dims)


def _largest(sizes, dim: int, keepdim: bool):
    # of no rows or columns the norm is zero: the sum of nothing
    empty = sizes._meta.shape[dim] == 0
    return sizes.sum(dim, keepdim) if empty else sizes.amax(dim, keepdim)


def _singular_norm(A, ord, dims, keepdim):
    order = [d for d in range(A._meta.ndim) if d not in dims] + list(dims)
    values = NAMESPACES["linalg"]["svdvals"](A.permute(order))
    if ord == "nuc":
        found = values.sum(-1)
    else:
        found = _largest(values, -1, False) if ord > 0 else values.amin(-1)
    return kept(found, dims, False) if keepdim else found


@composite(where=("linalg",))
def norm(A, ord=None, dim=None, keepdim=False, *, dtype=None):
    """A vector norm or a matrix norm, depending on ``ord`` and ``dim``.

    Without ``ord`` the 2-norm of the elements; with ``ord`` and no ``dim`` the input must have one
    or two dimensions. Source: torch.linalg.norm.

    >>> import suiren as torch
    >>> torch.linalg.norm(torch.tensor([[3., 0.], [4., 0.]]), 1)
    tensor(7.)
    """
    m = A._meta
    if dim is not None and not isinstance(dim, (tuple, list)):
        dim = (dim,)
    if isinstance(ord, str):
        if dim is not None and len(dim) != 2:
            raise RuntimeError(f"linalg.norm: If ord={ord!r}, dim must have 2 entries, got {dim}")
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if dim is not None and len(dim) not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dim)}"
        )
    if dim is None and m.ndim not in (1, 2):
        raise RuntimeError(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
            f"{m.ndim}D."
        )
    if len(dim) == 2 if dim is not None else m.ndim == 2:
        return matrix_norm(A, ord, (0, 1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(A, ord, dim, keepdim, dtype=dtype)


@composite(name="norm")
def torch_norm(input, p="fro", dim=None, keepdim=False, *, dtype=None):
    """The norm of order ``p`` of all elements or over ``dim``; "fro" is the 2-norm.

    "nuc" is the sum of the singular values of matrices. PyTorch recommends torch.linalg.norm
    instead. Source: torch.norm.

    >>> import suiren as torch
    >>> torch.tensor([3., 4.]).norm()
    tensor(5.)
    """
    if dim is not None and not isinstance(dim, (tuple, list)):
        dim = (dim,)
    if isinstance(p, str):
        if p == "fro" and (dim is None or len(dim) <= 2):
            return vector_norm(input, 2, dim, keepdim, dtype=dtype)
        if p in ("fro", "nuc"):
            return matrix_norm(input, p, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
        raise RuntimeError(f"linalg.matrix_norm: Order {p} not supported.")
    return vector_norm(input, 2 if p is None else p, dim, keepdim, dtype=dtype)


@composite(where=("torch",))
def nuclear_norm(input, dim=(-2, -1), keepdim=False):
    """The sum of the singular values of matrices. Source: torch.nuclear_norm."""
    return matrix_norm(input, "nuc", dim, keepdim)


@composite(where=("torch",))
def frobenius_norm(input, dim, keepdim=False):
    """The square root of the sum of squares over dimensions. Source: torch.frobenius_norm."""
    return vector_norm(input, 2, dim, keepdim)


@operator(name="dist", where=(), out=False)
class _dist:
    """The norm of the difference."""

    tensors = 2
    widen = True

    def call(input, other, order):
        return apply(_dist.operator, (input, other), (order,))

    def infer(input, other, order):
        found = reduced_meta(input, tuple(range(input.ndim)), False)
        return found.like(dtype=_real_kind(input.dtype))

    def evaluate(input, other, order):
        away = np.asarray(np.subtract(input, other))
        dims = tuple(range(away.ndim))
        return np.asarray(_vector_norm.operator.evaluate(away, order, dims, False))

    def decompose(g, input, other, order):
        return _lowered_norm(g, input - other, order, None, False)

    def backward(grad, input, other, result, order, needs):
        away = input - other
        dims = tuple(range(away._meta.ndim))
        found = _norm_gradient(grad, away, result, order, dims, away._meta.shape)
        return found if needs[0] else None, -found if needs[1] else None


@composite
def dist(input, other, p=2):
    """The ``p``-norm of ``input - other``, which broadcast. Source: torch.dist.

    >>> import suiren as torch
    >>> torch.dist(torch.tensor([3., 0.]), torch.tensor([0., 4.]))
    tensor(5.)
    """
    kind = dtypes.promote_types(input._meta.dtype, other._meta.dtype)
    if kind.category < dtypes.FLOATING:
        raise RuntimeError(
            "norm(): input dtype should be either floating point or complex. Got "
            f"{kind.letter_name} instead."
        )
    return _dist(to_dtype(input, kind), to_dtype(other, kind), float(p))


@composite(inplace=True)
def renorm(input, p, dim, maxnorm):
    """Scales the slices along ``dim`` whose ``p``-norm exceeds ``maxnorm`` down to it.

    Raises RuntimeError unless ``p`` is positive, ``maxnorm`` at least 0 and there are two
    dimensions or more. Source: torch.renorm.

    >>> import suiren as torch
    >>> torch.renorm(torch.tensor([[3., 4.], [0., 1.]]), p=2, dim=0, maxnorm=5)
    tensor([[3., 4.],
            [0., 1.]])
    """
    m = input._meta
    if p <= 0:
        raise RuntimeError(f"renorm: non-positive-norm not supported, got p={p}")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    if m.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {m.ndim} dimensions")
    dim = wrap_dim(dim, m.ndim)
    size = vector_norm(input, p, [d for d in range(m.ndim) if d != dim], True)
    scale = maxnorm / (size + 1e-7)  # the constant is PyTorch's
    return input * scale.masked_fill(size <= maxnorm, 1)


__all__ = ["dist", "matrix_norm", "norm", "renorm", "torch_norm", "vector_norm"]
