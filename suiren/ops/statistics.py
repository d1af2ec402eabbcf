"""Variances and standard deviations, covariances, histograms.

Variances take two passes (mean first, then squared deviations): no cancellation.
Source: torch.var, std, var_mean, cov, corrcoef, histc, histogram, bincount.
"""

from __future__ import annotations

import warnings
from math import prod

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import NAMESPACES, composite, operator
from suiren.ops.arithmetic import conj
from suiren.ops.reductions import (
    reduced_dims,
    reduced_meta,
    restore,
    sum_array,
)
from suiren.tensor import Tensor

# --------------------------------------------------------------------------
# Variances


def _deviations(x: np.ndarray, dims: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The deviations from the mean, and the mean with the dimensions kept."""
    count = prod([x.shape[d] for d in dims])
    average = np.divide(sum_array(x, dims, True), np.array(count, x.dtype))
    return x - average, average


def _variance(x: np.ndarray, dims, correction, keepdim: bool):
    x = np.asarray(x)
    kind = x.real.dtype
    if not x.ndim:
        dims, x = (0,), x.reshape(1)
        shape: tuple[int, ...] | None = ()
    else:
        shape = None
    away, average = _deviations(x, dims)
    squares = away.real**2 + away.imag**2 if x.dtype.kind == "c" else away * away
    freedom = max(prod([x.shape[d] for d in dims]) - correction, 0)
    found = np.divide(sum_array(squares, dims, keepdim), np.array(freedom, kind))
    if not keepdim:
        average = np.squeeze(average, dims)
    if shape is not None:
        found, average = found.reshape(shape), average.reshape(shape)
    return found, average


def _lowered_variance(x, dims, correction, keepdim):
    """The variance and the mean, as nodes of a graph."""
    count = float(prod([x.shape[d] for d in dims]))
    average = x.sum(dims, True) / count
    away = x - average
    variance = (away * away).sum(dims, keepdim) / float(max(count - correction, 0))
    return variance, average if keepdim else average.reshape(*variance.shape)


def _variance_gradient(grad, input, dim, correction, keepdim):
    shape = input._meta.shape
    count = prod([shape[d] for d in dim])
    freedom = max(count - correction, 0)
    # a number divides a number: 2 / 0 is infinite, as in PyTorch
    factor = 2.0 / freedom if freedom else float("inf")
    away = input - input.mean(dim, True) if dim else input - input
    return restore(grad, shape, dim, keepdim) * (away * factor)


def _arguments(name: str, input, args, dim, unbiased, correction, keepdim):
    """The forms var(unbiased), var(dim, unbiased, keepdim), var(dim, correction=, keepdim=)."""
    args = list(args)
    if args and isinstance(args[0], bool) and dim is None:
        unbiased = args.pop(0)
    elif args:
        dim = args.pop(0)
        if args:
            unbiased = args.pop(0)
        if args:
            keepdim = args.pop(0)
    if args:
        raise TypeError(
            f"{name}() takes dim, unbiased and keepdim, got {len(args)} further positional "
            "arguments"
        )
    if unbiased is not None and correction is not None:
        raise TypeError(
            f"{name}() received an invalid combination of arguments: unbiased and correction say "
            "the same thing; give one of them"
        )
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    m = input._meta
    if m.dtype.category < dtypes.FLOATING:
        which = "std and var" if name in ("std", "var") else name
        raise RuntimeError(
            f"{which} only support floating point and complex dtypes, got {m.dtype}; convert with "
            ".float()"
        )
    dims = reduced_dims(dim, m.ndim)
    count = prod([m.shape[d] for d in dims])
    if correction >= count:
        warnings.warn(
            f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the "
            f"reduction factor (input numel divided by output numel): correction {correction} for "
            f"{count} elements.",
            stacklevel=3,
        )
    return dims, correction, bool(keepdim)


@operator(name="var", where=(), out=False)
class _var:
    """Mean squared deviation from the mean."""

    widen = True

    def call(input, dim, correction, keepdim):
        return apply(_var.operator, (input,), (dim, correction, keepdim))

    def infer(input, dim, correction, keepdim):
        return reduced_meta(input, dim, keepdim, input.dtype.to_real())

    def evaluate(input, dim, correction, keepdim):
        return _variance(input, dim, correction, keepdim)[0]

    def decompose(g, input, dim, correction, keepdim):
        return _lowered_variance(input, dim, correction, keepdim)[0]

    def grad_input(grad, input, dim, correction, keepdim):
        return _variance_gradient(grad, input, dim, correction, keepdim)


@operator(name="std", where=(), out=False)
class _std:
    """Square root of the variance."""

    widen = True

    def call(input, dim, correction, keepdim):
        return apply(_std.operator, (input,), (dim, correction, keepdim))

    def infer(input, dim, correction, keepdim):
        return reduced_meta(input, dim, keepdim, input.dtype.to_real())

    def evaluate(input, dim, correction, keepdim):
        return np.sqrt(_variance(input, dim, correction, keepdim)[0])

    def decompose(g, input, dim, correction, keepdim):
        return _lowered_variance(input, dim, correction, keepdim)[0].sqrt()

    def grad_input(grad, input, result, dim, correction, keepdim):
        inner = _std_to_var(grad, result)
        return _variance_gradient(inner, input, dim, correction, keepdim)


def _std_to_var(grad, result):
    # where nothing varies the gradient is zero, as in PyTorch
    return (grad / (result * 2)).masked_fill(result == 0, 0)


def _pair_gradient(grads, inner, input, dim, correction, keepdim):
    total = None
    if inner is not None:
        total = _variance_gradient(inner, input, dim, correction, keepdim)
    if grads[1] is not None:
        shape = input._meta.shape
        count = prod([shape[d] for d in dim])
        of_mean = restore(grads[1], shape, dim, keepdim) / count
        total = of_mean if total is None else total + of_mean
    return (total,)


@operator(name="var_mean", where=(), out=False)
class _var_mean:
    """Variance and mean."""

    widen = True
    results = 2

    def call(input, dim, correction, keepdim):
        return apply(_var_mean.operator, (input,), (dim, correction, keepdim))

    def infer(input, dim, correction, keepdim):
        return (
            reduced_meta(input, dim, keepdim, input.dtype.to_real()),
            reduced_meta(input, dim, keepdim),
        )

    def evaluate(input, dim, correction, keepdim):
        return _variance(input, dim, correction, keepdim)

    def decompose(g, input, dim, correction, keepdim):
        return _lowered_variance(input, dim, correction, keepdim)

    def backward(grads, input, dim, correction, keepdim):
        return _pair_gradient(grads, grads[0], input, dim, correction, keepdim)


@operator(name="std_mean", where=(), out=False)
class _std_mean:
    """Standard deviation and mean."""

    widen = True
    results = 2

    def call(input, dim, correction, keepdim):
        return apply(_std_mean.operator, (input,), (dim, correction, keepdim))

    def infer(input, dim, correction, keepdim):
        return (
            reduced_meta(input, dim, keepdim, input.dtype.to_real()),
            reduced_meta(input, dim, keepdim),
        )

    def evaluate(input, dim, correction, keepdim):
        variance, average = _variance(input, dim, correction, keepdim)
        return np.sqrt(variance), average

    def decompose(g, input, dim, correction, keepdim):
        variance, average = _lowered_variance(input, dim, correction, keepdim)
        return variance.sqrt(), average

    def backward(grads, input, result0, dim, correction, keepdim):
        inner = None if grads[0] is None else _std_to_var(grads[0], result0)
        return _pair_gradient(grads, inner, input, dim, correction, keepdim)


@composite
def var(input, *args, dim=None, unbiased=None, correction=None, keepdim=False):
    """The variance over dimensions (all by default): squared deviations over (n - correction).

    Forms: ``var(dim, correction=1, keepdim=False)``, ``var(dim, unbiased, keepdim)``,
    ``var(unbiased)``. With no more elements than ``correction`` it warns, and the result is NaN or
    infinite. Raises RuntimeError for integers. Source: torch.var.

    >>> import suiren as torch
    >>> torch.tensor([1., 2., 3.]).var()
    tensor(1.)
    """
    return _var(input, *_arguments("var", input, args, dim, unbiased, correction, keepdim))


@composite
def std(input, *args, dim=None, unbiased=None, correction=None, keepdim=False):
    """The standard deviation: the square root of :func:`torch.var`. Source: torch.std.

    >>> import suiren as torch
    >>> torch.tensor([1., 2., 3.]).std(correction=0)
    tensor(0.8165)
    """
    return _std(input, *_arguments("std", input, args, dim, unbiased, correction, keepdim))


@composite(where=("torch",))
def var_mean(input, *args, dim=None, unbiased=None, correction=None, keepdim=False):
    """(variance, mean) over dimensions; see :func:`torch.var`. Source: torch.var_mean.

    >>> import suiren as torch
    >>> torch.var_mean(torch.tensor([1., 2., 3.]))
    (tensor(1.), tensor(2.))
    """
    given = _arguments("var_mean", input, args, dim, unbiased, correction, keepdim)
    return _var_mean(input, *given)


@composite(where=("torch",))
def std_mean(input, *args, dim=None, unbiased=None, correction=None, keepdim=False):
    """(standard deviation, mean) over dimensions; see :func:`torch.var`. Source: torch.std_mean.

    >>> import suiren as torch
    >>> torch.std_mean(torch.tensor([1., 2., 3.]))
    (tensor(1.), tensor(2.))
    """
    given = _arguments("std_mean", input, args, dim, unbiased, correction, keepdim)
    return _std_mean(input, *given)


# --------------------------------------------------------------------------
# Covariances


def _check_weights(name: str, weights, m, count: int) -> None:
    w = weights._meta
    if w.ndim > 1:
        raise RuntimeError(f"cov(): expected {name} to have one or fewer dimensions but got "
                           f"{name} with {w.ndim} dimensions")  # fmt: skip
    if name == "fweights" and w.dtype.category != dtypes.INTEGER:
        raise RuntimeError("cov(): expected fweights to have integral dtype but got fweights with "
                           f"{w.dtype.letter_name} dtype")  # fmt: skip
    if name == "aweights" and not w.dtype.is_floating_point:
        raise RuntimeError("cov(): expected aweights to have floating point dtype but got aweights "
                           f"with {w.dtype.letter_name} dtype")  # fmt: skip
    if w.numel != count:
        raise RuntimeError(f"cov(): expected {name} to have the same numel as there are "
                           f"observations in the input but got {w.numel} != {count}")  # fmt: skip
    if count and bool((weights < 0).any()):
        raise RuntimeError(f"cov(): {name} cannot be negative")


@composite(out=False)
def cov(input, *, correction=1, fweights=None, aweights=None):
    """The covariance matrix of variables (rows) over observations (columns).

    ``fweights`` (int) says how often each observation counts, ``aweights`` (float) how much.
    Source: torch.cov.

    >>> import suiren as torch
    >>> torch.cov(torch.tensor([[0., 1., 2.], [2., 1., 0.]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    m = input._meta
    if m.ndim > 2:
        raise RuntimeError(
            "cov(): expected input to have two or fewer dimensions but got an input with "
            f"{m.ndim} dimensions"
        )
    if m.dtype is dtypes.bool:
        raise RuntimeError("cov(): bool dtype is not supported for input; convert with .float()")
    x = input if m.ndim == 2 else input.reshape(1, -1)  # variables, observations
    count = x._meta.shape[1]
    weights = None
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is not None:
            _check_weights(name, given, m, count)
            weights = given if weights is None else weights * given
    if weights is None:
        total = count
        average = x.sum(1, True) / count
        freedom = total - correction
    else:
        total = weights.sum()
        if count and not bool(total != 0):
            raise RuntimeError("cov(): weights sum to zero, can't be normalized")
        average = (x * weights).sum(1, True) / total
        if correction == 0:
            freedom = total
        elif aweights is None:
            freedom = total - correction
        else:
            freedom = total - correction * (weights * aweights).sum() / total
    known = float(freedom) if not isinstance(freedom, Tensor) else float(freedom.item())
    if known <= 0:
        warnings.warn(
            "cov(): degrees of freedom is <= 0. Correction should be strictly less than the number "
            f"of observations: correction {correction} for {count}.",
            stacklevel=2,
        )
        freedom = 0
    away = x - average
    scaled = away if weights is None else away * weights
    products = away.matmul(conj(scaled).transpose(0, 1))
    return (products / freedom).squeeze()


@composite(out=False)
def corrcoef(input):
    """The correlation coefficients of variables (rows) over observations (columns).

    Source: torch.corrcoef.

    >>> import suiren as torch
    >>> torch.corrcoef(torch.tensor([[0., 1., 2.], [2., 1., 0.]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    m = input._meta
    if m.ndim > 2:
        raise RuntimeError(
            "corrcoef(): expected input to have two or fewer dimensions but got an input with "
            f"{m.ndim} dimensions"
        )
    c = cov(input)
    if not c._meta.ndim:
        return c / c
    deviation = c.diagonal().real.sqrt() if m.dtype.is_complex else c.diagonal().sqrt()
    c = c / deviation.unsqueeze(1) / deviation.unsqueeze(0)
    if c._meta.dtype.is_complex:
        return NAMESPACES["torch"]["complex"](c.real.clamp(-1, 1), c.imag.clamp(-1, 1))
    return c.clamp(-1, 1)


__all__ = ["corrcoef", "cov", "std", "std_mean", "var", "var_mean"]
