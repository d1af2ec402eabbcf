"""The elementwise part of an LSTM's step, as one operator with one for its gradient.

A sequence of thirty steps would otherwise record some four hundred operators each way. When the
gradient is itself to be differentiated, it is composed of other operators instead.
Source: Hochreiter and Schmidhuber 1997; the order of the gates is that of torch.nn.LSTM.
"""

from __future__ import annotations

import numpy as np

from suiren.autograd.mode import mode
from suiren.dispatch import apply
from suiren.interpreter import accurate
from suiren.operator import operator
from suiren.ops.joining import cat
from suiren.ops.pointwise import logistic


def _quarters(gates):
    """The four gates side by side: enter, forget, new, leave."""
    size = gates.shape[-1] // 4
    return [gates[..., i * size : (i + 1) * size] for i in range(4)]


@operator(where=(), name="lstm_cell")
class lstm_cell:
    """(h, c) from gates (..., 4 * hidden), before their sigmoids and tanh, and the old c."""

    tensors = 2
    results = 2
    widen = True

    def call(gates, c):
        return apply(lstm_cell.operator, (gates, c))

    def infer(gates, c):
        if gates.dtype is not c.dtype or gates.shape[-1] != 4 * c.shape[-1]:
            raise RuntimeError(
                f"lstm: gates {gates} do not fit the cell state {c}: they must have four times its "
                "last size and the same dtype"
            )
        return c.flat, c.flat

    def evaluate(gates, c):
        enter, forget, new, leave = _quarters(gates)
        c = logistic(forget) * c + logistic(enter) * accurate.tanh(new)
        return logistic(leave) * accurate.tanh(c), c

    def decompose(g, gates, c):
        enter, forget, new, leave = _parts(g, gates)
        c = forget.sigmoid() * c + enter.sigmoid() * new.tanh()
        return leave.sigmoid() * c.tanh(), c

    def backward(grads, gates, c, result1):
        by_h, by_c = grads
        if not mode.grad:
            return _lstm_cell_gradient(by_h, by_c, gates, c, result1)
        return _composed(by_h, by_c, gates, c)


def _composed(by_h, by_c, gates, c):
    """The gradients with operators that have gradients themselves."""
    enter, forget, new, leave = gates.chunk(4, -1)
    enter, forget, new, leave = enter.sigmoid(), forget.sigmoid(), new.tanh(), leave.sigmoid()
    shown = (forget * c + enter * new).tanh()
    total = 0 if by_c is None else by_c
    by_leave = leave * 0
    if by_h is not None:
        total = total + by_h * leave * (1 - shown * shown)
        by_leave = by_h * shown * leave * (1 - leave)
    pieces = [
        total * new * enter * (1 - enter),
        total * c * forget * (1 - forget),
        total * enter * (1 - new * new),
        by_leave,
    ]
    return cat(pieces, -1), total * forget


@operator(where=(), name="lstm_cell_gradient")
class _lstm_cell_gradient:
    """The gradients of lstm_cell by its gates and by the old c."""

    tensors = 5
    results = 2
    widen = True

    def call(by_h, by_c, gates, c, after):
        return apply(_lstm_cell_gradient.operator, (by_h, by_c, gates, c, after))

    def infer(by_h, by_c, gates, c, after):
        return gates.flat, c.flat

    def evaluate(by_h, by_c, gates, c, after):
        enter, forget, new, leave = _quarters(gates)
        enter, forget, new, leave = (
            logistic(enter), logistic(forget), accurate.tanh(new), logistic(leave)
        )  # fmt: skip
        shown = accurate.tanh(after)
        total = np.zeros_like(c) if by_c is None else by_c
        by_leave = np.zeros_like(c)
        if by_h is not None:
            total = total + by_h * leave * (1 - shown * shown)
            by_leave = by_h * shown * leave * (1 - leave)
        pieces = [
            total * new * enter * (1 - enter),
            total * c * forget * (1 - forget),
            total * enter * (1 - new * new),
            by_leave,
        ]
        return np.concatenate(pieces, -1), total * forget

    def decompose(g, by_h, by_c, gates, c, after):
        enter, forget, new, leave = _parts(g, gates)
        enter, forget, new, leave = (
            enter.sigmoid(), forget.sigmoid(), new.tanh(), leave.sigmoid()
        )  # fmt: skip
        shown = after.tanh()
        total = g.full(c.shape, 0, c.dtype) if by_c is None else by_c
        by_leave = g.full(c.shape, 0, c.dtype)
        if by_h is not None:
            part = by_h * leave * (1 - shown * shown)
            total = part if by_c is None else total + part
            by_leave = by_h * shown * leave * (1 - leave)
        pieces = [
            total * new * enter * (1 - enter),
            total * c * forget * (1 - forget),
            total * enter * (1 - new * new),
            by_leave,
        ]
        return g.concat(pieces, gates.ndim - 1), total * forget


def _parts(g, gates):
    """The four gates as nodes of the compiler's graph."""
    size = gates.shape[-1] // 4
    whole = [(0, n, 1) for n in gates.shape[:-1]]
    return [g.slice(gates, [*whole, (i * size, size, 1)]) for i in range(4)]
