"""Systems of linear equations: inverses, determinants, solve, triangular and Cholesky solving.

The derivatives are in Giles 2008, An extended collection of matrix derivative results for forward
and reverse mode algorithmic differentiation; Petersen & Pedersen, The Matrix Cookbook. Source:
PyTorch's torch.linalg page.
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes, return_types
from suiren.autocasting import in_float32
from suiren.dispatch import apply
from suiren.interpreter import factorization
from suiren.operator import composite, operator
from suiren.ops.elementwise import broadcast_shapes
from suiren.ops.matmul import matmul
from suiren.ops.matrices import (
    batch_of,
    check_matrix,
    check_square,
    identity,
    mH,
    raise_failed,
    real_kind,
)
from suiren.ops.reductions import sum_
from suiren.tensor import Tensor
from suiren.trace import Meta, meta

_inv_ex = return_types.make("linalg_inv_ex", "inverse info")
_solve_ex = return_types.make("linalg_solve_ex", "result info")
_slogdet = return_types.make("linalg_slogdet", "sign logabsdet")
_old_slogdet = return_types.make("slogdet", "sign logabsdet")
_triangular = return_types.make("triangular_solve", "solution cloned_coefficient")

SINGULAR_INVERSE = (
    "The diagonal element {} is zero, the inversion could not be completed because the input "
    "matrix is singular."
)
SINGULAR_SYSTEM = "The solver failed because the input matrix is singular."


def info_meta(m: Meta) -> Meta:
    """The Meta of the outcomes of a batch."""
    return meta(m.shape[:-2], dtypes.int32, m.device)


def _each(function, a: np.ndarray, *rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """NumPy's function over a batch; singular matrices give infinities and their info."""
    info = np.zeros(a.shape[:-2], np.int32)
    try:
        return function(a, *rest), info
    except np.linalg.LinAlgError:
        flat, lead = batch_of(a)
        others = [batch_of(np.broadcast_to(x, (*lead, *x.shape[-2:])))[0] for x in rest]
        results, codes = [], []
        for i, x in enumerate(flat):
            try:
                results.append(function(x, *[y[i] for y in others]))
                codes.append(0)
            except np.linalg.LinAlgError:
                shape = others[0][i].shape if others else x.shape
                results.append(np.full(shape, np.inf, a.dtype))
                codes.append(int(factorization.lu(x[None])[2][0]) or len(x))
        found = np.stack(results).reshape(*lead, *results[0].shape)
        return found, np.array(codes, np.int32).reshape(lead)


# ---- inverse


@operator(where=(), name="linalg_inv_ex")
class _inverse:
    """Inverses of square matrices, and for each whether it is singular."""

    results = 2

    def call(A):
        return apply(_inverse.operator, (A,))

    def infer(A):
        return A.flat, info_meta(A)

    def evaluate(A):
        return _each(np.linalg.inv, A)

    def backward(grads, result):
        back = mH(result)
        return (None if grads[0] is None else -matmul(matmul(back, grads[0]), back),)


@composite(where=("linalg",))
@in_float32
def inv_ex(A, *, check_errors=False):
    """Inverses and, per matrix, 0 or the position of the pivot that is zero.

    Source: torch.linalg.inv_ex.
    """
    check_square("linalg.inv_ex", A._meta)
    found, info = _inverse(A)
    if check_errors:
        raise_failed("linalg.inv_ex", info, SINGULAR_INVERSE)
    return _inv_ex((found, info))


@composite(where=("linalg",))
@in_float32
def inv(A):
    """The inverse of a square matrix, or of each of a batch (..., n, n).

    Raises RuntimeError for other shapes, LinAlgError for singular matrices (which it has to look
    at: the computation runs at once). Source: torch.linalg.inv.

    >>> import suiren as torch
    >>> torch.linalg.inv(torch.tensor([[2., 0.], [0., 4.]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    check_square("linalg.inv", A._meta)
    found, info = _inverse(A)
    raise_failed("linalg.inv", info, SINGULAR_INVERSE)
    return found


@composite
@in_float32
def inverse(input):
    """Another name of :func:`torch.linalg.inv`. Source: torch.inverse."""
    return inv(input)


# ---- solve


def is_vector(a: Meta, b: Meta) -> bool:
    """Whether ``b`` holds vectors rather than matrices, by PyTorch's rule."""
    return b.ndim == 1 or (a.ndim - 1 == b.ndim and b.shape == a.shape[:-1])


