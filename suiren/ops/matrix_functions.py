"""Functions of matrices: pseudo-inverse, rank, condition, least squares, exponential, reflections.

The derivative of the pseudo-inverse is Golub & Pereyra 1973; that of the exponential is read off a
block matrix (Van Loan 1978; Al-Mohy & Higham 2009); randomized decompositions follow Halko,
Martinsson & Tropp 2009. Source: PyTorch's torch.linalg page.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from suiren import dtypes, return_types
from suiren.autocast_state import casting
from suiren.autocasting import in_float32, lowered
from suiren.dispatch import apply
from suiren.interpreter import factorization
from suiren.operator import NAMESPACES, composite, operator
from suiren.ops.arithmetic import conj
from suiren.ops.elementwise import broadcast_shapes
from suiren.ops.matmul import matmul
from suiren.ops.matrices import (
    array_mH,
    batch_of,
    check_matrix,
    check_square,
    mH,
    real_kind,
)
from suiren.ops.reductions import sum_
from suiren.tensor import Tensor
from suiren.trace import Meta, meta

_lstsq = return_types.make("linalg_lstsq", "solution residuals rank singular_values")

# ---- pseudo-inverse and rank


def _tolerances(name: str, m: Meta, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """Absolute and relative tolerances; PyTorch's defaults where they are not given."""
    for which, x in (("atol", atol), ("rtol", rtol)):
        if isinstance(x, Tensor) and x._meta.dtype.is_complex:
            raise RuntimeError(f"{name}: {which} tensor of complex type is not supported.")
    if rtol is None:
        standard = max(m.shape[-2:]) * np.finfo(m.dtype.numpy).eps
        if atol is None:
            rtol = float(standard)
        elif isinstance(atol, Tensor):
            rtol = (atol <= 0).to(atol._meta.dtype) * float(standard)
        else:
            rtol = 0.0 if atol > 0 else float(standard)
    return 0.0 if atol is None else atol, rtol


def _cut(s: np.ndarray, atol: Any, rtol: Any) -> np.ndarray:
    """Which singular values count."""
    largest = s.max(axis=-1, keepdims=True) if s.shape[-1] else s
    atol = np.asarray(atol)[..., None] if np.ndim(atol) else atol
    rtol = np.asarray(rtol)[..., None] if np.ndim(rtol) else rtol
    return s > np.maximum(atol, rtol * largest)


def _batch_of_tolerances(A: Meta, atol: Any, rtol: Any) -> tuple[int, ...]:
    shapes = [x.shape for x in (atol, rtol) if x.__class__ is Meta]
    return broadcast_shapes(A.shape[:-2], *shapes)


@operator(where=(), name="linalg_pinv")
class _pseudo_inverse:
    """Moore-Penrose inverses; smaller singular values than the tolerance count as zero."""

    tensors = 3

    def call(A, atol, rtol, hermitian):
        return apply(_pseudo_inverse.operator, (A, atol, rtol), (hermitian,))

    def infer(A, atol, rtol, hermitian):
        lead = _batch_of_tolerances(A, atol, rtol)
        return meta((*lead, A.shape[-1], A.shape[-2]), A.dtype, A.device)

    def evaluate(A, atol, rtol, hermitian):
        if not A.size:
            return np.zeros((*A.shape[:-2], A.shape[-1], A.shape[-2]), A.dtype)
        if hermitian:
            s, u = np.linalg.eigh(A)
            vh = array_mH(u)
        else:
            u, s, vh = np.linalg.svd(A, full_matrices=False)
        keep = _cut(np.abs(s), atol, rtol)
        with np.errstate(divide="ignore"):
            inverse = np.where(keep, 1 / s, 0).astype(s.dtype)
        return np.asarray((array_mH(vh) * inverse[..., None, :]) @ array_mH(u), A.dtype)

    def grad_A(grad, A, result):
        p, back = result, mH(result)
        turned = mH(grad)
        first = -matmul(matmul(back, grad), back)
        # what the range and the null space of A turn by
        second = matmul(matmul(turned, p), back)
        second = second - matmul(A, matmul(p, second))
        third = matmul(matmul(back, p), turned)
        third = third - matmul(matmul(third, p), A)
        return first + second + third


