"""Addition, multiplication, division: the arithmetic of Python's operators.

Powers are in ``powers.py``, larger and smaller in ``extremes.py``.
Source: PyTorch's torch.add, torch.sub, torch.mul, torch.div pages.
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import composite, overloaded
from suiren.ops.casts import to_dtype
from suiren.ops.elementwise import elementwise, result_type_of
from suiren.ops.lowering import exact, is_number, type_of
from suiren.ops.refusals import checked_call, conj, is_meta, refusing, require_tensors, zeros_as
from suiren.tensor import Tensor
from suiren.trace import Meta

_PYTHON_BOOL = True.__class__


def _scaled(input, other, alpha):
    """``alpha * other`` for a sum with ``input``."""
    if alpha.__class__ is int and alpha == 1:
        return other
    common = result_type_of([x._meta if isinstance(x, Tensor) else x.__class__
                             for x in (input, other)])  # fmt: skip
    if alpha.__class__ is bool and common is not dtypes.bool:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, float) and common.category < dtypes.FLOATING:
        raise RuntimeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )
    if isinstance(alpha, complex) and not common.is_complex:
        raise RuntimeError(
            "For non-complex input tensors, argument alpha must not be a complex number."
        )
    if common is dtypes.bool:
        return other if alpha else mul(other, False)
    if isinstance(other, Tensor):
        return mul(to_dtype(other, common), alpha)
    return other * alpha


@elementwise("same")
class add:
    """``input + alpha * other``, broadcast and promoted.

    Source: torch.add.

    >>> import suiren as torch
    >>> torch.add(torch.tensor([1, 2]), 10, alpha=2)
    tensor([21, 22])
    """

    def call(input, other, *, alpha=1):
        return apply(add.operator, (input, _scaled(input, other, alpha)))

    def evaluate(input, other):
        return np.add(input, other)

    def decompose(g, input, other):
        if type_of(input, other) is dtypes.bool:
            return input | other
        return input + other

    def grad_input(grad):
        return grad

    def grad_other(grad):
        return grad


@elementwise("same", aliases=("subtract",))
class sub:
    """``input - alpha * other``, broadcast and promoted; truth values are refused.

    Source: torch.sub.

    >>> import suiren as torch
    >>> torch.tensor([1., 2.]) - 3
    tensor([-2., -1.])
    """

    def node_name_of(metas, attributes):
        return "SubBackward0" if isinstance(metas[0], Meta) else "RsubBackward1"

    def call(input, other, *, alpha=1):
        return apply(sub.operator, (input, _scaled(input, other, alpha)))

    def refuse(common, metas):
        if common is dtypes.bool:
            raise RuntimeError(
                "Subtraction, the `-` operator, with two bool tensors is not supported. "
                "Use the `^` or `logical_xor()` operator instead."
            )
        if any(m is _PYTHON_BOOL or (is_meta(m) and m.dtype is dtypes.bool) for m in metas):
            raise RuntimeError(
                "Subtraction, the `-` operator, with a bool tensor is not supported. If you are "
                "trying to invert a mask, use the `~` or `logical_not()` operator instead."
            )

    def evaluate(input, other):
        return np.subtract(input, other)

    def grad_input(grad):
        return grad

    def grad_other(grad):
        return -grad


@elementwise("same", aliases=("multiply",))
class mul:
    """``input * other``, broadcast and promoted.

    Source: torch.mul.

    >>> import suiren as torch
    >>> torch.tensor([1., 2.]) * torch.tensor([[2.], [3.]])
    tensor([[2., 4.],
            [3., 6.]])
    """

    def evaluate(input, other):
        return np.multiply(input, other)

    def decompose(g, input, other):
        if type_of(input, other) is dtypes.bool:
            return input & other
        return input * other

    def grad_input(grad, other):
        return grad * conj(other)

    def grad_other(grad, input):
        return grad * conj(input)


@elementwise("same", aliases=("negative",))
class neg:
    """``-input``; truth values are refused. Source: torch.neg."""

    def refuse(common, metas):
        if common is dtypes.bool:
            raise RuntimeError(
                "Negation, the `-` operator, on a bool tensor is not supported. "
                "Use the `~` or `logical_not()` operator instead."
            )

    def evaluate(input):
        return np.negative(input)

    def grad_input(grad):
        return -grad


@elementwise("float", name="div", where=())
class quotient:
    """``input / other`` in floating point."""

    def evaluate(input, other):
        return np.true_divide(input, other)

    def grad_input(grad, other):
        return grad / conj(other)

    def grad_other(grad, input, other):
        return -grad * conj(input / other / other)


def _integer_division(function):
    """The function with PyTorch's error for whole numbers divided by zero."""

    def evaluate(input, other):
        if np.asarray(input).dtype.kind in "iu" and not np.all(other):
            raise RuntimeError(
                "ZeroDivisionError: an integer tensor was divided by a tensor with zeros in it; "
                "convert to floating point for infinities"
            )
        return function(input, other)

    return evaluate