@operator(where=(), name="linalg_solve_ex")
class _solution:
    """Solutions of ``A X = B`` (or ``X A = B``), and for each whether A is singular."""

    tensors = 2
    results = 2

    def call(A, B, left, vector):
        return apply(_solution.operator, (A, B), (left, vector))

    def infer(A, B, left, vector):
        rows = B.shape if not vector else (*B.shape, 1)
        at = -2 if left else -1
        if rows[at] != A.shape[-1]:
            raise RuntimeError(
                f"linalg.solve: Incompatible shapes of A and B for the equation "
                f"{'AX = B' if left else 'XA = B'} ({A.shape[-2]}x{A.shape[-1]} and "
                f"{rows[-2]}x{rows[-1]})"
            )
        lead = broadcast_shapes(A.shape[:-2], rows[:-2])
        shape = (*lead, *rows[-2:])
        return meta(shape[:-1] if vector else shape, A.dtype, A.device), info_meta(A)

    def evaluate(A, B, left, vector):
        if vector:
            B = B[..., None]
        if not left:
            found, info = _each(np.linalg.solve, np.swapaxes(A, -2, -1), np.swapaxes(B, -2, -1))
            return np.swapaxes(found, -2, -1), info
        found, info = _each(np.linalg.solve, A, B)
        return (found[..., 0] if vector else found), info

    def backward(grads, A, result, needs, left, vector):
        if grads[0] is None:
            return None, None
        back, _ = _solution(mH(A), grads[0], left, vector)
        if not needs[0]:
            return None, back
        x, y = result, back
        if vector:
            x, y = x.unsqueeze(-1), y.unsqueeze(-1)
        return -(matmul(y, mH(x)) if left else matmul(mH(x), y)), back


def _check_solve(name: str, A: Tensor, B: Tensor) -> None:
    check_square(name, A._meta)
    if A._meta.dtype is not B._meta.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type "
            f"{A._meta.dtype} and B of type {B._meta.dtype} instead"
        )


def _solved(name: str, A: Tensor, B: Tensor, left: bool):
    _check_solve(name, A, B)
    a, b = A._meta, B._meta
    vector = is_vector(a, b)
    if vector and not left:
        raise RuntimeError(
            f"{name}: Vector broadcasting of the left hand side is not supported for left=False. "
            "In this case linalg.solve is equivalent to B / A.squeeze(-1)"
        )
    return _solution(A, B, bool(left), vector)


@composite(where=("linalg",))
def solve_ex(A, B, *, left=True, check_errors=False):
    """Solutions and, per matrix A, 0 or the position of the pivot that is zero.

    Source: torch.linalg.solve_ex.
    """
    found, info = _solved("linalg.solve", A, B, left)
    if check_errors:
        raise_failed("linalg.solve", info, SINGULAR_SYSTEM)
    return _solve_ex((found, info))


@composite(where=("linalg",))
@in_float32
def solve(A, B, *, left=True):
    """X with ``A X = B`` (``X A = B`` if not ``left``), batched; B may hold vectors.

    Raises LinAlgError for singular matrices. Source: torch.linalg.solve.

    >>> import suiren as torch
    >>> torch.linalg.solve(torch.tensor([[2., 0.], [0., 4.]]), torch.tensor([2., 2.]))
    tensor([1.0000, 0.5000])
    """
    found, info = _solved("linalg.solve", A, B, left)
    raise_failed("torch.linalg.solve", info, SINGULAR_SYSTEM)
    return found


@composite(where=("linalg",))
@in_float32
def tensorsolve(A, B, dims=None):
    """X with ``tensordot(A, X, X.ndim) = B``. Source: torch.linalg.tensorsolve."""
    ndim = A._meta.ndim
    if dims is not None:
        dims = [d % ndim for d in dims]
        A = A.permute([d for d in range(ndim) if d not in dims] + dims)
    shape = A._meta.shape[B._meta.ndim :]
    count = 1
    for s in shape:
        count *= s
    if count != B._meta.numel:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but got {count} != {B._meta.numel} in tensorsolve"
        )
    return solve(A.reshape(count, count), B.reshape(-1)).reshape(shape)


