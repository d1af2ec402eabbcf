"""softmax and log_softmax, shifted by the largest element so that exp cannot overflow.

Source: torch.nn.functional.softmax and log_softmax.
"""

from __future__ import annotations

import warnings

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.interpreter import accurate
from suiren.operator import composite, operator
from suiren.ops.casts import to_dtype
from suiren.ops.lowering import INFINITY
from suiren.ops.reductions import sum_array
from suiren.ops.views import wrap_dim


def _prepared(name: str, input, dim, dtype):
    if dtype is not None:
        input = to_dtype(input, dtype)
    m = input._meta
    dim = wrap_dim(dim, m.ndim)
    if m.dtype.category != dtypes.FLOATING:
        raise NotImplementedError(
            f'"{name}_lastdim_kernel_impl" not implemented for {m.dtype.letter_name!r}: {name}() '
            "needs a floating type; pass dtype=torch.float32"
        )
    return input, dim


def _shifted(x: np.ndarray, dim: int) -> np.ndarray:
    return x - np.max(x, axis=dim, keepdims=True)


def _axis(x, dim: int):
    """The array with at least one dimension, as a 0-dimensional tensor counts as one element."""
    x = np.asarray(x)
    return x if x.ndim else x.reshape(1)


@operator(out=False, name="softmax", where=())
class _softmax:
    """exp(input) / sum(exp(input)) along a dimension."""

    widen = True

    def call(input, dim, dtype=None):
        return apply(_softmax.operator, *_split(_prepared("softmax", input, dim, dtype)))

    def infer(input, dim):
        return input

    def evaluate(input, dim):
        x = _axis(input, dim)
        if not x.size:
            return np.array(input)
        found = _shifted(x, dim)
        found = accurate.exp(found)
        found *= 1 / sum_array(found, (dim,), True)
        return found.reshape(np.shape(input))

    def decompose(g, input, dim):
        if not input.ndim:
            return (input - input).exp()
        if not input.numel:
            return input
        found = (input - input.amax(dim, True)).exp()
        return found * (1 / found.sum(dim, True))

    def grad_input(grad, result, dim):
        weighted = grad * result
        return weighted - result * weighted.sum(dim, True)


@operator(out=False, name="log_softmax", where=())
class _log_softmax:
    """input - log(sum(exp(input))) along a dimension."""

    widen = True

    def call(input, dim, dtype=None):
        return apply(_log_softmax.operator, *_split(_prepared("log_softmax", input, dim, dtype)))

    def infer(input, dim):
        return input

    def evaluate(input, dim):
        x = _axis(input, dim)
        if not x.size:
            return np.array(input)
        found = _shifted(x, dim)
        found -= accurate.log(sum_array(accurate.exp(found), (dim,), True))
        return found.reshape(np.shape(input))

    def decompose(g, input, dim):
        if not input.ndim:
            return input - input
        if not input.numel:
            return input
        shifted = input - input.amax(dim, True)
        return shifted - shifted.exp().sum(dim, True).log()

    def grad_input(grad, result, dim):
        return grad - result.exp() * grad.sum(dim, True)


@operator(out=False, name="_safe_softmax", where=())
class safe_softmax:
    """softmax along a dimension, zeros where all is -inf: where nothing may be attended to."""

    widen = True

    def call(input, dim):
        return apply(safe_softmax.operator, *_split(_prepared("softmax", input, dim, None)))

    def infer(input, dim):
        return input

    def evaluate(input, dim):
        if not np.size(input):
            return np.array(input)
        x = _axis(input, dim)
        largest = np.max(x, axis=dim, keepdims=True)
        found = accurate.exp(x - np.where(largest == -np.inf, x.dtype.type(0), largest))
        total = sum_array(found, (dim,), True)
        found *= 1 / np.where(total == 0, x.dtype.type(1), total)
        return found.reshape(np.shape(input))

    def decompose(g, input, dim):
        if not input.ndim or not input.numel:
            raise g.NotNative("softmax of nothing")
        largest = input.amax(dim, True)
        found = (input - g.where(largest.eq(-INFINITY), 0.0, largest)).exp()
        total = found.sum(dim, True)
        return found * (1 / g.where(total.eq(0), 1.0, total))

    def grad_input(grad, result, dim):
        weighted = grad * result
        return weighted - result * weighted.sum(dim, True)


def _split(prepared):
    input, dim = prepared
    return (input,), (dim,)


@composite(aliases=("special.softmax",))
def softmax(input, dim, dtype=None):
    """``exp(x) / sum(exp(x))`` along ``dim``: numbers from 0 to 1 with sum 1.

    ``dtype`` converts the input first. Raises NotImplementedError unless the type is floating.
    Source: torch.softmax.

    >>> import suiren as torch
    >>> torch.tensor([0., 0.]).softmax(0)
    tensor([0.5000, 0.5000])
    """
    return _softmax(input, dim, dtype)


@composite(aliases=("special.log_softmax",))
def log_softmax(input, dim, dtype=None):
    """``x - log(sum(exp(x)))`` along ``dim``: the logarithm of softmax, without its underflow.

    ``dtype`` converts the input first. Raises NotImplementedError unless the type is floating.
    Source: torch.log_softmax.

    >>> import suiren as torch
    >>> torch.tensor([0., 0.]).log_softmax(0)
    tensor([-0.6931, -0.6931])
    """
    return _log_softmax(input, dim, dtype)


def implicit_dim(name: str, ndim: int, stacklevel: int) -> int:
    """The dimension that nn.functional.softmax and others take when given none (deprecated)."""
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include "
        "dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if ndim in (0, 1, 3) else 1


@composite(name="softmax", where=("nn.functional",), out=False)
def functional_softmax(input, dim=None, _stacklevel=3, dtype=None):
    """:func:`torch.softmax`, with ``dim`` chosen (and a warning) if it is None.

    Source: torch.nn.functional.softmax.
    """
    if dim is None:
        dim = implicit_dim("softmax", input._meta.ndim, _stacklevel + 1)
    return _softmax(input, dim, dtype)


@composite(name="log_softmax", where=("nn.functional",), out=False)
def functional_log_softmax(input, dim=None, _stacklevel=3, dtype=None):
    """:func:`torch.log_softmax`, with ``dim`` chosen (and a warning) if it is None.

    Source: torch.nn.functional.log_softmax.
    """
    if dim is None:
        dim = implicit_dim("log_softmax", input._meta.ndim, _stacklevel + 1)
    return _log_softmax(input, dim, dtype)


__all__ = [
    "functional_log_softmax", "functional_softmax", "log_softmax", "safe_softmax", "softmax",
]  # fmt: skip
