"""Recurrent layers and cells: RNN, LSTM, GRU. Source: PyTorch, "Recurrent Layers".

The arithmetic and its loops over time are in `nn/functional/recurrent.py`.
"""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

import suiren
from suiren.autocast_state import state as autocast
from suiren.nn import functional as F
from suiren.nn import init
from suiren.nn.functional import recurrent
from suiren.nn.modules.module import Module
from suiren.nn.parameter import Parameter
from suiren.nn.utils.rnn import PackedSequence
from suiren.tensor import Tensor

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]


def _draw_weights(module: Module, hidden_size: int) -> None:
    """All parameters from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size))."""
    bound = 1.0 / math.sqrt(hidden_size) if hidden_size > 0 else 0
    for weight in module.parameters():
        init.uniform_(weight, -bound, bound)


class RNNBase(Module):
    """What RNN, LSTM and GRU share: the settings, the weights and the checks.

    Weights of layer k, with suffix _reverse for the second direction, from
    U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)): weight_ih_lk (gates * hidden_size, inputs),
    weight_hh_lk, bias_ih_lk, bias_hh_lk, and weight_hr_lk (proj_size, hidden_size) if projected.
    """

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1,
        bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
        bidirectional: bool = False, proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._check_settings(dropout)
        if mode not in recurrent.GATES:
            raise ValueError("Unrecognized RNN mode: " + mode)
        gates = recurrent.GATES[mode] * hidden_size
        out = proj_size if proj_size > 0 else hidden_size
        directions = 2 if bidirectional else 1

        self._flat_weights_names: list[str] = []
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            for direction in range(directions):
                inputs = input_size if layer == 0 else out * directions
                suffix = f"_l{layer}" + ("_reverse" if direction else "")
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (gates, inputs), "weight_hh": (gates, out)}
                if bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                if proj_size > 0:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                for name, shape in shapes.items():
                    empty = suiren.empty(shape, device=device, dtype=dtype)
                    setattr(self, name + suffix, Parameter(empty))
                names = [name + suffix for name in shapes]
                self._all_weights.append(names)
                self._flat_weights_names += names
        self.reset_parameters()

    def _check_settings(self, dropout: Any) -> None:
        a_number = isinstance(dropout, numbers.Real) and not isinstance(dropout, bool)
        if not a_number or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an "
                "element being zeroed")
        if dropout > 0 and self.num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero "
                f"dropout expects num_layers greater than 1, but got dropout={dropout} and "
                f"num_layers={self.num_layers}", stacklevel=4)
        for name in ("input_size", "hidden_size"):
            value = getattr(self, name)
            if not isinstance(value, int):
                raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
        for name in ("bias", "batch_first", "bidirectional"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
        if self.input_size <= 0:
            raise ValueError("input_size must be greater than zero")
        if self.hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if self.num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if self.proj_size < 0:
            raise ValueError(
                "proj_size should be a positive integer or zero to disable projections")
        if self.proj_size >= self.hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The weights of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights(self) -> list[Parameter]:
        return [getattr(self, name) for name in self._flat_weights_names]

    def flatten_parameters(self) -> None:
        """Accepted for compatibility: it is about memory layout on CUDA."""

    def reset_parameters(self) -> None:
        """Draw new weights."""
        _draw_weights(self, self.hidden_size)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size != 0:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if self.batch_first is not False:
            text += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            text += f", dropout={self.dropout}"
        if self.bidirectional is not False:
            text += f", bidirectional={self.bidirectional}"
        return text

    # ---- the call

    def _weights_by_direction(self) -> list[list[Tensor | None]]:
        """For each layer and direction w_ih, w_hh, b_ih, b_hh, w_hr, None where there is none."""
        rows: list[list[Tensor | None]] = []
        for weights in self.all_weights:
            w_ih, w_hh, *rest = weights
            b_ih, b_hh = rest[:2] if self.bias else (None, None)
            rows.append([w_ih, w_hh, b_ih, b_hh, rest[-1] if self.proj_size > 0 else None])
        return rows

    def _state_sizes(self) -> list[int]:
        """The last extent of each part of the state: of h, and of c for an LSTM."""
        out = self.proj_size if self.proj_size > 0 else self.hidden_size
        return [out, self.hidden_size] if self.mode == "LSTM" else [out]

    def _check_input(self, input: Tensor, packed: bool) -> None:
        expected = 2 if packed else 3
        if input.dim() != expected and not (input.dim() == 2 and not packed):
            allowed = "2D" if packed else "2D or 3D"
            raise ValueError(
                f"{type(self).__name__}: Expected input to be {allowed}, got {input.dim()}D "
                "instead")
        weight = self._flat_weights[0]
        if input.dtype != weight.dtype and not autocast.enabled:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: "
                f"model.to({input.dtype})")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. Expected "
                f"{self.input_size}, got {input.shape[-1]}")

    def _check_state(self, state: tuple[Tensor, ...], batch: int) -> None:
        directions = 2 if self.bidirectional else 1
        for place, (part, size) in enumerate(zip(state, self._state_sizes(), strict=True)):
            wanted = (self.num_layers * directions, batch, size)
            if tuple(part.shape) != wanted:
                label = f"hidden[{place}]" if self.mode == "LSTM" else "hidden"
                raise RuntimeError(
                    f"Expected {label} size {wanted}, got {list(part.shape)}")

    def _check_state_axes(self, state: tuple[Tensor, ...], batched: bool) -> None:
        axes = 3 if batched else 2
        if all(part.dim() == axes for part in state):
            return
        kind = f"For {'batched 3-D' if batched else 'unbatched 2-D'} input"
        found = [f"{part.dim()}-D" for part in state]
        if self.mode == "LSTM":
            raise RuntimeError(
                f"{kind}, hx and cx should also be {axes}-D but got ({', '.join(found)}) tensors")
        raise RuntimeError(f"{kind}, hx should also be {axes}-D but got {found[0]} tensor")

    def _zero_state(self, input: Tensor, batch: int) -> tuple[Tensor, ...]:
        layers = self.num_layers * (2 if self.bidirectional else 1)
        return tuple(
            suiren.zeros((layers, batch, size), dtype=input.dtype, device=input.device)
            for size in self._state_sizes())

    def forward(self, input: Any, hx: Any = None) -> Any:
        """input: (time, batch, input_size), with batch_first (batch, time, input_size), without
        batch (time, input_size), or a PackedSequence. hx: the state before, zero by default:
        (layers * directions, batch, hidden_size), for an LSTM the pair (h, c).

        Returns the last layer's h at all times, (time, batch, directions * hidden_size), and the
        state after the last step, in the form of hx.
        """
        state = None
        if hx is not None:
            state = tuple(hx) if self.mode == "LSTM" else (hx,)
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, state)
        self._check_input(input, packed=False)
        batched = input.dim() == 3
        if state is not None:
            self._check_state_axes(state, batched)
        if not batched:
            input = input.unsqueeze(1)
            state = None if state is None else tuple(part.unsqueeze(1) for part in state)
        elif self.batch_first:
            input = input.transpose(0, 1)
        time, batch = input.shape[:2]
        if time == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        if state is None:
            state = self._zero_state(input, batch)
        self._check_state(state, batch)
        output, state = recurrent.run_layers(
            self.mode, input, state, self._weights_by_direction(), self.bidirectional,
            self.dropout, self.training)
        if not batched:
            output = output.squeeze(1)
            state = tuple(part.squeeze(1) for part in state)
        elif self.batch_first:
            output = output.transpose(0, 1)
        return output, (state if self.mode == "LSTM" else state[0])

    def _forward_packed(
        self, packed: PackedSequence, state: tuple[Tensor, ...] | None
    ) -> tuple[PackedSequence, Any]:
        data, sizes, order, back = packed
        self._check_input(data, packed=True)
        batch_sizes = [int(size) for size in sizes]
        batch = batch_sizes[0]
        if state is None:
            state = self._zero_state(data, batch)
        else:
            self._check_state_axes(state, True)
            if order is not None:
                state = tuple(part.index_select(1, order) for part in state)
        self._check_state(state, batch)
        output, state = recurrent.run_layers(
            self.mode, data, state, self._weights_by_direction(), self.bidirectional,
            self.dropout, self.training, batch_sizes)
        if back is not None:
            state = tuple(part.index_select(1, back) for part in state)
        result = PackedSequence(output, sizes, order, back)
        return result, (state if self.mode == "LSTM" else state[0])


