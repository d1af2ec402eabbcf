"""Numbers of an optimizer's state that users see as 0-d tensors and the algorithms as floats.

PyTorch keeps `state[p]["step"]` as a 0-d float32 tensor. Reading a tensor's value would flush
the trace in the middle of `step()`, and adding to it would record one more operation for each
parameter. So the count is kept here, as a Python float beside the tensor, and the tensor is
brought up to date only when somebody can see it:

* `state_dict()`, pickling and `optimizer.state` publish first: the numbers go into the tensors.
* Whoever has taken hold of `optimizer.state` may keep a tensor of it and look later, or write
  into it. From then on the optimizer is *watched*: each step first takes over tensors that were
  replaced or written to (by identity and version, no value is read), and publishes at its end.

Sits below `suiren.optim.optimizer`.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import suiren
from suiren.tensor import Tensor


def number_dtype() -> Any:
    """The dtype in which numbers are shown: float64 if that is the default, else float32."""
    return suiren.float64 if suiren.get_default_dtype() == suiren.float64 else suiren.float32


def number_tensor(value: float) -> Tensor:
    """A 0-d tensor that shows `value` in an optimizer's state."""
    return suiren.tensor(float(value), dtype=number_dtype(), device="cpu")


class StateNumbers:
    """The numbers called `names` of every parameter's state, as lists of floats in that order."""

    __slots__ = ("names", "watched", "_values", "_shown", "_published")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.watched = False
        self.forget()

    def forget(self) -> None:
        """Makes the tensors in the state the truth again, as after `load_state_dict()`."""
        self._values: dict[Any, list[float]] = {}
        self._shown: dict[Any, list[tuple[Tensor, int]]] = {}
        self._published = True

    def start(self, param: Tensor, state: dict[str, Any], *values: float) -> None:
        """Gives a parameter's new state its numbers."""
        for name, value in zip(self.names, values, strict=True):
            state[name] = number_tensor(value)
        self._values[param] = list(values)
        self._published = False

    def of(self, param: Tensor, state: dict[str, Any]) -> list[float]:
        """The numbers of `param`, to be changed in place by the algorithm that asks for them."""
        values = self._values.get(param)
        if values is None:  # after load_state_dict, or the user wrote to the tensors
            values = self._values[param] = [float(state[name]) for name in self.names]
        self._published = False
        return values

    def publish(self, states: MutableMapping[Any, dict[str, Any]]) -> None:
        """Writes the numbers into the tensors of `states`, unless they show them already."""
        if self._published:
            return
        for param, values in self._values.items():
            state = states[param] if param in states else None
            if not state:  # the user dropped it
                continue
            for name, value in zip(self.names, values, strict=True):
                if isinstance(state.get(name), Tensor):
                    state[name].fill_(value)
                else:
                    state[name] = number_tensor(value)
            self._shown[param] = [(state[name], state[name]._version) for name in self.names]
        self._published = True

    def collect(self, states: MutableMapping[Any, dict[str, Any]]) -> None:
        """Forgets the numbers whose tensors are no longer what `publish` left there."""
        for param in list(self._values):
            state = states[param] if param in states else {}
            now = [state.get(name) for name in self.names]
            same = all(
                tensor is shown and tensor._version == version
                for tensor, (shown, version) in zip(now, self._shown.get(param, ()), strict=False)
            )
            if not same or param not in self._shown:
                del self._values[param]
