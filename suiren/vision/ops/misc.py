"""Blocks that many image models are put together from.

The classes have torchvision's names, arguments and submodule names, so that the keys of published
checkpoints (`features.0.0.weight`, `fc1.bias`, ...) fit. Written with `nn` alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import suiren as torch
from suiren import nn
from suiren.tensor import Tensor

Layer = Callable[..., nn.Module]
Sizes = int | tuple[int, ...]


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics, weight and bias are constants (buffers).

    ``y = (x - running_mean) / sqrt(running_var + eps) * weight + bias``, with no update in
    training: detectors are fine-tuned with batches too small for statistics.

    Args:
        num_features: C.
        eps: added to the variance.

    Shape: (N, C, H, W) to the same.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.ops import FrozenBatchNorm2d
        >>> FrozenBatchNorm2d(3, eps=0.0)(torch.full((1, 3, 2, 2), 5.0)).mean()
        tensor(5.)
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # Checkpoints of a BatchNorm2d count their batches; this layer has nothing to count.
        state_dict.pop(prefix + "num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """The normalised images, (N, C, H, W)."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.weight.shape[0]}, eps={self.eps})"


class ConvNormActivation(nn.Sequential):
    """A convolution, then a normalisation, then an activation; the last two can be left out.

    `Conv2dNormActivation` and `Conv3dNormActivation` are this with their convolution chosen.

    Args:
        in_channels, out_channels, kernel_size, stride, groups, dilation: of the convolution.
        padding: None keeps the size at stride 1: ``(kernel_size - 1) // 2 * dilation``.
        norm_layer: called with `out_channels`; None for no normalisation.
        activation_layer: None for no activation.
        inplace: given to the activation; None if it takes no such argument.
        bias: of the convolution; None means "where no normalisation follows".
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes = 3,
        stride: Sizes = 1,
        padding: Sizes | str | None = None,
        groups: int = 1,
        norm_layer: Layer | None = nn.BatchNorm2d,
        activation_layer: Layer | None = nn.ReLU,
        dilation: Sizes = 1,
        inplace: bool | None = True,
        bias: bool | None = None,
        conv_layer: Layer = nn.Conv2d,
    ) -> None:
        if padding is None:
            padding = _same_padding(kernel_size, dilation)
        if bias is None:
            bias = norm_layer is None
        layers = [
            conv_layer(
                in_channels,
                out_channels,
                kernel_size,
                stride,
                padding,
                dilation=dilation,
                groups=groups,
                bias=bias,
            )
        ]
        if norm_layer is not None:
            layers.append(norm_layer(out_channels))
        if activation_layer is not None:
            layers.append(activation_layer(**_inplace(inplace)))
        super().__init__(*layers)
        self.out_channels = out_channels


class Conv2dNormActivation(ConvNormActivation):
    """`Conv2d`, then a normalisation (`BatchNorm2d`), then an activation (`ReLU`).

    For the arguments see `ConvNormActivation`.

    Shape: (N, in_channels, H, W) to (N, out_channels, H', W').

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.ops import Conv2dNormActivation
        >>> Conv2dNormActivation(3, 8, kernel_size=5, stride=2)(torch.zeros(1, 3, 16, 16)).shape
        torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str | None = None,
        groups: int = 1,
        norm_layer: Layer | None = nn.BatchNorm2d,
        activation_layer: Layer | None = nn.ReLU,
        dilation: int | tuple[int, int] = 1,
        inplace: bool | None = True,
        bias: bool | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            groups,
            norm_layer,
            activation_layer,
            dilation,
            inplace,
            bias,
            nn.Conv2d,
        )


class Conv3dNormActivation(ConvNormActivation):
    """`Conv3d`, then a normalisation (`BatchNorm3d`), then an activation (`ReLU`).

    For the arguments see `ConvNormActivation`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int, int] = 3,
        stride: int | tuple[int, int, int] = 1,
        padding: int | tuple[int, int, int] | str | None = None,
        groups: int = 1,
        norm_layer: Layer | None = nn.BatchNorm3d,
        activation_layer: Layer | None = nn.ReLU,
        dilation: int | tuple[int, int, int] = 1,
        inplace: bool | None = True,
        bias: bool | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            groups,
            norm_layer,
            activation_layer,
            dilation,
            inplace,
            bias,
            nn.Conv3d,
        )


class SqueezeExcitation(nn.Module):
    """Weights each channel by a small network that sees every channel's mean.

    From "Squeeze-and-Excitation Networks" (Hu et al., 2018): `avgpool`, `fc1`, `activation`,
    `fc2`, `scale_activation`, and the product with the input.

    Args:
        input_channels: C.
        squeeze_channels: channels between the two 1x1 convolutions.
        activation, scale_activation: classes of the two activations.

    Shape: (N, C, H, W) to the same.
    """

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int,
        activation: Layer = nn.ReLU,
        scale_activation: Layer = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = nn.Conv2d(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, input: Tensor) -> Tensor:
        """The images with their channels weighted, (N, C, H, W)."""
        scale = self.avgpool(input)  # N, C, 1, 1
        scale = self.activation(self.fc1(scale))
        scale = self.scale_activation(self.fc2(scale))
        return scale * input


class MLP(nn.Sequential):
    """Linear layers with normalisation, activation and dropout between them.

    Args:
        in_channels: features that come in.
        hidden_channels: features after each linear layer; the last one is the output, which gets
            dropout but neither normalisation nor activation.
        norm_layer: called with the number of features; None for none.
        activation_layer: None for none.
        inplace: given to activation and dropout; None leaves their default.
        bias: of the linear layers.
        dropout: probability.

    Shape: (..., in_channels) to (..., hidden_channels[-1]).
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: Sequence[int],
        norm_layer: Layer | None = None,
        activation_layer: Layer | None = nn.ReLU,
        inplace: bool | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        options = _inplace(inplace)
        layers: list[nn.Module] = []
        features = in_channels
        for hidden in hidden_channels[:-1]:
            layers.append(nn.Linear(features, hidden, bias=bias))
            if norm_layer is not None:
                layers.append(norm_layer(hidden))
            if activation_layer is not None:
                layers.append(activation_layer(**options))
            layers.append(nn.Dropout(dropout, **options))
            features = hidden
        layers.append(nn.Linear(features, hidden_channels[-1], bias=bias))
        layers.append(nn.Dropout(dropout, **options))
        super().__init__(*layers)


class Permute(nn.Module):
    """`torch.permute` as a module.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.ops import Permute
        >>> Permute([0, 3, 1, 2])(torch.zeros(1, 4, 5, 3)).shape
        torch.Size([1, 3, 4, 5])
    """

    def __init__(self, dims: list[int]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        """The tensor with its dimensions in the order `dims`."""
        return torch.permute(x, self.dims)


def _inplace(inplace: bool | None) -> dict[str, bool]:
    """Keyword arguments for a layer that may not know `inplace`."""
    return {} if inplace is None else {"inplace": inplace}


def _same_padding(kernel_size: Sizes, dilation: Sizes) -> Sizes:
    """The padding that keeps an odd kernel's output as large as its input, at stride 1."""
    if isinstance(kernel_size, int) and isinstance(dilation, int):
        return (kernel_size - 1) // 2 * dilation
    dims = len(kernel_size) if not isinstance(kernel_size, int) else len(dilation)  # type: ignore[arg-type]
    kernels = (kernel_size,) * dims if isinstance(kernel_size, int) else kernel_size
    dilations = (dilation,) * dims if isinstance(dilation, int) else dilation
    return tuple((k - 1) // 2 * d for k, d in zip(kernels, dilations, strict=True))
