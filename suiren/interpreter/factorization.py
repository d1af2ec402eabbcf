"""Factorizations that ``numpy.linalg`` lacks, for batches (b, m, n) of matrices.

LU with row exchanges, triangular substitution, LDL with symmetric exchanges, the exponential. They
work on blocks of columns, so most of the arithmetic is matrix products (BLAS). References: Golub &
Van Loan, Matrix Computations, chapters 3 and 4; Bunch & Kaufman 1977; Higham 2005, The Scaling and
Squaring Method for the Matrix Exponential Revisited.
"""

from __future__ import annotations

import numpy as np

BLOCK = 32  # columns factored at a time; the rest is updated by one product


def substitute(triangle: np.ndarray, right: np.ndarray, upper: bool, unit: bool) -> np.ndarray:
    """X with ``triangle @ X = right``; only that triangle is looked at.

    A zero on the diagonal gives infinities or NaN, as LAPACK's trsm does.
    """
    if upper:  # turned around, an upper triangle is a lower one
        turned = substitute(triangle[..., ::-1, ::-1], right[..., ::-1, :], False, unit)
        return turned[..., ::-1, :]
    n = triangle.shape[-1]
    lead = np.broadcast_shapes(triangle.shape[:-2], right.shape[:-2])
    found = np.array(np.broadcast_to(right, (*lead, *right.shape[-2:])))
    with np.errstate(all="ignore"):
        for start in range(0, n, BLOCK):
            stop = min(start + BLOCK, n)
            if start:
                found[..., start:stop, :] -= triangle[..., start:stop, :start] @ found[
                    ..., :start, :
                ]
            for i in range(start, stop):
                if i > start:
                    row = triangle[..., i : i + 1, start:i] @ found[..., start:i, :]
                    found[..., i, :] -= row[..., 0, :]
                if not unit:
                    found[..., i, :] /= triangle[..., i, i, None]
    return found


def _size(x: np.ndarray) -> np.ndarray:
    # how LAPACK compares complex pivots
    return np.abs(x.real) + np.abs(x.imag) if x.dtype.kind == "c" else np.abs(x)


