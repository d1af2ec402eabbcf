"""Quantiles: elements at given places of the sorted order, interpolated between neighbours.

Written with sorting and gather, which autograd follows. Source: torch.quantile, nanquantile.
"""

from __future__ import annotations

from suiren import dtypes
from suiren.autocasting import in_float32
from suiren.operator import NAMESPACES, composite
from suiren.ops.sorting import sorted_values
from suiren.ops.views import wrap_dim
from suiren.tensor import Tensor

_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(name, input, q, dim, keepdim, interpolation, ignore_nan):
    m = input._meta
    if isinstance(q, Tensor):
        if q._meta.ndim > 1:
            raise RuntimeError(f"{name}() q must be a scalar or 1D tensor, got {list(q.shape)}")
        if q._meta.dtype is not m.dtype:
            raise RuntimeError(
                f"{name}() q tensor must be same dtype as the input tensor, got {q._meta.dtype} "
                f"for an input of {m.dtype}"
            )
    elif isinstance(q, (int, float)) and not isinstance(q, bool):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
    else:
        raise TypeError(
            f"{name}() received an invalid combination of arguments - got q of type "
            f"{type(q).__name__}; q must be a float or a tensor"
        )
    if not m.numel:
        raise RuntimeError(f"{name}() input tensor must be non-empty, got shape {list(m.shape)}")
    if m.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(
            f"{name}() input tensor must be either float or double dtype, got {m.dtype}"
        )
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, "
            f"but got {interpolation}"
        )
    if dim is None:
        ordered, axis = input.reshape(-1), 0
    else:
        axis = wrap_dim(dim, m.ndim)
        ordered = input if m.ndim else input.reshape(1)
    ordered = sorted_values(ordered.transpose(axis, -1), -1)  # ..., size
    result = _between(ordered, _levels(q, m), interpolation, ignore_nan)  # ..., levels
    if dim is not None and m.ndim:
        if keepdim:  # the reduced dimension back in place, before the levels
            result = result.unsqueeze(-2).transpose(axis, -2)
        else:
            result = _moved_back(result, axis, m.ndim)
    elif keepdim:
        result = result.reshape([1] * m.ndim + [-1])
    else:
        result = result.reshape(-1)
    if isinstance(q, Tensor) and q._meta.ndim:
        last = result._meta.ndim - 1
        return result.permute([last, *range(last)])
    return result.squeeze(-1)


def _moved_back(result, axis: int, ndim: int):
    # transposing with the last dimension left the others out of order: dimension ndim - 1 now
    # stands at `axis` of the first ndim - 1 ones
    if axis == ndim - 1:
        return result
    order = list(range(ndim - 1))
    moved = order.pop(axis)
    return result.permute([*order, moved, ndim - 1])


def _levels(q, m):
    if isinstance(q, Tensor):
        return q.reshape(-1)
    return NAMESPACES["torch"]["tensor"]([q], dtype=m.dtype, device=m.device)


def _between(ordered, q, interpolation, ignore_nan):
    # NaN sorts last. With NaN not ignored, its presence makes the rank that of the last element.
    last = ordered._meta.shape[-1] - 1
    nan = ordered.detach().isnan()
    if ignore_nan:
        count = nan.logical_not().sum(-1, True)
        ranks = q * (count - 1).to(q._meta.dtype)
        ranks = ranks.clamp(min=0)
    else:
        ranks = q * last
        shape = (*ordered._meta.shape[:-1], q._meta.shape[0])
        ranks = ranks.expand(shape).masked_fill(nan.any(-1, True), last)
    if interpolation == "lower":
        ranks = ranks.floor()
    elif interpolation == "higher":
        ranks = ranks.ceil()
    elif interpolation == "nearest":
        ranks = ranks.round()
    below = ranks.detach().long()
    values = ordered.gather(-1, below)
    if interpolation in ("linear", "midpoint"):
        above = ordered.gather(-1, ranks.detach().ceil().long())
        part = ranks - below if interpolation == "linear" else 0.5
        values = values + (above - values) * part
    return values


@composite
@in_float32
def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """The ``q``-quantiles of all elements or along ``dim``; NaN where there is a NaN.

    ``q`` is a number or a 1-dimensional tensor of the input's dtype with values from 0 to 1; the
    result then has its dimension in front. ``interpolation`` between two elements: linear, lower,
    higher, midpoint or nearest. Source: torch.quantile.

    >>> import suiren as torch
    >>> torch.quantile(torch.tensor([0., 1., 2., 3.]), 0.5)
    tensor(1.5000)
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@composite
@in_float32
def nanquantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """:func:`torch.quantile` of the elements that are not NaN. Source: torch.nanquantile.

    >>> import suiren as torch
    >>> torch.nanquantile(torch.tensor([0., float("nan"), 2.]), 0.5)
    tensor(1.)
    """
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


__all__ = ["nanquantile", "quantile"]
