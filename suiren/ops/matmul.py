"""Products of matrices and vectors: matmul and its cases, the add-product forms, linear.

Six operators do the arithmetic with NumPy's matmul (BLAS for floating types); everything else
reshapes around them, the way PyTorch does, so printed gradient nodes agree. Arguments must have one
dtype: products never promote. Half types are computed in float32. Source: PyTorch's torch.matmul,
torch.addmm (and kin) and torch.nn.functional.linear pages.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.arithmetic import conj
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


def _check_matrices(name: str, mat1: Meta, mat2: Meta) -> None:
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


def _check_batches(name: str, batch1: Meta, batch2: Meta) -> None:
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


def _check_mv(name: str, input: Meta, vec: Meta) -> None:
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


def _adjoint(x: Tensor) -> Tensor:
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
        return apply(mm.operator, (input, mat2))

    def infer(input, mat2):
        _check_matrices("mm", input, mat2)
        return meta((input.shape[0], mat2.shape[1]), input.dtype, input.device)

    def evaluate(input, mat2):
        return np.matmul(input, mat2)

    def grad_input(grad, mat2):
        return mm(grad, _adjoint(mat2))

    def grad_mat2(grad, input):
        return mm(_adjoint(input), grad)


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
        return apply(bmm.operator, (input, mat2))

    def infer(input, mat2):
        _check_batches("bmm", input, mat2)
        return meta((*input.shape[:2], mat2.shape[2]), input.dtype, input.device)

    def evaluate(input, mat2):
        return np.matmul(input, mat2)

    def grad_input(grad, mat2):
        return bmm(grad, _adjoint(mat2))

    def grad_mat2(grad, input):
        return bmm(_adjoint(input), grad)


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
        _check_mv("mv", input, vec)
        return meta((input.shape[0],), input.dtype, input.device)

    def evaluate(input, vec):
        return np.matmul(input, vec)

    def grad_input(grad, vec):
        return grad.unsqueeze(1) * conj(vec).unsqueeze(0)

    def grad_vec(grad, input):
        return mv(_adjoint(input), grad)


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
    check_tensors("matmul", *[x._meta if isinstance(x, Tensor) else type(x) for x in (input, other)])
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
            return mm(input.unsqueeze(0), other).squeeze(0)
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


# ---- a product added to something


def factor(x: Any) -> Any:
    """A run-time factor of an operator, None for one: programs without it need no scaling."""
    return None if x.__class__ is not Tensor and x == 1 else x


def check_factors(name: str, kind: Any, beta: Any, alpha: Any) -> None:
    """Raises RuntimeError for factors that the dtype cannot hold, as PyTorch does."""
    for which, x in (("beta", beta), ("alpha", alpha)):
        if x is None or x.__class__ is bool or x is bool:
            continue
        number = x if isinstance(x, type) else x.__class__
        if number is float and kind.category < dtypes.FLOATING:
            raise RuntimeError(
                f"For integral input tensors, argument {which} must not be a floating point "
                f"number ({name} got {kind})"
            )
        if number is complex and not kind.is_complex:
            raise RuntimeError(
                f"For non-complex input tensors, argument {which} must not be a complex number "
                f"({name} got {kind})"
            )


def scaled(x: Any, by: Any) -> Any:
    """``x * by``, or ``x`` for None; for tensors and for arrays, whose type is kept."""
    if by is None:
        return x
    return x * by if isinstance(x, Tensor) else np.multiply(x, by).astype(x.dtype, copy=False)


def conj_scaled(x: Any, by: Any) -> Any:
    """``x`` times the conjugate of a factor."""
    return scaled(x, by.conjugate() if isinstance(by, complex) else by)


def added(input: np.ndarray, product: np.ndarray, beta: Any, alpha: Any) -> np.ndarray:
    """``beta * input + alpha * product``; with beta 0 the input is not looked at."""
    product = scaled(product, alpha)
    if beta is not None and beta == 0:
        return product
    return np.add(scaled(input, beta), product)


def added_meta(name: str, input: Meta, kind: Meta, shape: tuple, beta: Any, alpha: Any) -> Meta:
    """The Meta of such a sum; checks the added tensor's dtype and that it broadcasts."""
    check_tensors(name, input)
    check_factors(name, kind.dtype, beta, alpha)
    if input.dtype is not kind.dtype:
        raise RuntimeError(
            f"self and mat2 must have the same dtype, but got {input.dtype} and {kind.dtype} in "
            f"{name}(); convert one of them with .to()"
        )
    lead = len(shape) - input.ndim
    if lead < 0 or any(s not in (1, shape[lead + i]) for i, s in enumerate(input.shape)):
        raise RuntimeError(
            f"The expanded size of the tensor ({list(shape)}) must match the existing size "
            f"({list(input.shape)}) in every dimension where it is not 1: {name} adds the input "
            "to the product"
        )
    return meta(shape, kind.dtype, kind.device)


