"""LU with row exchanges, and LDL: factors, unpacking, solving with them.

The derivative of LU is in de Hoog, Anderssen & Lukas 2011, Differentiation of matrix functionals
using triangular factorization. Source: PyTorch's torch.linalg.lu, lu_factor, ldl_factor pages.
"""

from __future__ import annotations

import warnings

import numpy as np

from suiren import dtypes, return_types
from suiren.autocasting import as_given, in_float32
from suiren.dispatch import apply
from suiren.interpreter import factorization
from suiren.operator import NAMESPACES, composite, operator
from suiren.ops.elementwise import broadcast_shapes
from suiren.ops.matmul import matmul
from suiren.ops.matrices import (
    batch_of,
    check_matrix,
    check_square,
    like,
    mH,
    raise_failed,
)
from suiren.ops.solving import info_meta, solve_triangular
from suiren.tensor import Tensor
from suiren.trace import meta

_lu = return_types.make("linalg_lu", "P L U")
_lu_factor = return_types.make("linalg_lu_factor", "LU pivots")
_lu_factor_ex = return_types.make("linalg_lu_factor_ex", "LU pivots info")
_lu_with_info = return_types.make("_lu_with_info", "LU pivots info")
_lu_unpack = return_types.make("lu_unpack", "P L U")
_ldl_factor = return_types.make("linalg_ldl_factor", "LD pivots")
_ldl_factor_ex = return_types.make("linalg_ldl_factor_ex", "LD pivots info")

_ZERO_PIVOT = (
    "U[{0},{0}] is zero and using it on linalg.lu_solve would result in a division by zero. If you "
    "still want to perform the factorization, consider calling linalg.lu(A, pivot) or "
    "linalg.lu_factor_ex(A, pivot)"
)


def _permutations(pivots: np.ndarray, m: int, kind) -> np.ndarray:
    """P with ``A = P L U`` for LAPACK's exchanges."""
    flat, lead = batch_of(pivots, 1)
    order = factorization.permutation(flat, m)
    found = np.zeros((len(flat), m, m), kind)
    found[np.arange(len(flat))[:, None], order, np.arange(m)] = 1
    return found.reshape(*lead, m, m)


@operator(where=(), name="linalg_permutation")
class _permutation:
    """The permutation matrices of LAPACK's row exchanges."""

    def call(pivots, m, kind):
        return apply(_permutation.operator, (pivots,), (m, kind))

    def infer(pivots, m, kind):
        return meta((*pivots.shape[:-1], m, m), kind, pivots.device)

    def evaluate(pivots, m, kind):
        return _permutations(pivots, m, kind.numpy)


def _parts(packed: Tensor) -> tuple[Tensor, Tensor]:
    """L (unit diagonal) and U of both in one array."""
    m, n = packed._meta.shape[-2:]
    k = min(m, n)
    lower = packed[..., :, :k].tril(-1) + _eye(packed, m, k)
    return lower, packed[..., :k, :].triu()


def _eye(x: Tensor, m: int, k: int) -> Tensor:
    from suiren.ops.creation import from_array

    return from_array(np.eye(m, k, dtype=x._meta.dtype.numpy), where=x._meta.device)


def _lu_gradient(gl, gu, permutation, lower, upper):
    """A's gradient from those of L (strictly lower part) and U."""
    m, n = lower._meta.shape[-2], upper._meta.shape[-1]
    k = min(m, n)
    cat = NAMESPACES["torch"]["cat"]
    if gl is None:
        gl = lower * 0
    if gu is None:
        gu = upper * 0
    square_l, square_u = lower[..., :k, :], upper[..., :, :k]
    left, right = mH(square_l), mH(square_u)
    beside = below = None
    gl1, gu1 = gl[..., :k, :], gu[..., :, :k]
    if n > m:
        beside = solve_triangular(left, gu[..., :, k:], upper=True, unitriangular=True)
        gl1 = gl1 - matmul(beside, mH(upper[..., :, k:]))
    elif m > n:
        below = solve_triangular(right, gl[..., k:, :], upper=False, left=False)
        gu1 = gu1 - matmul(mH(lower[..., k:, :]), below)
    middle = matmul(left, gl1).tril(-1) + matmul(gu1, right).triu()
    found = solve_triangular(left, middle, upper=True, unitriangular=True)
    found = solve_triangular(right, found, upper=False, left=False)
    if beside is not None:
        found = cat([found, beside], -1)
    elif below is not None:
        found = cat([found, below], -2)
    return matmul(permutation, found)


@operator(where=(), name="linalg_lu_factor_ex")
class _factored:
    """L and U in one array, the row exchanges, and per matrix the first zero pivot."""

    results = 3

    def call(A):
        return apply(_factored.operator, (A,))

    def infer(A):
        k = min(A.shape[-2:])
        pivots = meta((*A.shape[:-2], k), dtypes.int32, A.device)
        return A.flat, pivots, info_meta(A)

    def evaluate(A):
        flat, lead = batch_of(A)
        found, pivots, info = factorization.lu(flat)
        return found.reshape(A.shape), pivots.reshape(*lead, -1 if pivots.size else pivots.shape[1]
                                                      ), info.reshape(lead)  # fmt: skip

    def backward(grads, A_meta, result, result1):
        grad = grads[0]
        if grad is None:
            return (None,)
        m, n = A_meta.shape[-2:]
        k = min(m, n)
        lower, upper = _parts(result)
        p = _permutation(result1, m, A_meta.dtype)
        return (_lu_gradient(grad[..., :, :k].tril(-1), grad[..., :k, :].triu(), p, lower, upper),)


