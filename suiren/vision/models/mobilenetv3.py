"""MobileNet v3, small and large.

Howard et al. 2019, "Searching for MobileNetV3", arXiv:1905.02244 (tables 1 and 2). Layers, their
names and their initial values are torchvision's.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import suiren as torch
from suiren import Tensor, nn
from suiren.vision.models._api import WeightsEnum, imagenet, published, with_weights
from suiren.vision.models._utils import _make_divisible
from suiren.vision.ops.misc import Conv2dNormActivation
from suiren.vision.ops.misc import SqueezeExcitation as SElayer

__all__ = [
    "MobileNetV3", "MobileNet_V3_Large_Weights", "MobileNet_V3_Small_Weights",
    "mobilenet_v3_large", "mobilenet_v3_small",
]  # fmt: skip


class InvertedResidualConfig:
    """A row of the paper's tables; channel counts times width_mult, rounded to multiples of 8.

    activation is "RE" (ReLU) or "HS" (Hardswish).
    """

    def __init__(
        self,
        input_channels: int,
        kernel: int,
        expanded_channels: int,
        out_channels: int,
        use_se: bool,
        activation: str,
        stride: int,
        dilation: int,
        width_mult: float,
    ) -> None:
        self.input_channels = self.adjust_channels(input_channels, width_mult)
        self.kernel = kernel
        self.expanded_channels = self.adjust_channels(expanded_channels, width_mult)
        self.out_channels = self.adjust_channels(out_channels, width_mult)
        self.use_se = use_se
        self.use_hs = activation == "HS"
        self.stride = stride
        self.dilation = dilation

    @staticmethod
    def adjust_channels(channels: int, width_mult: float) -> int:
        """channels * width_mult, rounded to a multiple of 8."""
        return _make_divisible(channels * width_mult, 8)


_excitation = partial(SElayer, scale_activation=nn.Hardsigmoid)


class InvertedResidual(nn.Module):
    """1x1 to more channels, a convolution on each channel, squeeze-and-excitation, 1x1 to few.

    Shape: (N, input_channels, H, W) to (N, out_channels, H / stride, W / stride). Raises
    ValueError unless stride is 1 or 2.
    """

    def __init__(
        self,
        cnf: InvertedResidualConfig,
        norm_layer: Callable[..., nn.Module],
        se_layer: Callable[..., nn.Module] = _excitation,
    ) -> None:
        super().__init__()
        if not 1 <= cnf.stride <= 2:
            raise ValueError("illegal stride value")
        self.use_res_connect = cnf.stride == 1 and cnf.input_channels == cnf.out_channels
        activation = nn.Hardswish if cnf.use_hs else nn.ReLU
        expanded = cnf.expanded_channels
        layers: list[nn.Module] = []
        if expanded != cnf.input_channels:
            layers.append(
                Conv2dNormActivation(
                    cnf.input_channels,
                    expanded,
                    kernel_size=1,
                    norm_layer=norm_layer,
                    activation_layer=activation,
                )
            )
        layers.append(
            Conv2dNormActivation(
                expanded,
                expanded,
                kernel_size=cnf.kernel,
                stride=1 if cnf.dilation > 1 else cnf.stride,
                dilation=cnf.dilation,
                groups=expanded,
                norm_layer=norm_layer,
                activation_layer=activation,
            )
        )
        if cnf.use_se:
            layers.append(se_layer(expanded, _make_divisible(expanded // 4, 8)))
        layers.append(
            Conv2dNormActivation(
                expanded,
                cnf.out_channels,
                kernel_size=1,
                norm_layer=norm_layer,
                activation_layer=None,
            )
        )
        self.block = nn.Sequential(*layers)
        self.out_channels = cnf.out_channels
        self._is_cn = cnf.stride > 1

    def forward(self, input: Tensor) -> Tensor:
        """The block's result, with the input added where sizes are the same."""
        result = self.block(input)
        if self.use_res_connect:
            result += input
        return result


