"""A product added to something, both scaled: addmm and its kin; linear layers.

The factors alpha and beta are run-time inputs of a program; a factor of one is left out. Source:
PyTorch's torch.addmm, torch.addmv, torch.addr, torch.addbmm, torch.baddbmm and
torch.nn.functional.linear pages.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from suiren import dtypes
from suiren.autocast_state import casting
from suiren.autocasting import in_lower, lowered
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.arithmetic import conj
from suiren.ops.lowering import product
from suiren.ops.matmul import (
    adjoint,
    bmm,
    check_batches,
    check_matrices,
    check_mv,
    check_tensors,
    matmul,
    mm,
    mv,
)
from suiren.ops.views import t
from suiren.tensor import Tensor
from suiren.trace import Meta, meta


def factor(x: Any) -> Any:
    """A run-time factor of an operator, None for one: programs without it need no scaling."""
    return None if x.__class__ is not Tensor and x == 1 else x


def check_factors(name: str, kind: Any, beta: Any, alpha: Any) -> None:
    """Raises RuntimeError for complex factors of real tensors."""
    for which, x in (("beta", beta), ("alpha", alpha)):
        if x is complex and not kind.is_complex:
            raise RuntimeError(
                f"value cannot be converted to type {kind.name} without overflow: {name} got a "
                f"complex {which} for tensors of {kind}"
            )


def scaled(x: Any, by: Any) -> Any:
    """``x * by``, or ``x`` for None; for tensors and for arrays, whose type is kept.

    A fractional factor of integers is truncated, as PyTorch does in this family.
    """
    if by is None:
        return x
    if isinstance(by, float) and not isinstance(x, Tensor) and x.dtype.kind in "iu":
        by = int(by)
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


def _lowered_sum(g, input, product, beta, alpha):
    kind = product.dtype
    if alpha is not None:
        product = product * alpha.cast(kind)
    if beta is None:
        return input + product
    return g.where(beta.eq(0), product, input * beta.cast(kind) + product)


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

    one_device = True
    tensors = 5
    widen = True

    @in_lower
    def call(input, mat1, mat2, *, beta=1, alpha=1):
        return apply(addmm.operator, (input, mat1, mat2, factor(beta), factor(alpha)))

    def infer(input, mat1, mat2, beta, alpha):
        check_matrices("addmm", mat1, mat2)
        return added_meta("addmm", input, mat1, (mat1.shape[0], mat2.shape[1]), beta, alpha)

    def evaluate(input, mat1, mat2, beta, alpha):
        return added(input, np.matmul(mat1, mat2), beta, alpha)

    def decompose(g, input, mat1, mat2, beta, alpha):
        return _lowered_sum(g, input, product(g, mat1, mat2), beta, alpha)

    def grad_input(grad, beta):
        return conj_scaled(grad, beta)

    def grad_mat1(grad, mat2, alpha):
        return conj_scaled(mm(grad, adjoint(mat2)), alpha)

    def grad_mat2(grad, mat1, alpha):
        return conj_scaled(mm(adjoint(mat1), grad), alpha)


@operator(inplace=True)
class addmv:
    """``beta * input + alpha * (mat @ vec)``. Source: torch.addmv."""

    tensors = 5
    widen = True

    def call(input, mat, vec, *, beta=1, alpha=1):
        return apply(addmv.operator, (input, mat, vec, factor(beta), factor(alpha)))

    def infer(input, mat, vec, beta, alpha):
        check_mv("addmv", mat, vec)
        return added_meta("addmv", input, mat, (mat.shape[0],), beta, alpha)

    def evaluate(input, mat, vec, beta, alpha):
        return added(input, np.matmul(mat, vec), beta, alpha)

    def decompose(g, input, mat, vec, beta, alpha):
        found = product(g, mat, vec.unsqueeze(1)).reshape(mat.shape[0])
        return _lowered_sum(g, input, found, beta, alpha)

    def grad_input(grad, beta):
        return conj_scaled(grad, beta)

    def grad_mat(grad, vec, alpha):
        return conj_scaled(grad.unsqueeze(1) * conj(vec).unsqueeze(0), alpha)

    def grad_vec(grad, mat, alpha):
        return conj_scaled(mv(adjoint(mat), grad), alpha)


@operator(inplace=True)
class baddbmm:
    """``beta * input + alpha * (batch1 @ batch2)`` for batches of matrices.

    Source: torch.baddbmm.
    """

    tensors = 5
    widen = True

    @in_lower
    def call(input, batch1, batch2, *, beta=1, alpha=1):
        return apply(baddbmm.operator, (input, batch1, batch2, factor(beta), factor(alpha)))

    def infer(input, batch1, batch2, beta, alpha):
        check_batches("baddbmm", batch1, batch2)
        shape = (*batch1.shape[:2], batch2.shape[2])
        return added_meta("baddbmm", input, batch1, shape, beta, alpha)

    def evaluate(input, batch1, batch2, beta, alpha):
        return added(input, np.matmul(batch1, batch2), beta, alpha)

    def decompose(g, input, batch1, batch2, beta, alpha):
        return _lowered_sum(g, input, product(g, batch1, batch2), beta, alpha)

    def grad_input(grad, beta):
        return conj_scaled(grad, beta)

    def grad_batch1(grad, batch2, alpha):
        return conj_scaled(bmm(grad, adjoint(batch2)), alpha)

    def grad_batch2(grad, batch1, alpha):
        return conj_scaled(bmm(adjoint(batch1), grad), alpha)


@operator(inplace=True)
class addbmm:
    """``beta * input + alpha * sum over b of (batch1[b] @ batch2[b])``. Source: torch.addbmm."""

    tensors = 5
    widen = True

    @in_lower
    def call(input, batch1, batch2, *, beta=1, alpha=1):
        return apply(addbmm.operator, (input, batch1, batch2, factor(beta), factor(alpha)))

    def infer(input, batch1, batch2, beta, alpha):
        check_batches("addbmm", batch1, batch2)
        shape = (batch1.shape[1], batch2.shape[2])
        return added_meta("addbmm", input, batch1, shape, beta, alpha)

    def evaluate(input, batch1, batch2, beta, alpha):
        # one product of (n, b*k) and (b*k, m) is the sum over the batch
        rows = np.swapaxes(batch1, 0, 1).reshape(batch1.shape[1], -1 if batch1.size else 0)
        columns = batch2.reshape(rows.shape[1], batch2.shape[2])
        return added(input, np.matmul(rows, columns), beta, alpha)

    def decompose(g, input, batch1, batch2, beta, alpha):
        count, rows, inner = batch1.shape
        columns = batch2.shape[2]
        left = batch1.permute(1, 0, 2).reshape(rows, count * inner)
        found = product(g, left, batch2.reshape(count * inner, columns))
        return _lowered_sum(g, input, found, beta, alpha)

    def grad_input(grad, beta):
        return conj_scaled(grad, beta)

    def grad_batch1(grad, batch2, alpha):
        return conj_scaled(matmul(grad, adjoint(batch2)), alpha)

    def grad_batch2(grad, batch1, alpha):
        return conj_scaled(matmul(adjoint(batch1), grad), alpha)


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
        for which, x in (("beta", beta), ("alpha", alpha)):
            if isinstance(x, (float, complex)) and kind.category < dtypes.FLOATING:
                raise RuntimeError(
                    f"For integral input tensors, argument {which} must not be a floating point "
                    f"number: addr got {x} for {kind}"
                )
        tensors = [x.to(kind) for x in (input, vec1, vec2)]
        return apply(addr.operator, (*tensors, factor(beta), factor(alpha)))

    def infer(input, vec1, vec2, beta, alpha):
        return added_meta("addr", input, vec1, (vec1.shape[0], vec2.shape[0]), beta, alpha)

    def evaluate(input, vec1, vec2, beta, alpha):
        return added(input, np.multiply.outer(vec1, vec2), beta, alpha)

    def decompose(g, input, vec1, vec2, beta, alpha):
        return _lowered_sum(g, input, vec1.unsqueeze(1) * vec2.unsqueeze(0), beta, alpha)

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
    if casting:
        input, weight, bias = lowered(input, weight, bias)
    a, w = input._meta, weight._meta
    if w.ndim == 2:
        if bias is None:
            return matmul(input, weight.t())
        if a.ndim == 2:
            return apply(addmm.operator, (bias, input, t(weight), None, None))
        if a.ndim and a.contiguous and bias._meta.ndim == 1:
            rows = input.reshape(prod(a.shape[:-1]), a.shape[-1])
            found = addmm(bias, rows, t(weight))
            return found.reshape(*a.shape[:-1], w.shape[0])
        return matmul(input, weight.t()) + bias
    if w.ndim > 2 or w.ndim == 0:
        raise RuntimeError(
            f"linear(): weight must have 1 or 2 dimensions (out, in), got {list(w.shape)}"
        )
    found = matmul(input, weight)
    return found if bias is None else found + bias