def _check_pivot(name: str, pivot: bool) -> None:
    if not pivot:
        raise RuntimeError(f"{name}: LU without pivoting is not implemented on the CPU")


@composite(where=("linalg",))
def lu_factor_ex(A, *, pivot=True, check_errors=False):
    """L and U in one array, exchanges and, per matrix, the first pivot that is zero (or 0).

    Source: torch.linalg.lu_factor_ex.
    """
    check_matrix("torch.linalg.lu_factor", A._meta)
    _check_pivot("linalg.lu_factor", pivot)
    found = _factored(A)
    if check_errors:
        raise_failed("torch.linalg.lu_factor_ex", found[2], _ZERO_PIVOT)
    return _lu_factor_ex(found)


@composite(where=("linalg",))
def lu_factor(A, *, pivot=True):
    """L (below its unit diagonal) and U in one array, and the row exchanges counted from 1.

    Raises LinAlgError where a pivot is zero. Source: torch.linalg.lu_factor.
    """
    check_matrix("torch.linalg.lu_factor", A._meta)
    _check_pivot("linalg.lu_factor", pivot)
    found, pivots, info = _factored(A)
    raise_failed("torch.linalg.lu_factor", info, _ZERO_PIVOT)
    return _lu_factor((found, pivots))


@composite(name="lu", out=False)
@in_float32
def torch_lu(A, pivot=True, get_infos=False, out=None):
    """The older form of :func:`torch.linalg.lu_factor`. Source: torch.lu."""
    warnings.warn(
        "torch.lu is deprecated in favor of torch.linalg.lu_factor / torch.linalg.lu_factor_ex",
        stacklevel=3,
    )
    check_matrix("lu", A._meta)
    _check_pivot("lu", pivot)
    found, pivots, info = _factored(A)
    if not get_infos:
        raise_failed("lu", info, _ZERO_PIVOT)
    return _lu_with_info((found, pivots, info)) if get_infos else (found, pivots)


@operator(where=(), name="linalg_lu")
class _lu_parts:
    """P, L and U."""

    results = 3

    def call(A):
        return apply(_lu_parts.operator, (A,))

    def infer(A):
        m, n = A.shape[-2:]
        k = min(m, n)
        return like(A, m, m), like(A, m, k), like(A, k, n)

    def evaluate(A):
        m, n = A.shape[-2:]
        k = min(m, n)
        flat, lead = batch_of(A)
        found, pivots, _ = factorization.lu(flat)
        p = _permutations(pivots, m, A.dtype)
        lower = np.tril(found[..., :, :k], -1) + np.eye(m, k, dtype=A.dtype)
        upper = np.triu(found[..., :k, :])
        return tuple([x.reshape(*lead, *x.shape[-2:]) for x in (p, lower, upper)])

    def backward(grads, result, result1, result2):
        _, gl, gu = grads
        if gl is None and gu is None:
            return (None,)
        gl = None if gl is None else gl.tril(-1)
        gu = None if gu is None else gu.triu()
        return (_lu_gradient(gl, gu, result, result1, result2),)


@composite(where=("linalg",))
def lu(A, *, pivot=True):
    """P, L, U with ``A = P L U``. Source: torch.linalg.lu."""
    check_matrix("linalg.lu", A._meta)
    _check_pivot("linalg.lu", pivot)
    return _lu(_lu_parts(A))


def _check_pivots(name: str, pivots: Tensor) -> None:
    if pivots._meta.dtype is not dtypes.int32:
        raise RuntimeError(
            f"{name}: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype, got "
            f"{pivots._meta.dtype}"
        )


@composite(where=("torch",))
def lu_unpack(LU_data, LU_pivots, unpack_data=True, unpack_pivots=True):
    """P, L, U from what lu_factor returned; what is not asked for is left empty.

    Source: torch.lu_unpack.
    """
    from suiren.ops.creation import from_array

    m = LU_data._meta
    empty = from_array(np.zeros(0, m.dtype.numpy), where=m.device)
    lower, upper = _parts(LU_data) if unpack_data else (empty, empty)
    p = empty
    if unpack_pivots:
        _check_pivots("torch.lu_unpack", LU_pivots)
        p = _permutation(LU_pivots, m.shape[-2], m.dtype)
    return _lu_unpack((p, lower, upper))


