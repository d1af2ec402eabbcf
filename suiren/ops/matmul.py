"""Products of matrices and vectors: matmul and its cases.

Five operators do the arithmetic with NumPy's matmul (BLAS for floating types); everything else
reshapes around them, the way PyTorch does, so printed gradient nodes agree. Arguments must have one
dtype: products never promote. Half types are computed in float32. The forms that add something to a
product, linear among them, are in ``added_products.py``. Source: PyTorch's torch.matmul page.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from suiren import dtypes
from suiren.autocast_state import casting
from suiren.autocasting import lowered
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.arithmetic import conj
from suiren.ops.lowering import product
from suiren.tensor import Tensor
from suiren.trace import Meta, meta

# ---- checks


def check_tensors(name: str, *metas: Any) -> None:
    """Raises TypeError unless each of these (Metas or classes) describes a tensor."""
    for m in metas:
        if m.__class__ is not Meta:
            raise TypeError(
                f"{name}(): argument must be Tensor, not {m.__name__}; scale with * instead"
            )


def check_same(name: str, first: Meta, second: Meta) -> None:
    """Raises RuntimeError unless the two have one dtype, NotImplementedError for truth values."""
    if first.dtype is not second.dtype:
        a, b = first.dtype.name, second.dtype.name
        raise RuntimeError(
            f"{name}: expected m1 and m2 to have the same dtype, but got: {a} != {b}; products do "
            "not promote, convert one of them with .to()"
        )
    if first.dtype is dtypes.bool:
        raise NotImplementedError(
            f'"{name}" not implemented for \'Bool\': convert to a type of numbers with .to()'
        )


def check_matrices(name: str, mat1: Meta, mat2: Meta) -> None:
    """Raises RuntimeError unless these describe two matrices of one dtype that fit."""
    check_tensors(name, mat1, mat2)
    for which, m in (("mat1", mat1), ("mat2", mat2)):
        if m.ndim != 2:
            raise RuntimeError(
                f"{which} must be a matrix, got {m.ndim}-D tensor: {name} multiplies two matrices; "
                "use matmul for other dimensions"
            )
    if mat1.shape[1] != mat2.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({mat1.shape[0]}x{mat1.shape[1]} and "
            f"{mat2.shape[0]}x{mat2.shape[1]})"
        )
    check_same(name, mat1, mat2)


def check_batches(name: str, batch1: Meta, batch2: Meta) -> None:
    """Raises RuntimeError unless these describe two batches of matrices of one dtype that fit."""
    check_tensors(name, batch1, batch2)
    for which, m in (("batch1", batch1), ("batch2", batch2)):
        if m.ndim != 3:
            raise RuntimeError(
                f"{which} must be a 3D tensor, got {m.ndim}D: {name} multiplies batches of "
                "matrices; use matmul for other dimensions"
            )
    if batch1.shape[0] != batch2.shape[0] or batch1.shape[2] != batch2.shape[1]:
        raise RuntimeError(
            "Expected size for first two dimensions of batch2 tensor to be: "
            f"[{batch1.shape[0]}, {batch1.shape[2]}] but got: "
            f"[{batch2.shape[0]}, {batch2.shape[1]}]."
        )
    check_same(name, batch1, batch2)


def _check_vectors(name: str, input: Meta, other: Meta) -> None:
    check_tensors(name, input, other)
    if input.ndim != 1 or other.ndim != 1:
        raise RuntimeError(
            f"1D tensors expected, but got {input.ndim}D and {other.ndim}D tensors in {name}()"
        )
    if input.shape != other.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{input.shape[0]}] and src "
            f"[{other.shape[0]}] to have the same number of elements, but got {input.shape[0]} and "
            f"{other.shape[0]} elements respectively"
        )
    check_same(name, input, other)


def check_mv(name: str, input: Meta, vec: Meta) -> None:
    """Raises RuntimeError unless these describe a matrix and a vector of one dtype that fit."""
    check_tensors(name, input, vec)
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(
            f"vector + matrix @ vector expected, got {input.ndim}D matrix and {vec.ndim}D vector "
            f"in {name}()"
        )
    if input.shape[1] != vec.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({input.shape[0]}), mat "
            f"({input.shape[0]}x{input.shape[1]}), vec ({vec.shape[0]})"
        )
    check_same(name, input, vec)


def adjoint(x: Tensor) -> Tensor:
    """The matrix (or batch of them) transposed and conjugated."""
    return conj(x.t() if x._meta.ndim == 2 else x.transpose(-2, -1))


# ---- the products


@operator
class mm:
    """The product of two matrices, (n, k) and (k, m), of one dtype.

    Raises RuntimeError for other dimensions, sizes or dtypes. Source: torch.mm.

    >>> import suiren as torch
    >>> torch.mm(torch.tensor([[1, 2], [3, 4]]), torch.tensor([[1, 0], [1, 1]]))
    tensor([[3, 2],
            [7, 4]])
    """

    tensors = 2
    widen = True

    def call(input, mat2):
        if casting:
            input, mat2 = lowered(input, mat2)
        return apply(mm.operator, (input, mat2))

    def infer(input, mat2):
        check_matrices("mm", input, mat2)
        return meta((input.shape[0], mat2.shape[1]), input.dtype, input.device)

    def evaluate(input, mat2):
        return np.matmul(input, mat2)

    def decompose(g, input, mat2):
        return product(g, input, mat2)

    def grad_input(grad, mat2):
        return mm(grad, adjoint(mat2))

    def grad_mat2(grad, input):
        return mm(adjoint(input), grad)


@operator
class bmm:
    """The products of two batches of matrices, (b, n, k) and (b, k, m), of one dtype.

    Raises RuntimeError for other dimensions, sizes or dtypes. Source: torch.bmm.

    >>> import suiren as torch
    >>> torch.bmm(torch.ones(2, 1, 3), torch.ones(2, 3, 1)).shape
    torch.Size([2, 1, 1])
    """

    tensors = 2
    widen = True

    def call(input, mat2):
        if casting:
            input, mat2 = lowered(input, mat2)
        return apply(bmm.operator, (input, mat2))

    def infer(input, mat2):
        check_batches("bmm", input, mat2)
        return meta((*input.shape[:2], mat2.shape[2]), input.dtype, input.device)

    def evaluate(input, mat2):
        return np.matmul(input, mat2)

    def decompose(g, input, mat2):
        return product(g, input, mat2)

    def grad_input(grad, mat2):
        return bmm(grad, adjoint(mat2))

    def grad_mat2(grad, input):
        return bmm(adjoint(input), grad)


@operator
class mv:
    """The product of a matrix (n, k) and a vector (k,) of one dtype.

    Source: torch.mv.

    >>> import suiren as torch
    >>> torch.mv(torch.tensor([[1, 2], [3, 4]]), torch.tensor([1, 1]))
    tensor([3, 7])
    """

    tensors = 2
    widen = True

    def call(input, vec):
        return apply(mv.operator, (input, vec))

    def infer(input, vec):
        check_mv("mv", input, vec)
        return meta((input.shape[0],), input.dtype, input.device)

    def evaluate(input, vec):
        return np.matmul(input, vec)

    def decompose(g, input, vec):
        return product(g, input, vec.unsqueeze(1)).reshape(input.shape[0])

    def grad_input(grad, vec):
        return grad.unsqueeze(1) * conj(vec).unsqueeze(0)

    def grad_vec(grad, input):
        return mv(adjoint(input), grad)


@operator
class dot:
    """The sum of the products of two vectors of one size and dtype; nothing is conjugated.

    Source: torch.dot.

    >>> import suiren as torch
    >>> torch.dot(torch.tensor([2, 3]), torch.tensor([2, 1]))
    tensor(7)
    """

    tensors = 2
    widen = True

    def call(input, tensor):
        return apply(dot.operator, (input, tensor))

    def infer(input, tensor):
        _check_vectors("dot", input, tensor)
        return meta((), input.dtype, input.device)

    def evaluate(input, tensor):
        return np.asarray(np.dot(input, tensor))

    def decompose(g, input, tensor):
        return (input * tensor).sum()

    def grad_input(grad, tensor):
        return grad * conj(tensor)

    def grad_tensor(grad, input):
        return grad * conj(input)


@operator
class vdot:
    """The sum of the products of two vectors, those of the first conjugated.

    Source: torch.vdot.

    >>> import suiren as torch
    >>> torch.vdot(torch.tensor([1j]), torch.tensor([1j]))
    tensor(1.+0.j)
    """

    tensors = 2
    widen = True

    def call(input, other):
        if not (isinstance(input, Tensor) and input._meta.dtype.is_complex):
            return dot(input, other)
        return apply(vdot.operator, (input, other))

    def infer(input, other):
        _check_vectors("vdot", input, other)
        return meta((), input.dtype, input.device)

    def evaluate(input, other):
        return np.asarray(np.vdot(input, other))

    def grad_input(grad, other):
        return conj(grad) * other

    def grad_other(grad, input):
        return grad * input


@operator(where=(), name="_unsafe_view")
class unsafe_view:
    """A fresh result in another shape, nobody else looking at it: no view, unlike reshape."""

    def call(input, shape):
        return apply(unsafe_view.operator, (input,), (tuple(shape),))

    def infer(input, shape):
        return meta(shape, input.dtype, input.device)

    def evaluate(input, shape):
        return np.reshape(input, shape)

    def decompose(g, input, shape):
        return input.reshape(*shape)

    def grad_input(grad, input_meta):
        return grad.reshape(input_meta.shape)


@composite(aliases=("linalg.matmul",))
def matmul(input, other):
    """The product by dimensions, with the leading ones of more than two as broadcast batches.

    Vectors count as a row on the left and a column on the right, and that dimension is left out of
    the result. Both must have one dtype. Raises RuntimeError for sizes that do not fit and for
    tensors of no dimension. Source: torch.matmul.

    >>> import suiren as torch
    >>> torch.matmul(torch.ones(5, 1, 2, 3), torch.ones(4, 3, 1)).shape
    torch.Size([5, 4, 2, 1])
    """
    if casting:
        input, other = lowered(input, other)
    check_tensors("matmul", *[getattr(x, "_meta", type(x)) for x in (input, other)])
    a, b = input._meta, other._meta
    if a.ndim == 2:
        if b.ndim == 2:
            return mm(input, other)
        if b.ndim == 1:
            return mv(input, other)
    if a.ndim == 0 or b.ndim == 0:
        raise RuntimeError(
            "both arguments to matmul need to be at least 1D, but they are "
            f"{a.ndim}D and {b.ndim}D; multiply with * instead"
        )
    if a.ndim == 1:
        if b.ndim == 1:
            return dot(input, other)
        if b.ndim == 2:
            result = mm(input.unsqueeze(0), other).squeeze(0)
            if result._grad_fn is not None:
                result._grad_fn.label = "SqueezeBackward4"
            return result
    if b.ndim <= 2:
        return _folded(input, other)
    if a.ndim <= 2:
        return _folded_right(input, other)
    return _batched(input, other)


def _folded(input: Tensor, other: Tensor) -> Tensor:
    # (..., n, k) times a matrix or a vector: the batch becomes further rows.
    a, b = input._meta, other._meta
    rows = input.reshape(prod(a.shape[:-1]), a.shape[-1])
    found = mm(rows, other) if b.ndim == 2 else mv(rows, other)
    return unsafe_view(found, (*a.shape[:-1], *b.shape[1:]))


def _folded_right(input: Tensor, other: Tensor) -> Tensor:
    # a matrix or a vector times (..., k, m): rows of the transposed batch
    a, b = input._meta, other._meta
    if a.shape[-1] != b.shape[-2]:
        _size_mismatch(a, b)
    turned = other.transpose(-2, -1)
    rows = turned.reshape(prod(b.shape[:-2]) * b.shape[-1], b.shape[-2])
    lead = (*b.shape[:-2], b.shape[-1])
    if a.ndim == 1:
        return unsafe_view(mv(rows, input), lead)
    return unsafe_view(mm(rows, input.t()), (*lead, a.shape[0])).transpose(-2, -1).contiguous()


def _size_mismatch(a: Meta, b: Meta) -> None:
    raise RuntimeError(
        f"mat1 and mat2 shapes cannot be multiplied: matmul got {list(a.shape)} and "
        f"{list(b.shape)}, where {a.shape[-1]} and {b.shape[-2]} should be equal"
    )


def _batched(input: Tensor, other: Tensor) -> Tensor:
    from suiren.ops.elementwise import broadcast_shapes

    a, b = input._meta, other._meta
    if a.ndim == 3 and 1 == a.shape[0] != b.shape[0] and b.ndim == 3:
        return _folded_right(input.squeeze(0), other)
    if b.ndim == 3 and 1 == b.shape[0] != a.shape[0] and a.ndim == 3:
        return _folded(input, other.squeeze(0))
    if a.shape[-1] != b.shape[-2]:
        _size_mismatch(a, b)
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    count = prod(lead)
    left = input.expand(*lead, *a.shape[-2:]).reshape(count, *a.shape[-2:])
    right = other.expand(*lead, *b.shape[-2:]).reshape(count, *b.shape[-2:])
    return unsafe_view(bmm(left, right), (*lead, a.shape[-2], b.shape[-1]))
