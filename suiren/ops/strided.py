"""as_strided: any sizes, strides and offset over the memory of a tensor.

The one view that looks at memory and not at its parent's elements. Source: torch.as_strided.
"""

from __future__ import annotations

from math import prod

import numpy as np

from suiren.autograd.graph import connect
from suiren.autograd.mode import mode
from suiren.dispatch import apply
from suiren.operator import operator
from suiren.ops.lowering import flat_positions, narrow, put_slice, row_major
from suiren.ops.views import full_like_meta, permute, reshaped, sizes_of, zeros_of
from suiren.tensor import Tensor
from suiren.trace import meta
from suiren.views import alias, base_of, make_view, offset_of


def _flat_steps(source: Tensor) -> Tensor:
    """The whole storage as one dimension, in memory order."""
    root = source._storage.meta
    view = source._view
    if source._meta.dtype is not root.dtype or (
        view is not None and any("conj" in step[0].name for step in view.steps)
    ):
        raise NotImplementedError(
            f"as_strided: elements outside a tensor of {source._meta.dtype} that reads the bits "
            f"of {root.dtype} memory in another way (view(dtype), real, imag, conj), or a tensor "
            "of that kind with gaps, are not supported; clone() it first"
        )
    base = base_of(source)
    flat = source if base is None else base
    if flat._view is not None:  # the detached form of a view: its memory, not its history
        flat = alias(flat)
        flat._meta = root
        flat._view = None
    if not root.contiguous:
        order = sorted(range(root.ndim), key=lambda d: (-root.strides[d], d))
        flat = permute(flat, order)
    if root.ndim != 1:
        flat = make_view(
            reshaped.operator, flat, ((root.numel,),), root.flat.like((root.numel,)), 0
        )
    return flat


@operator(out=False)
class as_strided:
    """The memory of ``input`` seen with any sizes, strides and offset (in elements).

    Source: torch.as_strided.

    >>> import suiren as torch
    >>> torch.arange(5).as_strided((2, 2), (2, 1))
    tensor([[0, 1],
            [2, 3]])
    """

    def call(input, size, stride, storage_offset=None):
        size, stride = sizes_of((size,)), sizes_of((stride,))
        if len(size) != len(stride):
            raise RuntimeError(
                f"mismatch in length of strides and shape: as_strided got {len(size)} sizes and "
                f"{len(stride)} strides"
            )
        if any(s < 0 for s in stride):
            raise RuntimeError(f"as_strided: Negative strides are not supported, got {stride}")
        if any(s < 0 for s in size):
            raise RuntimeError(f"as_strided got a negative size: {size}")
        offset = offset_of(input) if storage_offset is None else storage_offset
        if offset < 0:
            raise RuntimeError(f"Tensor: invalid storage offset {offset}")
        old = input._meta
        held = _held(input)
        reach = offset + 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if prod(size) and reach > held:
            raise RuntimeError(
                f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset} "
                f"require {reach} elements, which are out of bounds for storage of {held} elements"
            )
        seen = meta(size, old.dtype, old.device, stride)
        first = offset_of(input)
        if input._view is None:
            flat = _flat_steps(input)
        elif old.contiguous and first <= offset and max(reach, offset) <= first + old.numel:
            # nothing but elements of the input: a part of it, whatever steps led to it
            flat, place = reshaped(input, (old.numel,)), (size, stride, offset - first)
            return make_view(as_strided.operator, flat, place, seen, offset)
        else:
            flat = _flat_steps(input)
        result = make_view(as_strided.operator, flat, (size, stride, offset), seen, offset)
        if input._view is not None and input._requires_grad and mode.grad:
            # what lies outside the input is a constant to it
            window = (held, tuple(old.strides), first)
            connect(
                _as_strided_elsewhere.operator, (size, stride, offset, *window), (input,), (old,),
                (result,),
            )  # fmt: skip
            result._view.origin = "elsewhere"
        return result

    def infer(input, size, stride, offset):
        return meta(size, input.dtype, input.device, stride)

    def evaluate(input, size, stride, offset):
        flat = np.ascontiguousarray(input)
        item = flat.itemsize
        return np.lib.stride_tricks.as_strided(
            flat[offset:], size, tuple([s * item for s in stride]), writeable=False
        )

    def decompose(g, input, size, stride, offset):
        flat = input.reshape(input.numel)
        count = prod(size)
        if list(stride) == row_major(size) or count <= 1:
            return narrow(g, flat, 0, offset if count else 0, count).reshape(*size)
        return g.take(flat, flat_positions(g, size, stride, offset), 0, checked=True)

    def grad_input(grad, input_meta, size, stride, offset):
        zeros = full_like_meta(input_meta)
        return apply(as_strided_add.operator, (zeros, grad), (size, stride, offset))

    def write(parent, new, size, stride, offset):
        return apply(as_strided_scatter.operator, (parent, new), (size, stride, offset))