def _truncated(input, other):
    if np.asarray(input).dtype.kind not in "iu":
        return np.trunc(np.true_divide(input, other))
    rest = np.fmod(input, other)  # has the sign of the input, as C has it
    return np.floor_divide(np.subtract(input, rest), other)


def _remainder(input, other):
    if np.result_type(input, other).kind in "iu":
        return np.remainder(input, other)
    # as np.remainder, but a zero keeps the sign of the input
    rest = np.fmod(input, other)
    wrong_side = (rest != 0) & (np.less(other, 0) != np.less(rest, 0))
    return np.where(wrong_side, rest + other, rest)


@elementwise("same", where=(), inplace=False, arguments=("input", "other"))
class div_trunc:
    """``input / other`` rounded toward zero."""

    node_name = "DivBackward2"
    refuse = refusing("div_trunc_cpu", "bool", "complex")
    evaluate = _integer_division(_truncated)

    def decompose(g, input, other):
        if type_of(input, other).category < dtypes.FLOATING:
            g.check(other.ne(0))
            return g.map("trunc_div", input, other)
        return (input / other).trunc()

    def grad_input(grad):
        return zeros_as(grad)

    def grad_other(grad):
        return zeros_as(grad)


@elementwise("same", where=(), inplace=False, arguments=("input", "other"))
class div_floor:
    """``input / other`` rounded down."""

    node_name = "DivBackward2"
    refuse = refusing("div_floor_cpu", "bool", "complex")
    evaluate = _integer_division(np.floor_divide)

    def decompose(g, input, other):
        if type_of(input, other).category < dtypes.FLOATING:
            g.check(other.ne(0))
            return g.map("floor_div", input, other)
        # as C and Python: from the exact remainder, so that 1 // 0.1 is 9
        quotient = input / other
        rest = g.map("fmod", input, other)
        wrong_side = rest.ne(0) & ((rest < 0) ^ (other < 0))
        whole = (input - rest) / other
        whole = g.where(wrong_side, whole - 1, whole)
        down = whole.floor()
        down = g.where(whole - down > 0.5, down + 1, down)
        down = g.where(whole.eq(0), g.map("copysign", 0, quotient).cast(down.dtype), down)
        return g.where(other.eq(0), quotient, down)

    def grad_input(grad):
        return zeros_as(grad)

    def grad_other(grad):
        return zeros_as(grad)


@composite(inplace=True, aliases=("divide",))
def div(input, other, *, rounding_mode=None):
    """``input / other``; with ``rounding_mode`` "trunc" or "floor" rounded to whole numbers.

    Without rounding the result is floating. Division by zero gives infinities or NaN in floating
    point; rounded division of integers by zero raises RuntimeError when it is computed.
    Source: torch.div.

    >>> import suiren as torch
    >>> torch.div(torch.tensor([7., -7.]), 2, rounding_mode="floor")
    tensor([ 3., -4.])
    """
    if rounding_mode is None:
        return apply(quotient.operator, (input, other))
    if rounding_mode == "floor":
        return apply(div_floor.operator, (input, other))
    if rounding_mode == "trunc":
        return apply(div_trunc.operator, (input, other))
    raise RuntimeError(
        "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
        f"'{rounding_mode}'"
    )


