"""What the operators of linear algebra share: checks of shapes and types, NumPy for batches.

LAPACK, through ``numpy.linalg``, is the engine. Functions that PyTorch lets fail (inverses of
singular matrices, say) look at the outcome at once, so the error appears on the user's own line;
their ``_ex`` forms do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from suiren import dtypes
from suiren.device import META
from suiren.ops.arithmetic import conj
from suiren.tensor import Tensor
from suiren.trace import Meta, meta


class LinAlgError(RuntimeError):
    """A matrix is not what the function needs: singular, not positive definite, not convergent."""


def check_matrix(name: str, m: Any, what: str = "A", least: int = 2) -> None:
    """Raises unless this describes a matrix (or a batch of them) of a LAPACK type."""
    if m.__class__ is not Meta:
        raise TypeError(f"{name}(): argument '{what}' must be Tensor, not {m.__name__}")
    if m.ndim < least:
        raise RuntimeError(
            f"{name}: The input tensor {what} must have at least {least} dimensions, got {m.ndim}."
        )
    check_type(name, m)


def check_type(name: str, m: Meta) -> None:
    """Raises RuntimeError for types that LAPACK does not have."""
    if m.dtype.category < dtypes.FLOATING:
        raise RuntimeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {m.dtype.name}"
        )
    if m.dtype.is_half:
        raise RuntimeError(
            f"{name}: Low precision dtypes not supported. Got {m.dtype.name}; convert to float32"
        )


def check_square(name: str, m: Any, what: str = "A") -> None:
    """Raises RuntimeError unless this describes square matrices."""
    check_matrix(name, m, what)
    if m.shape[-1] != m.shape[-2]:
        raise RuntimeError(
            f"{name}: {what} must be batches of square matrices, but they are {m.shape[-2]} by "
            f"{m.shape[-1]} matrices"
        )


def real_kind(kind: dtypes.dtype) -> dtypes.dtype:
    """The type of the absolute values."""
    if not kind.is_complex:
        return kind
    return {"complex64": dtypes.float32, "complex128": dtypes.float64}[kind.name]


def complex_kind(kind: dtypes.dtype) -> dtypes.dtype:
    """The complex type of this precision."""
    if kind.is_complex:
        return kind
    return dtypes.complex128 if kind is dtypes.float64 else dtypes.complex64


def like(m: Meta, *shape: int, dtype: dtypes.dtype | None = None) -> Meta:
    """A Meta of this batch with other last dimensions: ``like(m, n, k)`` is (*batch, n, k)."""
    return meta((*m.shape[:-2], *shape), dtype or m.dtype, m.device)


def mH(x: Tensor) -> Tensor:
    """Transposed and conjugated."""
    return conj(x.transpose(-2, -1))


def array_mH(x: np.ndarray) -> np.ndarray:
    """The same for arrays."""
    found = np.swapaxes(x, -2, -1)
    return np.conj(found) if np.iscomplexobj(found) else found


def scale_columns(x: Tensor, by: Tensor) -> Tensor:
    """``x @ diag(by)``."""
    return x * by.unsqueeze(-2)


def scale_rows(by: Tensor, x: Tensor) -> Tensor:
    """``diag(by) @ x``."""
    return by.unsqueeze(-1) * x


def on_diagonal(x: Tensor) -> Tensor:
    """A batch of vectors as diagonal matrices."""
    return x.diag_embed()


def identity(m: Meta) -> Tensor:
    """The identity matrix of this type and size."""
    from suiren.ops.creation import from_array

    return from_array(np.eye(m.shape[-1], dtype=m.dtype.numpy), where=m.device)


def batch_of(x: np.ndarray, keep: int = 2) -> tuple[np.ndarray, tuple[int, ...]]:
    """An array with its leading dimensions made one, and what they were."""
    lead = x.shape[: x.ndim - keep]
    return x.reshape((int(np.prod(lead, dtype=np.int64)), *x.shape[x.ndim - keep :])), lead


def raise_failed(name: str, info: Tensor, text: str) -> None:
    """Raises LinAlgError with ``text`` (in which {} is the info) for the first failed matrix."""
    if info._meta.device is META:
        return
    found = np.asarray(info.peek())
    if not found.any():
        return
    where = ""
    code = int(found.reshape(-1)[np.flatnonzero(found)[0]])
    if found.ndim:
        where = f"(Batch element {np.flatnonzero(found)[0]}): "
    raise LinAlgError(f"{name}: {where}{text.format(code)}")
