"""Running sums, products and extremes along a dimension, differences, and the trapezoid rule.

Source: torch.cumsum, cumprod, cummax, cummin, logcumsumexp, diff, trapezoid.
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes, return_types
from suiren.autograd.mode import mode
from suiren.dispatch import apply
from suiren.operator import NAMESPACES, composite, operator
from suiren.ops.arithmetic import conj
from suiren.ops.casts import to_dtype
from suiren.ops.reductions import whole_dtype
from suiren.ops.views import full_like_meta, wrap_dim
from suiren.tensor import Tensor

_WIDER = {"float32": np.float64, "complex64": np.complex128}


def _accumulated(ufunc, input, dim: int) -> np.ndarray:
    # float32 is accumulated in float64, as PyTorch does on the CPU
    input = np.asarray(input)
    if not input.ndim:
        return np.array(input)
    wide = _WIDER.get(input.dtype.name, input.dtype)
    return ufunc.accumulate(input, axis=dim, dtype=wide).astype(input.dtype, copy=False)


def _lowered_scan(g, kind, x, dim):
    if x.dtype is dtypes.bool:
        raise g.NotNative("sums and products of truth values")
    if not x.ndim:
        return x
    return g.scan(kind, x, dim, dtypes.float64 if x.dtype is dtypes.float32 else x.dtype)


def _reverse_cumsum(x, dim: int):
    return x.flip(dim).cumsum(dim).flip(dim) if x._meta.ndim else x


@operator(inplace=True)
class cumsum:
    """The sums of the elements up to each place along ``dim``; integers are added in int64.

    Source: torch.cumsum.

    >>> import suiren as torch
    >>> torch.tensor([1, 2, 3]).cumsum(0)
    tensor([1, 3, 6])
    """

    widen = True

    def call(input, dim, *, dtype=None):
        dim = wrap_dim(dim, input._meta.ndim)
        return apply(cumsum.operator, (to_dtype(input, whole_dtype(input, dtype)),), (dim,))

    def infer(input, dim):
        return input

    def evaluate(input, dim):
        return _accumulated(np.add, input, dim)

    def decompose(g, input, dim):
        return _lowered_scan(g, "sum", input, dim)

    def grad_input(grad, dim):
        return _reverse_cumsum(grad, dim)


@operator(inplace=True)
class cumprod:
    """The products of the elements up to each place along ``dim``; integers in int64.

    The gradient is right at zeros as well. Source: torch.cumprod.

    >>> import suiren as torch
    >>> torch.tensor([1, 2, 3]).cumprod(0)
    tensor([1, 2, 6])
    """

    widen = True

    def call(input, dim, *, dtype=None):
        dim = wrap_dim(dim, input._meta.ndim)
        return apply(cumprod.operator, (to_dtype(input, whole_dtype(input, dtype)),), (dim,))

    def infer(input, dim):
        return input

    def evaluate(input, dim):
        return _accumulated(np.multiply, input, dim)

    def decompose(g, input, dim):
        return _lowered_scan(g, "prod", input, dim)

    def grad_input(grad, input, result, dim):
        if not input._meta.ndim or not input._meta.numel:
            return grad
        if mode.grad and (grad._requires_grad or input._requires_grad):
            return _cumprod_gradient_by_parts(grad, input, dim)
        return _cumprod_gradient(grad, conj(input), conj(result), dim)


def _cumprod_gradient(grad, input, result, dim):
    # d result[k] / d input[i] = result[k] / input[i] for k >= i, where nothing is zero. Every
    # result from the first zero z on is zero: before z the formula holds, at z the products
    # without input[z] are needed, and after z the gradient is zero.
    zero = input == 0
    zeros_so_far = zero.cumsum(dim)
    first = zero.logical_and(zeros_so_far == 1)
    before = zeros_so_far == 0
    plain = _reverse_cumsum(grad * result, dim) / input.masked_fill(zero, 1)
    without = input.masked_fill(first, 1).cumprod(dim)
    at_zero = _reverse_cumsum(grad * without, dim)
    return (plain * before).masked_fill(first, 0) + at_zero * first


def _cumprod_gradient_by_parts(grad, input, dim):
    # A term for each place, with no division: its own derivative is right at zeros too.
    size = input._meta.shape[dim]
    parts = []
    for i in range(size):
        after = input.narrow(dim, i + 1, size - i - 1)
        one = input.narrow(dim, i, 1).detach() * 0 + 1
        others = NAMESPACES["torch"]["cat"]([one, after], dim).cumprod(dim)
        if i:
            others = input.narrow(dim, 0, i).prod(dim, True) * others
        parts.append((grad.narrow(dim, i, size - i) * conj(others)).sum(dim, True))
    return NAMESPACES["torch"]["cat"](parts, dim)


def _running_extreme(ufunc, input, dim):
    input = np.asarray(input)
    if not input.ndim:
        return input, np.zeros((), np.int64)
    if not input.size:
        return input, np.zeros(input.shape, np.int64)
    values = ufunc.accumulate(input, axis=dim)
    newest = input == values  # of equal elements the last is named
    if input.dtype.kind == "f":
        newest |= np.isnan(input)
    shape = [1] * input.ndim
    shape[dim] = -1
    places = np.arange(input.shape[dim]).reshape(shape)
    return values, np.maximum.accumulate(np.where(newest, places, 0), axis=dim)


def _lowered_extremes(g, kind, x, dim):
    if x.dtype is dtypes.bool:
        raise g.NotNative("extremes of truth values")
    if not x.ndim:
        return x, g.full((), 0, dtypes.int64)
    values = g.scan(kind, x, dim)
    newest = x.eq(values)
    if x.dtype.is_floating_point:
        newest = newest | x.isnan()
    return values, g.scan("max", g.where(newest, g.iota(x.shape, dim), 0), dim)


def _running(record, kind, name, input, dim):
    m = input._meta
    if m.dtype.is_complex:
        raise NotImplementedError(
            f'"{name}_cpu" not implemented for {m.dtype.letter_name!r}: complex numbers have no '
            "order"
        )
    return kind(apply(record, (input,), (wrap_dim(dim, m.ndim),)))


def _running_gradient(grad, input_meta, index, dim):
    if not input_meta.ndim:
        return grad
    return full_like_meta(input_meta).scatter_add(dim, index, grad)


@operator
class cummax:
    """(values, indices): the largest element up to each place along ``dim`` and where it is.

    Source: torch.cummax.

    >>> import suiren as torch
    >>> torch.tensor([1, 3, 2]).cummax(0).values
    tensor([1, 3, 3])
    """

    widen = True
    results = 2

    def call(input, dim):
        return _running(cummax.operator, return_types.cummax, "cummax", input, dim)

    def infer(input, dim):
        return input.flat, input.flat.like(dtype=dtypes.int64)

    def evaluate(input, dim):
        return _running_extreme(np.maximum, input, dim)

    def decompose(g, input, dim):
        return _lowered_extremes(g, "max", input, dim)

    def grad_input(grad, input_meta, result1, dim):
        return _running_gradient(grad, input_meta, result1, dim)


@operator
class cummin:
    """(values, indices): the smallest element up to each place along ``dim`` and where it is.

    Source: torch.cummin.

    >>> import suiren as torch
    >>> torch.tensor([3, 1, 2]).cummin(0).values
    tensor([3, 1, 1])
    """

    widen = True
    results = 2

    def call(input, dim):
        return _running(cummin.operator, return_types.cummin, "cummin", input, dim)

    def infer(input, dim):
        return input.flat, input.flat.like(dtype=dtypes.int64)

    def evaluate(input, dim):
        return _running_extreme(np.minimum, input, dim)

    def decompose(g, input, dim):
        return _lowered_extremes(g, "min", input, dim)

    def grad_input(grad, input_meta, result1, dim):
        return _running_gradient(grad, input_meta, result1, dim)


def _complex_logaddexp(x: np.ndarray, dim: int) -> np.ndarray:
    # np.logaddexp knows no complex numbers. The imaginary part goes on from that of the larger
    # term (it is not wrapped into one turn), as in PyTorch.
    found = np.array(x)
    moved = np.moveaxis(found, dim, 0)
    for i in range(1, len(moved)):
        a, b = moved[i - 1], moved[i]
        swap = a.real < b.real
        high, low = np.where(swap, b, a), np.where(swap, a, b)
        sums = high + np.log1p(np.exp(low - high))
        moved[i] = np.where(np.isneginf(high.real), high, sums)
    return found


@operator
class logcumsumexp:
    """``log(cumsum(exp(input)))`` along ``dim`` without overflow.

    Raises NotImplementedError for integers. Source: torch.logcumsumexp.

    >>> import suiren as torch
    >>> torch.tensor([0., 0.]).logcumsumexp(0)
    tensor([0.0000, 0.6931])
    """

    widen = True

    def call(input, dim):
        m = input._meta
        if m.dtype.category < dtypes.FLOATING:
            raise NotImplementedError(
                f'"logcumsumexp_out_cpu" not implemented for {m.dtype.letter_name!r}: it needs a '
                "floating or complex type; convert with .float()"
            )
        return apply(logcumsumexp.operator, (input,), (wrap_dim(dim, m.ndim),))

    def infer(input, dim):
        return input

    def evaluate(input, dim):
        input = np.asarray(input)
        if not input.size or not input.ndim:
            return np.array(input)
        if input.dtype.kind == "c":
            return _complex_logaddexp(input, dim)
        wide = _WIDER.get(input.dtype.name, input.dtype)
        found = np.logaddexp.accumulate(input.astype(wide), axis=dim)
        return found.astype(input.dtype, copy=False)

    def grad_input(grad, input, result, dim):
        if not input._meta.ndim or not input._meta.numel:
            return grad
        if input._meta.dtype.is_complex:
            # grad[k] * conj(exp(input[i] - result[k])), summed over k >= i in logarithms
            logs = conj(grad).log() - result
            return conj((logs.flip(dim).logcumsumexp(dim).flip(dim) + input).exp())
        # grad[k] exp(input[i] - result[k]), summed over k >= i in logarithms; signs apart
        lowest = -float("inf")
        positive = grad.clamp(min=0).log()
        negative = (-grad).clamp(min=0).log()
        dead = result == lowest
        up = (positive - result).masked_fill(dead, lowest)
        down = (negative - result).masked_fill(dead, lowest)
        up = up.flip(dim).logcumsumexp(dim).flip(dim)
        down = down.flip(dim).logcumsumexp(dim).flip(dim)
        return (up + input).exp() - (down + input).exp()


@composite
def diff(input, n=1, dim=-1, prepend=None, append=None):
    """The ``n``-th differences of neighbours along ``dim``, after joining ``prepend``/``append``.

    Source: torch.diff.

    >>> import suiren as torch
    >>> torch.tensor([1, 3, 2]).diff()
    tensor([ 2, -1])
    """
    m = input._meta
    if m.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional, got a 0-d tensor")
    dim = wrap_dim(dim, m.ndim)
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    for name, extra in (("prepend", prepend), ("append", append)):
        if extra is not None:
            _check_joins(name, m, extra._meta, dim)
    parts = [x for x in (prepend, input, append) if x is not None]
    if n == 0:
        return input.clone()
    x = NAMESPACES["torch"]["cat"](parts, dim) if len(parts) > 1 else input
    n = min(n, x._meta.shape[dim])
    is_bool = x._meta.dtype is dtypes.bool
    for _ in range(n):
        size = x._meta.shape[dim]
        later, earlier = x.narrow(dim, 1, size - 1), x.narrow(dim, 0, size - 1)
        x = later.logical_xor(earlier) if is_bool else later - earlier
    return x


def _check_joins(name: str, m, extra, dim: int) -> None:
    if extra.ndim != m.ndim:
        raise RuntimeError(
            f"diff expects prepend or append to be the same dimension as input, got {name} of "
            f"{extra.ndim} dimensions for an input of {m.ndim}"
        )
    for d, (a, b) in enumerate(zip(m.shape, extra.shape, strict=True)):
        if d != dim and a != b:
            raise RuntimeError(
                f"diff expects the shape of tensor to prepend or append to match that of input "
                f"except along the differencing dimension; input.size({d}) = {a}, but got "
                f"{name}.size({d}) = {b}"
            )


def _panels(name: str, y, x, dx, dim: int):
    """Widths times the sums of neighbours: twice the areas of the trapezoids."""
    m = y._meta
    dim = wrap_dim(dim, m.ndim)
    if not m.ndim:
        raise IndexError(f"{name}: y must have at least one dimension")
    if m.dtype is dtypes.bool:
        raise RuntimeError(f"{name}: received a bool input for `y`, but bool is not supported")
    size = m.shape[dim]
    # the sums are over one element less, also where there is none
    later = y.narrow(dim, min(1, size), max(size - 1, 0))
    sums = later + y.narrow(dim, 0, max(size - 1, 0))
    if x is None:
        return sums * dx if not isinstance(dx, Tensor) else dx * sums, dim
    if x._meta.dtype is dtypes.bool:
        raise RuntimeError(f"{name}: received a bool input for `x`, but bool is not supported")
    if x._meta.ndim <= 1:
        x = x.reshape(-1)
        if x._meta.shape[0] not in (size, 1):
            raise RuntimeError(
                f"{name}: There must be one `x` value for each sample point, got "
                f"{x._meta.shape[0]} for {size} points along dim {dim}"
            )
        widths = x.diff()
        widths = widths.reshape([-1] + [1] * (m.ndim - dim - 1))
    elif x._meta.ndim < m.ndim:
        x = x.reshape([1] * (m.ndim - x._meta.ndim) + list(x._meta.shape))
        widths = x.diff(dim=dim)
    else:
        widths = x.diff(dim=dim)
    return widths * sums, dim


@composite(where=("torch",), out=False)
def trapezoid(y, x=None, *, dx=None, dim=-1):
    """The integral of samples ``y`` along ``dim`` by the trapezoid rule.

    The points are ``x``, or ``dx`` apart. Source: torch.trapezoid.

    >>> import suiren as torch
    >>> torch.trapezoid(torch.tensor([1., 2., 3.]))
    tensor(4.)
    """
    x, dx = _points("trapezoid", x, dx)
    twice, dim = _panels("trapezoid", y, x, dx, dim)
    return twice.sum(dim) * 0.5


@composite(where=("torch",), out=False)
def trapz(y, x=None, *, dx=None, dim=-1):
    """The same as :func:`torch.trapezoid`. Source: torch.trapz."""
    return trapezoid(y, x, dx=dx, dim=dim)


@composite(where=("torch",), out=False)
def cumulative_trapezoid(y, x=None, *, dx=None, dim=-1):
    """The integrals of samples ``y`` up to each point along ``dim`` by the trapezoid rule.

    Source: torch.cumulative_trapezoid.

    >>> import suiren as torch
    >>> torch.cumulative_trapezoid(torch.tensor([1., 2., 3.]))
    tensor([1.5000, 4.0000])
    """
    x, dx = _points("cumulative_trapezoid", x, dx)
    twice, dim = _panels("cumulative_trapezoid", y, x, dx, dim)
    return (twice * 0.5).cumsum(dim)


def _points(name: str, x, dx):
    """The points as a tensor or None, and the distance between them where there is no tensor."""
    if x is not None and dx is not None:
        raise TypeError(f"{name}() received an invalid combination of arguments: x and dx; give "
                        "one of them")  # fmt: skip
    if x is not None and not isinstance(x, Tensor):
        return None, x
    return x, 1 if dx is None else dx


__all__ = ["cummax", "cummin", "cumprod", "cumsum", "cumulative_trapezoid", "diff", "logcumsumexp",
           "trapezoid", "trapz"]  # fmt: skip
