"""Choosing between two tensors by a mask. Source: torch.where, Tensor.masked_fill."""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.dispatch import Casts, apply
from suiren.operator import NAMESPACES, composite, operator
from suiren.ops.casts import to_dtype
from suiren.ops.creation import fill
from suiren.ops.elementwise import NUMBERS, broadcast_meta, broadcast_shapes, result_type_of
from suiren.ops.lowering import truth
from suiren.ops.refusals import as_array
from suiren.tensor import Tensor
from suiren.trace import Meta, meta


@operator(where=(), name="where")
class select_by:
    """``input`` where ``condition`` is true, ``other`` elsewhere."""

    one_device = True
    tensors = 3

    def call(condition, input, other):
        return apply(select_by.operator, (condition, input, other))

    def infer(condition, input, other):
        metas = (input, other)
        for m in metas:
            if m.__class__ is not Meta and m not in NUMBERS:
                raise TypeError(f"where(): wants tensors and numbers, got {m.__name__}")
        common = result_type_of(metas)
        needed = [None if m.__class__ is not Meta or m.dtype is common else common for m in metas]
        if any(needed):
            return Casts((None, *needed))
        return broadcast_meta((condition, *metas), common)

    def evaluate(condition, input, other):
        input = as_array(input, other)
        return np.where(condition, input, as_array(other, input))

    def decompose(g, condition, input, other):
        return g.where(truth(condition), input, other)

    def grad_input(grad, condition):
        return where(condition, grad, 0)

    def grad_other(grad, condition):
        return where(condition, 0, grad)


@composite
def where(condition, input=None, other=None):
    """``input`` where ``condition`` is true, ``other`` elsewhere; all three are broadcast.

    ``condition`` is a bool tensor, the others are tensors or numbers, which are promoted together.
    Without them: the indices of the true elements, as ``nonzero(as_tuple=True)``.
    Raises RuntimeError for a condition that is not bool. Source: torch.where.

    >>> import suiren as torch
    >>> torch.where(torch.tensor([True, False]), torch.tensor([1., 2.]), 0.)
    tensor([1., 0.])
    """
    if input is None and other is None:
        return NAMESPACES["torch"]["nonzero"](condition, as_tuple=True)
    if not isinstance(condition, Tensor):
        raise TypeError(
            "where(): argument 'condition' (position 1) must be Tensor, not "
            f"{type(condition).__name__}"
        )
    kind = condition._meta.dtype
    if kind is not dtypes.bool:
        if kind is not dtypes.uint8:
            raise RuntimeError(
                "where expected condition to be a boolean tensor, but got a tensor with dtype "
                f"{kind.letter_name}; compare it with something first, such as x != 0"
            )
        condition = to_dtype(condition, dtypes.bool)
    if input.__class__ in NUMBERS and other.__class__ in NUMBERS:
        common = result_type_of((input.__class__, other.__class__))
        input = fill((), input, common)
    return apply(select_by.operator, (condition, input, other))


def _where_method(input, condition, other):
    """``torch.where(condition, input, other)``. Source: Tensor.where."""
    return where(condition, input, other)


NAMESPACES["Tensor"]["where"] = _where_method


@operator(where=(), name="masked_fill")
class fill_masked:
    """``input`` with ``value`` (a number or a tensor of one element) where ``mask`` is true."""

    one_device = True
    tensors = 3

    def call(input, mask, value):
        return apply(fill_masked.operator, (input, mask, value))

    def infer(input, mask, value):
        shape = broadcast_shapes(input.shape, mask.shape)
        return broadcast_meta((input, mask), input.dtype) if shape else meta((), input.dtype)

    def evaluate(input, mask, value):
        if not isinstance(value, (bool, int, float, complex)):
            return np.where(mask, value.astype(input.dtype), input)
        return np.where(mask, np.asarray(value).astype(input.dtype), input)

    def decompose(g, input, mask, value):
        return g.where(truth(mask), value.cast(input.dtype), input)

    def grad_input(grad, mask):
        return apply(fill_masked.operator, (grad, mask, 0))

    def grad_value(grad, mask):
        return where(mask, grad, 0).sum()


@composite(inplace=True)
def masked_fill(input, mask, value):
    """``input`` with ``value`` where ``mask`` is true.

    ``mask`` is a bool tensor that broadcasts with ``input``; ``value`` a number or a tensor without
    dimensions. The dtype stays that of ``input``. Raises RuntimeError for other masks and values.
    Source: Tensor.masked_fill.

    >>> import suiren as torch
    >>> torch.tensor([1., 2.]).masked_fill(torch.tensor([True, False]), 0.)
    tensor([0., 2.])
    """
    kind = input._meta.dtype
    if mask._meta.dtype is not dtypes.bool:
        raise RuntimeError(
            "masked_fill_ only supports boolean masks, but got mask with dtype "
            f"{mask._meta.dtype}; compare it with something first, such as mask != 0"
        )
    if isinstance(value, Tensor):
        if value._meta.ndim:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value._meta.ndim} dimension(s); use torch.where for a value per element"
            )
        if value._meta.dtype.is_complex and not kind.is_complex:
            raise RuntimeError(
                f"masked_fill: a complex value cannot be written to a tensor of {kind}"
            )
    elif value.__class__ not in NUMBERS:
        if not hasattr(value, "item"):
            raise TypeError(f"masked_fill(): value must be a number, not {type(value).__name__}")
        value = value.item()
    if isinstance(value, complex) and not kind.is_complex:
        raise RuntimeError(f"value cannot be converted to type {kind} without overflow: {value}")
    return apply(fill_masked.operator, (input, mask, value))
