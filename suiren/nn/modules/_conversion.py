"""Moving and converting a module: to(), float(), half(), cpu(), requires_grad_(), zero_grad().

`ConversionMixin` is the part of `Module` that rewrites its tensors in place: the parameter
objects stay the same, so optimizers that hold them go on working. Source: PyTorch, "Module".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import suiren
from suiren.nn.modules._fields import ModuleFields
from suiren.nn.parameter import Parameter, is_lazy
from suiren.tensor import Tensor
from suiren.views import replace


class ConversionMixin(ModuleFields):
    """The methods of `Module` that convert its parameters and buffers."""

    if TYPE_CHECKING:  # of Module

        def children(self) -> Iterator[Any]: ...
        def parameters(self, recurse: bool = True) -> Iterator[Parameter]: ...

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Replace every parameter, its gradient and every buffer by fn of it."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for name, parameter in self._parameters.items():
            if parameter is None:
                continue
            with suiren.no_grad():
                converted = fn(parameter)
            gradient = parameter.grad
            target = parameter
            if parameter.is_meta == converted.is_meta:
                parameter.data = converted
            elif is_lazy(parameter):  # which has no memory yet on any device
                replace(parameter, converted)
            else:
                # Memory cannot appear in place of none, nor vanish: that takes a new parameter.
                target = Parameter(converted, parameter.requires_grad)
                self._parameters[name] = target
            if gradient is not None:
                with suiren.no_grad():
                    converted = fn(gradient)
                if target is parameter and gradient.is_meta == converted.is_meta:
                    gradient.data = converted
                else:
                    target.grad = converted.requires_grad_(gradient.requires_grad)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move and/or convert all parameters and buffers in place; returns the module.

        Called as to(device=None, dtype=None, non_blocking=False), to(dtype), to(tensor) or
        to(memory_format=...). The dtype must be floating point or complex and applies to
        floating point and complex tensors only: integer buffers keep theirs.

            >>> nn.Linear(2, 3).to(suiren.float64).weight.dtype
            torch.float64
        """
        device, dtype, non_blocking, memory_format = _parse_to(args, kwargs)
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(
                "nn.Module.to only accepts floating point or complex dtypes, but got desired "
                f"dtype={dtype}"
            )

        def convert(tensor: Tensor) -> Tensor:
            wanted = dtype if tensor.is_floating_point() or tensor.is_complex() else None
            if memory_format is not None and tensor.dim() in (4, 5):
                return tensor.to(
                    device, wanted, non_blocking, memory_format=memory_format)
            return tensor.to(device, wanted, non_blocking)

        return self._apply(convert)

    def to_empty(self, *, device: Any, recurse: bool = True) -> Any:
        """Move to the device without copying the values: they are unset afterwards."""
        return self._apply(lambda t: suiren.empty_like(t, device=device), recurse=recurse)

    def type(self, dst_type: Any) -> Any:
        """Convert all parameters and buffers to this dtype."""
        return self._apply(lambda tensor: tensor.type(dst_type))

    def float(self) -> Any:
        """Convert floating point parameters and buffers to float32."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def double(self) -> Any:
        """Convert floating point parameters and buffers to float64."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def half(self) -> Any:
        """Convert floating point parameters and buffers to float16."""
        return self._apply(lambda t: t.half() if t.is_floating_point() else t)

    def bfloat16(self) -> Any:
        """Convert floating point parameters and buffers to bfloat16."""
        return self._apply(lambda t: t.bfloat16() if t.is_floating_point() else t)

    def cpu(self) -> Any:
        """Move all parameters and buffers to the CPU."""
        return self._apply(lambda tensor: tensor.cpu())

    def cuda(self, device: Any = None) -> Any:
        """Raises AssertionError: there is no CUDA here (a module without tensors is returned)."""
        return self._apply(lambda tensor: tensor.cuda(device))

    def share_memory(self) -> Any:
        """Put parameters and buffers into memory that other processes can map."""
        return self._apply(lambda tensor: tensor.share_memory_())

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Say for all parameters whether backward() computes their gradient."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for parameter in self.parameters():
            gradient = parameter.grad
            if gradient is None:
                continue
            if set_to_none:
                parameter.grad = None
                continue
            if gradient.grad_fn is not None:
                gradient.detach_()
            else:
                gradient.requires_grad_(False)
            gradient.zero_()


def _parse_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, bool, Any]:
    """The three ways to call to(), as (device, dtype, non_blocking, memory_format)."""
    known = {"device", "dtype", "tensor", "other", "non_blocking", "copy", "memory_format"}
    for name in kwargs:
        if name not in known:
            raise TypeError(f"to() received an invalid keyword argument '{name}'")
    if kwargs.get("copy"):
        raise RuntimeError(".to() does not accept copy argument")
    device, dtype = kwargs.get("device"), kwargs.get("dtype")
    non_blocking = kwargs.get("non_blocking", False)
    memory_format = kwargs.get("memory_format")
    other = kwargs.get("tensor", kwargs.get("other"))
    rest = list(args)
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
    elif rest and isinstance(rest[0], suiren.dtype):
        dtype = rest.pop(0)
    elif rest:
        device = rest.pop(0)
        if rest and (rest[0] is None or isinstance(rest[0], suiren.dtype)):
            dtype = rest.pop(0)
    if rest:
        non_blocking = rest.pop(0)
    if rest or not isinstance(non_blocking, bool):
        raise TypeError(f"to() received an invalid combination of arguments - got {args}")
    if other is not None:
        device, dtype = other.device, other.dtype
    if device is not None:
        device = suiren.device(device)
    return device, dtype, non_blocking, memory_format