@composite(where=("linalg",), out=False)
def pinv(A, *positional, atol=None, rtol=None, rcond=None, hermitian=False, out=None):
    """The Moore-Penrose inverse (..., n, m) of (..., m, n).

    Singular values up to ``max(atol, rtol * largest)`` count as zero. Source: torch.linalg.pinv.

    >>> import suiren as torch
    >>> torch.linalg.pinv(torch.tensor([[2., 0.]]))
    tensor([[0.5000],
            [0.0000]])
    """
    if positional:
        rcond = positional[0]
        hermitian = positional[1] if len(positional) > 1 else hermitian
    check = check_square if hermitian else check_matrix
    check("linalg.pinv", A._meta)
    if rcond is not None:
        rtol, atol = rcond, 0.0 if atol is None else atol
    atol, rtol = _tolerances("linalg.pinv", A._meta, atol, rtol)
    found = _pseudo_inverse(A, atol, rtol, bool(hermitian))
    if casting and out is None:  # PyTorch's ends with a product
        (found,) = lowered(found)
    return _into(out, found)


def _into(out: Tensor | None, found: Tensor) -> Tensor:
    return found if out is None else out.copy_(found)


@composite
@in_float32
def pinverse(input, rcond=1e-15):
    """The older name of :func:`torch.linalg.pinv`. Source: torch.pinverse."""
    return pinv(input, rcond=rcond)


@operator(where=(), name="linalg_matrix_rank")
class _rank:
    """How many singular values exceed the tolerance."""

    tensors = 3

    def call(A, atol, rtol, hermitian):
        return apply(_rank.operator, (A, atol, rtol), (hermitian,))

    def infer(A, atol, rtol, hermitian):
        return meta(_batch_of_tolerances(A, atol, rtol), dtypes.int64, A.device)

    def evaluate(A, atol, rtol, hermitian):
        if not A.size:
            return np.zeros(A.shape[:-2], np.int64)
        s = np.abs(np.linalg.eigvalsh(A)) if hermitian else np.linalg.svd(A, compute_uv=False)
        return np.asarray(np.count_nonzero(_cut(s, atol, rtol), axis=-1), np.int64)


@composite(where=("linalg",), out=False)
@in_float32
def matrix_rank(A, *positional, tol=None, atol=None, rtol=None, hermitian=False, out=None):
    """How many singular values exceed ``max(atol, rtol * largest)``.

    Source: torch.linalg.matrix_rank.
    """
    if positional:
        tol = positional[0]
        hermitian = positional[1] if len(positional) > 1 else hermitian
    check = check_square if hermitian else check_matrix
    check("linalg.matrix_rank", A._meta)
    if tol is not None:
        atol, rtol = tol, 0.0
    atol, rtol = _tolerances("torch.linalg.matrix_rank", A._meta, atol, rtol)
    return _into(out, _rank(A, atol, rtol, bool(hermitian)))


@composite(where=("linalg",))
@in_float32
def cond(A, p=None):
    """The condition number: the norm of A times that of its inverse, by ``p`` (2 by default).

    Singular matrices have infinity. Source: torch.linalg.cond.
    """
    from suiren.ops.decompositions import svdvals
    from suiren.ops.solving import _inverse

    m = A._meta
    check_matrix("linalg.cond", m)
    if p in (None, 2, -2):
        s = svdvals(A)
        if not s._meta.shape[-1]:
            return sum_(s, -1)
        large, small = s[..., 0], s[..., -1]
        return small / large if p == -2 else large / small
    if p not in ("fro", "nuc", 1, -1, inf, -inf):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    check_square(f"linalg.cond({p!r})", m)
    norm = NAMESPACES["linalg"]["matrix_norm"]
    if not m.numel:
        return sum_(A.abs(), (-2, -1))
    found, info = _inverse(A)
    result = norm(A, p) * norm(found, p)
    return result.masked_fill(info != 0, inf)


# ---- least squares


