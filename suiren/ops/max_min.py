"""The largest and smallest elements and where they are: max, min, argmax, argmin, aminmax.

Of equal elements the first is named; NaN counts as larger and smaller than everything. The
reductions without positions (amax, amin) are in ``reductions.py``. Source: torch.max and so on.
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes, return_types
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.reductions import (
    _extreme_gradient,
    amax,
    amin,
    check_not_empty,
    kept,
    labelled,
    reduced_dims,
    reduced_meta,
)
from suiren.ops.views import full_like_meta, wrap_dim
from suiren.tensor import Tensor
from suiren.views import write_out


def at_index_gradient(grad, input_meta, index, dim: int, keepdim: bool):
    """Zeros of the input's shape with the gradient where ``index`` points along ``dim``."""
    if not input_meta.ndim:
        return grad.reshape(())
    if not keepdim:
        grad, index = grad.unsqueeze(dim), index.unsqueeze(dim)
    return full_like_meta(input_meta).scatter(dim, index, grad)


def taken(input: np.ndarray, index: np.ndarray, dim: int, keepdim: bool):
    """The elements that ``index`` (with ``dim`` there as size one) names, and the index."""
    values = np.take_along_axis(input, index, dim)
    if keepdim:
        return values, index
    return np.squeeze(values, dim), np.squeeze(index, dim)


def _extreme_along(argextreme, input, dim, keepdim):
    input = np.asarray(input)
    if not input.ndim:
        return input, np.zeros((), np.int64)
    return taken(input, argextreme(input, axis=dim, keepdims=True), dim, keepdim)


def _lowered_position(g, kind, x, dim, keepdim):
    """Where the largest or smallest element is: the first of several; a NaN counts as extreme."""
    if not x.ndim:
        return g.full((), 0, dtypes.int64)
    if dim is None:
        found = _lowered_position(g, kind, x.reshape(x.numel), 0, False)
        return found.reshape(*(1,) * x.ndim) if keepdim else found
    if x.dtype is dtypes.bool:
        x = x.cast(dtypes.uint8)
    here = x.eq(g.reduce(kind, x, (dim,), True))
    if x.dtype.is_floating_point:
        here = here | x.isnan()
    size = x.shape[dim]
    return g.where(here, g.iota(x.shape, dim), size).amin((dim,), keepdim)


def _lowered_extreme(g, kind, x, dim, keepdim):
    at = _lowered_position(g, kind, x, dim, keepdim)
    if not x.ndim:
        return x, at
    if x.dtype is dtypes.bool:
        found = g.reduce(kind, x.cast(dtypes.uint8), (dim,), keepdim)
        return found.cast(dtypes.bool), at
    return g.reduce(kind, x, (dim,), keepdim), at


def _along(record, kind, name, input, dim, keepdim):
    m = input._meta
    dims = reduced_dims(int(wrap_dim(dim, m.ndim)), m.ndim)
    if m.dtype.is_complex:
        raise RuntimeError(
            f"{name}(): does not support complex input, got {m.dtype}: complex numbers have no "
            "order; take abs() first"
        )
    check_not_empty(name, m, dims, dim)
    return kind(apply(record, (input,), (dims[0] if dims else 0, bool(keepdim))))


def _pair_meta(input, dim, keepdim):
    dims = (dim,) if input.ndim else ()
    return (
        reduced_meta(input, dims, keepdim),
        reduced_meta(input, dims, keepdim, dtypes.int64),
    )


@operator(name="max_dim", where=(), out=False)
class max_along:
    """The largest elements along one dimension and their positions."""

    widen = True
    results = 2
    node_name = "MaxBackward0"

    def call(input, dim, keepdim=False):
        return _along(max_along.operator, return_types.max, "max", input, dim, keepdim)

    def infer(input, dim, keepdim):
        return _pair_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        return _extreme_along(np.argmax, input, dim, keepdim)

    def decompose(g, input, dim, keepdim):
        return _lowered_extreme(g, "max", input, dim, keepdim)

    def grad_input(grad, input_meta, result1, dim, keepdim):
        return at_index_gradient(grad, input_meta, result1, dim, keepdim)


