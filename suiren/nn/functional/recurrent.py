"""The recurrent layers' arithmetic: Elman, LSTM and GRU cells, and their loops over time.

Behind `nn.RNN`, `nn.LSTM`, `nn.GRU` and the cells. Names of the sizes: time, batch, inputs,
hidden (the state h), gates (hidden times 1, 4 or 3). Sources: Elman 1990; Hochreiter and
Schmidhuber 1997; Cho et al. 2014, arXiv:1406.1078; the gate order is PyTorch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import suiren
from suiren.autocasting import lowered
from suiren.nn.functional import _from_ops as ops
from suiren.ops import recurrent
from suiren.ops.recurrent_formulas import CELLS, Gru, Lstm, Tensors
from suiren.ops.recurrent_layers import LONGEST, recurrent_layer
from suiren.tensor import Tensor

# How many blocks of rows the weights of each kind have.
GATES = {kind: cell.gates for kind, cell in CELLS.items()}


def elman_step(mode: str, given: Tensor, h: Tensor, w_hh: Tensor, b_hh: Tensor | None) -> Tensor:
    """tanh or relu of input part plus state part; given, h and the result: (batch, hidden)."""
    return CELLS[mode].active(Tensors, given + ops.linear(h, w_hh, b_hh))


def lstm_step(
    given: Tensor, h: Tensor, c: Tensor, w_hh: Tensor, b_hh: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One step of an LSTM; given: (batch, 4 * hidden), c: (batch, hidden); the new h and c.

    For LSTMCell, whose results PyTorch makes of these operators.
    """
    return Lstm.next(Tensors, given + ops.linear(h, w_hh, b_hh), c)


def gru_step(given: Tensor, h: Tensor, w_hh: Tensor, b_hh: Tensor | None) -> Tensor:
    """One step of a GRU; given: (batch, 3 * hidden), h and the result: (batch, hidden).

    For GRUCell, whose results PyTorch makes of these operators.
    """
    return Gru.next(Tensors, given, ops.linear(h, w_hh, b_hh), h)


def _step(mode: str, given: Tensor, state: tuple[Tensor, ...], weights: Any) -> tuple[Tensor, ...]:
    """The next state, (h,) or (h, c)."""
    w_hh, b_hh, w_hr = weights
    cell: Any
    if mode == "LSTM":
        cell = recurrent.lstm_cell
        gates, c = given + ops.linear(state[0], w_hh, b_hh), state[1]
        if gates.dtype != c.dtype:  # under autocast
            wide = suiren.promote_types(gates.dtype, c.dtype)
            gates, c = gates.to(wide), c.to(wide)
        h, c = cell(gates, c)
        return h if w_hr is None else ops.linear(h, w_hr), c
    (h,) = state
    if mode == "GRU":
        if given.dtype != h.dtype:  # under autocast
            return (gru_step(given, h, w_hh, b_hh),)
        cell = recurrent.gru_cell
        return (cell(given, ops.linear(h, w_hh, b_hh), h),)
    return (elman_step(mode, given, h, w_hh, b_hh),)


def run_direction(
    mode: str, input: Tensor, state: tuple[Tensor, ...], weights: Sequence[Tensor | None],
    reverse: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer over a whole sequence, forwards or backwards.

    input: (time, batch, inputs). Returns all h, (time, batch, hidden), and the last state.
    """
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    # The inputs' share of all steps in one product.
    given = ops.linear(input, w_ih, b_ih)  # time, batch, gates
    if w_hr is None and _alike(given, *state, w_hh) and 0 < len(given) <= LONGEST:
        layer: Any = recurrent_layer
        h, c = state if mode == "LSTM" else (*state, None)
        hs, cs, _ = layer(given, h, c, w_hh, b_hh, mode, reverse)
        last = 0 if reverse else -1
        return hs, tuple(x[last] for x in (hs, cs)[: len(state)])
    steps = list(given.unbind(0))
    if reverse:
        steps.reverse()
    outputs = []
    for step in steps:
        state = _step(mode, step, state, (w_hh, b_hh, w_hr))
        outputs.append(state[0])
    if reverse:
        outputs.reverse()
    return suiren.stack(outputs), state


def _alike(*tensors: Any) -> bool:
    """Whether nothing has to be converted, nor rounded between the operators of a step."""
    kind = tensors[0].dtype
    return kind in (suiren.float32, suiren.float64) and all(x.dtype is kind for x in tensors)


def run_packed_direction(
    mode: str, data: Tensor, batch_sizes: list[int], state: tuple[Tensor, ...],
    weights: Sequence[Tensor | None], reverse: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """As run_direction for a packed batch: data (all steps, inputs), longest sequences first.

    At step t only the first batch_sizes[t] sequences are still going on.
    """
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    steps = list(ops.linear(data, w_ih, b_ih).split(batch_sizes))
    recurrent = (w_hh, b_hh, w_hr)
    outputs = []
    if reverse:
        # Shorter sequences join from the initial state when their last step comes.
        first = batch_sizes[-1]
        now = tuple(part[:first] for part in state)
        for step in reversed(steps):
            joining = step.shape[0]
            if joining > now[0].shape[0]:
                going = now[0].shape[0]
                now = tuple(
                    suiren.cat([part, start[going:joining]])
                    for part, start in zip(now, state, strict=True))
            now = _step(mode, step, now, recurrent)
            outputs.append(now[0])
        outputs.reverse()
        return suiren.cat(outputs), now
    # Finished sequences leave, and their last states wait: the shortest comes last in the batch.
    finished: list[tuple[Tensor, ...]] = []
    for step in steps:
        going = step.shape[0]
        if going < state[0].shape[0]:
            finished.append(tuple(part[going:] for part in state))
            state = tuple(part[:going] for part in state)
        state = _step(mode, step, state, recurrent)
        outputs.append(state[0])
    parts = [state, *reversed(finished)]
    final = tuple(suiren.cat(list(column)) for column in zip(*parts, strict=True))
    return suiren.cat(outputs), final


def run_layers(
    mode: str,
    input: Tensor,
    state: tuple[Tensor, ...],
    weights: Sequence[Sequence[Tensor | None]],
    bidirectional: bool,
    dropout: float,
    training: bool,
    batch_sizes: list[int] | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All layers of a recurrent network, one after the other.

    input: (time, batch, inputs), or (all steps, inputs) with batch_sizes. state: h, or h and c,
    each (layers * directions, batch, hidden). weights: for each layer and direction
    w_ih, w_hh, b_ih, b_hh, w_hr, with None for those not there. Dropout acts between layers.
    Returns the last layer's h, directions side by side, and the final states stacked.
    """
    if mode == "LSTM" and batch_sizes is None and weights[0][-1] is None:
        # Under autocast PyTorch's fused LSTM is all in the lower type; the others promote.
        input, *state = lowered(input, *state)  # type: ignore[assignment]
    directions = 2 if bidirectional else 1
    layers = len(weights) // directions
    finals: list[tuple[Tensor, ...]] = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            number = layer * directions + direction
            start = tuple(part[number] for part in state)
            if batch_sizes is None:
                output, final = run_direction(
                    mode, input, start, weights[number], direction == 1)
            else:
                output, final = run_packed_direction(
                    mode, input, batch_sizes, start, weights[number], direction == 1)
            outputs.append(output)
            finals.append(final)
        input = suiren.cat(outputs, -1) if bidirectional else outputs[0]
        if dropout > 0.0 and training and layer < layers - 1:
            input = ops.dropout(input, dropout)
    return input, tuple(suiren.stack(list(column)) for column in zip(*finals, strict=True))