@composite(where=("linalg",))
@in_float32
def tensorinv(A, ind=2):
    """The inverse of ``tensordot(A, ., ind)``. Source: torch.linalg.tensorinv."""
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', got {ind}")
    shape = A._meta.shape
    rows = columns = 1
    for s in shape[:ind]:
        rows *= s
    for s in shape[ind:]:
        columns *= s
    if rows != columns:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but got {columns} != {rows} in tensorinv"
        )
    return inv(A.reshape(rows, rows)).reshape(*shape[ind:], *shape[:ind])


# ---- triangular systems


@operator(where=(), name="linalg_solve_triangular")
class _triangular_solution:
    """Solutions with one triangle of A."""

    tensors = 2

    def call(A, B, upper, left, unitriangular):
        return apply(_triangular_solution.operator, (A, B), (upper, left, unitriangular))

    def infer(A, B, upper, left, unitriangular):
        if B.shape[-2 if left else -1] != A.shape[-1]:
            raise RuntimeError(
                "linalg.solve_triangular: Incompatible shapes of A and B for the equation "
                f"{'AX = B' if left else 'XA = B'} ({A.shape[-2]}x{A.shape[-1]} and "
                f"{B.shape[-2]}x{B.shape[-1]})"
            )
        lead = broadcast_shapes(A.shape[:-2], B.shape[:-2])
        return meta((*lead, *B.shape[-2:]), A.dtype, A.device)

    def evaluate(A, B, upper, left, unitriangular):
        if left:
            return factorization.substitute(A, B, upper, unitriangular)
        turned, right = np.swapaxes(A, -2, -1), np.swapaxes(B, -2, -1)
        found = factorization.substitute(turned, right, not upper, unitriangular)
        return np.swapaxes(found, -2, -1)

    def backward(grad, A, result, needs, upper, left, unitriangular):
        back = _triangular_solution(mH(A), grad, not upper, left, unitriangular)
        if not needs[0]:
            return None, back
        found = -(matmul(back, mH(result)) if left else matmul(mH(result), back))
        if upper:
            return found.triu(int(unitriangular)), back
        return found.tril(-int(unitriangular)), back


@composite(where=("linalg",))
def solve_triangular(A, B, *, upper, left=True, unitriangular=False):
    """X with ``A X = B`` for triangular A, of which the other triangle is not looked at.

    Source: torch.linalg.solve_triangular.

    >>> import suiren as torch
    >>> A = torch.tensor([[2., 0.], [1., 1.]])
    >>> torch.linalg.solve_triangular(A, torch.tensor([[2.], [3.]]), upper=False)
    tensor([[1.],
            [2.]])
    """
    name = "linalg.solve_triangular"
    _check_solve(name, A, B)
    check_matrix(name, B._meta, "B")
    return _triangular_solution(A, B, bool(upper), bool(left), bool(unitriangular))


@composite
@in_float32
def triangular_solve(input, A, upper=True, transpose=False, unitriangular=False):
    """Solutions of ``A X = input`` and a copy of A; the older form of solve_triangular.

    Source: torch.triangular_solve.
    """
    for which, x in (("b", input), ("A", A)):
        if x._meta.ndim < 2:
            raise RuntimeError(
                "torch.triangular_solve: Expected "
                f"{which} to have at least 2 dimensions, but it has {x._meta.ndim} dimensions "
                "instead"
            )
    _check_solve("triangular_solve", A, input)
    matrix = A.transpose(-2, -1) if transpose else A
    side = upper != transpose
    found = _triangular_solution(matrix, input, bool(side), True, bool(unitriangular))
    lead = found._meta.shape[:-2]
    return _triangular((found, A.expand(*lead, *A._meta.shape[-2:]).clone()))


@composite
@in_float32
def cholesky_solve(input, L, upper=False):
    """X with ``A X = input``, given A's Cholesky factor. Source: torch.cholesky_solve."""
    for which, x in (("b", input), ("u", L)):
        if x._meta.ndim < 2:
            raise RuntimeError(
                f"{which} should have at least 2 dimensions, but has {x._meta.ndim} dimensions "
                "instead in cholesky_solve"
            )
    _check_solve("cholesky_solve", L, input)
    adjoint = mH(L)
    first, second = (adjoint, L) if upper else (L, adjoint)
    middle = _triangular_solution(first, input, False, True, False)
    return _triangular_solution(second, middle, True, True, False)


@composite
@in_float32
def cholesky_inverse(L, upper=False):
    """The inverse of a matrix, given its Cholesky factor. Source: torch.cholesky_inverse."""
    check_square("cholesky_inverse", L._meta)
    factor = L.triu() if upper else L.tril()
    return cholesky_solve(identity(L._meta).expand(L._meta.shape), factor, upper)