class RNN(RNNBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu with nonlinearity="relu". Elman 1990.

        >>> output, h = nn.RNN(10, 20, num_layers=2)(suiren.zeros(5, 3, 10))
        >>> output.shape, h.shape
        (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))

    Arguments: input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True,
    batch_first=False, dropout=0.0, bidirectional=False, device=None, dtype=None.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            nonlinearity = args[3]
            args = args[:3] + args[4:]
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        mode = {"tanh": "RNN_TANH", "relu": "RNN_RELU"}.get(nonlinearity)
        if mode is None:
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(mode, *args, **kwargs)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory; gates in the order input, forget, cell, output.

    proj_size > 0 makes h that small by a projection. Returns output, (h, c).
    Arguments: input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
    bidirectional=False, proj_size=0, device=None, dtype=None.

        >>> output, (h, c) = nn.LSTM(10, 20)(suiren.zeros(5, 3, 10))
        >>> output.shape, c.shape
        (torch.Size([5, 3, 20]), torch.Size([1, 3, 20]))

    Sources: Hochreiter and Schmidhuber 1997; Sak et al. 2014, arXiv:1402.1128 (projection).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    """Gated recurrent unit; gates in the order reset, update, new.

    Arguments: input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
    bidirectional=False, device=None, dtype=None. Source: Cho et al. 2014, arXiv:1406.1078.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)


# ---- cells


class RNNCellBase(Module):
    """What the cells share: weight_ih, weight_hh, bias_ih, bias_hh and the checks."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias

        def unset(*shape: int) -> Parameter:
            return Parameter(suiren.empty(shape, device=device, dtype=dtype))

        rows = num_chunks * hidden_size
        self.weight_ih = unset(rows, input_size)
        self.weight_hh = unset(rows, hidden_size)
        self.register_parameter("bias_ih", unset(rows) if bias else None)
        self.register_parameter("bias_hh", unset(rows) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights."""
        _draw_weights(self, self.hidden_size)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        nonlinearity = self.__dict__.get("nonlinearity", "tanh")
        if nonlinearity != "tanh":
            text += f", nonlinearity={nonlinearity}"
        return text

    def _prepare(
        self, input: Tensor, state: tuple[Tensor, ...] | None, parts: int
    ) -> tuple[Tensor, tuple[Tensor, ...], bool]:
        """The input's share of the gates, the state with a batch axis, whether there was one."""
        name = type(self).__name__
        if input.dim() not in (1, 2):
            raise ValueError(
                f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        batched = input.dim() == 2
        rows = input if batched else input.unsqueeze(0)
        if state is None:
            zeros = suiren.zeros(
                (rows.shape[0], self.hidden_size), dtype=input.dtype, device=input.device)
            state = (zeros,) * parts
        else:
            for place, part in enumerate(state):
                if part.dim() not in (1, 2):
                    which = f"hx[{place}]" if parts > 1 else "hidden"
                    raise ValueError(
                        f"{name}: Expected {which} to be 1D or 2D, got {part.dim()}D instead")
            state = tuple(part if batched else part.unsqueeze(0) for part in state)
        if rows.shape[1] != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {rows.shape[1]} expected "
                f"{self.input_size}")
        for place, part in enumerate(state):
            if part.shape[0] != rows.shape[0]:
                raise RuntimeError(
                    f"Input batch size {rows.shape[0]} doesn't match hidden{place} batch size "
                    f"{part.shape[0]}")
            if part.dim() != 2 or part.shape[1] != self.hidden_size:
                raise RuntimeError(
                    f"hidden{place} has inconsistent hidden_size: got {part.shape[-1]}, expected "
                    f"{self.hidden_size}")
        given = F.linear(rows, self.weight_ih, self.bias_ih)
        return given, state, batched


class RNNCell(RNNCellBase):
    """One step of an RNN: (batch, input_size) and h (batch, hidden_size) to the next h."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
        device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        mode = {"tanh": "RNN_TANH", "relu": "RNN_RELU"}.get(self.nonlinearity)
        given, (h,), batched = self._prepare(input, None if hx is None else (hx,), 1)
        if mode is None:
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        h = recurrent.elman_step(mode, given, h, self.weight_hh, self.bias_hh)
        return h if batched else h.squeeze(0)


class LSTMCell(RNNCellBase):
    """One step of an LSTM: input (batch, input_size) and (h, c) to the next (h, c)."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        given, (h, c), batched = self._prepare(input, None if hx is None else tuple(hx), 2)
        h, c = recurrent.lstm_step(given, h, c, self.weight_hh, self.bias_hh)
        return (h, c) if batched else (h.squeeze(0), c.squeeze(0))


class GRUCell(RNNCellBase):
    """One step of a GRU: (batch, input_size) and h (batch, hidden_size) to the next h."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        given, (h,), batched = self._prepare(input, None if hx is None else (hx,), 1)
        h = recurrent.gru_step(given, h, self.weight_hh, self.bias_hh)
        return h if batched else h.squeeze(0)