@operator(name="min_dim", where=(), out=False)
class min_along:
    """The smallest elements along one dimension and their positions."""

    widen = True
    results = 2
    node_name = "MinBackward0"

    def call(input, dim, keepdim=False):
        return _along(min_along.operator, return_types.min, "min", input, dim, keepdim)

    def infer(input, dim, keepdim):
        return _pair_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        return _extreme_along(np.argmin, input, dim, keepdim)

    def decompose(g, input, dim, keepdim):
        return _lowered_extreme(g, "min", input, dim, keepdim)

    def grad_input(grad, input_meta, result1, dim, keepdim):
        return at_index_gradient(grad, input_meta, result1, dim, keepdim)


def _one_dim(name: str, dim) -> None:
    if isinstance(dim, bool) or not hasattr(dim, "__index__"):
        raise TypeError(
            f"{name}() received an invalid combination of arguments - got dim={dim!r} "
            f"({type(dim).__name__}); wanted no dimension, one int, or another tensor. "
            f"Use a{name}() for several dimensions"
        )


def _of_all(name: str, reduce, input):
    m = input._meta
    if m.dtype.is_complex:
        raise NotImplementedError(
            f'"{name}_all" not implemented for {m.dtype.letter_name!r}: complex numbers have no '
            "order; take abs() first"
        )
    check_not_empty(name, m, (), None)
    return labelled(reduce(input), f"{name.capitalize()}Backward1")


@composite(name="max")
def max_(input, dim=None, keepdim=False, *, other=None):
    """The largest element; with ``dim`` (values, indices) along it; with a tensor the maximum.

    ``max(input)`` is a 0-dimensional tensor, whose gradient equal elements share.
    ``max(input, dim, keepdim)`` is ``torch.return_types.max``, and the gradient goes to the
    elements at ``indices`` (the first of equal ones). ``max(input, other)`` is ``torch.maximum``.
    Raises RuntimeError or IndexError where there are no elements. Source: torch.max.

    >>> import suiren as torch
    >>> torch.tensor([[1., 5.], [3., 2.]]).max(dim=0)
    torch.return_types.max(
    values=tensor([3., 5.]),
    indices=tensor([1, 0]))
    """
    if other is None and isinstance(dim, Tensor):
        other = dim
    if other is not None:
        return input.maximum(other)
    if dim is None:
        return _of_all("max", amax, input)
    _one_dim("max", dim)
    return max_along(input, dim, keepdim)


@composite(name="min")
def min_(input, dim=None, keepdim=False, *, other=None):
    """The smallest element; with ``dim`` (values, indices) along it; with a tensor the minimum.

    See :func:`max`. Source: torch.min.

    >>> import suiren as torch
    >>> values, indices = torch.tensor([[1., 5.], [3., 2.]]).min(dim=0)
    >>> values, indices
    (tensor([1., 2.]), tensor([0, 1]))
    """
    if other is None and isinstance(dim, Tensor):
        other = dim
    if other is not None:
        return input.minimum(other)
    if dim is None:
        return _of_all("min", amin, input)
    _one_dim("min", dim)
    return min_along(input, dim, keepdim)


def _position(record, name, input, dim, keepdim):
    m = input._meta
    if m.dtype.is_complex or m.dtype is dtypes.bool:
        kind = "complex" if m.dtype.is_complex else "bool"
        raise RuntimeError(f"{name}(): does not support {kind} input, got {m.dtype}")
    if dim is None:
        if not m.numel:
            raise IndexError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify "
                f"the reduction dim with the 'dim' argument. Got a tensor of shape {list(m.shape)}."
            )
    else:
        dim = wrap_dim(dim, m.ndim)
        check_not_empty(name, m, (dim,) if m.ndim else (), dim)
    return apply(record, (input,), (dim, bool(keepdim)))


def _position_meta(input, dim, keepdim):
    return reduced_meta(input, reduced_dims(dim, input.ndim), keepdim, dtypes.int64)


