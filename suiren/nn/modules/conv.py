"""Convolution layers and their transposes, one to three dimensional, and lazy ones.

Source: PyTorch, "Convolution layers".
"""

from __future__ import annotations

import math
from typing import Any

import suiren
from suiren.nn import functional as F
from suiren.nn import init
from suiren.nn._sizes import _pair, _reverse_repeat_tuple, _single, _triple
from suiren.nn.modules.lazy import LazyModuleMixin
from suiren.nn.modules.module import Module
from suiren.nn.parameter import Parameter, UninitializedParameter
from suiren.tensor import Tensor

__all__ = [
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "LazyConv1d", "LazyConv2d", "LazyConv3d", "LazyConvTranspose1d", "LazyConvTranspose2d",
    "LazyConvTranspose3d",
]

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """What all convolution layers share: their sizes, their weights, their repr.

    weight: (out_channels, in_channels / groups, *kernel_size), the first two exchanged if
    transposed; bias: (out_channels). Both from U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: tuple[int, ...],
        stride: tuple[int, ...], padding: Any, dilation: tuple[int, ...], transposed: bool,
        output_padding: tuple[int, ...], groups: int, bias: bool, padding_mode: str,
        device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(
                    f"Invalid padding string {padding!r}, should be one of {{'same', 'valid'}}")
            if padding == "same" and any(step != 1 for step in stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _PADDING_MODES:
            raise ValueError(
                f"padding_mode must be one of {_PADDING_MODES}, but got "
                f"padding_mode='{padding_mode}'")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.transposed = transposed
        self.output_padding = output_padding
        self.groups = groups
        self.padding_mode = padding_mode
        self._reversed_padding_repeated_twice = _padding_for_pad(padding, dilation, kernel_size)
        if transposed:
            shape = (in_channels, out_channels // groups, *kernel_size)
        else:
            shape = (out_channels, in_channels // groups, *kernel_size)
        self.weight = Parameter(suiren.empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(suiren.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        if self.padding != (0,) * len(self.padding):
            text += f", padding={self.padding}"
        if self.dilation != (1,) * len(self.dilation):
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * len(self.output_padding):
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("padding_mode", "zeros")


def _padding_for_pad(
    padding: Any, dilation: tuple[int, ...], kernel_size: tuple[int, ...]
) -> list[int] | tuple[int, ...]:
    """The padding in the form F.pad takes: last axis first, before and after each."""
    if not isinstance(padding, str):
        return _reverse_repeat_tuple(padding, 2)
    sides: list[int] = []
    for step, width in zip(reversed(dilation), reversed(kernel_size), strict=True):
        total = step * (width - 1) if padding == "same" else 0
        sides += [total // 2, total - total // 2]
    return sides


class _Conv(_ConvNd):
    """A convolution that is not transposed; the subclasses say in how many dimensions."""

    _spread: Any
    _function: str

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:
        spread = self._spread
        super().__init__(
            in_channels, out_channels, spread(kernel_size), spread(stride),
            padding if isinstance(padding, str) else spread(padding), spread(dilation), False,
            spread(0), groups, bias, padding_mode, device, dtype)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        convolution = getattr(F, self._function)
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = self._spread(0)
        return convolution(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Conv):
    """Convolution of (batch, channels, length) or (channels, length).

    padding: a number, or "same" (stride 1 only) or "valid"; padding_mode: "zeros", "reflect",
    "replicate" or "circular". Length out: (length + 2 p - d (k - 1) - 1) // s + 1.

        >>> nn.Conv1d(16, 33, 3, stride=2)(suiren.zeros(20, 16, 50)).shape
        torch.Size([20, 33, 24])

    Source: PyTorch, torch.nn.Conv1d.
    """

    _spread = staticmethod(_single)
    _function = "conv1d"


class Conv2d(_Conv):
    """Convolution of (batch, channels, height, width) or without batch; see Conv1d.

        >>> nn.Conv2d(3, 8, 3, padding=1)(suiren.zeros(2, 3, 5, 7)).shape
        torch.Size([2, 8, 5, 7])

    Source: PyTorch, torch.nn.Conv2d.
    """

    _spread = staticmethod(_pair)
    _function = "conv2d"


class Conv3d(_Conv):
    """Convolution of (batch, channels, depth, height, width) or without batch; see Conv1d."""

    _spread = staticmethod(_triple)
    _function = "conv3d"


class _ConvTransposeNd(_ConvNd):
    """A transposed convolution; the subclasses say in how many dimensions."""

    _spread: Any
    _function: str

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, output_padding: Any = 0, groups: int = 1, bias: bool = True,
        dilation: Any = 1, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(
                f'Only "zeros" padding mode is supported for {type(self).__name__}')
        spread = self._spread
        super().__init__(
            in_channels, out_channels, spread(kernel_size), spread(stride), spread(padding),
            spread(dilation), True, spread(output_padding), groups, bias, padding_mode, device,
            dtype)

    def _output_padding(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        """What to add at the end of each axis to reach output_size."""
        if output_size is None:
            return self.output_padding
        axes = len(self.kernel_size)
        batched = input.dim() == axes + 2
        leading = 2 if batched else 1
        wanted = list(output_size)
        if len(wanted) == leading + axes:
            wanted = wanted[leading:]
        if len(wanted) != axes:
            raise ValueError(
                f"ConvTranspose{axes}D: for {input.dim()}D input, output_size must have {axes} or "
                f"{leading + axes} elements (got {len(wanted)})")
        spatial = input.shape[leading:]
        least = [
            (size - 1) * step - 2 * pad + space * (width - 1) + 1
            for size, step, pad, space, width in zip(
                spatial, self.stride, self.padding, self.dilation, self.kernel_size, strict=True)]
        most = [low + step - 1 for low, step in zip(least, self.stride, strict=True)]
        if any(not low <= size <= high
               for low, size, high in zip(least, wanted, most, strict=True)):
            raise ValueError(
                f"requested an output size of {wanted}, but valid sizes range from {least} to "
                f"{most} (for an input of {spatial})")
        return tuple(size - low for size, low in zip(wanted, least, strict=True))

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """output_size chooses among the sizes that a strided convolution maps to the same."""
        convolution = getattr(F, self._function)
        return convolution(
            input, self.weight, self.bias, self.stride, self.padding,
            self._output_padding(input, output_size), self.groups, self.dilation)


class ConvTranspose1d(_ConvTransposeNd):
    """The transpose of Conv1d's linear map: (batch, channels, length) to a longer one.

    Length out: (length - 1) s - 2 p + d (k - 1) + output_padding + 1.
    Source: PyTorch, torch.nn.ConvTranspose1d.
    """

    _spread = staticmethod(_single)
    _function = "conv_transpose1d"


class ConvTranspose2d(_ConvTransposeNd):
    """The transpose of Conv2d's linear map; see ConvTranspose1d."""

    _spread = staticmethod(_pair)
    _function = "conv_transpose2d"