@operator(inplace=True)
class addmm:
    """``beta * input + alpha * (mat1 @ mat2)``; ``input`` is broadcast to the product's shape.

    With ``beta=0`` the input's values are not used, NaN included. Source: torch.addmm.

    >>> import suiren as torch
    >>> torch.addmm(torch.ones(2), torch.eye(2), torch.eye(2), beta=2, alpha=3)
    tensor([[5., 2.],
            [2., 5.]])
    """

    tensors = 5
    widen = True

    def call(input, mat1, mat2, *, beta=1, alpha=1):
        return apply(addmm.operator, (input, mat1, mat2, factor(beta), factor(alpha)))

    def infer(input, mat1, mat2, beta, alpha):
        _check_matrices("addmm", mat1, mat2)
        return added_meta("addmm", input, mat1, (mat1.shape[0], mat2.shape[1]), beta, alpha)

    def evaluate(input, mat1, mat2, beta, alpha):
        return added(input, np.matmul(mat1, mat2), beta, alpha)

    def grad_input(grad, beta):
        return conj_scaled(grad, beta)

    def grad_mat1(grad, mat2, alpha):
        return conj_scaled(mm(grad, _adjoint(mat2)), alpha)

    def grad_mat2(grad, mat1, alpha):
        return conj_scaled(mm(_adjoint(mat1), grad), alpha)


@operator(inplace=True)
class addmv:
    """``beta * input + alpha * (mat @ vec)``. Source: torch.addmv."""

    tensors = 5
    widen = True

    def call(input, mat, vec, *, beta=1, alpha=1):
        return apply(addmv.operator, (input, mat, vec, factor(beta), factor(alpha)))

    def infer(input, mat, vec, beta, alpha):
        _check_mv("addmv", mat, vec)
        return added_meta("addmv", input, mat, (mat.shape[0],), beta, alpha)

    def evaluate(input, mat, vec, beta, alpha):
        return added(input, np.matmul(mat, vec), beta, alpha)

    def grad_input(grad, beta):
        return conj_scaled(grad, beta)

    def grad_mat(grad, vec, alpha):
        return conj_scaled(grad.unsqueeze(1) * conj(vec).unsqueeze(0), alpha)

    def grad_vec(grad, mat, alpha):
        return conj_scaled(mv(_adjoint(mat), grad), alpha)


@operator(inplace=True)
class baddbmm:
    """``beta * input + alpha * (batch1 @ batch2)`` for batches of matrices.

    Source: torch.baddbmm.
    """

    tensors = 5
    widen = True

    def call(input, batch1, batch2, *, beta=1, alpha=1):
        return apply(baddbmm.operator, (input, batch1, batch2, factor(beta), factor(alpha)))

    def infer(input, batch1, batch2, beta, alpha):
        _check_batches("baddbmm", batch1, batch2)
        shape = (*batch1.shape[:2], batch2.shape[2])
        return added_meta("baddbmm", input, batch1, shape, beta, alpha)

    def evaluate(input, batch1, batch2, beta, alpha):
        return added(input, np.matmul(batch1, batch2), beta, alpha)

    def grad_input(grad, beta):
        return conj_scaled(grad, beta)

    def grad_batch1(grad, batch2, alpha):
        return conj_scaled(bmm(grad, _adjoint(batch2)), alpha)

    def grad_batch2(grad, batch1, alpha):
        return conj_scaled(bmm(_adjoint(batch1), grad), alpha)