class MobileNetV3(nn.Module):
    """Inverted residual blocks, the mean, and two linear layers.

    Args:
        inverted_residual_setting: a configuration for each block.
        last_channel: features between the linear layers.
        block: default :class:`InvertedResidual`.
        norm_layer: default BatchNorm2d with eps 0.001 and momentum 0.01.

    Shape: (N, 3, H, W) to (N, num_classes) logits. Raises ValueError for an empty setting,
    TypeError for one that holds something else.
    """

    def __init__(
        self,
        inverted_residual_setting: list[InvertedResidualConfig],
        last_channel: int,
        num_classes: int = 1000,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
        dropout: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        rows = inverted_residual_setting
        if not rows:
            raise ValueError("The inverted_residual_setting should not be empty")
        if not all(isinstance(row, InvertedResidualConfig) for row in rows):
            raise TypeError(
                "The inverted_residual_setting should be List[InvertedResidualConfig]"
            )
        if block is None:
            block = InvertedResidual
        if norm_layer is None:
            norm_layer = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
        rest: dict[str, Any] = {"norm_layer": norm_layer, "activation_layer": nn.Hardswish}
        narrow = rows[-1].out_channels
        wide = 6 * narrow
        self.features = nn.Sequential(
            Conv2dNormActivation(3, rows[0].input_channels, kernel_size=3, stride=2, **rest),
            *[block(row, norm_layer) for row in rows],
            Conv2dNormActivation(narrow, wide, kernel_size=1, **rest),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(wide, last_channel),
            nn.Hardswish(inplace=True),
            nn.Dropout(p=dropout, inplace=True),
            nn.Linear(last_channel, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, 3, H, W)."""
        x = self.avgpool(self.features(x))  # N, 6 * last block's channels, 1, 1
        return self.classifier(torch.flatten(x, 1))


def _mobilenet_v3_conf(
    arch: str,
    width_mult: float = 1.0,
    reduced_tail: bool = False,
    dilated: bool = False,
    **kwargs: Any,
) -> tuple[list[InvertedResidualConfig], int]:
    """The blocks of a model and its last_channel.

    reduced_tail halves the channels of the last blocks, dilated keeps their size by dilation
    (both for segmentation, sections 6.3 and 6.4 of the paper).
    """
    tail = 2 if reduced_tail else 1
    spread = 2 if dilated else 1
    conf = partial(InvertedResidualConfig, width_mult=width_mult)
    if arch == "mobilenet_v3_large":
        rows = [
            conf(16, 3, 16, 16, False, "RE", 1, 1),
            conf(16, 3, 64, 24, False, "RE", 2, 1),
            conf(24, 3, 72, 24, False, "RE", 1, 1),
            conf(24, 5, 72, 40, True, "RE", 2, 1),
            conf(40, 5, 120, 40, True, "RE", 1, 1),
            conf(40, 5, 120, 40, True, "RE", 1, 1),
            conf(40, 3, 240, 80, False, "HS", 2, 1),
            conf(80, 3, 200, 80, False, "HS", 1, 1),
            conf(80, 3, 184, 80, False, "HS", 1, 1),
            conf(80, 3, 184, 80, False, "HS", 1, 1),
            conf(80, 3, 480, 112, True, "HS", 1, 1),
            conf(112, 3, 672, 112, True, "HS", 1, 1),
            conf(112, 5, 672, 160 // tail, True, "HS", 2, spread),
            conf(160 // tail, 5, 960 // tail, 160 // tail, True, "HS", 1, spread),
            conf(160 // tail, 5, 960 // tail, 160 // tail, True, "HS", 1, spread),
        ]
        last = 1280
    elif arch == "mobilenet_v3_small":
        rows = [
            conf(16, 3, 16, 16, True, "RE", 2, 1),
            conf(16, 3, 72, 24, False, "RE", 2, 1),
            conf(24, 3, 88, 24, False, "RE", 1, 1),
            conf(24, 5, 96, 40, True, "HS", 2, 1),
            conf(40, 5, 240, 40, True, "HS", 1, 1),
            conf(40, 5, 240, 40, True, "HS", 1, 1),
            conf(40, 5, 120, 48, True, "HS", 1, 1),
            conf(48, 5, 144, 48, True, "HS", 1, 1),
            conf(48, 5, 288, 96 // tail, True, "HS", 2, spread),
            conf(96 // tail, 5, 576 // tail, 96 // tail, True, "HS", 1, spread),
            conf(96 // tail, 5, 576 // tail, 96 // tail, True, "HS", 1, spread),
        ]
        last = 1024
    else:
        raise ValueError(f"Unsupported model type {arch}")
    return rows, InvertedResidualConfig.adjust_channels(last // tail, width_mult)


def _mobilenet_v3(
    arch: str, weights: WeightsEnum | None, progress: bool, **kwargs: Any
) -> MobileNetV3:
    names = ("width_mult", "reduced_tail", "dilated")
    shape = {name: kwargs.pop(name) for name in names if name in kwargs}
    rows, last_channel = _mobilenet_v3_conf(arch, **shape)
    return with_weights(MobileNetV3, weights, progress, rows, last_channel, **kwargs)


class MobileNet_V3_Large_Weights(WeightsEnum):
    """Published weights of :func:`mobilenet_v3_large`."""

    IMAGENET1K_V1 = imagenet("mobilenet_v3_large-8738ca79.pth", 5483032, 74.042, 91.34)
    IMAGENET1K_V2 = imagenet(
        "mobilenet_v3_large-5c1a4163.pth", 5483032, 75.274, 92.566, resize_size=232
    )
    DEFAULT = IMAGENET1K_V2


class MobileNet_V3_Small_Weights(WeightsEnum):
    """Published weights of :func:`mobilenet_v3_small`."""

    IMAGENET1K_V1 = imagenet("mobilenet_v3_small-047dcff4.pth", 2542856, 67.668, 87.402)
    DEFAULT = IMAGENET1K_V1


@published(MobileNet_V3_Large_Weights)
def mobilenet_v3_large(
    *, weights: MobileNet_V3_Large_Weights | None = None, progress: bool = True, **kwargs: Any
) -> MobileNetV3:
    """MobileNet v3 large; `kwargs` go to :class:`MobileNetV3`."""
    return _mobilenet_v3("mobilenet_v3_large", weights, progress, **kwargs)


@published(MobileNet_V3_Small_Weights)
def mobilenet_v3_small(
    *, weights: MobileNet_V3_Small_Weights | None = None, progress: bool = True, **kwargs: Any
) -> MobileNetV3:
    """MobileNet v3 small; `kwargs` go to :class:`MobileNetV3`."""
    return _mobilenet_v3("mobilenet_v3_small", weights, progress, **kwargs)
