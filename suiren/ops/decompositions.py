"""Decompositions: singular values, eigenvalues, QR, Cholesky.

The derivatives follow Giles 2008; Seeger et al. 2017, Auto-Differentiating Linear Algebra;
Murray 2016, Differentiation of the Cholesky decomposition; Boeddeker et al. 2017 for complex
eigenvectors; Liao et al. 2019 for wide QR. Factors that are unique only up to sign or phase have a
derivative only where the function of them does not depend on that choice. Source: PyTorch's
torch.linalg page.
"""

from __future__ import annotations

import numpy as np

from suiren import return_types
from suiren.autocasting import in_float32
from suiren.device import META
from suiren.dispatch import apply
from suiren.interpreter import factorization
from suiren.operator import composite, operator
from suiren.ops.arithmetic import conj
from suiren.ops.matmul import matmul
from suiren.ops.matrices import (
    array_mH,
    batch_of,
    check_matrix,
    check_square,
    complex_kind,
    like,
    mH,
    on_diagonal,
    raise_failed,
    real_kind,
    scale_columns,
    scale_rows,
)
from suiren.ops.solving import info_meta, solve_triangular
from suiren.tensor import Tensor
from suiren.trace import meta

_linalg_svd = return_types.make("linalg_svd", "U S Vh")
_svd = return_types.make("svd", "U S V")
_linalg_qr = return_types.make("linalg_qr", "Q R")
_qr = return_types.make("qr", "Q R")
_geqrf = return_types.make("geqrf", "a tau")
_linalg_eigh = return_types.make("linalg_eigh", "eigenvalues eigenvectors")
_linalg_eig = return_types.make("linalg_eig", "eigenvalues eigenvectors")
_cholesky_ex = return_types.make("linalg_cholesky_ex", "L info")

NOT_POSITIVE = (
    "The factorization could not be completed because the input is not positive-definite (the "
    "leading minor of order {} is not positive-definite)."
)


def _vector(m, length, dtype):
    return meta((*m.shape[:-2], length), dtype, m.device)


def _diagonal(x: Tensor) -> Tensor:
    return x.diagonal(0, -2, -1)


def _gaps(values: Tensor) -> Tensor:
    """E[i, j] = values[j] - values[i], with ones on the diagonal."""
    n = values._meta.shape[-1]
    ones = np.eye(n, dtype=values._meta.dtype.numpy)
    from suiren.ops.creation import from_array

    return values.unsqueeze(-2) - values.unsqueeze(-1) + from_array(
        ones, where=values._meta.device
    )


# ---- singular values


@operator(where=(), name="linalg_svd")
class _singular:
    """U, the singular values in descending order, and V^H."""

    results = 3

    def call(A, full):
        return apply(_singular.operator, (A,), (full,))

    def infer(A, full):
        m, n = A.shape[-2:]
        k = min(m, n)
        return (
            like(A, m, m if full else k),
            _vector(A, k, real_kind(A.dtype)),
            like(A, n if full else k, n),
        )

    def evaluate(A, full):
        m, n = A.shape[-2:]
        if not m or not n:  # NumPy leaves the full factors of empty matrices zero
            u, vh = m if full else 0, n if full else 0
            lead = A.shape[:-2]
            return (
                np.broadcast_to(np.eye(m, u, dtype=A.dtype), (*lead, m, u)),
                np.zeros((*lead, 0), np.abs(A[..., :0, :0]).dtype),
                np.broadcast_to(np.eye(vh, n, dtype=A.dtype), (*lead, vh, n)),
            )
        return tuple(np.linalg.svd(A, full_matrices=full))

    def backward(grads, result, result1, result2, A_meta, full):
        m, n = A_meta.shape[-2:]
        k = min(m, n)
        gu, gs, gv = grads
        u, s, vh = result, result1, result2
        if full:
            u, vh = u[..., :, :k], vh[..., :k, :]
            gu = None if gu is None else gu[..., :, :k]
            gv = None if gv is None else gv[..., :k, :]
        return (_svd_gradient(gu, gs, gv, u, s, vh, m, n),)


