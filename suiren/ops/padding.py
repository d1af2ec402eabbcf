"""Padding: constant, reflected, replicated and circular. Source: torch.nn.functional.pad."""

from __future__ import annotations

from math import prod

import numpy as np

from suiren import dtypes
from suiren.autocast_state import casting
from suiren.autocasting import widened
from suiren.dispatch import apply
from suiren.interpreter import resize as kernels
from suiren.operator import composite, operator
from suiren.ops.lowering import added_at_positions, at_positions, inside, narrow


def _grown(shape, pad) -> list[int]:
    sizes = list(shape)
    for i in range(len(pad) // 2):
        at = len(sizes) - 1 - i
        sizes[at] += pad[2 * i] + pad[2 * i + 1]
        if sizes[at] < 0:
            raise RuntimeError(
                f"The input size {shape[at]}, plus negative padding {pad[2 * i]} and "
                f"{pad[2 * i + 1]} resulted in a negative output size, which is invalid: "
                f"dimension {at} of pad"
            )
    return sizes


@operator(where=("torch",), out=False)
class constant_pad_nd:
    """``input`` with ``value`` around it; ``pad`` counts from the last dimension, (before, after).

    Negative numbers cut. Source: torch.constant_pad_nd.
    """

    tensors = 2

    def call(input, pad, value=0):
        pad = tuple([p.__index__() for p in pad])
        if len(pad) % 2 or len(pad) > 2 * input._meta.ndim:
            raise RuntimeError(
                "Length of pad must be even and at most twice the number of dimensions of the "
                f"input: pad is {list(pad)}, the input has {input._meta.ndim} dimensions"
            )
        if input._meta.dtype.category < 2:
            value = int(value)
        return apply(constant_pad_nd.operator, (input, value), (pad,))

    def infer(input, value, pad):
        return input.like(shape=_grown(input.shape, pad))

    def evaluate(input, value, pad):
        shape = _grown(input.shape, pad)
        result = np.full(shape, np.asarray(value).astype(input.dtype), input.dtype)
        inner, source = [slice(None)] * len(shape), [slice(None)] * len(shape)
        for i in range(len(pad) // 2):
            before, after = pad[2 * i], pad[2 * i + 1]
            at = len(shape) - 1 - i
            inner[at] = slice(max(before, 0), shape[at] - max(after, 0))
            source[at] = slice(max(-before, 0), input.shape[at] - max(-after, 0))
        if result.size:
            target = result[(*inner, ...)]  # an array even of no dimensions
            if target.size:
                target[...] = input[tuple(source)]
        return result

    def decompose(g, input, value, pad):
        sides = [(0, 0)] * input.ndim
        for i in range(len(pad) // 2):
            before, after = pad[2 * i], pad[2 * i + 1]
            at = input.ndim - 1 - i
            first, last = max(-before, 0), max(-after, 0)
            if input.shape[at] < first + last:
                raise g.NotNative("more is cut away than there is")
            input = narrow(g, input, at, first, input.shape[at] - first - last)
            sides[at] = max(before, 0), max(after, 0)
        return inside(g, input, sides, value.cast(input.dtype))

    def grad_input(grad, pad):
        return constant_pad_nd(grad, [-p for p in pad], 0)


_NODES = {"reflect": "ReflectionPad", "replicate": "ReplicationPad", "circular": "CircularPad"}


def _define(mode: str, axes: int):
    node = f"{_NODES[mode]}{axes}DBackward0"

    @operator(where=(), name=f"{mode}_pad{axes}d", node_name=node)
    class grow:
        """The input with copies of its own elements around it."""

        def call(input, pad):
            return apply(grow.operator, (input,), (pad,))

        def infer(input, pad):
            kernels.check_padding(input.shape, pad, mode)
            return input.like(shape=_grown(input.shape, pad))

        def evaluate(input, pad):
            return kernels.pad_by_mode(input, pad, mode)

        def decompose(g, input, pad):
            return _grow(g, input, dict(kernels.padded_positions(input.shape, pad, mode)))

        def grad_input(grad, input_meta, pad):
            return gradient(grad, input_meta.shape, pad)

    @operator(where=(), name=f"{mode}_pad{axes}d_gradient", node_name=node[:-1] + "Backward0")
    class gradient:
        """The gradient of ``grow`` by its input."""

        def call(grad_output, shape, pad):
            return apply(gradient.operator, (grad_output,), (shape, pad))

        def infer(grad_output, shape, pad):
            return grad_output.like(shape=shape)

        def evaluate(grad_output, shape, pad):
            return kernels.pad_by_mode_gradient(grad_output, shape, pad, mode)

        def decompose(g, grad_output, shape, pad):
            kind = grad_output.dtype
            found = grad_output.cast(dtypes.float32) if kind.is_half else grad_output
            for axis, positions in kernels.padded_positions(shape, pad, mode):
                found = added_at_positions(g, found, axis, positions, shape[axis])
            return found.cast(kind)

        def grad_grad_output(grad, pad):
            return grow(grad, pad)

    return grow


def _grow(g, x, positions):
    """``x`` at these positions of its last dimensions: whole rows by table, then parts of rows."""
    last = x.ndim - 1
    outer = [d for d in sorted(positions) if d != last]
    if outer and x.numel:
        place = np.zeros(1, np.int64)  # of rows among those of these dimensions
        for d in outer:
            place = (place[:, None] * x.shape[d] + np.asarray(positions[d])).reshape(-1)
        before, after = x.shape[: outer[0]], x.shape[outer[-1] + 1 :]
        sizes = [len(positions[d]) for d in outer]
        rows = x.reshape(*before, prod(x.shape[d] for d in outer), *after)
        rows = g.take(rows, g.table(place.astype(np.int64)), outer[0], checked=True)
        x = rows.reshape(*before, *sizes, *after)
    return at_positions(g, x, last, positions[last]) if last in positions else x


_BY_MODE = {(mode, axes): _define(mode, axes) for mode in _NODES for axes in (1, 2, 3)}


@composite(where=("nn.functional",), out=False)
def pad(input, pad, mode="constant", value=None):
    """``input`` grown at the ends of its last dimensions.

    pad: (before, after) of the last dimension, then of the one before it, and so on; negative
    numbers cut. mode: "constant" (``value``, zero by default), "reflect", "replicate" or
    "circular"; these for the last one to three dimensions of an input with one or two more.
    Source: torch.nn.functional.pad.

    >>> import suiren as torch
    >>> torch.nn.functional.pad(torch.tensor([1., 2.]), (1, 2))
    tensor([0., 1., 2., 0., 0.])
    """
    pad = tuple([p.__index__() for p in pad])
    if mode == "constant":
        return constant_pad_nd(input, pad, 0 if value is None else value)
    if mode not in _NODES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value is not None and value != 0:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    axes, ndim = len(pad) // 2, input._meta.ndim
    if len(pad) % 2 or axes not in (1, 2, 3) or ndim not in (axes + 1, axes + 2):
        raise NotImplementedError(
            f"Padding size {len(pad)} is not supported for {ndim}D input tensor.\n"
            f"pad in mode {mode!r} takes 2, 4 or 6 numbers for the last 1, 2 or 3 dimensions of "
            "an input that has one or two dimensions more"
        )
    if casting and mode != "circular" and (mode, axes) != ("reflect", 3):
        (input,) = widened(input)
    return _BY_MODE[mode, axes](input, pad)