@operator(where=(), name="linalg_lstsq")
class _least_squares:
    """Solutions of least norm that minimize |A X - B|, ranks and singular values."""

    tensors = 2
    results = 3

    def call(A, B, rcond):
        return apply(_least_squares.operator, (A, B), (rcond,))

    def infer(A, B, rcond):
        m, n = A.shape[-2:]
        lead = broadcast_shapes(A.shape[:-2], B.shape[:-2])
        return (
            meta((*lead, n, B.shape[-1]), A.dtype, A.device),
            meta(A.shape[:-2], dtypes.int64, A.device),
            meta((*A.shape[:-2], min(m, n)), real_kind(A.dtype), A.device),
        )

    def evaluate(A, B, rcond):
        m, n = A.shape[-2:]
        lead = np.broadcast_shapes(A.shape[:-2], B.shape[:-2])
        if not min(m, n):
            real = np.abs(A[..., :0, :0]).dtype
            return (
                np.zeros((*lead, n, B.shape[-1]), A.dtype),
                np.zeros(A.shape[:-2], np.int64),
                np.zeros((*A.shape[:-2], 0), real),
            )
        u, s, vh = np.linalg.svd(A, full_matrices=False)
        keep = s > rcond * s[..., :1]
        with np.errstate(divide="ignore"):
            inverse = np.where(keep, 1 / s, 0).astype(s.dtype)
        found = array_mH(vh) @ (inverse[..., :, None] * (array_mH(u) @ B))
        return np.asarray(found, A.dtype), np.asarray(keep.sum(-1), np.int64), s

    def backward(grads, A, B, needs):
        grad = grads[0]
        if grad is None:
            return None, None
        p = pinv(A)
        gb = matmul(mH(p), grad)
        if not needs[0]:
            return None, gb
        # X = pinv(A) B, so the gradient of pinv(A) is G B^H
        return _pseudo_inverse.operator.formulas[0].function(matmul(grad, mH(B)), A, p), gb


@composite(where=("linalg",), out=False)
@in_float32
def lstsq(A, B, rcond=None, *, driver=None):
    """Solutions X of least norm that minimize |A X - B|, residuals, ranks, singular values.

    Residuals are given for overdetermined systems of full rank (not by the default driver "gelsy"),
    ranks not by "gels", singular values by "gelsd" and "gelss". Source: torch.linalg.lstsq.
    """
    from suiren.ops.creation import from_array
    from suiren.ops.solving import is_vector

    check_matrix("torch.linalg.lstsq", A._meta, "input")
    a, b = A._meta, B._meta
    if b.ndim < 1:
        raise RuntimeError("torch.linalg.lstsq: other must have at least 1 dimension.")
    if a.dtype is not b.dtype:
        raise RuntimeError(
            "torch.linalg.lstsq: Expected input and other to have the same dtype, but got "
            f"{a.dtype} and {b.dtype}"
        )
    driver = "gelsy" if driver is None else driver
    if driver not in ("gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(
            "torch.linalg.lstsq: parameter `driver` should be one of "
            f"(gels, gelsy, gelsd, gelss), got {driver!r}"
        )
    vector = is_vector(a, b)
    right = B.unsqueeze(-1) if vector else B
    m, n = a.shape[-2:]
    if right._meta.shape[-2] != m:
        raise RuntimeError(
            f"torch.linalg.lstsq: input.size(-2) ({m}) should match other.size(-"
            f"{1 if vector else 2}) ({right._meta.shape[-2]})"
        )
    if rcond is None:
        rcond = np.finfo(a.dtype.numpy).eps * max(m, n)
    cut = 0.0 if driver == "gels" else float(rcond)
    found, rank, values = _least_squares(A, right, cut)
    none = from_array(np.zeros(0, real_kind(a.dtype).numpy), where=a.device)
    residuals = none
    if m > n and driver != "gelsy" and (driver == "gels" or (rank.peek() == n).all()):
        rest = (matmul(A, found) - right).abs()
        residuals = sum_(rest * rest, -2)
        if vector:
            residuals = residuals.squeeze(-1)
    return _lstsq((
        found.squeeze(-1) if vector else found,
        residuals,
        from_array(np.zeros(0, np.int64), where=a.device) if driver == "gels" else rank,
        values if driver in ("gelsd", "gelss") else none,
    ))


# ---- exponential


