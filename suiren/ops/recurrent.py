"""The elementwise part of a step of LSTM and GRU, as one operator with one for its gradient.

For steps that are not all of one batch, as in packed sequences; ``recurrent_layers.py`` takes the
steps of a layer together. When the gradient is itself to be differentiated, it is composed of other
operators instead. The arithmetic, with its sources, is in ``recurrent_formulas.py``.
"""

from __future__ import annotations

from suiren.autograd.mode import mode
from suiren.dispatch import apply
from suiren.operator import operator
from suiren.ops.recurrent_formulas import Arrays, Gru, Lstm, Nodes, Tensors


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
        return Lstm.next(Arrays, gates, c)

    def decompose(g, gates, c):
        return Lstm.next(Nodes, gates, c)

    def backward(grads, gates, c, result1):
        if not mode.grad:
            return _lstm_cell_gradient(*grads, gates, c, result1)
        return Lstm.back(Tensors, *grads, gates, c, result1)


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
        return Lstm.back(Arrays, by_h, by_c, gates, c, after)

    def decompose(g, by_h, by_c, gates, c, after):
        return Lstm.back(Nodes, by_h, by_c, gates, c, after)


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
        return Gru.next(Arrays, given, state, h)

    def decompose(g, given, state, h):
        return Gru.next(Nodes, given, state, h)

    def backward(grad, given, state, h):
        if not mode.grad:
            return _gru_cell_gradient(grad, given, state, h)
        return Gru.back(Tensors, grad, given, state, h)


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
        return Gru.back(Arrays, grad, given, state, h)

    def decompose(g, grad, given, state, h):
        return Gru.back(Nodes, grad, given, state, h)
