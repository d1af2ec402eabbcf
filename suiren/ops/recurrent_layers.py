"""All steps of a recurrent layer in one direction, as one operator with one for its gradient.

Recorded step by step a sequence of thirty makes some hundred operators each way, and Python takes
as long for them as the processor for their arithmetic. Compiled, the steps are unrolled, and the
weight's gradient is one product over all of them. The gradient's gradient is composed of other
operators. The arithmetic of a step, with its sources, is in ``recurrent_formulas.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from suiren.autograd.mode import mode
from suiren.dispatch import apply
from suiren.operator import operator
from suiren.ops.recurrent_formulas import CELLS, Arrays, Nodes, Tensors, both
from suiren.trace import Meta, meta

# Steps. Unrolled, longer ones would take long to compile.
LONGEST = 256


@operator(where=(), name="recurrent_layer", node_name="StackBackward0")  # PyTorch's last node
class recurrent_layer:
    """All h, all c, and what the gradients need, of a layer over a sequence.

    given: (steps, batch, gates * hidden), the input's part of the gates; h, c: (batch, hidden),
    the first state, where c is None but for an LSTM; weight: (gates * hidden, hidden); bias:
    (gates * hidden,) or None. What a kind of cell does not have is an empty result.
    """

    tensors = 5
    results = 3
    lasting = True

    def call(given, h, c, weight, bias, kind, reverse):
        return apply(recurrent_layer.operator, (given, h, c, weight, bias), (kind, reverse))

    def infer(given, h, c, weight, bias, kind, reverse):
        steps, batch, size = given.shape
        hidden = h.shape[-1]
        if size != CELLS[kind].gates * hidden or h.shape != (batch, hidden):
            raise RuntimeError(
                f"{kind}: the gates' part by input {given} does not fit the state {h}: wanted "
                f"(steps, batch, {CELLS[kind].gates} * hidden) and (batch, hidden)"
            )
        hs = meta((steps, batch, hidden), given.dtype, given.device)
        nothing = meta((0,), given.dtype, given.device)
        # an argument that is not there comes as its class
        all_c = hs if isinstance(c, Meta) else nothing
        return hs, all_c, given.flat if kind in ("LSTM", "GRU") else nothing

    def evaluate(given, h, c, weight, bias, kind, reverse):
        found = _forward(Arrays, given, h, c, weight, bias, kind, reverse)
        return tuple([np.empty(0, given.dtype) if x is None else x for x in found])

    def decompose(g, given, h, c, weight, bias, kind, reverse):
        found = _forward(Nodes, given, h, c, weight, bias, kind, reverse)
        return tuple([g.full((0,), 0, given.dtype) if x is None else x for x in found])

    def backward(grads, given, h, c, weight, result0, result1, result2, kind, reverse):
        saved = given, h, c, weight, result0, result1, result2
        if mode.grad:
            return _backward(Tensors, *grads, *saved, kind, reverse)
        return _recurrent_layer_gradient(*grads, *saved, kind, reverse)


@operator(where=(), name="recurrent_layer_gradient")
class _recurrent_layer_gradient:
    """The gradients of recurrent_layer by its five arguments."""

    tensors = 10
    results = 5

    def call(*tensors_and_attributes):
        *tensors, kind, reverse = tensors_and_attributes
        return apply(_recurrent_layer_gradient.operator, tuple(tensors), (kind, reverse))

    def infer(by_hs, by_cs, by_kept, given, h, c, weight, hs, cs, kept, kind, reverse):
        bias = meta(weight.shape[:1], weight.dtype, weight.device)
        return given.flat, h.flat, h.flat, weight.flat, bias

    def evaluate(by_hs, by_cs, by_kept, given, h, c, weight, hs, cs, kept, kind, reverse):
        found = _backward(
            Arrays, by_hs, by_cs, by_kept, given, h, c, weight, hs, cs, kept, kind, reverse
        )
        return tuple([np.zeros_like(h) if x is None else x for x in found])

    def decompose(g, by_hs, by_cs, by_kept, given, h, c, weight, hs, cs, kept, kind, reverse):
        found = _backward(
            Nodes, by_hs, by_cs, by_kept, given, h, c, weight, hs, cs, kept, kind, reverse
        )
        return tuple([g.full(h.shape, 0, h.dtype) if x is None else x for x in found])


def _order(steps: int, reverse: bool) -> list[int]:
    return list(range(steps))[:: -1 if reverse else 1]


def _forward(f: Any, given, h, c, weight, bias, kind: str, reverse: bool) -> list[Any]:
    """All h, all c and all that is kept; None for what there is not."""
    cell, turned = CELLS[kind], f.turned(weight)
    found: list[Any] = []
    for step in _order(given.shape[0], reverse):
        state = f.product(h, turned)
        if bias is not None:
            state = bias + state
        h, c, kept = cell.step(f, f.at(given, step), state, h, c)
        found.append((h, c, kept))
    if reverse:
        found.reverse()
    columns = zip(*found, strict=True)
    return [None if column[0] is None else f.stacked(column) for column in columns]


def _backward(
    f: Any, by_hs, by_cs, by_kept, given, h, c, weight, hs, cs, kept, kind: str, reverse: bool
) -> tuple[Any, ...]:
    """The gradients by given, h, c, weight and bias; that by c None where there is no c."""
    cell, steps = CELLS[kind], _order(given.shape[0], reverse)
    by_h = by_c = None
    by_given: list[Any] = []
    by_state: list[Any] = []
    for number in reversed(range(len(steps))):
        step = steps[number]
        now = [_at(f, x, step) for x in (by_hs, by_cs, by_kept, given, hs, cs, kept)]
        before = h, c
        if number:
            before = f.at(hs, steps[number - 1]), _at(f, cs, steps[number - 1])
        by_h, by_c = both(now[0], by_h), both(now[1], by_c)
        if by_h is None and by_c is None:  # only what is kept has a gradient so far
            by_h = now[4] * 0
        one, other, by_h, by_c = cell.gradients(
            f, by_h, by_c, now[3], now[6], before, now[4], now[5]
        )
        shared = other is one
        other = both(other, now[2])
        by_given.append(other if shared else one)
        by_state.append(other)
        by_h = both(by_h, f.product(other, weight))
    if not reverse:  # the order in which they stand in the sequence
        by_given.reverse()
        by_state.reverse()
    all_given = f.stacked(by_given)
    all_state = all_given if by_state[0] is by_given[0] else f.stacked(by_state)
    by_weight = _by_weight(f, all_state, h, hs, reverse)
    return all_given, by_h, by_c, by_weight, f.total(f.rows(all_state))


def _at(f: Any, x: Any, step: int) -> Any:
    return None if x is None or not x.shape[0] else f.at(x, step)


def _by_weight(f: Any, by_state: Any, h: Any, hs: Any, reverse: bool) -> Any:
    """Of the first step with the state given, and of all others with the h of those before."""
    steps = hs.shape[0]
    first, rest = (steps - 1, (0, steps - 1)) if reverse else (0, (1, steps))
    found = f.product(f.turned(f.at(by_state, first)), h)
    if steps == 1:
        return found
    before = f.some(hs, 1, steps) if reverse else f.some(hs, 0, steps - 1)
    return f.product(f.turned(f.rows(f.some(by_state, *rest))), f.rows(before)) + found
