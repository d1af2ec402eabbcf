"""MobileNet v2.

Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv:1801.04381.
Layers, their names and their initial values are torchvision's.
"""

from collections.abc import Callable
from typing import Any

import suiren as torch
from suiren import Tensor, nn
from suiren.vision.models._api import WeightsEnum, imagenet, published, with_weights
from suiren.vision.models._utils import _make_divisible
from suiren.vision.ops.misc import Conv2dNormActivation

__all__ = ["MobileNetV2", "MobileNet_V2_Weights", "mobilenet_v2"]


class InvertedResidual(nn.Module):
    """1x1 to more channels, 3x3 on each channel, 1x1 to few; beside the identity if sizes allow.

    Shape: (N, inp, H, W) to (N, oup, H / stride, W / stride). Raises ValueError unless stride is
    1 or 2.
    """

    def __init__(
        self,
        inp: int,
        oup: int,
        stride: int,
        expand_ratio: int,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"stride should be 1 or 2 instead of {stride}")
        if norm_layer is None:
            norm_layer = nn.BatchNorm2d
        self.stride = stride
        self.use_res_connect = stride == 1 and inp == oup
        hidden = int(round(inp * expand_ratio))
        rest: dict[str, Any] = {"norm_layer": norm_layer, "activation_layer": nn.ReLU6}
        layers: list[nn.Module] = []
        if expand_ratio != 1:
            layers.append(Conv2dNormActivation(inp, hidden, kernel_size=1, **rest))
        layers.append(Conv2dNormActivation(hidden, hidden, stride=stride, groups=hidden, **rest))
        layers.append(nn.Conv2d(hidden, oup, 1, 1, 0, bias=False))
        layers.append(norm_layer(oup))
        self.conv = nn.Sequential(*layers)
        self.out_channels = oup
        self._is_cn = stride > 1

    def forward(self, x: Tensor) -> Tensor:
        """The block's result, on top of x where sizes are the same."""
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


# Table 2 of the paper: expansion, channels, repeats, stride.
_SETTING = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


class MobileNetV2(nn.Module):
    """Inverted residual blocks, the mean, and a linear layer.

    Args:
        width_mult: factor on all channel counts.
        inverted_residual_setting: rows of expansion, channels, repeats, stride.
        round_nearest: channel counts are multiples of this.
        block: default :class:`InvertedResidual`.
        norm_layer: default BatchNorm2d.

    Shape: (N, 3, H, W) to (N, num_classes) logits.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        inverted_residual_setting: list[list[int]] | None = None,
        round_nearest: int = 8,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if block is None:
            block = InvertedResidual
        if norm_layer is None:
            norm_layer = nn.BatchNorm2d
        rows = _SETTING if inverted_residual_setting is None else inverted_residual_setting
        if not rows or len(rows[0]) != 4:
            raise ValueError(
                "inverted_residual_setting should be non-empty or a 4-element list, got "
                f"{inverted_residual_setting}"
            )
        width = _make_divisible(32 * width_mult, round_nearest)
        self.last_channel = _make_divisible(1280 * max(1.0, width_mult), round_nearest)
        rest: dict[str, Any] = {"norm_layer": norm_layer, "activation_layer": nn.ReLU6}
        features: list[nn.Module] = [Conv2dNormActivation(3, width, stride=2, **rest)]
        for expansion, channels, repeats, stride in rows:
            wider = _make_divisible(channels * width_mult, round_nearest)
            for i in range(repeats):
                step = stride if i == 0 else 1
                features.append(
                    block(width, wider, step, expand_ratio=expansion, norm_layer=norm_layer)
                )
                width = wider
        features.append(Conv2dNormActivation(width, self.last_channel, kernel_size=1, **rest))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(
            nn.Dropout(p=dropout), nn.Linear(self.last_channel, num_classes)
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
        x = self.features(x)  # N, last_channel, H / 32, W / 32
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


class MobileNet_V2_Weights(WeightsEnum):
    """Published weights of :func:`mobilenet_v2`."""

    IMAGENET1K_V1 = imagenet("mobilenet_v2-b0353104.pth", 3504872, 71.878, 90.286)
    IMAGENET1K_V2 = imagenet(
        "mobilenet_v2-7ebf99e0.pth", 3504872, 72.154, 90.822, resize_size=232
    )
    DEFAULT = IMAGENET1K_V2


@published(MobileNet_V2_Weights)
def mobilenet_v2(
    *, weights: MobileNet_V2_Weights | None = None, progress: bool = True, **kwargs: Any
) -> MobileNetV2:
    """MobileNet v2; `kwargs` go to :class:`MobileNetV2`."""
    return with_weights(MobileNetV2, weights, progress, **kwargs)