# ---- determinants


@operator(where=(), name="linalg_det")
class _determinant:
    """Determinants of square matrices."""

    def call(A):
        return apply(_determinant.operator, (A,))

    def infer(A):
        return meta(A.shape[:-2], A.dtype, A.device)

    def evaluate(A):
        return np.asarray(np.linalg.det(A), A.dtype)

    def grad_A(grad, A):
        from suiren.ops.arithmetic import conj

        return grad.unsqueeze(-1).unsqueeze(-1) * conj(_cofactors(A))


@operator(where=(), name="linalg_cofactors")
class _cofactors:
    """The derivatives of a determinant, which singular matrices have as well.

    From the singular value decomposition: adj(A)^T = det(U V^H) conj(U C V^H), where C is diagonal
    with the products of all other singular values.
    """

    def call(A):
        return apply(_cofactors.operator, (A,))

    def infer(A):
        return A.flat

    def evaluate(A):
        if not A.size:
            return A
        u, s, vh = np.linalg.svd(A)
        ones = np.ones_like(s[..., :1])
        before = np.cumprod(np.concatenate([ones, s[..., :-1]], -1), -1)
        after = np.cumprod(np.concatenate([ones, s[..., :0:-1]], -1), -1)[..., ::-1]
        phase = np.linalg.det(u) * np.linalg.det(vh)
        factors = (before * after)[..., None, :] * np.asarray(phase)[..., None, None]
        return np.asarray((np.conj(u) * factors) @ np.conj(vh), A.dtype)

    def grad_A(grad, A):
        from suiren.ops.arithmetic import conj

        # d adj(A)^T = tr(B dA) det B^T - det (B dA B)^T with B the inverse
        back, det = conj(inv(A)).transpose(-2, -1), conj(_determinant(A))
        det = det.unsqueeze(-1).unsqueeze(-1)
        total = sum_(grad * back, (-2, -1), True)
        return det * (total * back - matmul(matmul(back, grad.transpose(-2, -1)), back))


@composite(where=("linalg",))
def det(A):
    """The determinant of each matrix of a batch (..., n, n): (...). Source: torch.linalg.det."""
    check_square("linalg.det", A._meta)
    return _determinant(A)


@composite(name="det")
def torch_det(input):
    """Another name of :func:`torch.linalg.det`. Source: torch.det."""
    return det(input)


@operator(where=(), name="linalg_slogdet")
class _sign_and_log:
    """Sign (or phase) and logarithm of the absolute value of determinants."""

    results = 2

    def call(A):
        return apply(_sign_and_log.operator, (A,))

    def infer(A):
        lead = A.shape[:-2]
        return meta(lead, A.dtype, A.device), meta(lead, real_kind(A.dtype), A.device)

    def evaluate(A):
        sign, log = np.linalg.slogdet(A)
        return np.asarray(sign, A.dtype), np.asarray(log, np.abs(A[..., :0, :0]).dtype)

    def backward(grads, A, A_meta, result):
        from suiren.ops.arithmetic import conj

        sign, log = grads
        scale = log
        if A_meta.dtype.is_complex and sign is not None:
            # the sign moves along its circle: d sign = i Im(tr(A^-1 dA)) sign
            turn = (conj(result) * sign).imag * 1j
            scale = turn if log is None else log + turn
        if scale is None:
            return (None,)
        back = mH(_inverse(A)[0])
        return (scale.unsqueeze(-1).unsqueeze(-1) * back,)


@composite(where=("linalg",))
def slogdet(A):
    """Sign and log(abs) of determinants; (0, -inf) for singular matrices.

    Source: torch.linalg.slogdet.
    """
    check_square("linalg.slogdet", A._meta)
    return _slogdet(_sign_and_log(A))


@composite(name="slogdet")
def torch_slogdet(input):
    """The older name of :func:`torch.linalg.slogdet`. Source: torch.slogdet."""
    check_square("slogdet", input._meta)
    return _old_slogdet(_sign_and_log(input))


@composite
def logdet(input):
    """Logarithms of determinants; NaN where they are negative. Source: torch.logdet."""
    check_square("logdet", input._meta)
    sign, log = _sign_and_log(input)
    if sign._meta.dtype.is_complex:
        return sign.log() + log
    return log.masked_fill(sign == -1, float("nan"))
