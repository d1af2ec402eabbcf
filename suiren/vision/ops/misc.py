"""Convolution with normalisation and activation, squeeze-and-excitation, MLP and small helpers.

What the newer models are assembled from. Source: torchvision.ops; papers are named per class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import suiren as torch
from suiren import Tensor, nn


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics and factors are constants.

    Shape: (N, C, H, W) to the same. Source: torchvision.ops.FrozenBatchNorm2d.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, local_metadata: dict, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        # BatchNorm2d counts its batches; a frozen one has nothing to count.
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def forward(self, x: Tensor) -> Tensor:
        """(x - mean) / sqrt(var + eps) * weight + bias for each channel."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()  # C
        shift = self.bias - self.running_mean * scale  # C
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.weight.shape[0]}, eps={self.eps})"


class Conv2dNormActivation(nn.Sequential):
    """A convolution, then a normalisation and an activation, each of which may be None.

    Args:
        padding: None keeps height and width at stride 1.
        bias: None means: only where no normalisation follows.
        inplace: for the activation; None leaves the argument out.

    Shape: (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride).
    Source: torchvision.ops.Conv2dNormActivation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str | None = None,
        groups: int = 1,
        norm_layer: Callable[..., nn.Module] | None = nn.BatchNorm2d,
        activation_layer: Callable[..., nn.Module] | None = nn.ReLU,
        dilation: int | tuple[int, int] = 1,
        inplace: bool | None = True,
        bias: bool | None = None,
    ) -> None:
        if padding is None:
            padding = _padding_that_keeps_size(kernel_size, dilation)
        convolution = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation=dilation,
            groups=groups,
            bias=norm_layer is None if bias is None else bias,
        )
        layers: list[nn.Module] = [convolution]
        if norm_layer is not None:
            layers.append(norm_layer(out_channels))
        if activation_layer is not None:
            layers.append(activation_layer(**({} if inplace is None else {"inplace": inplace})))
        super().__init__(*layers)
        self.out_channels = out_channels


def _padding_that_keeps_size(
    kernel_size: int | tuple[int, int], dilation: int | tuple[int, int]
) -> int | tuple[int, int]:
    if isinstance(kernel_size, int) and isinstance(dilation, int):
        return (kernel_size - 1) // 2 * dilation
    sizes = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    steps = (dilation, dilation) if isinstance(dilation, int) else dilation
    return (sizes[0] - 1) // 2 * steps[0], (sizes[1] - 1) // 2 * steps[1]


class SqueezeExcitation(nn.Module):
    """Weighs channels by what the whole image holds of them.

    Hu et al. 2017, "Squeeze-and-Excitation Networks", arXiv:1709.01507 (figure 3).

    Shape: (N, input_channels, H, W) to the same. Source: torchvision.ops.SqueezeExcitation.
    """

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int,
        activation: Callable[..., nn.Module] = nn.ReLU,
        scale_activation: Callable[..., nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = nn.Conv2d(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, input: Tensor) -> Tensor:
        """The input times one factor for each image and channel."""
        scale = self.avgpool(input)  # N, C, 1, 1
        scale = self.activation(self.fc1(scale))  # N, squeezed, 1, 1
        scale = self.scale_activation(self.fc2(scale))  # N, C, 1, 1
        return scale * input


class MLP(nn.Sequential):
    """Linear layers with normalisation, activation and dropout between; dropout also at the end.

    Args:
        in_channels: features that come in.
        hidden_channels: features of each layer; the last are those that go out.
        inplace: for activations and dropouts; None leaves the argument out.

    Shape: (..., in_channels) to (..., hidden_channels[-1]). Source: torchvision.ops.MLP.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: Sequence[int],
        norm_layer: Callable[..., nn.Module] | None = None,
        activation_layer: Callable[..., nn.Module] | None = nn.ReLU,
        inplace: bool | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        keywords: dict[str, Any] = {} if inplace is None else {"inplace": inplace}
        layers: list[nn.Module] = []
        width = in_channels
        for hidden in hidden_channels[:-1]:
            layers.append(nn.Linear(width, hidden, bias=bias))
            if norm_layer is not None:
                layers.append(norm_layer(hidden))
            if activation_layer is not None:
                layers.append(activation_layer(**keywords))
            layers.append(nn.Dropout(dropout, **keywords))
            width = hidden
        layers.append(nn.Linear(width, hidden_channels[-1], bias=bias))
        layers.append(nn.Dropout(dropout, **keywords))
        super().__init__(*layers)


class Permute(nn.Module):
    """Reorders axes. Source: torchvision.ops.Permute."""

    def __init__(self, dims: list[int]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        """x with its axes in the order of ``dims``."""
        return x.permute(self.dims)
