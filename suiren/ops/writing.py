"""Writing whole tensors: copy_, fill_ and zero_, with what they are to autograd.

A write makes the new contents first and hands them to ``suiren.views.assign``. The gradient of
what was overwritten is zero. Source: PyTorch's Tensor.copy_, Tensor.fill_ and Tensor.zero_ pages.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from suiren import dtypes
from suiren.autograd.graph import connect
from suiren.autograd.mode import mode
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.creation import fill_number, filled
from suiren.ops.lowering import converted
from suiren.ops.parts import expand
from suiren.ops.views import full_like_meta
from suiren.tensor import Tensor, new_tensor, value_of
from suiren.views import alias, assign


@operator(where=(), name="copy", node_name="CopyBackwards")
class copy_step:
    """What ``copy_`` and ``fill_`` are to autograd: the old contents give way to the new."""

    tensors = 2

    def call(input, src):
        return apply(copy_step.operator, (input, src))

    def infer(input, src):
        return input.flat

    def evaluate(input, src):
        return np.broadcast_to(np.asarray(src), input.shape).astype(input.dtype)

    def decompose(g, input, src):
        return converted(src, input.dtype).expand(*input.shape)

    def grad_input(grad, input_meta):
        return full_like_meta(input_meta)

    def grad_src(grad):
        return grad


def copied(target: Tensor, source: Tensor) -> Tensor:
    """``source`` in the dtype and shape of ``target``, as the next contents of ``target``."""
    mine, other = target._meta, source._meta
    differentiate = mode.grad and (target.requires_grad or source.requires_grad)
    contents = source
    if differentiate and source._requires_grad:
        contents = alias(source)
    if other.dtype is not mine.dtype:
        contents = contents.to(mine.dtype)
    if other.shape != mine.shape:
        contents = expand(contents, mine.shape)
    if contents is source and not differentiate:
        return source
    if not differentiate:
        return contents
    result = new_tensor(value_of(contents), mine.flat)
    if mine.dtype.category >= dtypes.FLOATING:
        connect(copy_step.operator, (), (target, source), (mine, other), (result,))
    return result


@composite(where=("Tensor",), name="copy_")
def copy_(self, src, non_blocking=False):
    """Writes the elements of ``src``, broadcast and converted, into this tensor.

    Source: Tensor.copy_.

    >>> import suiren as torch
    >>> torch.zeros(2).copy_(torch.tensor([1, 2]))
    tensor([1., 2.])
    """
    if not isinstance(src, Tensor):
        raise TypeError(f"copy_(): argument 'src' must be Tensor, not {type(src).__name__}")
    return assign(self, copied(self, src), "copy_")


@composite(where=("torch", "Tensor"), name="copy", out=False)
def copy(input, src, non_blocking=False):
    """``input`` with its elements replaced by those of ``src``. Source: torch.copy."""
    return input.clone().copy_(src)


@operator(where=(), name="fill")
class fill_step:
    """One number in every place of a tensor."""

    tensors = 2

    def call(input, value):
        return apply(fill_step.operator, (input, value))

    def infer(input, value):
        return input.flat

    def evaluate(input, value):
        if input.dtype.kind in "iu" and isinstance(value, int):
            value = np.array(value).astype(input.dtype)
        return np.full(input.shape, value, input.dtype)

    def decompose(g, input, value):
        return value.cast(input.dtype).expand(*input.shape)

    def grad_input(grad, input_meta):
        return full_like_meta(input_meta)

    def grad_value(grad):
        return grad.sum()


@operator(where=(), name="zero")
class zero_step:
    """What ``zero_`` is to autograd: no gradient goes past it."""

    def call(input):
        return apply(zero_step.operator, (input,))

    def infer(input):
        return input.flat

    def evaluate(input):
        return np.zeros_like(input)

    def decompose(g, input):
        return g.full(input.shape, 0, input.dtype)

    def grad_input(grad, input_meta):
        return full_like_meta(input_meta)


@composite(out=False, name="fill")
def filled_with(input, value):
    """``input`` with the number ``value`` in every place. Source: torch.fill.

    >>> import suiren as torch
    >>> torch.zeros(2).fill_(3)
    tensor([3., 3.])
    """
    return _filled_like(input, value)


def _filled_like(input: Tensor, value: Any) -> Tensor:
    kind = input._meta
    if isinstance(value, Tensor):
        if value._meta.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with "
                f"{value._meta.ndim} dimensions."
            )
        value = value.to(kind.dtype)
    else:
        value, _ = fill_number(value, kind.dtype, "fill")
    needs = input.requires_grad or isinstance(value, Tensor)
    if needs and (mode.grad or isinstance(value, Tensor)):
        return apply(fill_step.operator, (input, value))
    return apply(filled.operator, (value,), (kind.flat,))


@composite(where=("torch", "Tensor"), name="fill_", out=False)
def fill_(input, value):
    """Writes the number ``value`` into every place. Source: Tensor.fill_."""
    return assign(input, _filled_like(input, value), "fill_")


@composite(where=("torch", "Tensor"), name="zero_", out=False)
def zero_(input):
    """Writes zeros into every place. Source: Tensor.zero_."""
    if mode.grad and input.requires_grad:
        return assign(input, apply(zero_step.operator, (input,)), "zero_")
    return assign(input, apply(filled.operator, (0,), (input._meta.flat,)), "zero_")


@composite(where=("Tensor",), name="fill_diagonal_", out=False)
def fill_diagonal_(input, fill_value, wrap=False):
    """Writes the number ``fill_value`` where all indices are equal.

    ``wrap``: a tall matrix has a diagonal again below each free row. Raises RuntimeError for fewer
    than two dimensions, and for more than two of differing size. Source: Tensor.fill_diagonal_.

    >>> import suiren as torch
    >>> torch.zeros(2, 3).fill_diagonal_(5)
    tensor([[5., 0., 0.],
            [0., 5., 0.]])
    """
    m = input._meta
    if m.ndim < 2:
        raise RuntimeError(
            "dimensions must larger than 1: fill_diagonal_ got a tensor of shape "
            f"{list(m.shape)}"
        )
    if m.ndim > 2 and len(set(m.shape)) > 1:
        raise RuntimeError(
            "all dimensions of input must be of equal length: fill_diagonal_ got a tensor of shape "
            f"{list(m.shape)}"
        )
    height, width = m.shape[:2]
    starts = range(0, height, width + 1) if wrap and m.ndim == 2 else (0,)
    for start in starts:
        part = input[start:] if start else input
        for _ in range(m.ndim - 1):
            part = part.diagonal(0, 0, -1)
        part.fill_(fill_value)
    return input
