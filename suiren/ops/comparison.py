"""Comparisons, logical operators and tests of elements: results are truth values.

None of these has a derivative. Source: PyTorch's "Comparison Ops" list.
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.creation import fill
from suiren.ops.elementwise import NUMBERS, broadcast_meta, elementwise
from suiren.ops.lowering import INFINITY, is_finite, is_infinite, truth, type_of
from suiren.ops.refusals import checked_call, refusing, require_same_dtype
from suiren.tensor import Tensor
from suiren.trace import meta


def _compare(name: str, words: str, function, aliases: tuple[str, ...], ordered: bool):
    class definition:
        tensors = 2

        def evaluate(input, other):
            return function(input, other)

        def decompose(g, input, other):
            if ordered and type_of(input, other) is dtypes.bool:
                input, other = (truth(x).cast(dtypes.uint8) for x in (input, other))
            return g.map(name, input, other)

        def call(input, other):
            if not isinstance(input, Tensor):
                raise TypeError(
                    f"{name}(): argument 'input' (position 1) must be Tensor, not "
                    f"{type(input).__name__}"
                )
            return apply(found.operator, (input, other))

    definition.__doc__ = f"""Whether ``input {words} other``, element by element, as truth values.

    ``other`` is a tensor or a number; the two are broadcast and promoted. Source: torch.{name}.

    >>> import suiren as torch
    >>> torch.{name}(torch.tensor([1., 2., 3.]), 2.)
    tensor({function(np.array([1.0, 2.0, 3.0]), 2.0).tolist()!s})
    """
    definition.__doc__ = definition.__doc__.replace("[True,", "[ True,").replace(
        ", True", ",  True"
    )
    definition.__module__ = __name__
    if ordered:
        definition.refuse = refusing(f"{name}_cpu", "complex")
    found = elementwise("bool", name=name, aliases=aliases)(definition)
    return found


eq = _compare("eq", "==", np.equal, (), False)
ne = _compare("ne", "!=", np.not_equal, ("not_equal",), False)
lt = _compare("lt", "<", np.less, ("less",), True)
le = _compare("le", "<=", np.less_equal, ("less_equal",), True)
gt = _compare("gt", ">", np.greater, ("greater",), True)
ge = _compare("ge", ">=", np.greater_equal, ("greater_equal",), True)


# ---- logic


def _is_floating(x) -> bool:
    return x.dtype.category == dtypes.FLOATING


@elementwise("bool")
class logical_and:
    """Whether both are true (not zero), element by element. Source: torch.logical_and."""

    call = checked_call("logical_and", lambda: logical_and)

    def evaluate(input, other):
        return np.logical_and(input, other)

    def decompose(g, input, other):
        return truth(input) & truth(other)


@elementwise("bool")
class logical_or:
    """Whether one of both is true (not zero), element by element. Source: torch.logical_or."""

    call = checked_call("logical_or", lambda: logical_or)

    def evaluate(input, other):
        return np.logical_or(input, other)

    def decompose(g, input, other):
        return truth(input) | truth(other)


@elementwise("bool")
class logical_xor:
    """Whether exactly one of both is true (not zero). Source: torch.logical_xor."""

    call = checked_call("logical_xor", lambda: logical_xor)

    def evaluate(input, other):
        return np.logical_xor(input, other)

    def decompose(g, input, other):
        return truth(input) ^ truth(other)


@elementwise("bool")
class logical_not:
    """Whether an element is zero (false). Source: torch.logical_not.

    >>> import suiren as torch
    >>> torch.logical_not(torch.tensor([0., 2.]))
    tensor([ True, False])
    """

    def evaluate(input):
        return np.logical_not(input)

    def decompose(g, input):
        return ~truth(input)


# ---- tests of elements




@elementwise("bool", inplace=False, out=False)
class isnan:
    """Whether an element is NaN (of a complex number: whether a part is). Source: torch.isnan."""

    def evaluate(input):
        return np.isnan(input)

    def decompose(g, input):
        return input.isnan() if _is_floating(input) else g.full(input.shape, False, dtypes.bool)


@elementwise("bool", inplace=False, out=False)
class isinf:
    """Whether an element is infinite, of either sign. Source: torch.isinf."""

    def evaluate(input):
        return np.isinf(input)

    def decompose(g, input):
        if not _is_floating(input):
            return g.full(input.shape, False, dtypes.bool)
        return is_infinite(input)


@elementwise("bool", inplace=False, out=False)
class isfinite:
    """Whether an element is neither infinite nor NaN. Source: torch.isfinite."""

    def evaluate(input):
        return np.isfinite(input)

    def decompose(g, input):
        if not _is_floating(input):
            return g.full(input.shape, True, dtypes.bool)
        return is_finite(input)


@elementwise("bool", inplace=False)
class isposinf:
    """Whether an element is positive infinity; complex numbers refused. Source: torch.isposinf."""

    refuse = refusing("isposinf", "complex", error=RuntimeError)

    def evaluate(input):
        if input.dtype.kind in "biu":
            return np.zeros(np.shape(input), bool)
        return np.equal(input, np.inf)

    def decompose(g, input):
        if not _is_floating(input):
            return g.full(input.shape, False, dtypes.bool)
        return input.eq(INFINITY)


@elementwise("bool", inplace=False)
class isneginf:
    """Whether an element is negative infinity; complex numbers refused. Source: torch.isneginf."""

    refuse = refusing("isneginf", "complex", error=RuntimeError)

    def evaluate(input):
        if input.dtype.kind in "biu":
            return np.zeros(np.shape(input), bool)
        return np.equal(input, -np.inf)

    def decompose(g, input):
        if not _is_floating(input):
            return g.full(input.shape, False, dtypes.bool)
        return input.eq(-INFINITY)


@elementwise("bool", inplace=False, out=False)
class isreal:
    """Whether the imaginary part is zero. Source: torch.isreal."""

    def evaluate(input):
        return np.isreal(input)

    def decompose(g, input):
        return g.full(input.shape, True, dtypes.bool)


# ---- closeness


@operator(where=(), name="isclose")
class close:
    """``|input - other| <= atol + rtol * |other|``; the tolerances are run-time inputs."""

    tensors = 4
    widen = True

    def call(input, other, rtol, atol):
        return apply(close.operator, (input, other, rtol, atol))

    def infer(input, other, rtol, atol, equal_nan):
        return broadcast_meta((input, other), dtypes.bool)

    def evaluate(input, other, rtol, atol, equal_nan):
        same = np.equal(input, other)
        if equal_nan:
            same = same | (np.isnan(input) & np.isnan(other))
        if not rtol and not atol:
            return same
        if input.dtype.kind in "biu":
            input, other = np.asarray(input, np.float64), np.asarray(other, np.float64)
        error = np.abs(input - other)
        return same | (np.isfinite(error) & (error <= atol + np.abs(rtol * other)))

    def decompose(g, input, other, rtol, atol, equal_nan):
        same = input.eq(other)
        if _is_floating(input):
            if equal_nan:
                same = same | (input.isnan() & other.isnan())
        else:
            input, other = input.cast(dtypes.float64), other.cast(dtypes.float64)
        error = (input - other).abs()
        return same | (is_finite(error) & (error <= (other * rtol).abs() + atol))


@composite(out=False)
def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether ``|input - other| <= atol + rtol * |other|``, element by element.

    Both must have the same dtype (RuntimeError). Source: torch.isclose.

    >>> import suiren as torch
    >>> torch.isclose(torch.tensor([1., 2.]), torch.tensor([1.000001, 2.1]))
    tensor([ True, False])
    """
    require_same_dtype("isclose", input, other)
    if rtol < 0 or atol < 0:
        raise RuntimeError(
            f"isclose: rtol and atol must not be below zero, got rtol={rtol}, atol={atol}"
        )
    return apply(close.operator, (input, other, rtol, atol), (bool(equal_nan),))