@operator(name="linalg_matrix_exp", where=())
class _exponential:
    """exp of square matrices."""

    widen = True

    def call(A):
        return apply(_exponential.operator, (A,))

    def infer(A):
        return A.flat

    def evaluate(A):
        flat, _ = batch_of(A)
        return factorization.exponential(flat).reshape(A.shape)

    def grad_A(grad, A):
        # exp([[A^H, G], [0, A^H]]) has the derivative in direction G in its upper right corner
        n = A._meta.shape[-1]
        cat = NAMESPACES["torch"]["cat"]
        back = mH(A)
        above, below = cat([back, grad], -1), cat([back * 0, back], -1)
        return _exponential(cat([above, below], -2))[..., :n, n:]


@composite(where=("torch", "Tensor", "linalg"))
def matrix_exp(A):
    """The exponential of square matrices. Source: torch.linalg.matrix_exp.

    >>> import suiren as torch
    >>> torch.linalg.matrix_exp(torch.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    m = A._meta
    if not m.dtype.is_half:
        check_square("linalg.matrix_exp", m)
    return _exponential(A)


# ---- Householder reflections


def _reflection(A: Tensor, i: int) -> Tensor:
    """The i-th Householder vector: zeros, one, then the column below the diagonal."""
    from suiren.ops.creation import from_array

    m = A._meta.shape[-2]
    unit = np.zeros(m, A._meta.dtype.numpy)
    unit[i] = 1
    below = np.zeros(m, A._meta.dtype.numpy)
    below[i + 1 :] = 1
    place = A._meta.device
    return A[..., :, i] * from_array(below, where=place) + from_array(unit, where=place)


def _reflect(A: Tensor, tau: Tensor, i: int, x: Tensor, adjoint: bool) -> Tensor:
    """``(I - tau v v^H) x`` with the i-th reflection, its adjoint with the conjugate of tau."""
    v = _reflection(A, i).unsqueeze(-1)
    factor = tau[..., i].unsqueeze(-1).unsqueeze(-1)
    return x - (conj(factor) if adjoint else factor) * v * matmul(mH(v), x)


def _check_reflectors(name: str, A: Tensor, tau: Tensor) -> None:
    check_matrix(name, A._meta, "input")
    m, n = A._meta.shape[-2:]
    if m < n:
        raise RuntimeError(
            f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1], got "
            f"{m} by {n}"
        )
    if tau._meta.shape[-1] > n:
        raise RuntimeError(
            f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1], got {n} and "
            f"{tau._meta.shape[-1]}"
        )
    if tau._meta.ndim != A._meta.ndim - 1:
        raise RuntimeError(
            f"{name}: Expected tau to have one dimension less than input, but got tau.ndim equal "
            f"to {tau._meta.ndim} and input.ndim is equal to {A._meta.ndim}"
        )
    if tau._meta.shape[:-1] != A._meta.shape[:-2]:
        raise RuntimeError(
            f"{name}: Expected batch dimensions of tau to be equal to input.shape[:-2], but got "
            f"{list(tau._meta.shape[:-1])}"
        )
    if tau._meta.dtype is not A._meta.dtype:
        raise RuntimeError(
            f"{name}: tau dtype {tau._meta.dtype} does not match input dtype {A._meta.dtype}"
        )


@composite(where=("linalg",), aliases=("torch.orgqr", "Tensor.orgqr"))
@in_float32
def householder_product(A, tau):
    """The first n columns of the product of Householder reflections (m, n), tau (k,).

    Source: torch.linalg.householder_product.
    """
    _check_reflectors("torch.linalg.householder_product", A, tau)
    from suiren.ops.creation import from_array

    m = A._meta
    unit = from_array(np.eye(*m.shape[-2:], dtype=m.dtype.numpy), where=m.device)
    found = unit.expand(m.shape)
    if not tau._meta.shape[-1]:
        return A.clone().copy_(found)
    for i in reversed(range(tau._meta.shape[-1])):
        found = _reflect(A, tau, i, found, False)
    return found


@composite
@in_float32
def ormqr(input, tau, other, left=True, transpose=False):
    """``Q other`` (or ``other Q``; with ``transpose`` Q^H), Q as reflections.

    Source: torch.ormqr.
    """
    _check_ormqr(input, tau, other, left)
    if not left:  # X Q = (Q^H X^H)^H
        return mH(ormqr(input, tau, mH(other), True, not transpose))
    count = tau._meta.shape[-1]
    for i in range(count) if transpose else reversed(range(count)):
        other = _reflect(input, tau, i, other, transpose)
    return other


def _check_ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool) -> None:
    check_matrix("torch.ormqr", input._meta, "input")
    check_matrix("torch.ormqr", other._meta, "other")
    size = other._meta.shape[-2 if left else -1]
    if size < tau._meta.shape[-1] or size != input._meta.shape[-2]:
        raise RuntimeError(
            f"torch.ormqr: other.shape[{-2 if left else -1}] must be equal to input.shape[-2] and "
            f"at least tau.shape[-1], got {size}, {input._meta.shape[-2]} and "
            f"{tau._meta.shape[-1]}"
        )
    if tau._meta.shape[:-1] != input._meta.shape[:-2]:
        raise RuntimeError(
            "torch.ormqr: batch dimensions of tau should be equal to input.shape[:-2], got "
            f"{list(tau._meta.shape[:-1])} and {list(input._meta.shape[:-2])}"
        )
    if not tau._meta.dtype is input._meta.dtype is other._meta.dtype:
        raise RuntimeError(
            "torch.ormqr: Expected input, tau and other to have the same dtype, got "
            f"{input._meta.dtype}, {tau._meta.dtype} and {other._meta.dtype}"
        )


@composite(where=("linalg",), out=False)
def vander(x, N=None):
    """Powers 0, 1, ..., N - 1 of vectors, as columns. Source: torch.linalg.vander.

    >>> import suiren as torch
    >>> torch.linalg.vander(torch.tensor([2, 3]), N=3)
    tensor([[1, 2, 4],
            [1, 3, 9]])
    """
    m = x._meta
    if m.ndim == 0 and N is None:
        raise RuntimeError("linalg.vander: x must have at least one dimension, or give N")
    if m.ndim == 0:
        x = x.unsqueeze(0)
    n = m.shape[-1] if N is None else N
    if N is not None and N <= 1:
        raise RuntimeError(f"N must be greater than 1. Got {N}")
    if m.dtype is dtypes.bool:
        x = x.to(dtypes.int64)
    columns = [x.detach() ** 0]
    for _ in range(n - 1):
        columns.append(columns[-1] * x)
    return NAMESPACES["torch"]["stack"](columns, -1)


# ---- randomized decompositions


def _range_basis(A: Tensor, q: int, niter: int, M: Tensor | None) -> Tensor:
    """Orthonormal columns that span most of A's range (Halko et al., algorithm 4.4)."""
    from suiren.ops.decompositions import qr

    m = A._meta
    random = NAMESPACES["torch"]["randn"](m.shape[-1], q, dtype=m.dtype, device=m.device)

    def forward(x):
        found = matmul(A, x)
        return found if M is None else found - matmul(M, x)

    def backward(x):
        found = matmul(mH(A), x)
        return found if M is None else found - matmul(mH(M), x)

    basis = qr(forward(random))[0]
    for _ in range(niter):
        basis = qr(backward(basis))[0]
        basis = qr(forward(basis))[0]
    return basis