@composite(where=("linalg",))
@as_given
def lu_solve(LU, pivots, B, *, left=True, adjoint=False):
    """X with ``A X = B``, given A's LU (``adjoint``: ``A^H X = B``; not ``left``: ``X A = B``).

    Source: torch.linalg.lu_solve.
    """
    name = "linalg.lu_solve"
    check_square(name, LU._meta, "LU")
    check_matrix(name, B._meta, "B")
    _check_pivots(name, pivots)
    a, b = LU._meta, B._meta
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"{name}: Expected LU and B to have the same dtype, but found LU of type {a.dtype} and "
            f"B of type {b.dtype} instead"
        )
    if a.shape[:-1] != (*pivots._meta.shape,):
        raise RuntimeError(
            f"{name}: Number of pivots per batch should be same as the dimension of the matrix, "
            f"got {list(pivots._meta.shape)} for {list(a.shape)}"
        )
    if b.shape[-2 if left else -1] != a.shape[-1]:
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation "
            f"{'AX = B' if left else 'XA = B'} ({a.shape[-2]}x{a.shape[-1]} and "
            f"{b.shape[-2]}x{b.shape[-1]})"
        )
    if not left:
        return mH(lu_solve(LU, pivots, mH(B), adjoint=not adjoint))
    lower, upper = _parts(LU)
    p = _permutation(pivots, a.shape[-1], a.dtype)
    if adjoint:
        found = solve_triangular(mH(upper), B, upper=False)
        return matmul(p, solve_triangular(mH(lower), found, upper=True, unitriangular=True))
    found = matmul(p.transpose(-2, -1), B)
    found = solve_triangular(lower, found, upper=False, unitriangular=True)
    return solve_triangular(upper, found, upper=True)


@composite(name="lu_solve")
@in_float32
def torch_lu_solve(input, LU_data, LU_pivots):
    """The older form of :func:`torch.linalg.lu_solve`. Source: torch.lu_solve."""
    return lu_solve(LU_data, LU_pivots, input)


# ---- LDL


@operator(where=(), name="linalg_ldl_factor_ex")
class _ldl:
    """L and the block diagonal D in one array, the symmetric exchanges, and info."""

    results = 3

    def call(A, hermitian):
        return apply(_ldl.operator, (A,), (hermitian,))

    def infer(A, hermitian):
        return A.flat, meta(A.shape[:-1], dtypes.int32, A.device), info_meta(A)

    def evaluate(A, hermitian):
        flat, lead = batch_of(A)
        found = [factorization.ldl(x, hermitian) for x in flat]
        n = A.shape[-1]
        factors = np.array([x[0] for x in found], A.dtype).reshape(*lead, n, n)
        pivots = np.array([x[1] for x in found], np.int32).reshape(*lead, n)
        return factors, pivots, np.array([x[2] for x in found], np.int32).reshape(lead)


@composite(where=("linalg",))
def ldl_factor_ex(A, *, hermitian=False, check_errors=False):
    """LDL of symmetric (or Hermitian) matrices in LAPACK's compact form, and info.

    Has no derivative. Source: torch.linalg.ldl_factor_ex.
    """
    check_square("torch.linalg.ldl_factor_ex", A._meta)
    found = _ldl(A, bool(hermitian))
    if check_errors:
        raise_failed("torch.linalg.ldl_factor_ex", found[2], "D[{0},{0}] is zero")
    return _ldl_factor_ex(found)


@composite(where=("linalg",))
def ldl_factor(A, *, hermitian=False):
    """LDL of symmetric (or Hermitian) matrices; raises LinAlgError for singular ones.

    Source: torch.linalg.ldl_factor.
    """
    check_square("torch.linalg.ldl_factor", A._meta)
    found, pivots, info = _ldl(A, bool(hermitian))
    raise_failed("torch.linalg.ldl_factor", info, "D[{0},{0}] is zero")
    return _ldl_factor((found, pivots))


@operator(where=(), name="linalg_ldl_solve")
class _ldl_solution:
    """Solutions with LDL factors."""

    tensors = 3

    def call(LD, pivots, B, hermitian):
        return apply(_ldl_solution.operator, (LD, pivots, B), (hermitian,))

    def infer(LD, pivots, B, hermitian):
        lead = broadcast_shapes(LD.shape[:-2], B.shape[:-2])
        return meta((*lead, *B.shape[-2:]), B.dtype, B.device)

    def evaluate(LD, pivots, B, hermitian):
        lead = np.broadcast_shapes(LD.shape[:-2], B.shape[:-2])
        a, _ = batch_of(np.broadcast_to(LD, (*lead, *LD.shape[-2:])))
        b, _ = batch_of(np.broadcast_to(B, (*lead, *B.shape[-2:])))
        p, _ = batch_of(np.broadcast_to(pivots, (*lead, pivots.shape[-1])), 1)
        found = [
            factorization.ldl_solve(x, q, y, hermitian) for x, q, y in zip(a, p, b, strict=True)
        ]
        return np.array(found, B.dtype).reshape(*lead, *B.shape[-2:])


@composite(where=("linalg",))
def ldl_solve(LD, pivots, B, *, hermitian=False):
    """X with ``A X = B``, given A's LDL. Has no derivative. Source: torch.linalg.ldl_solve."""
    name = "torch.linalg.ldl_solve"
    check_square(name, LD._meta, "LD")
    check_matrix(name, B._meta, "B")
    return _ldl_solution(LD, pivots, B, bool(hermitian))
