"""The arithmetic of recurrent cells, written once for tensors, arrays and the compiler's nodes.

What differs between the three is in one class each (`Tensors`, `Arrays`, `Nodes`), the first
parameter of the formulas. A cell computes its next state from its gates' part by input and by
state, and the gradients of both parts; its `gates` says how many blocks of the state's width they
have. Below ``recurrent.py`` (one step as an operator) and ``recurrent_layers.py`` (all steps).
Sources: Elman 1990; Hochreiter and Schmidhuber 1997; Cho et al. 2014, arXiv:1406.1078; the order of
the gates is that of torch.nn.LSTM and torch.nn.GRU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from suiren.interpreter import accurate
from suiren.ops.activation import relu
from suiren.ops.extremes import larger
from suiren.ops.joining import cat, stack
from suiren.ops.lowering import narrow
from suiren.ops.pointwise import logistic


class Tensors:
    """Operators that autograd follows."""

    @staticmethod
    def sigmoid(x):
        return x.sigmoid()

    @staticmethod
    def tanh(x):
        return x.tanh()

    @staticmethod
    def relu(x):
        return relu(x)

    @staticmethod
    def masked(x, by):
        """``x``, but zero where ``by`` is zero or negative."""
        return x.masked_fill(by <= 0, 0)

    @staticmethod
    def pieces(x, count):
        """The last dimension in equal parts."""
        return x.chunk(count, -1)

    @staticmethod
    def joined(parts):
        """Along the last dimension."""
        return cat(list(parts), -1)

    @staticmethod
    def at(x, step):
        """What a sequence has at a step."""
        return x[step]

    @staticmethod
    def some(x, first, stop):
        """Steps of a sequence."""
        return x[first:stop]

    @staticmethod
    def stacked(parts):
        """Steps as a sequence."""
        return stack(list(parts))

    @staticmethod
    def rows(x):
        """A sequence as a matrix: the steps one below the other."""
        return x.reshape(-1, x.shape[-1])

    @staticmethod
    def turned(x):
        """A matrix transposed."""
        return x.t()

    @staticmethod
    def product(a, b):
        return a @ b

    @staticmethod
    def total(x):
        """Of the rows of a matrix."""
        return x.sum(0)


class Nodes(Tensors):
    """The graph of the compiler."""

    @staticmethod
    def relu(x):
        return x.max(0)

    @staticmethod
    def masked(x, by):
        return x.graph.where(by <= 0, 0, x)

    @staticmethod
    def pieces(x, count):
        size = x.shape[-1] // count
        return [narrow(x.graph, x, x.ndim - 1, i * size, size) for i in range(count)]

    @staticmethod
    def joined(parts):
        return parts[0].graph.concat(parts, parts[0].ndim - 1)

    @staticmethod
    def at(x, step):
        return narrow(x.graph, x, 0, step, 1).reshape(*x.shape[1:])

    @staticmethod
    def some(x, first, stop):
        return narrow(x.graph, x, 0, first, stop - first)

    @staticmethod
    def stacked(parts):
        return parts[0].graph.concat([x.unsqueeze(0) for x in parts], 0)

    @staticmethod
    def rows(x):
        return x.reshape(x.numel // x.shape[-1], x.shape[-1])

    @staticmethod
    def turned(x):
        return x.transpose(0, 1)

    @staticmethod
    def product(a, b):
        return a.graph.matmul(a, b)


class Arrays(Tensors):
    """NumPy."""

    sigmoid = logistic
    tanh = accurate.tanh
    product = np.matmul
    stacked = np.stack

    @staticmethod
    def relu(x):
        return larger(x, 0)

    @staticmethod
    def masked(x, by):
        return np.where(by <= 0, x.dtype.type(0), x)

    @staticmethod
    def pieces(x, count):
        size = x.shape[-1] // count
        return [x[..., i * size : (i + 1) * size] for i in range(count)]

    @staticmethod
    def joined(parts):
        return np.concatenate(parts, -1)

    @staticmethod
    def turned(x):
        return x.T


def both(a: Any, b: Any) -> Any:
    """The sum of two gradients, of which one or both may be None: not there."""
    if a is None or b is None:
        return b if a is None else a
    return a + b


class Lstm:
    """h = leave * tanh(c), c = forget * c + enter * new; four gates."""

    gates = 4

    @staticmethod
    def active(f, gates):
        enter, forget, new, leave = f.pieces(gates, 4)
        return f.sigmoid(enter), f.sigmoid(forget), f.tanh(new), f.sigmoid(leave)

    @staticmethod
    def step(f, given, state, h, c):
        """The new h and c, and what the gradients need."""
        gates = given + state
        return *Lstm.next(f, gates, c), gates

    @staticmethod
    def next(f, gates, c):
        enter, forget, new, leave = Lstm.active(f, gates)
        c = forget * c + enter * new
        return leave * f.tanh(c), c

    @staticmethod
    def gradients(f, by_h, by_c, given, gates, before, h, c):
        """By the parts of the gates, by the h before without its part in the gates, by c before.

        ``before`` is the old (h, c), ``h`` and ``c`` the new.
        """
        by_gates, by_c = Lstm.back(f, by_h, by_c, gates, before[1], c)
        return by_gates, by_gates, None, by_c

    @staticmethod
    def back(f, by_h, by_c, gates, before, after):
        """By the gates and by c ``before``; ``after`` is the new c."""
        enter, forget, new, leave = Lstm.active(f, gates)
        by_leave = leave * 0
        if by_h is not None:
            shown = f.tanh(after)
            by_c = both(by_c, by_h * leave * (1 - shown * shown))
            by_leave = by_h * shown * leave * (1 - leave)
        by_gates = [
            by_c * new * enter * (1 - enter),
            by_c * before * forget * (1 - forget),
            by_c * enter * (1 - new * new),
            by_leave,
        ]
        return f.joined(by_gates), by_c * forget


class Gru:
    """h = (h - new) * update + new, where new looks at a part of h: reset; three gates."""

    gates = 3

    @staticmethod
    def active(f, given, state):
        """reset, update, new, and the state's part of new."""
        given, state = f.pieces(given, 3), f.pieces(state, 3)
        reset, update = [f.sigmoid(a + b) for a, b in zip(given[:2], state[:2], strict=True)]
        return reset, update, f.tanh(given[2] + reset * state[2]), state[2]

    @staticmethod
    def step(f, given, state, h, c):
        return Gru.next(f, given, state, h), None, state

    @staticmethod
    def next(f, given, state, h):
        _, update, new, _ = Gru.active(f, given, state)
        return (h - new) * update + new

    @staticmethod
    def gradients(f, by_h, by_c, given, state, before, h, c):
        return *Gru.back(f, by_h, given, state, before[0]), None

    @staticmethod
    def back(f, by_h, given, state, before):
        """By the gates' part by input, by state, and by h ``before`` itself."""
        reset, update, new, last = Gru.active(f, given, state)
        by_update = by_h * (before - new) * update * (1 - update)
        by_new = by_h * (1 - update) * (1 - new * new)
        by_reset = by_new * last * reset * (1 - reset)
        by_given = f.joined([by_reset, by_update, by_new])
        return by_given, f.joined([by_reset, by_update, by_new * reset]), by_h * update


class Elman:
    """h = active(all that is given); `back` is the gradient by what is given."""

    gates = 1

    @classmethod
    def step(cls, f, given, state, h, c):
        return cls.active(f, given + state), None, None

    @classmethod
    def gradients(cls, f, by_h, by_c, given, kept, before, h, c):
        by_total = cls.back(f, by_h, h)
        return by_total, by_total, None, None


class Tanh(Elman):
    @staticmethod
    def active(f, x):
        return f.tanh(x)

    @staticmethod
    def back(f, by_h, h):
        return by_h * (1 - h * h)


class Relu(Elman):
    @staticmethod
    def active(f, x):
        return f.relu(x)

    @staticmethod
    def back(f, by_h, h):
        return f.masked(by_h, h)


CELLS: dict[str, Any] = {"LSTM": Lstm, "GRU": Gru, "RNN_TANH": Tanh, "RNN_RELU": Relu}
