"""torch.masked: reductions and normalisations over the elements that a mask keeps.

What the mask leaves out is replaced by a number that does not change the result (zero for a sum,
minus infinity for a maximum); where nothing is kept, that number (or NaN) is the result.
``mask`` is of truth values and broadcasts to the input; None keeps everything.
Source: PyTorch's torch.masked page and functions (sum, mean, amax, softmax, ...).
"""

from __future__ import annotations

from math import prod

import numpy as np

from suiren import dtypes
from suiren.operator import composite
from suiren.ops.casts import to_dtype
from suiren.ops.creation import fill
from suiren.ops.norms import vector_norm
from suiren.ops.reductions import reduced_dims, reduced_shape, whole_dtype

_WHERE = ("masked",)


def _mask_of(input, mask):
    """The mask in the shape of the input."""
    if mask is None:
        return None
    if mask._meta.ndim > input._meta.ndim:
        raise IndexError(
            "_input_mask expected broadcastable mask (got mask dimensionality higher than of the "
            f"input): mask {list(mask._meta.shape)}, input {list(input._meta.shape)}"
        )
    return mask.bool().expand(input._meta.shape)


def _filled(input, mask, value):
    mask = _mask_of(input, mask)
    return input if mask is None else input.masked_fill(mask.logical_not(), value)


def _lowest(kind):
    if kind.category >= dtypes.FLOATING:
        return -float("inf")
    return False if kind is dtypes.bool else int(np.iinfo(kind.numpy).min)


def _highest(kind):
    if kind.category >= dtypes.FLOATING:
        return float("inf")
    return True if kind is dtypes.bool else int(np.iinfo(kind.numpy).max)


def _dims(input, dim) -> tuple[int, ...]:
    return reduced_dims(dim, input._meta.ndim)


def _cast(input, dtype):
    return input if dtype is None else to_dtype(input, dtype)