class ConvTranspose3d(_ConvTransposeNd):
    """The transpose of Conv3d's linear map; see ConvTranspose1d."""

    _spread = staticmethod(_triple)
    _function = "conv_transpose3d"


class _LazyConvXdMixin(LazyModuleMixin, _ConvNd):
    """The lazy convolutions' part: in_channels come from the first input."""

    def _become_lazy(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_channels = out_channels
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        # in_channels is 0 while the ordinary constructor runs
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        if not self.has_uninitialized_params():
            return
        axes = len(self.kernel_size)
        if input.dim() not in (axes + 1, axes + 2):
            raise RuntimeError(
                f"Expected {axes + 1}D (unbatched) or {axes + 2}D (batched) input to "
                f"{type(self).__name__}, but got input of size: {input.shape}")
        self.in_channels = input.shape[-axes - 1]
        if self.in_channels % self.groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if self.transposed:
            shape = (self.in_channels, self.out_channels // self.groups, *self.kernel_size)
        else:
            shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        self.weight.materialize(shape)
        if self.bias is not None:
            self.bias.materialize((self.out_channels,))
        self.reset_parameters()


class _LazyConv(_LazyConvXdMixin):
    def __init__(
        self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode)
        self._become_lazy(out_channels, bias, device, dtype)


class _LazyConvTranspose(_LazyConvXdMixin):
    def __init__(
        self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__(
            0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation,
            padding_mode)
        self._become_lazy(out_channels, bias, device, dtype)


class LazyConv1d(_LazyConv, Conv1d):
    """Conv1d that takes in_channels from its first input."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    """Conv2d that takes in_channels from its first input."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    """Conv3d that takes in_channels from its first input."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyConvTranspose, ConvTranspose1d):
    """ConvTranspose1d that takes in_channels from its first input."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, ConvTranspose2d):
    """ConvTranspose2d that takes in_channels from its first input."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, ConvTranspose3d):
    """ConvTranspose3d that takes in_channels from its first input."""

    cls_to_become = ConvTranspose3d