@composite(inplace=True)
def true_divide(input, other):
    """``input / other`` in floating point: ``torch.div``. Source: torch.true_divide."""
    return apply(quotient.operator, (input, other))


@composite(inplace=True)
def floor_divide(input, other):
    """``input / other`` rounded down. Source: torch.floor_divide.

    >>> import suiren as torch
    >>> torch.floor_divide(torch.tensor([7, -7]), 2)
    tensor([ 3, -4])
    """
    return apply(div_floor.operator, (input, other))


@elementwise("same", arguments=("input", "other"))
class remainder:
    """What is left of ``input / other`` rounded down: it has the sign of ``other``.

    Integers modulo zero raise RuntimeError when it is computed; floats give NaN.
    Source: torch.remainder.

    >>> import suiren as torch
    >>> torch.remainder(torch.tensor([-3., 4.]), 3)
    tensor([-0., 1.])
    """

    node_name_of = overloaded("Remainder")
    refuse = refusing("remainder_cpu", "bool", "complex")
    evaluate = _integer_division(_remainder)

    def decompose(g, input, other):
        if type_of(input, other).category < dtypes.FLOATING:
            g.check(other.ne(0))
            return g.map("remainder", input, other)
        rest = g.map("fmod", input, other)
        wrong_side = rest.ne(0) & ((rest < 0) ^ (other < 0))
        return g.where(wrong_side, rest + other, rest)

    def grad_input(grad):
        return grad

    def grad_other(grad, input, other):
        return -grad * div(input, other, rounding_mode="floor")


@elementwise("same", arguments=("input", "other"))
class fmod:
    """What is left of ``input / other`` rounded toward zero: it has the sign of ``input``.

    Source: torch.fmod.

    >>> import suiren as torch
    >>> torch.fmod(torch.tensor([-4., 4.]), 3)
    tensor([-1.,  1.])
    """

    node_name_of = overloaded("Fmod")
    refuse = refusing("fmod_cpu", "bool", "complex")
    call = checked_call("fmod", lambda: fmod, both=False)
    evaluate = _integer_division(np.fmod)

    def decompose(g, input, other):
        if type_of(input, other).category < dtypes.FLOATING:
            g.check(other.ne(0))
        return g.map("fmod", input, other)

    def grad_input(grad):
        return grad

    def grad_other(grad, input, other):
        return -grad * div(input, other, rounding_mode="trunc")


@composite(where=("torch",))
def rsub(input, other, *, alpha=1):
    """``other - alpha * input``. Source: torch.rsub."""
    require_tensors("rsub", input=input)
    return sub(other, input, alpha=alpha)


@elementwise("float")
class reciprocal:
    """``1 / input``. Source: torch.reciprocal."""

    def evaluate(input):
        return np.reciprocal(input)

    def decompose(g, input):
        return 1 / input

    def grad_input(grad, result):
        return -grad * conj(result * result)


# ---- products in one step, as optimizers write them


def _value_fits(name: str):
    def refuse(common, metas):
        if common is dtypes.bool:
            raise NotImplementedError(f'"{name}_cpu_out" not implemented for \'Bool\'')

    return refuse


@elementwise("same")
class addcmul:
    """``input + value * tensor1 * tensor2``. Source: torch.addcmul.

    >>> import suiren as torch
    >>> torch.addcmul(torch.ones(2), torch.tensor([1., 2.]), torch.tensor([3., 4.]), value=0.5)
    tensor([2.5000, 5.0000])
    """

    refuse = _value_fits("addcmul")

    def call(input, tensor1, tensor2, *, value=1):
        value = _whole_value(value, (input, tensor1, tensor2))
        return apply(addcmul.operator, (input, tensor1, tensor2, value))

    def evaluate(input, tensor1, tensor2, value):
        return input + value * tensor1 * tensor2

    def decompose(g, input, tensor1, tensor2, value):
        return input + tensor1 * value * tensor2

    def grad_input(grad):
        return grad

    def grad_tensor1(grad, tensor2, value):
        return grad * conj(tensor2 * value)

    def grad_tensor2(grad, tensor1, value):
        return grad * conj(tensor1 * value)


