"""The elementwise part of a step of LSTM and GRU, as one operator with one for its gradient.

A sequence of thirty steps would otherwise record some four hundred operators each way. When the
gradient is itself to be differentiated, it is composed of other operators instead.
Sources: Hochreiter and Schmidhuber 1997; Cho et al. 2014, arXiv:1406.1078; the order of the gates
is that of torch.nn.LSTM and torch.nn.GRU.
"""

from __future__ import annotations

import numpy as np

from suiren.autograd.mode import mode
from suiren.dispatch import apply
from suiren.interpreter import accurate
from suiren.operator import operator
from suiren.ops.joining import cat
from suiren.ops.pointwise import logistic


def _pieces(gates, count):
    """The gates side by side: enter, forget, new, leave, or reset, update, new."""
    size = gates.shape[-1] // count
    return [gates[..., i * size : (i + 1) * size] for i in range(count)]


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
        enter, forget, new, leave = _pieces(gates, 4)
        c = logistic(forget) * c + logistic(enter) * accurate.tanh(new)
        return logistic(leave) * accurate.tanh(c), c

    def decompose(g, gates, c):
        enter, forget, new, leave = _parts(g, gates, 4)
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
        enter, forget, new, leave = _pieces(gates, 4)
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
        enter, forget, new, leave = _parts(g, gates, 4)
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


@operator(where=(), name="gru_cell")
class gru_cell:
    """The new h from the parts of the gates (..., 3 * hidden) by input and by state, and the old h.

    The gates are reset, update and new, before their sigmoids and tanh.
    """

    tensors = 3
    widen = True

    def call(given, state, h):
        return apply(gru_cell.operator, (given, state, h))

    def infer(given, state, h):
        if given.shape != state.shape or given.shape[-1] != 3 * h.shape[-1]:
            raise RuntimeError(
                f"gru: gates {given} and {state} do not fit the state {h}: they must have three "
                "times its last size"
            )
        return h.flat

    def evaluate(given, state, h):
        _, update, new, _ = _evaluated_gru_gates(_pieces(given, 3), _pieces(state, 3))
        return (h - new) * update + new

    def decompose(g, given, state, h):
        _, update, new, _ = gru_gates(_parts(g, given, 3), _parts(g, state, 3))
        return (h - new) * update + new

    def backward(grad, given, state, h):
        if not mode.grad:
            return _gru_cell_gradient(grad, given, state, h)
        gates = gru_gates(given.chunk(3, -1), state.chunk(3, -1))
        by_given, by_state, by_h = _gru_gradients(grad, gates, h)
        return cat(by_given, -1), cat(by_state, -1), by_h


@operator(where=(), name="gru_cell_gradient")
class _gru_cell_gradient:
    """The gradients of gru_cell by its three arguments."""

    tensors = 4
    results = 3
    widen = True

    def call(grad, given, state, h):
        return apply(_gru_cell_gradient.operator, (grad, given, state, h))

    def infer(grad, given, state, h):
        return given.flat, state.flat, h.flat

    def evaluate(grad, given, state, h):
        gates = _evaluated_gru_gates(_pieces(given, 3), _pieces(state, 3))
        by_given, by_state, by_h = _gru_gradients(grad, gates, h)
        return np.concatenate(by_given, -1), np.concatenate(by_state, -1), by_h

    def decompose(g, grad, given, state, h):
        gates = gru_gates(_parts(g, given, 3), _parts(g, state, 3))
        by_given, by_state, by_h = _gru_gradients(grad, gates, h)
        dim = given.ndim - 1
        return g.concat(by_given, dim), g.concat(by_state, dim), by_h


def _evaluated_gru_gates(given, state):
    """reset, update, new and the state's part of new, of NumPy arrays."""
    reset, update = [logistic(a + b) for a, b in zip(given[:2], state[:2], strict=True)]
    return reset, update, accurate.tanh(given[2] + reset * state[2]), state[2]


def gru_gates(given, state):
    """The same of tensors, or of nodes of the compiler's graph."""
    reset, update = [(a + b).sigmoid() for a, b in zip(given[:2], state[:2], strict=True)]
    return reset, update, (given[2] + reset * state[2]).tanh(), state[2]


def _gru_gradients(grad, gates, h):
    """Gradients by the gates as the input's and as the state's parts, and by h: any arrays."""
    reset, update, new, last = gates
    by_update = grad * (h - new) * update * (1 - update)
    by_new = grad * (1 - update) * (1 - new * new)
    by_reset = by_new * last * reset * (1 - reset)
    return [by_reset, by_update, by_new], [by_reset, by_update, by_new * reset], grad * update


def _parts(g, gates, count):
    """The gates as nodes of the compiler's graph."""
    size = gates.shape[-1] // count
    whole = [(0, n, 1) for n in gates.shape[:-1]]
    return [g.slice(gates, [*whole, (i * size, size, 1)]) for i in range(count)]