def _low_rank(A: Tensor, q: int, niter: int, M: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    from suiren.ops.decompositions import svd

    m, n = A._meta.shape[-2:]
    if m < n:
        u, s, v = _low_rank(mH(A), q, niter, None if M is None else mH(M))
        return v, s, u
    basis = _range_basis(A, q, niter, M)
    small = matmul(mH(basis), A)
    if M is not None:
        small = small - matmul(mH(basis), M)
    u, s, vh = svd(small, full_matrices=False)
    return matmul(basis, u), s, mH(vh)


@composite(where=("torch",), out=False)
@in_float32
def svd_lowrank(A, q=6, niter=2, M=None):
    """U, S, V of A (minus M) of rank at most q, randomized. Source: torch.svd_lowrank."""
    check_matrix("svd_lowrank", A._meta)
    M = None if M is None else M.expand(A._meta.shape)
    return _low_rank(A, 6 if q is None else q, 2 if niter is None else niter, M)


@composite(where=("torch",), out=False)
@in_float32
def pca_lowrank(A, q=None, center=True, niter=2):
    """Principal components of the rows of A, randomized: U, S, V. Source: torch.pca_lowrank."""
    check_matrix("pca_lowrank", A._meta)
    m, n = A._meta.shape[-2:]
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than {min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    if center:
        A = A - A.mean(-2, keepdim=True)
    return _low_rank(A, q, niter, None)