def _position_array(argextreme, input, dim, keepdim):
    input = np.asarray(input)
    if not input.ndim:
        return np.zeros((), np.int64)
    return np.asarray(argextreme(input, axis=dim, keepdims=keepdim)).astype(np.int64, copy=False)


@operator
class argmax:
    """Where the largest element is: its position in row-major order, or along ``dim``.

    The first of equal ones. int64. Source: torch.argmax.

    >>> import suiren as torch
    >>> torch.tensor([[1., 5.], [3., 2.]]).argmax(dim=1)
    tensor([1, 0])
    """

    widen = True

    def call(input, dim=None, keepdim=False):
        return _position(argmax.operator, "argmax", input, dim, keepdim)

    def infer(input, dim, keepdim):
        return _position_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        return _position_array(np.argmax, input, dim, keepdim)

    def decompose(g, input, dim, keepdim):
        return _lowered_position(g, "max", input, dim, keepdim)


@operator
class argmin:
    """Where the smallest element is; see :func:`argmax`. Source: torch.argmin.

    >>> import suiren as torch
    >>> torch.tensor([[1., 5.], [3., 2.]]).argmin()
    tensor(0)
    """

    widen = True

    def call(input, dim=None, keepdim=False):
        return _position(argmin.operator, "argmin", input, dim, keepdim)

    def infer(input, dim, keepdim):
        return _position_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        return _position_array(np.argmin, input, dim, keepdim)

    def decompose(g, input, dim, keepdim):
        return _lowered_position(g, "min", input, dim, keepdim)


def _written_pair(out, input, dim, keepdim):
    kind = input._meta.dtype
    for target in out:
        if target._meta.dtype is not kind:
            raise RuntimeError(
                f"aminmax(): Expected out tensor to have dtype {kind}, but got "
                f"{target._meta.dtype} instead"
            )
    return write_out(out, aminmax, (input,), {"dim": dim, "keepdim": keepdim})


@operator
class aminmax:
    """(min, max) over one dimension or all, as ``torch.return_types.aminmax``.

    Equal extremes share the gradient. Source: torch.aminmax.

    >>> import suiren as torch
    >>> torch.aminmax(torch.tensor([1, -3, 5]))
    torch.return_types.aminmax(
    min=tensor(-3),
    max=tensor(5))
    """

    widen = True
    results = 2

    def call(input, *, dim=None, keepdim=False, out=None):
        m = input._meta
        if out is not None:
            return _written_pair(out, input, dim, keepdim)
        if m.dtype.is_complex:
            raise NotImplementedError(
                f'"aminmax_cpu" not implemented for {m.dtype.letter_name!r}: complex numbers have '
                "no order"
            )
        if dim is None and not m.numel:
            raise RuntimeError(
                "aminmax(): cannot compute aminmax over an empty dimension as the operation has no "
                f"identity; got shape {list(m.shape)}"
            )
        dims = reduced_dims(dim, m.ndim)
        check_not_empty("aminmax", m, dims, dim)
        return return_types.aminmax(apply(aminmax.operator, (input,), (dims, bool(keepdim))))

    def infer(input, dim, keepdim):
        found = reduced_meta(input, dim, keepdim)
        return found, found

    def evaluate(input, dim, keepdim):
        return np.min(input, axis=dim, keepdims=keepdim), np.max(input, axis=dim, keepdims=keepdim)

    def decompose(g, input, dim, keepdim):
        if input.dtype is dtypes.bool:
            raise g.NotNative("extremes of truth values")
        return input.amin(dim, keepdim), input.amax(dim, keepdim)

    def backward(grads, input, result0, result1, dim, keepdim):
        total = None
        for grad, result in zip(grads, (result0, result1), strict=True):
            if grad is not None:
                part = _extreme_gradient(grad, input, result, dim, keepdim)
                total = part if total is None else total + part
        return (total,)


__all__ = ["argmax", "argmin", "aminmax", "at_index_gradient", "kept", "max_", "min_", "taken"]