@operator(inplace=True)
class addbmm:
    """``beta * input + alpha * sum over b of (batch1[b] @ batch2[b])``. Source: torch.addbmm."""

    tensors = 5
    widen = True

    def call(input, batch1, batch2, *, beta=1, alpha=1):
        return apply(addbmm.operator, (input, batch1, batch2, factor(beta), factor(alpha)))

    def infer(input, batch1, batch2, beta, alpha):
        _check_batches("addbmm", batch1, batch2)
        shape = (batch1.shape[1], batch2.shape[2])
        return added_meta("addbmm", input, batch1, shape, beta, alpha)

    def evaluate(input, batch1, batch2, beta, alpha):
        # one product of (n, b*k) and (b*k, m) is the sum over the batch
        rows = np.swapaxes(batch1, 0, 1).reshape(batch1.shape[1], -1 if batch1.size else 0)
        columns = batch2.reshape(rows.shape[1], batch2.shape[2])
        return added(input, np.matmul(rows, columns), beta, alpha)

    def grad_input(grad, beta):
        return conj_scaled(grad, beta)

    def grad_batch1(grad, batch2, alpha):
        return conj_scaled(matmul(grad, _adjoint(batch2)), alpha)

    def grad_batch2(grad, batch1, alpha):
        return conj_scaled(matmul(_adjoint(batch1), grad), alpha)


@operator(inplace=True)
class addr:
    """``beta * input + alpha * outer(vec1, vec2)``; the result's dtype is promoted.

    Source: torch.addr.
    """

    tensors = 5
    widen = True

    def call(input, vec1, vec2, *, beta=1, alpha=1):
        for x in (vec1, vec2):
            if x._meta.ndim != 1:
                raise RuntimeError(
                    f"addr: Expected 1-D argument vec1 and vec2, but got {x._meta.ndim}-D"
                )
        kind = input._meta.dtype
        for x in (vec1, vec2):
            kind = dtypes.promote_types(kind, x._meta.dtype)
        check_factors("addr", kind, beta, alpha)
        tensors = [x.to(kind) for x in (input, vec1, vec2)]
        return apply(addr.operator, (*tensors, factor(beta), factor(alpha)))

    def infer(input, vec1, vec2, beta, alpha):
        return added_meta("addr", input, vec1, (vec1.shape[0], vec2.shape[0]), beta, alpha)

    def evaluate(input, vec1, vec2, beta, alpha):
        return added(input, np.multiply.outer(vec1, vec2), beta, alpha)

    def grad_input(grad, beta):
        return conj_scaled(grad, beta)

    def grad_vec1(grad, vec2, alpha):
        return conj_scaled(mv(grad, conj(vec2)), alpha)

    def grad_vec2(grad, vec1, alpha):
        return conj_scaled(mv(grad.t(), conj(vec1)), alpha)


# ---- layers


@composite(where=("nn.functional",), out=False)
def linear(input, weight, bias=None):
    """``input @ weight.T + bias``: (..., in) and weight (out, in) give (..., out).

    A weight of one dimension (in,) gives (...). Source: torch.nn.functional.linear.

    >>> import suiren as torch
    >>> torch.nn.functional.linear(torch.ones(2, 3), torch.ones(1, 3), torch.tensor([1.]))
    tensor([[4.],
            [4.]])
    """
    a, w = input._meta, weight._meta
    if w.ndim == 2:
        if bias is None:
            return matmul(input, weight.t())
        if a.ndim == 2:
            return addmm(bias, input, weight.t())
        if a.ndim and a.contiguous and bias._meta.ndim == 1:
            rows = input.reshape(prod(a.shape[:-1]), a.shape[-1])
            found = addmm(bias, rows, weight.t())
            return found.reshape(*a.shape[:-1], w.shape[0])
        return matmul(input, weight.t()) + bias
    if w.ndim > 2 or w.ndim == 0:
        raise RuntimeError(
            f"linear(): weight must have 1 or 2 dimensions (out, in), got {list(w.shape)}"
        )
    found = matmul(input, weight)
    return found if bias is None else found + bias