def _svd_gradient(gu, gs, gv, u, s, vh, m, n):
    """A's gradient from those of U, S, V^H (any of them None)."""
    if gu is None and gv is None:
        return None if gs is None else matmul(scale_columns(u, gs.to(u.dtype)), vh)
    k = min(m, n)
    gaps = _gaps(s * s)
    middle = None
    left = right = None
    if gu is not None:
        turn = matmul(mH(u), gu)
        skew = turn - mH(turn)
        middle = scale_columns(skew / gaps, s)
        if u._meta.dtype.is_complex:
            # rotations of the phase of a singular vector are shared by U and V: this half
            phase = _diagonal(skew) / (2 * s)
            middle = middle + on_diagonal(phase - _diagonal(middle))
        if m > k:
            left = scale_columns(gu - matmul(u, turn), 1 / s)
    if gv is not None:
        turn = matmul(vh, mH(gv))
        skew = turn - mH(turn)
        part = scale_rows(s, skew / gaps)
        if u._meta.dtype.is_complex:
            part = part - on_diagonal(_diagonal(part))
        middle = part if middle is None else middle + part
        if n > k:
            right = scale_rows(1 / s, gv - matmul(mH(turn), vh))
    if gs is not None:
        middle = middle + on_diagonal(gs.to(middle.dtype))
    found = matmul(u, middle)
    if left is not None:
        found = found + left
    found = matmul(found, vh)
    return found if right is None else found + matmul(u, right)


@composite(where=("linalg",))
@in_float32
def svd(A, full_matrices=True, *, driver=None):
    """U, S, Vh with ``A = U diag(S) Vh``: S descending, U and V orthonormal.

    ``full_matrices=False`` leaves out what S does not reach. ``driver`` chooses among CUDA's
    methods and must be None. Source: torch.linalg.svd.

    >>> import suiren as torch
    >>> torch.linalg.svd(torch.tensor([[3., 0.], [0., -2.]])).S
    tensor([3., 2.])
    """
    check_matrix("linalg.svd", A._meta)
    if driver is not None:
        raise RuntimeError(
            "linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER "
            f"backend, got {driver!r}"
        )
    return _linalg_svd(_singular(A, bool(full_matrices)))


@composite(where=("linalg",))
@in_float32
def svdvals(A, *, driver=None):
    """The singular values, descending. Source: torch.linalg.svdvals."""
    check_matrix("linalg.svdvals", A._meta)
    return _singular(A, False)[1]


@composite(name="svd")
@in_float32
def torch_svd(input, some=True, compute_uv=True):
    """U, S, V with ``input = U diag(S) V^H``; the older form. Source: torch.svd."""
    check_matrix("linalg.svd", input._meta)
    if not compute_uv:
        m, n = input._meta.shape[-2:]
        from suiren.ops.views import full_like_meta

        s = _singular(input, False)[1]
        return _svd((full_like_meta(like(input._meta, m, m)), s,
                     full_like_meta(like(input._meta, n, n))))  # fmt: skip
    u, s, vh = _singular(input, not some)
    return _svd((u, s, mH(vh)))


# ---- eigenvalues


@operator(where=(), name="linalg_eigh")
class _hermitian_eigen:
    """Eigenvalues (ascending) and eigenvectors from one triangle."""

    results = 2

    def call(A, UPLO):
        return apply(_hermitian_eigen.operator, (A,), (UPLO,))

    def infer(A, UPLO):
        return _vector(A, A.shape[-1], real_kind(A.dtype)), A.flat

    def evaluate(A, UPLO):
        return tuple(np.linalg.eigh(A, UPLO))

    def backward(grads, result, result1):
        gw, gv = grads
        v = result1
        if gv is None:
            return (None if gw is None else matmul(scale_columns(v, gw.to(v.dtype)), mH(v)),)
        middle = matmul(mH(v), gv) / _gaps(result)
        middle = middle - on_diagonal(_diagonal(middle))
        if gw is not None:
            middle = middle + on_diagonal(gw.to(v.dtype))
        return (matmul(matmul(v, middle), mH(v)),)