def _held(source: Tensor) -> int:
    """How many elements of the source's dtype its storage has room for."""
    root = source._storage.meta
    return root.numel * root.dtype.itemsize // source._meta.dtype.itemsize


@operator(where=(), name="as_strided_elsewhere", node_name="AsStridedBackward0")
class _as_strided_elsewhere:
    """The place in the graph of an as_strided view that shows more than its input.

    ``held`` is the length of the storage; ``strides`` and ``first`` are the input's own. It is
    never recorded: the view is a step from the storage.
    """

    def call(input, size, stride, offset, held, strides, first):
        return as_strided(input, size, stride, offset)

    def infer(input, size, stride, offset, held, strides, first):
        return meta(size, input.dtype, input.device, stride)

    def evaluate(input, size, stride, offset, held, strides, first):
        raise AssertionError("Suiren's own fault: as_strided_elsewhere was recorded")

    def grad_input(grad, input_meta, size, stride, offset, held, strides, first):
        shape = tuple(input_meta.shape)
        zeros = zeros_of(grad._meta.like((held,)))
        found = apply(as_strided_add.operator, (zeros, grad), (size, stride, offset))
        if any(n > 1 and s == 0 for n, s in zip(shape, strides, strict=True)):
            # elements that the input shows several times share what comes to their memory
            ones = zeros_of(grad._meta.like(shape)) + 1
            times = apply(as_strided_add.operator, (zeros, ones), (shape, strides, first))
            found = found / times.clamp(min=1)
        return apply(as_strided.operator, (found,), (shape, strides, first))


def _positions(length, size, stride, offset):
    return np.lib.stride_tricks.as_strided(
        np.arange(length)[offset:], size, tuple([8 * s for s in stride])
    )


@operator(where=())
class as_strided_scatter:
    """The flat ``input`` with ``src`` written where an as_strided view of it looks."""

    tensors = 2
    consumes = 0

    def call(input, src, size, stride, offset):
        return apply(as_strided_scatter.operator, (input, src), (size, stride, offset))

    def infer(input, src, size, stride, offset):
        return input.flat

    def evaluate(input, src, size, stride, offset):
        if src.size:
            item = input.itemsize
            seen = np.lib.stride_tricks.as_strided(
                input[offset:], size, tuple([s * item for s in stride])
            )
            seen[...] = src
        return input

    def decompose(g, input, src, size, stride, offset):
        count = src.numel
        if list(stride) == row_major(size) or count <= 1:
            return put_slice(g, input, src.reshape(count), 0, offset)
        index = flat_positions(g, size, stride, offset).reshape(count)
        return g.scatter("set", input, index, src.reshape(count), 0, checked=True)

    def grad_input(grad, src_meta, size, stride, offset):
        zeros = full_like_meta(src_meta)
        return apply(as_strided_scatter.operator, (grad, zeros), (size, stride, offset))

    def grad_src(grad, size, stride, offset):
        return apply(as_strided.operator, (grad,), (size, stride, offset))


@operator(where=())
class as_strided_add:
    """The flat ``input`` plus ``src`` added where an as_strided view of it looks."""

    tensors = 2
    consumes = 0

    def call(input, src, size, stride, offset):
        return apply(as_strided_add.operator, (input, src), (size, stride, offset))

    def infer(input, src, size, stride, offset):
        return input.flat

    def evaluate(input, src, size, stride, offset):
        if src.size:
            np.add.at(input, _positions(input.size, size, stride, offset), src)
        return input

    def decompose(g, input, src, size, stride, offset):
        index = flat_positions(g, size, stride, offset).reshape(src.numel)
        return g.scatter("add", input, index, src.reshape(src.numel), 0, checked=True)

    def grad_input(grad):
        return grad

    def grad_src(grad, size, stride, offset):
        return apply(as_strided.operator, (grad,), (size, stride, offset))