def lu(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """LU with partial pivoting: both factors in one array, exchanges (from 1), and info.

    ``info`` is 0, or the position (from 1) of the first pivot that is zero.
    """
    a = np.array(matrices)
    count, m, n = a.shape
    k = min(m, n)
    pivots = np.zeros((count, k), np.int32)
    info = np.zeros(count, np.int32)
    each = np.arange(count)
    for start in range(0, k, BLOCK):
        stop = min(start + BLOCK, k)
        for j in range(start, stop):
            size = _size(a[:, j:, j])
            at = j + np.argmax(np.where(np.isnan(size), -1, size), axis=1)
            pivots[:, j] = at + 1
            held = a[each, at].copy()
            a[each, at] = a[:, j]
            a[:, j] = held
            pivot = a[:, j, j]
            zero = pivot == 0
            info = np.where((info == 0) & zero, j + 1, info)
            if j + 1 < m:
                a[:, j + 1 :, j] /= np.where(zero, 1, pivot)[:, None]
                if j + 1 < stop:
                    a[:, j + 1 :, j + 1 : stop] -= (
                        a[:, j + 1 :, j, None] * a[:, j, None, j + 1 : stop]
                    )
        if stop < n:
            block = substitute(a[:, start:stop, start:stop], a[:, start:stop, stop:], False, True)
            a[:, start:stop, stop:] = block
            a[:, stop:, stop:] -= a[:, stop:, start:stop] @ block
    return a, pivots, info.astype(np.int32)


def permutation(pivots: np.ndarray, m: int) -> np.ndarray:
    """The order of rows (b, m) that LAPACK's exchanges (b, k) make of 0..m-1."""
    count, k = pivots.shape
    order = np.tile(np.arange(m), (count, 1))
    each = np.arange(count)
    for j in range(k):
        at = pivots[:, j] - 1
        held = order[each, at]
        order[each, at] = order[:, j]
        order[:, j] = held
    return order


def cholesky(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower factors of batches, from the lower triangles, and info.

    ``info`` is 0, or the order of the first leading minor that is not positive definite; such a
    factor is right up to that order.
    """
    info = np.zeros(len(matrices), np.int32)
    try:
        return np.linalg.cholesky(matrices), info
    except np.linalg.LinAlgError:
        pass
    found = np.tril(matrices)
    for b, a in enumerate(matrices):
        good = 0
        try:
            found[b] = np.linalg.cholesky(a)
            continue
        except np.linalg.LinAlgError:
            low, high = 0, len(a)  # minors of order low are positive definite, those of high not
            while high - low > 1:
                middle = (low + high) // 2
                try:
                    np.linalg.cholesky(a[:middle, :middle])
                    low = middle
                except np.linalg.LinAlgError:
                    high = middle
            good = low
            info[b] = high
        if good:
            found[b, :good, :good] = np.linalg.cholesky(a[:good, :good])
    return found, info


_ALPHA = (1 + 17**0.5) / 8  # Bunch and Kaufman's bound on the growth of elements


def ldl(a: np.ndarray, hermitian: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """LDL of one matrix from its lower triangle, in LAPACK's form (sytf2, hetf2).

    D has blocks of one or two; ``pivots`` holds the row exchanged (from 1), negative twice for a
    block of two. Returns both factors in one array, pivots, and info.
    """
    a = np.tril(a)
    n = len(a)
    pivots = np.zeros(n, np.int32)
    info = 0
    k = 0

    def flip(x):
        return np.conj(x) if hermitian else x

    while k < n:
        size = abs(a[k, k].real) if hermitian else abs(a[k, k])
        below = np.abs(a[k + 1 :, k])
        at = k + 1 + int(np.argmax(below)) if below.size else k
        largest = below.max() if below.size else 0
        step, other = 1, k
        if max(size, largest) == 0:
            info = info or k + 1
            if hermitian:
                a[k, k] = a[k, k].real
        else:
            if size < _ALPHA * largest:
                row = np.abs(np.concatenate([a[at, k:at], a[at + 1 :, at]]))
                widest = row.max()
                own = abs(a[at, at].real) if hermitian else abs(a[at, at])
                if size >= _ALPHA * largest * (largest / widest):
                    other = k
                elif own >= _ALPHA * widest:
                    other = at
                else:
                    step, other = 2, at
            kk = k + step - 1
            if other != kk:
                _exchange(a, k, kk, other, step, flip)
            elif hermitian:
                a[k, k] = a[k, k].real
                if step == 2:
                    a[k + 1, k + 1] = a[k + 1, k + 1].real
            if k + step < n:
                d = a[k : k + step, k : k + step].copy()
                if step == 2:
                    d[0, 1] = flip(d[1, 0])
                columns = a[k + step :, k : k + step]
                factors = columns @ np.linalg.inv(d)
                rest = a[k + step :, k + step :]
                rest -= np.tril(factors @ flip(columns).T)
                if hermitian:
                    places = np.arange(len(rest))
                    rest[places, places] = rest[places, places].real
                a[k + step :, k : k + step] = factors
        if step == 1:
            pivots[k] = other + 1
        else:
            pivots[k : k + 2] = -(other + 1)
        k += step
    return a, pivots, info


def _exchange(a, k, kk, other, step, flip):
    # rows and columns kk and other of the trailing matrix, of which the lower triangle is kept
    tail = a[other + 1 :, kk].copy()
    a[other + 1 :, kk] = a[other + 1 :, other]
    a[other + 1 :, other] = tail
    between = a[kk + 1 : other, kk].copy()
    a[kk + 1 : other, kk] = flip(a[other, kk + 1 : other])
    a[other, kk + 1 : other] = flip(between)
    a[other, kk] = flip(a[other, kk])
    a[kk, kk], a[other, other] = a[other, other], a[kk, kk]
    if step == 2:
        a[k + 1, k], a[other, k] = a[other, k], a[k + 1, k]


def ldl_solve(
    factors: np.ndarray, pivots: np.ndarray, right: np.ndarray, hermitian: bool
) -> np.ndarray:
    """X with ``A @ X = right`` for one matrix that :func:`ldl` has factored."""
    n = len(factors)
    x = np.array(right)
    blocks = []
    k = 0
    while k < n:
        step = 1 if pivots[k] > 0 else 2
        blocks.append((k, step, abs(int(pivots[k])) - 1))
        k += step

    def flip(a):
        return np.conj(a) if hermitian else a

    for k, step, other in blocks:
        kk = k + step - 1
        if other != kk:
            x[[kk, other]] = x[[other, kk]]
        x[k + step :] -= factors[k + step :, k : k + step] @ x[k : k + step]
        d = np.tril(factors[k : k + step, k : k + step])
        if step == 2:
            d[0, 1] = flip(d[1, 0])
        x[k : k + step] = np.linalg.solve(d, x[k : k + step])
    for k, step, other in reversed(blocks):
        kk = k + step - 1
        x[k : k + step] -= flip(factors[k + step :, k : k + step]).T @ x[k + step :]
        if other != kk:
            x[[kk, other]] = x[[other, kk]]
    return x


# Coefficients of the diagonal Padé approximant of order 13, and the norm up to which it is exact
# to double precision (Higham 2005, table 2.3).
_PADE = (
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000,
    10559470521600, 670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
)  # fmt: skip
_THETA = 5.371920351148152


def exponential(matrices: np.ndarray) -> np.ndarray:
    """exp of each matrix of a batch, by scaling and squaring; single precision is kept double."""
    kind = matrices.dtype
    wide = np.complex128 if kind.kind == "c" else np.float64
    a = matrices.astype(wide)
    if not a.size:
        return matrices.copy()
    norm = np.abs(a).sum(axis=-2).max(axis=-1)
    finite = np.isfinite(norm)
    a[~finite] = 0
    steps = np.zeros(len(a), int)
    large = finite & (norm > _THETA)
    steps[large] = np.ceil(np.log2(norm[large] / _THETA))
    a /= (2.0**steps)[:, None, None]
    b = [float(x) for x in _PADE]
    one = np.eye(a.shape[-1])
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    u = a @ (a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2)
             + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * one)  # fmt: skip
    v = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * one
    found = np.linalg.solve(v - u, v + u)
    for i in range(int(steps.max(initial=0))):
        squared = steps > i
        found[squared] = found[squared] @ found[squared]
    found[~finite] = np.nan
    return found.astype(kind)