def _side(UPLO: str, name: str) -> str:
    side = UPLO.upper()
    if side not in ("L", "U"):
        raise RuntimeError(f"{name}: Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return side


@composite(where=("linalg",))
@in_float32
def eigh(A, UPLO="L"):
    """Eigenvalues (ascending) and eigenvectors of Hermitian matrices; one triangle is read.

    Source: torch.linalg.eigh.

    >>> import suiren as torch
    >>> torch.linalg.eigh(torch.tensor([[2., 0.], [0., 1.]])).eigenvalues
    tensor([1., 2.])
    """
    check_square("linalg.eigh", A._meta)
    return _linalg_eigh(_hermitian_eigen(A, _side(UPLO, "linalg.eigh")))


@composite(where=("linalg",))
@in_float32
def eigvalsh(A, UPLO="L"):
    """Eigenvalues (ascending) of Hermitian matrices. Source: torch.linalg.eigvalsh."""
    check_square("linalg.eigvalsh", A._meta)
    return _hermitian_eigen(A, _side(UPLO, "linalg.eigvalsh"))[0]


@operator(where=(), name="linalg_eig")
class _eigen:
    """Eigenvalues in no particular order, and eigenvectors of norm one; complex."""

    results = 2

    def call(A):
        return apply(_eigen.operator, (A,))

    def infer(A):
        kind = complex_kind(A.dtype)
        return _vector(A, A.shape[-1], kind), A.flat.like(dtype=kind)

    def evaluate(A):
        values, vectors = np.linalg.eig(A)
        kind = np.result_type(A.dtype, np.complex64)
        return values.astype(kind), vectors.astype(kind)

    def backward(grads, result, result1, A_meta):
        gw, gv = grads
        v = result1
        back = mH(v)
        if gv is None:
            if gw is None:
                return (None,)
            middle = on_diagonal(gw)
            inner = matmul(middle, back)
        else:
            turn = matmul(back, gv)
            # eigenvectors keep their norm: the part of their motion along themselves is taken out
            along = _diagonal(turn).real.to(v.dtype)
            middle = (turn - scale_columns(matmul(back, v), along)) / conj(_gaps(result))
            middle = middle - on_diagonal(_diagonal(middle))
            if gw is not None:
                middle = middle + on_diagonal(gw)
            inner = matmul(middle, back)
        from suiren.ops.solving import solve

        found = solve(back, inner)
        return (found if A_meta.dtype.is_complex else found.real,)


def _check_finite(name: str, A: Tensor) -> None:
    if A._meta.device is META:
        return
    array = A.peek()
    if array.size and not np.isfinite(array).all():
        raise RuntimeError(f"{name}: input tensor should not contain infs or NaNs.")


@composite(where=("linalg",))
@in_float32
def eig(A):
    """Eigenvalues and eigenvectors of square matrices, always complex.

    Raises RuntimeError where A is not finite. Source: torch.linalg.eig.
    """
    check_square("linalg.eig", A._meta)
    _check_finite("torch.linalg.eig", A)
    return _linalg_eig(_eigen(A))


@composite(where=("linalg",))
@in_float32
def eigvals(A):
    """Eigenvalues of square matrices, always complex. Source: torch.linalg.eigvals."""
    check_square("linalg.eigvals", A._meta)
    _check_finite("torch.linalg.eigvals", A)
    return _eigen(A)[0]


# ---- QR


@operator(where=(), name="linalg_qr")
class _orthogonal:
    """Q with orthonormal columns and upper triangular R."""

    results = 2

    def call(A, mode):
        return apply(_orthogonal.operator, (A,), (mode,))

    def infer(A, mode):
        m, n = A.shape[-2:]
        if mode == "r":
            return meta((0,), A.dtype, A.device), like(A, min(m, n), n)
        k = m if mode == "complete" else min(m, n)
        return like(A, m, k), like(A, k, n)

    def evaluate(A, mode):
        if mode == "r":
            return np.zeros(0, A.dtype), np.linalg.qr(A, "r")
        m, n = A.shape[-2:]
        if not n:  # NumPy leaves the complete factor of a matrix without columns zero
            k = m if mode == "complete" else 0
            lead = A.shape[:-2]
            return (
                np.broadcast_to(np.eye(m, k, dtype=A.dtype), (*lead, m, k)),
                np.zeros((*lead, k, 0), A.dtype),
            )
        return tuple(np.linalg.qr(A, mode))

    def backward(grads, A, A_meta, result, result1, mode):
        gq, gr = grads
        if gq is None and gr is None:
            return (None,)
        if mode == "r":
            raise RuntimeError(
                "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. "
                "Please use linalg.qr(A, mode='reduced') if you are going to require gradients"
            )
        m, n = A_meta.shape[-2:]
        if mode == "complete" and m > n:
            raise RuntimeError(
                "The QR decomposition is not differentiable when mode='complete' and nrows > ncols"
            )
        q, r = result, result1
        if m >= n:
            return (_qr_gradient(gq, gr, q, r),)
        # wide: the columns after the first m are Q R2
        rest = A[..., :, m:]
        other = None
        if gr is not None:
            gr2 = gr[..., :, m:]
            other = matmul(q, gr2)
            through = matmul(rest, mH(gr2))
            gq = through if gq is None else gq + through
            gr = gr[..., :, :m]
        first = _qr_gradient(gq, gr, q, r[..., :, :m])
        from suiren.operator import NAMESPACES

        if other is None:
            other = rest * 0
        return (NAMESPACES["torch"]["cat"]([first, other], -1),)


def _qr_gradient(gq, gr, q, r):
    total = None
    if gr is not None:
        total = matmul(gr, mH(r))
    if gq is not None:
        part = matmul(mH(q), gq)
        total = -part if total is None else total - part
    upper = total.triu()
    folded = upper + mH(upper)
    folded = folded - on_diagonal(_diagonal(folded).real.to(folded.dtype)) * 0.5
    found = matmul(q, folded)
    if gq is not None:
        found = found + gq
    return solve_triangular(mH(r), found, upper=False, left=False)


def _check_mode(name: str, mode: str) -> None:
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"{name} received unrecognized mode '{mode}' but expected one of 'reduced' (default), "
            "'r', or 'complete'"
        )


