"""Tensors that a module owns: parameters, buffers, and both before their shape is known.

A `Parameter` is a tensor that a `Module` lists among its parameters when it is assigned as an
attribute; a `Buffer` is listed among the buffers. The uninitialized kinds stand in for them in
lazy modules until the first input tells their shape. Behaviour follows the PyTorch pages
"Parameter", "Buffer" and "UninitializedParameter".

The core supplies `Tensor._make_subclass(cls, data, requires_grad)`: a tensor of class `cls` over
the same storage as `data`, detached from its history.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, SupportsIndex

import suiren
from suiren.tensor import Tensor

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]


class _ParameterMeta(type):
    """Lets tensors of a user's own subclass count as parameters once they are marked as such."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        if cls is not Parameter or not isinstance(instance, Tensor):
            return False
        return getattr(instance, "_is_param", False)


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor to be learned: a module that is given one as an attribute registers it.

    data: tensor of any shape; floating point or complex if it requires a gradient.
    requires_grad: whether backward() computes a gradient for it (default True).

    The storage is shared with `data`. Results of operations on it are plain tensors.

        >>> layer = nn.Module()
        >>> layer.scale = nn.Parameter(suiren.ones(3))
        >>> [name for name, _ in layer.named_parameters()]
        ['scale']

    Source: PyTorch, torch.nn.parameter.Parameter.
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = suiren.empty(0)
        if type(data) is Tensor or isinstance(data, Parameter):
            return Tensor._make_subclass(cls, data, requires_grad)
        if not isinstance(data, Tensor):
            raise TypeError(
                f"Parameter: got data of type {type(data).__name__}, but a parameter is made of a "
                "tensor; convert it with torch.tensor(data) first"
            )
        # A user's subclass keeps its type and is only marked.
        marked: Any = data.detach().requires_grad_(requires_grad)
        kept = type(marked)
        if kept is not type(data):
            raise RuntimeError(
                f"Parameter: detach() of {type(data).__name__} returned {kept.__name__}; "
                "to be used as a parameter, detach() must keep the type"
            )
        marked._is_param = True
        return marked

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]
        copied = type(self)(self.data.clone(), self.requires_grad)
        for name, value in _attributes_of(self).items():
            setattr(copied, name, value)
        memo[id(self)] = copied
        return copied

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        state = _attributes_of(self)
        # The empty OrderedDict is where hooks would be: they are not saved.
        if not state:
            return _rebuild_parameter, (self.data, self.requires_grad, OrderedDict())
        return _rebuild_parameter_with_state, (
            self.data, self.requires_grad, OrderedDict(), state)


def _attributes_of(tensor: Tensor) -> dict[str, Any]:
    """What the user has hung on the tensor, without our own underscored fields."""
    fields = getattr(tensor, "__dict__", {})
    return {name: value for name, value in fields.items() if not name.startswith("_")}


def _rebuild_parameter(data: Tensor, requires_grad: bool, hooks: Any) -> Parameter:
    return Parameter(data, requires_grad)


def _rebuild_parameter_with_state(
    data: Tensor, requires_grad: bool, hooks: Any, state: dict[str, Any]
) -> Parameter:
    parameter = Parameter(data, requires_grad)
    for name, value in state.items():
        setattr(parameter, name, value)
    return parameter


class _BufferMeta(type):
    """isinstance(x, Buffer) asks for the mark that Buffer(...) left on the tensor."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if cls is not Buffer:
            return type.__instancecheck__(cls, instance)
        return isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that is part of a module's state but is not learned, such as a running mean.

    data: tensor of any shape and dtype, shared.
    persistent: whether state_dict() contains it (default True).

        >>> layer = nn.Module()
        >>> layer.mean = nn.Buffer(suiren.zeros(3))
        >>> list(layer.state_dict())
        ['mean']

    Source: PyTorch, torch.nn.parameter.Buffer.
    """

    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Buffer:
        if data is None:
            data = suiren.empty(0)
        # Of the class that data has: it is the mark that makes it a Buffer.
        marked: Any = data.detach().requires_grad_(data.requires_grad)
        marked.persistent = persistent
        marked._is_buffer = True
        return marked


_NO_SHAPE_YET = (
    "Can't access the shape of an uninitialized parameter or buffer. "
    "Its shape is learned at the first call of the lazy module that owns it: call the module on "
    "an input before copying, loading into or counting its parameters."
)


class _Uninitialized(Tensor):
    """What uninitialized parameters and buffers share: no shape, and how to get one."""

    cls_to_become: Any  # the class that it is of once it has a shape

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Give it memory of this shape and turn it into an ordinary parameter or buffer.

        The values are not set; dtype and device default to those it was made with.
        """
        if device is None:
            device = self.data.device
        if dtype is None:
            dtype = self.data.dtype
        self.data = suiren.empty(shape, device=device, dtype=dtype)
        self.__class__ = self.cls_to_become

    @property
    def shape(self) -> Any:
        raise RuntimeError(_NO_SHAPE_YET)

    def share_memory_(self) -> Any:
        raise RuntimeError(
            "share_memory_: an uninitialized parameter or buffer has no memory to share; "
            "call its module on an input first"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.requires_grad, self.data.device, self.data.dtype)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return type(self), (self.requires_grad, None, self.data.dtype)


class UninitializedParameter(_Uninitialized, Parameter):
    """A parameter whose shape is not known yet; see `LazyLinear` for what it is for.

    Source: PyTorch, torch.nn.parameter.UninitializedParameter.
    """

    cls_to_become = Parameter

    def __new__(
        cls, requires_grad: bool = True, device: Any = None, dtype: Any = None
    ) -> UninitializedParameter:
        data = suiren.empty(0, device=device, dtype=dtype)
        return Tensor._make_subclass(cls, data, requires_grad)


class UninitializedBuffer(_Uninitialized):
    """A buffer whose shape is not known yet.

    Source: PyTorch, torch.nn.parameter.UninitializedBuffer.
    """

    cls_to_become = Tensor

    def __new__(
        cls,
        requires_grad: bool = False,
        device: Any = None,
        dtype: Any = None,
        persistent: bool = True,
    ) -> UninitializedBuffer:
        data = suiren.empty(0, device=device, dtype=dtype)
        made = Tensor._make_subclass(cls, data, requires_grad)
        made.persistent = persistent
        made._is_buffer = True
        return made


def is_lazy(value: Any) -> bool:
    """True for a parameter or buffer that waits for its shape."""
    return isinstance(value, _Uninitialized)