@composite(name="sum", where=_WHERE, out=False)
def masked_sum(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The sum of the kept elements; zero of none. Source: torch.masked.sum.

    >>> import suiren as torch
    >>> torch.masked.sum(torch.tensor([1., 2., 4.]), mask=torch.tensor([True, False, True]))
    tensor(5.)
    """
    input = to_dtype(input, whole_dtype(input, dtype))
    return _filled(input, mask, 0).sum(_dims(input, dim), keepdim)


@composite(name="prod", where=_WHERE, out=False)
def masked_prod(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The product of the kept elements; one of none. Source: torch.masked.prod."""
    found = _filled(to_dtype(input, whole_dtype(input, dtype)), mask, 1)
    for d in sorted(_dims(input, dim), reverse=True):
        found = found.prod(d, keepdim)
    return found


@composite(name="amax", where=_WHERE, out=False)
def masked_amax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The largest kept elements; minus infinity (the least integer) of none.

    Source: torch.masked.amax.
    """
    input = _cast(input, dtype)
    return _filled(input, mask, _lowest(input._meta.dtype)).amax(_dims(input, dim), keepdim)


@composite(name="amin", where=_WHERE, out=False)
def masked_amin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The smallest kept elements; infinity (the largest integer) of none.

    Source: torch.masked.amin.
    """
    input = _cast(input, dtype)
    return _filled(input, mask, _highest(input._meta.dtype)).amin(_dims(input, dim), keepdim)


@composite(name="argmax", where=_WHERE, out=False)
def masked_argmax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Where the largest kept element is, in the dtype of the input, as PyTorch gives it.

    Source: torch.masked.argmax.
    """
    input = _cast(input, dtype)
    kind = input._meta.dtype
    return to_dtype(_filled(input, mask, _lowest(kind)).argmax(dim, keepdim), kind)


@composite(name="argmin", where=_WHERE, out=False)
def masked_argmin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Where the smallest kept element is, in the dtype of the input, as PyTorch gives it.

    Source: torch.masked.argmin.
    """
    input = _cast(input, dtype)
    kind = input._meta.dtype
    return to_dtype(_filled(input, mask, _highest(kind)).argmin(dim, keepdim), kind)


def _count(input, mask, dims, keepdim: bool):
    mask = _mask_of(input, mask)
    if mask is not None:
        return mask.sum(dims, keepdim)
    m = input._meta
    count = prod([m.shape[d] for d in dims])
    return fill(reduced_shape(m.shape, dims, keepdim), count, dtypes.int64, False, m.device)


@composite(name="mean", where=_WHERE, out=False)
def masked_mean(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The mean of the kept elements; NaN of none. Raises ValueError for integers.

    Source: torch.masked.mean.
    """
    kind = dtype or input._meta.dtype
    if kind.category < dtypes.FLOATING:
        which = "Input" if dtype is None else "Optional"
        raise ValueError(
            f"mean(): Could not infer output dtype. {which} dtype must be either a floating point "
            f"or complex dtype. Got: {kind}"
        )
    dims = _dims(input, dim)
    input = to_dtype(input, kind)
    return _filled(input, mask, 0).sum(dims, keepdim) / _count(input, mask, dims, keepdim)


@composite(name="median", where=_WHERE, out=False)
def masked_median(input, dim=-1, *, keepdim=False, dtype=None, mask=None):
    """The lower median of the kept elements along one dimension; NaN of none.

    Raises ValueError where an integer type has no kept element. Source: torch.masked.median.
    """
    input = _cast(input, dtype)
    if input._meta.dtype.is_floating_point:
        return _filled(input, mask, float("nan")).nanmedian(dim, keepdim)[0]
    kept = _mask_of(input, mask)
    if kept is not None and not bool(kept.any(dim).all()):
        raise ValueError(
            "masked median expects no fully masked out rows if dtype is not floating point"
        )
    wide = _filled(to_dtype(input, dtypes.float64), mask, float("nan"))
    index = wide.nanmedian(dim, True)[1]
    found = input.gather(dim, index) if input._meta.ndim else input
    return found if keepdim or not input._meta.ndim else found.squeeze(dim)


@composite(name="norm", where=_WHERE, out=False)
def masked_norm(input, ord=2.0, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The norm of the kept elements. Source: torch.masked.norm."""
    input = _cast(input, dtype)
    ord = 2.0 if ord is None else ord
    value = float("inf") if ord < 0 else 0
    return vector_norm(_filled(input, mask, value), ord, _dims(input, dim), keepdim)


def _moments(input, dim, unbiased, correction, keepdim, dtype, mask):
    if unbiased is not None and correction is not None:
        raise RuntimeError("give unbiased or correction, not both")
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    if dtype is None and input._meta.dtype.category < dtypes.FLOATING:
        dtype = dtypes.float32
    input = _cast(input, dtype)
    dims = _dims(input, dim)
    count = _count(input, mask, dims, True)
    away = _filled(input - _filled(input, mask, 0).sum(dims, True) / count, mask, 0)
    squares = (away * away.conj()).real if away._meta.dtype.is_complex else away * away
    freedom = (count - correction).clamp(min=0)
    if not keepdim:
        freedom = freedom.reshape(squares.detach().sum(dims)._meta.shape)
    return squares.sum(dims, keepdim) / freedom, input._meta.dtype


@composite(name="var", where=_WHERE, out=False)
def masked_var(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None,
               mask=None):  # fmt: skip
    """The variance of the kept elements; NaN of none. Source: torch.masked.var."""
    return to_dtype(*_moments(input, dim, unbiased, correction, keepdim, dtype, mask))


@composite(name="std", where=_WHERE, out=False)
def masked_std(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None,
               mask=None):  # fmt: skip
    """The standard deviation of the kept elements; NaN of none. Source: torch.masked.std."""
    variance, kind = _moments(input, dim, unbiased, correction, keepdim, dtype, mask)
    return to_dtype(variance.sqrt(), kind)


@composite(name="cumsum", where=_WHERE, out=False)
def masked_cumsum(input, dim, *, dtype=None, mask=None):
    """The running sums of the kept elements. Source: torch.masked.cumsum."""
    input = _cast(input, dtype)
    return _filled(input, mask, 0).cumsum(dim, dtype=input._meta.dtype)


@composite(name="cumprod", where=_WHERE, out=False)
def masked_cumprod(input, dim, *, dtype=None, mask=None):
    """The running products of the kept elements. Source: torch.masked.cumprod."""
    input = _cast(input, dtype)
    return _filled(input, mask, 1).cumprod(dim, dtype=input._meta.dtype)


@composite(name="softmax", where=_WHERE, out=False)
def masked_softmax(input, dim, *, dtype=None, mask=None):
    """softmax over the kept elements; zero elsewhere, NaN where nothing is kept.

    Source: torch.masked.softmax.
    """
    return _filled(_cast(input, dtype), mask, -float("inf")).softmax(dim)


@composite(name="log_softmax", where=_WHERE, out=False)
def masked_log_softmax(input, dim, *, dtype=None, mask=None):
    """log_softmax over the kept elements. Source: torch.masked.log_softmax."""
    return _filled(_cast(input, dtype), mask, -float("inf")).log_softmax(dim)


@composite(name="softmin", where=_WHERE, out=False)
def masked_softmin(input, dim, *, dtype=None, mask=None):
    """softmax of the negated kept elements. Source: torch.masked.softmin."""
    return (-_filled(_cast(input, dtype), mask, float("inf"))).softmax(dim)


@composite(name="normalize", where=_WHERE, out=False)
def masked_normalize(input, ord, dim, *, eps=1e-12, dtype=None, mask=None):
    """The kept elements over their norm along ``dim``, which is at least ``eps``.

    Source: torch.masked.normalize.
    """
    input = _cast(input, dtype)
    size = masked_norm(input, ord, dim, keepdim=True, mask=mask)
    return _filled(input, mask, 0) / size.clamp(min=eps)


@composite(name="logsumexp", where=_WHERE, out=False)
def masked_logsumexp(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """log(sum(exp)) of the kept elements, in the dtype of the input.

    Source: torch.masked.logsumexp.
    """
    input = _cast(input, dtype)
    kind = input._meta.dtype
    return to_dtype(_filled(input, mask, _lowest(kind)).logsumexp(_dims(input, dim), keepdim), kind)


@composite(name="logaddexp", where=_WHERE, out=False)
def masked_logaddexp(input, other, *, dtype=None, input_mask=None, other_mask=None):
    """log(exp(input) + exp(other)), where a mask leaves a term out. Source: torch.masked.logaddexp.
    """  # fmt: skip
    kind = dtype or input._meta.dtype
    lowest = -float("inf")
    found = _filled(input, input_mask, lowest).logaddexp(_filled(other, other_mask, lowest))
    return to_dtype(found, kind)


__all__ = ["masked_amax", "masked_amin", "masked_mean", "masked_softmax", "masked_sum"]