@elementwise("same")
class addcdiv:
    """``input + value * tensor1 / tensor2``, in floating point. Source: torch.addcdiv.

    >>> import suiren as torch
    >>> torch.addcdiv(torch.ones(2), torch.tensor([1., 2.]), torch.tensor([2., 4.]), value=2)
    tensor([2., 2.])
    """

    refuse = _value_fits("addcdiv")

    def call(input, tensor1, tensor2, *, value=1):
        if tensor1._meta.dtype.category < 2 and tensor2._meta.dtype.category < 2:
            raise RuntimeError(
                "Integer division with addcdiv is no longer supported: tensor1 and tensor2 are "
                f"{tensor1._meta.dtype} and {tensor2._meta.dtype}; convert one to floating point, "
                "or write input + value * torch.trunc(tensor1 / tensor2)"
            )
        return apply(addcdiv.operator, (input, tensor1, tensor2, value))

    def evaluate(input, tensor1, tensor2, value):
        return input + value * tensor1 / tensor2

    def decompose(g, input, tensor1, tensor2, value):
        return input + tensor1 * value / tensor2

    def grad_input(grad):
        return grad

    def grad_tensor1(grad, tensor2, value):
        return grad * conj(value / tensor2)

    def grad_tensor2(grad, tensor1, tensor2, value):
        return -grad * conj(value * tensor1 / (tensor2 * tensor2))


def _whole_value(value, tensors):
    """The factor of a sum of integers as an integer, cut off as PyTorch does it."""
    if isinstance(value, float) and all(t._meta.dtype.category < 2 for t in tensors):
        return int(value)
    return value


@elementwise("same")
class lerp:
    """From ``input`` to ``end`` by ``weight``: ``input + weight * (end - input)``.

    ``input`` and ``end`` have the same floating dtype, ``weight`` is a number or such a tensor.
    For weights from one half on it is counted from ``end``, so that 1 gives exactly ``end``.
    Source: torch.lerp.

    >>> import suiren as torch
    >>> torch.lerp(torch.tensor([0., 10.]), torch.tensor([10., 20.]), 0.5)
    tensor([ 5., 15.])
    """

    refuse = refusing("lerp_kernel_scalar", "bool", "integers")

    def call(input, end, weight):
        kind = input._meta.dtype
        for name, tensor in (("end", end), ("weight", weight)):
            if isinstance(tensor, Tensor) and tensor._meta.dtype is not kind:
                if name == "weight" and not tensor._meta.ndim:
                    continue
                raise RuntimeError(
                    f"lerp: expected dtype {kind} for `{name}` but got dtype "
                    f"{tensor._meta.dtype}; convert it with .to()"
                )
        return apply(lerp.operator, (input, end, weight))

    def evaluate(input, end, weight):
        step = end - input
        if not hasattr(weight, "dtype"):
            near = abs(weight) < 0.5
            return input + weight * step if near else end - step * (1 - weight)
        near = np.abs(weight) < 0.5
        return np.where(near, input + weight * step, end - step * (1 - weight))

    def decompose(g, input, end, weight):
        step = end - input
        exactly = exact(weight, step.dtype)
        rest = (1 - exactly).cast(step.dtype) if is_number(weight) else 1 - weight
        return g.where(exactly.abs() < 0.5, input + step * weight, end - step * rest)

    def grad_input(grad, weight):
        return grad * conj(1 - weight)

    def grad_end(grad, weight):
        return grad * conj(weight)

    def grad_weight(grad, input, end):
        return grad * conj(end - input)
