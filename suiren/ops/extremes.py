"""Larger, smaller and bounds, element by element.

Where two elements tie, PyTorch gives ``maximum`` and ``minimum`` half of the gradient each and
``fmax`` and ``fmin`` all of it to the first. Source: torch.clamp, torch.maximum, torch.fmax.
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import composite, overloaded
from suiren.ops.elementwise import NUMBERS, elementwise
from suiren.ops.lowering import alike, type_of
from suiren.ops.masking import where
from suiren.ops.refusals import checked_call, refusing, require_tensors
from suiren.tensor import Tensor


def larger(input, bound):
    """The larger of both in NumPy; of two zeros the input's, whose sign is printed.

    ``np.maximum`` takes now one and now the other, as its vector instructions and its rest do.
    """
    if np.ndim(bound) == 0 and bound == 0:
        return np.where(input < bound, input.dtype.type(bound), input)
    return np.maximum(input, bound)


def smaller(input, bound):
    """The smaller of both in NumPy, like :func:`larger`."""
    if np.ndim(bound) == 0 and bound == 0:
        return np.where(input > bound, input.dtype.type(bound), input)
    return np.minimum(input, bound)


def _lowered_larger(g, input, other):
    if type_of(input, other) is dtypes.bool:
        return input | other
    return g.map("max", input, other)


def _lowered_smaller(g, input, other):
    if type_of(input, other) is dtypes.bool:
        return input & other
    return g.map("min", input, other)


def _lowered_but_nan(g, input, other, found):
    """``found``, or the one operand where the other is NaN."""
    if found.dtype.category < dtypes.FLOATING:
        return found
    input, other = alike(input, other)
    return g.where(input.isnan(), other, g.where(other.isnan(), input, found))


@elementwise("same", inplace=False)
class maximum:
    """The larger of two elements; NaN if one of them is. Source: torch.maximum.

    >>> import suiren as torch
    >>> torch.maximum(torch.tensor([1., 5.]), torch.tensor([2., 3.]))
    tensor([2., 5.])
    """

    refuse = refusing("maximum", "complex", error=RuntimeError)
    call = checked_call("maximum", lambda: maximum)

    def evaluate(input, other):
        return np.maximum(input, other)

    def decompose(g, input, other):
        return _lowered_larger(g, input, other)

    def grad_input(grad, input, other):
        return where(input == other, grad / 2, grad).masked_fill(input < other, 0)

    def grad_other(grad, input, other):
        return where(input == other, grad / 2, grad).masked_fill(input > other, 0)


@elementwise("same", inplace=False)
class minimum:
    """The smaller of two elements; NaN if one of them is. Source: torch.minimum."""

    refuse = refusing("minimum", "complex", error=RuntimeError)
    call = checked_call("minimum", lambda: minimum)

    def evaluate(input, other):
        return np.minimum(input, other)

    def decompose(g, input, other):
        return _lowered_smaller(g, input, other)

    def grad_input(grad, input, other):
        return where(input == other, grad / 2, grad).masked_fill(input > other, 0)

    def grad_other(grad, input, other):
        return where(input == other, grad / 2, grad).masked_fill(input < other, 0)


@elementwise("same", inplace=False)
class fmax:
    """The larger of two elements; the other one where one is NaN. Source: torch.fmax."""

    refuse = refusing("fmax", "complex", error=RuntimeError)
    call = checked_call("fmax", lambda: fmax)

    def evaluate(input, other):
        return np.fmax(input, other)

    def decompose(g, input, other):
        found = _lowered_larger(g, input, other)
        return _lowered_but_nan(g, input, other, found)

    def grad_input(grad, input, other):
        return grad.masked_fill(~((input >= other) | other.isnan()), 0)

    def grad_other(grad, input, other):
        return grad.masked_fill((input >= other) | other.isnan(), 0)


@elementwise("same", inplace=False)
class fmin:
    """The smaller of two elements; the other one where one is NaN. Source: torch.fmin."""

    refuse = refusing("fmin", "complex", error=RuntimeError)
    call = checked_call("fmin", lambda: fmin)

    def evaluate(input, other):
        return np.fmin(input, other)

    def decompose(g, input, other):
        found = _lowered_smaller(g, input, other)
        return _lowered_but_nan(g, input, other, found)

    def grad_input(grad, input, other):
        return grad.masked_fill(~((input <= other) | other.isnan()), 0)

    def grad_other(grad, input, other):
        return grad.masked_fill((input <= other) | other.isnan(), 0)


# ---- bounds


@elementwise("same")
class clamp_min:
    """``input``, but nowhere below ``min`` (a number or a tensor). Source: torch.clamp_min."""

    node_name_of = overloaded("ClampMin")
    refuse = refusing("clamp is not supported for complex types", "complex")

    def call(input, min):
        require_tensors("clamp_min", input=input)
        return apply(clamp_min.operator, (input, min))

    def evaluate(input, min):
        return larger(input, min)

    def decompose(g, input, min):
        return _lowered_larger(g, input, min)

    def grad_input(grad, input, min):
        return where(input >= min, grad, 0)

    def grad_min(grad, input, min):
        return where(input < min, grad, 0)


@elementwise("same")
class clamp_max:
    """``input``, but nowhere above ``max`` (a number or a tensor). Source: torch.clamp_max."""

    node_name_of = overloaded("ClampMax")
    refuse = refusing("clamp is not supported for complex types", "complex")

    def call(input, max):
        require_tensors("clamp_max", input=input)
        return apply(clamp_max.operator, (input, max))

    def evaluate(input, max):
        return smaller(input, max)

    def decompose(g, input, max):
        return _lowered_smaller(g, input, max)

    def grad_input(grad, input, max):
        return where(input <= max, grad, 0)

    def grad_max(grad, input, max):
        return where(input > max, grad, 0)


@elementwise("same", where=(), inplace=False, name="clamp")
class clamp_both:
    """``input`` between two bounds; where they cross, the upper one."""

    node_name_of = overloaded("Clamp", 1, 0)
    refuse = refusing("clamp is not supported for complex types", "complex")

    def evaluate(input, min, max):
        return smaller(larger(input, min), max)

    def decompose(g, input, min, max):
        return _lowered_smaller(g, _lowered_larger(g, input, min), max)

    def grad_input(grad, input, min, max):
        return where((input >= min) & (input <= max), grad, 0)

    def grad_min(grad, input, min, max):
        return where((min < max) & (input < min), grad, 0)

    def grad_max(grad, input, min, max):
        return where((input > max) | (max < min), grad, 0)


@composite(inplace=True, aliases=("clip",))
def clamp(input, min=None, max=None):
    """``input`` with elements below ``min`` or above ``max`` replaced by that bound.

    The bounds are both numbers or both tensors; one may be missing. NaN stays NaN; where the
    bounds cross the result is ``max``. The gradient is passed on between the bounds, ends included.
    Source: torch.clamp.

    >>> import suiren as torch
    >>> torch.clamp(torch.tensor([-2., 0.5, 3.]), min=-1, max=1)
    tensor([-1.0000,  0.5000,  1.0000])
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    kinds = {isinstance(bound, Tensor) for bound in (min, max) if bound is not None}
    if len(kinds) > 1:
        raise TypeError(
            "clamp() received an invalid combination of arguments: the bounds must be two numbers "
            f"or two tensors, got {type(min).__name__} and {type(max).__name__}"
        )
    min, max = _number(min), _number(max)
    if max is None:
        return _as_clamp(apply(clamp_min.operator, (input, min)), min)
    if min is None:
        return _as_clamp(apply(clamp_max.operator, (input, max)), max)
    return apply(clamp_both.operator, (input, min, max))


def _as_clamp(result: Tensor, bound) -> Tensor:
    if result._grad_fn is not None:
        result._grad_fn.label = f"ClampBackward{0 if isinstance(bound, Tensor) else 1}"
    return result


def _number(bound):
    if bound is None or isinstance(bound, Tensor) or bound.__class__ in NUMBERS:
        return bound
    if hasattr(bound, "item"):  # a NumPy scalar
        return bound.item()
    raise TypeError(f"clamp(): a bound must be a number or a tensor, not {type(bound).__name__}")
