"""ConvNeXt tiny, small, base and large.

Liu et al. 2022, "A ConvNet for the 2020s", arXiv:2201.03545. Layers, their names and their initial
values are torchvision's.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import suiren as torch
from suiren import Tensor, nn
from suiren.nn import functional as F
from suiren.vision.models._api import WeightsEnum, imagenet, published, with_weights
from suiren.vision.ops.misc import Conv2dNormActivation, Permute
from suiren.vision.ops.stochastic_depth import StochasticDepth

__all__ = [
    "ConvNeXt", "ConvNeXt_Base_Weights", "ConvNeXt_Large_Weights", "ConvNeXt_Small_Weights",
    "ConvNeXt_Tiny_Weights", "convnext_base", "convnext_large", "convnext_small", "convnext_tiny",
]  # fmt: skip

Norm = Callable[..., nn.Module]


class LayerNorm2d(nn.LayerNorm):
    """Normalises over the channels of each pixel: (N, C, H, W) to the same."""

    def forward(self, x: Tensor) -> Tensor:
        """x with mean 0 and variance 1 in each pixel, then weighed and shifted."""
        x = x.permute(0, 2, 3, 1)  # N, H, W, C
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)  # N, C, H, W


class CNBlock(nn.Module):
    """A 7x7 convolution on each channel and an MLP on each pixel, beside the identity.

    Shape: (N, dim, H, W) to the same.
    """

    def __init__(
        self,
        dim: int,
        layer_scale: float,
        stochastic_depth_prob: float,
        norm_layer: Norm | None = None,
    ) -> None:
        super().__init__()
        if norm_layer is None:
            norm_layer = partial(nn.LayerNorm, eps=1e-6)
        self.block = nn.Sequential(
            nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim, bias=True),
            Permute([0, 2, 3, 1]),
            norm_layer(dim),
            nn.Linear(in_features=dim, out_features=4 * dim, bias=True),
            nn.GELU(),
            nn.Linear(in_features=4 * dim, out_features=dim, bias=True),
            Permute([0, 3, 1, 2]),
        )
        self.layer_scale = nn.Parameter(torch.ones(dim, 1, 1) * layer_scale)
        self.stochastic_depth = StochasticDepth(stochastic_depth_prob, "row")

    def forward(self, input: Tensor) -> Tensor:
        """The input and the scaled result of the block."""
        result = self.layer_scale * self.block(input)
        result = self.stochastic_depth(result)
        result += input
        return result


class CNBlockConfig:
    """A stage: its channels, those it hands on (None: the last), and its number of blocks."""

    def __init__(
        self, input_channels: int, out_channels: int | None, num_layers: int
    ) -> None:
        self.input_channels = input_channels
        self.out_channels = out_channels
        self.num_layers = num_layers

    def __repr__(self) -> str:
        return (
            f"CNBlockConfig(input_channels={self.input_channels}, "
            f"out_channels={self.out_channels}, num_layers={self.num_layers})"
        )


class ConvNeXt(nn.Module):
    """Patches of 4x4, stages of blocks with halvings between, the mean, and a linear layer.

    Args:
        block_setting: a configuration for each stage.
        stochastic_depth_prob: the last block's probability; it grows evenly from 0.
        layer_scale: initial factor on each block's result.
        block: default :class:`CNBlock`.
        norm_layer: default LayerNorm over channels with eps 1e-6.

    Shape: (N, 3, H, W), H and W at least 32, to (N, num_classes) logits. Raises ValueError for an
    empty setting, TypeError for one that holds something else.
    """

    def __init__(
        self,
        block_setting: list[CNBlockConfig],
        stochastic_depth_prob: float = 0.0,
        layer_scale: float = 1e-6,
        num_classes: int = 1000,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Norm | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        if not block_setting:
            raise ValueError("The block_setting should not be empty")
        if not (
            isinstance(block_setting, Sequence)
            and all(isinstance(stage, CNBlockConfig) for stage in block_setting)
        ):
            raise TypeError("The block_setting should be List[CNBlockConfig]")
        if block is None:
            block = CNBlock
        if norm_layer is None:
            norm_layer = partial(LayerNorm2d, eps=1e-6)
        layers: list[nn.Module] = [
            Conv2dNormActivation(
                3,
                block_setting[0].input_channels,
                kernel_size=4,
                stride=4,
                padding=0,
                norm_layer=norm_layer,
                activation_layer=None,
                bias=True,
            )
        ]
        total = sum(stage.num_layers for stage in block_setting)
        number = 0
        for stage in block_setting:
            blocks = []
            for _ in range(stage.num_layers):
                chance = stochastic_depth_prob * number / (total - 1.0)
                blocks.append(block(stage.input_channels, layer_scale, chance))
                number += 1
            layers.append(nn.Sequential(*blocks))
            if stage.out_channels is not None:
                layers.append(
                    nn.Sequential(
                        norm_layer(stage.input_channels),
                        nn.Conv2d(
                            stage.input_channels, stage.out_channels, kernel_size=2, stride=2
                        ),
                    )
                )
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        last = block_setting[-1]
        width = last.input_channels if last.out_channels is None else last.out_channels
        self.classifier = nn.Sequential(
            norm_layer(width), nn.Flatten(1), nn.Linear(width, num_classes)
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, 3, H, W)."""
        x = self.features(x)  # N, width, H / 32, W / 32
        return self.classifier(self.avgpool(x))