@composite(out=False)
def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether :func:`isclose` holds for all elements: a Python bool. Source: torch.allclose."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


@composite(out=False)
def equal(input, other):
    """Whether shapes and all elements are equal: a Python bool. Source: torch.equal.

    >>> import suiren as torch
    >>> torch.equal(torch.tensor([1, 2]), torch.tensor([1, 2]))
    True
    """
    if input._meta.shape != other._meta.shape:
        return False
    return bool(np.equal(input.peek(), other.peek()).all())


# ---- membership


@operator(where=(), name="isin")
class member:
    """Whether each element of the first is among those of the second."""

    tensors = 2

    def call(elements, test_elements, invert):
        return apply(member.operator, (elements, test_elements), (invert,))

    def infer(elements, test_elements, invert):
        return meta(elements.shape, dtypes.bool)

    def evaluate(elements, test_elements, invert):
        return np.isin(elements, test_elements, invert=invert)


@composite(where=("torch",))
def isin(elements, test_elements, *, assume_unique=False, invert=False):
    """Whether each of ``elements`` is among ``test_elements`` (one of them may be a number).

    ``invert`` answers whether it is not; ``assume_unique`` is a promise that is not needed here.
    Source: torch.isin.

    >>> import suiren as torch
    >>> torch.isin(torch.tensor([1, 2, 3]), torch.tensor([2, 3]))
    tensor([False,  True,  True])
    """
    for x in (elements, test_elements):
        if isinstance(x, Tensor) and x._meta.dtype.is_complex:
            raise RuntimeError(
                "Unsupported input type encountered for isin(): complex numbers have no order"
            )
    if elements.__class__ in NUMBERS and not isinstance(test_elements, Tensor):
        raise TypeError("isin(): one of elements and test_elements must be a tensor")
    if elements.__class__ in NUMBERS:
        elements = fill((), elements, dtypes.of_number(elements.__class__))
    if test_elements.__class__ in NUMBERS:
        test_elements = fill((), test_elements, dtypes.of_number(test_elements.__class__))
    return member(elements, test_elements, bool(invert))