@composite(where=("linalg",))
@in_float32
def qr(A, mode="reduced"):
    """Q and R with ``A = Q R``; ``mode`` is "reduced", "complete" or "r" (Q left empty).

    Source: torch.linalg.qr.
    """
    check_matrix("linalg.qr", A._meta)
    _check_mode("qr", mode)
    return _linalg_qr(_orthogonal(A, mode))


@composite(name="qr")
@in_float32
def torch_qr(input, some=True):
    """The older form of :func:`torch.linalg.qr`. Source: torch.qr."""
    check_matrix("linalg.qr", input._meta)
    return _qr(_orthogonal(input, "reduced" if some else "complete"))


@operator(where=(), name="geqrf")
class _reflectors:
    """QR as Householder vectors below R, and their factors."""

    results = 2

    def call(input):
        return apply(_reflectors.operator, (input,))

    def infer(input):
        return input.flat, _vector(input, min(input.shape[-2:]), input.dtype)

    def evaluate(input):
        if not input.size:
            return input, np.zeros((*input.shape[:-2], min(input.shape[-2:])), input.dtype)
        flat, lead = batch_of(input)
        found = [np.linalg.qr(x, "raw") for x in flat]
        a = np.stack([x[0].T for x in found]).astype(input.dtype)
        tau = np.stack([x[1] for x in found]).astype(input.dtype)
        return a.reshape(input.shape), tau.reshape(*lead, -1)


@composite(name="geqrf")
@in_float32
def torch_geqrf(input):
    """Householder vectors (below R) and their factors tau, as LAPACK's geqrf.

    Has no derivative. Source: torch.geqrf.
    """
    check_matrix("geqrf", input._meta, "input")
    return _geqrf(_reflectors(input))


# ---- Cholesky


@operator(where=(), name="linalg_cholesky_ex")
class _cholesky_factor:
    """The triangular factor, and per matrix whether it exists."""

    results = 2

    def call(A, upper):
        return apply(_cholesky_factor.operator, (A,), (upper,))

    def infer(A, upper):
        return A.flat, info_meta(A)

    def evaluate(A, upper):
        flat, lead = batch_of(array_mH(A) if upper else A)
        found, info = factorization.cholesky(flat)
        found = found.reshape(A.shape)
        return (array_mH(found) if upper else found), info.reshape(lead)

    def backward(grads, result, upper):
        if grads[0] is None:
            return (None,)
        factor, grad = (mH(result), mH(grads[0])) if upper else (result, grads[0])
        inner = matmul(mH(factor), grad)
        strict = inner.tril(-1)
        half = (strict + mH(strict) + on_diagonal(_diagonal(inner).real.to(inner.dtype))) * 0.5
        back = mH(factor)
        found = solve_triangular(back, half, upper=True)
        return (solve_triangular(factor, found, upper=False, left=False),)


@composite(where=("linalg",))
@in_float32
def cholesky_ex(A, *, upper=False, check_errors=False):
    """The Cholesky factor and, per matrix, 0 or the order of the minor that is not positive.

    Source: torch.linalg.cholesky_ex.
    """
    check_square("linalg.cholesky", A._meta)
    found, info = _cholesky_factor(A, bool(upper))
    if check_errors:
        raise_failed("linalg.cholesky", info, NOT_POSITIVE)
    return _cholesky_ex((found, info))


@composite(where=("linalg",))
@in_float32
def cholesky(A, *, upper=False):
    """Lower triangular L with ``A = L L^H`` (``upper``: U with ``A = U^H U``).

    One triangle of A is read. Raises LinAlgError where A is not positive definite (which it has to
    look at: the computation runs at once). Source: torch.linalg.cholesky.

    >>> import suiren as torch
    >>> torch.linalg.cholesky(torch.tensor([[4., 2.], [2., 2.]]))
    tensor([[2., 0.],
            [1., 1.]])
    """
    check_square("linalg.cholesky", A._meta)
    found, info = _cholesky_factor(A, bool(upper))
    raise_failed("linalg.cholesky", info, NOT_POSITIVE)
    return found


@composite(name="cholesky")
@in_float32
def torch_cholesky(input, upper=False):
    """The older form of :func:`torch.linalg.cholesky`. Source: torch.cholesky."""
    check_square("cholesky", input._meta)
    found, info = _cholesky_factor(input, bool(upper))
    raise_failed("cholesky", info, NOT_POSITIVE)
    return found