class ConvNeXt_Tiny_Weights(WeightsEnum):
    """Published weights of :func:`convnext_tiny`."""

    IMAGENET1K_V1 = imagenet(
        "convnext_tiny-983f1562.pth", 28589128, 82.52, 96.146, (32, 32), resize_size=236
    )
    DEFAULT = IMAGENET1K_V1


class ConvNeXt_Small_Weights(WeightsEnum):
    """Published weights of :func:`convnext_small`."""

    IMAGENET1K_V1 = imagenet(
        "convnext_small-0c510722.pth", 50223688, 83.616, 96.65, (32, 32), resize_size=230
    )
    DEFAULT = IMAGENET1K_V1


class ConvNeXt_Base_Weights(WeightsEnum):
    """Published weights of :func:`convnext_base`."""

    IMAGENET1K_V1 = imagenet(
        "convnext_base-6075fbad.pth", 88591464, 84.062, 96.87, (32, 32), resize_size=232
    )
    DEFAULT = IMAGENET1K_V1


class ConvNeXt_Large_Weights(WeightsEnum):
    """Published weights of :func:`convnext_large`."""

    IMAGENET1K_V1 = imagenet(
        "convnext_large-ea097f82.pth", 197767336, 84.414, 96.976, (32, 32), resize_size=232
    )
    DEFAULT = IMAGENET1K_V1


def _convnext(
    widths: tuple[int, int, int, int],
    third: int,
    stochastic_depth_prob: float,
    weights: WeightsEnum | None,
    progress: bool,
    kwargs: dict[str, Any],
) -> ConvNeXt:
    """Four stages of these widths with 3, 3, `third` and 3 blocks."""
    handed_on = (*widths[1:], None)
    setting = [
        CNBlockConfig(width, wider, repeats)
        for width, wider, repeats in zip(widths, handed_on, (3, 3, third, 3), strict=True)
    ]
    chance = kwargs.pop("stochastic_depth_prob", stochastic_depth_prob)
    return with_weights(
        ConvNeXt, weights, progress, setting, stochastic_depth_prob=chance, **kwargs
    )


@published(ConvNeXt_Tiny_Weights)
def convnext_tiny(
    *, weights: ConvNeXt_Tiny_Weights | None = None, progress: bool = True, **kwargs: Any
) -> ConvNeXt:
    """ConvNeXt tiny; `kwargs` go to :class:`ConvNeXt`."""
    return _convnext((96, 192, 384, 768), 9, 0.1, weights, progress, kwargs)


@published(ConvNeXt_Small_Weights)
def convnext_small(
    *, weights: ConvNeXt_Small_Weights | None = None, progress: bool = True, **kwargs: Any
) -> ConvNeXt:
    """ConvNeXt small; `kwargs` go to :class:`ConvNeXt`."""
    return _convnext((96, 192, 384, 768), 27, 0.4, weights, progress, kwargs)


@published(ConvNeXt_Base_Weights)
def convnext_base(
    *, weights: ConvNeXt_Base_Weights | None = None, progress: bool = True, **kwargs: Any
) -> ConvNeXt:
    """ConvNeXt base; `kwargs` go to :class:`ConvNeXt`."""
    return _convnext((128, 256, 512, 1024), 27, 0.5, weights, progress, kwargs)


@published(ConvNeXt_Large_Weights)
def convnext_large(
    *, weights: ConvNeXt_Large_Weights | None = None, progress: bool = True, **kwargs: Any
) -> ConvNeXt:
    """ConvNeXt large; `kwargs` go to :class:`ConvNeXt`."""
    return _convnext((192, 384, 768, 1536), 27, 0.5, weights, progress, kwargs)
