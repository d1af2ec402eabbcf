"""ShuffleNet v2 with 0.5, 1, 1.5 and 2 times the channels.

Ma et al. 2018, "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design",
arXiv:1807.11164. Layers, their names and their initial values are torchvision's.
"""

from collections.abc import Callable
from typing import Any

import suiren as torch
from suiren import Tensor, nn
from suiren.vision.models._api import WeightsEnum, imagenet, published, with_weights

__all__ = [
    "ShuffleNetV2", "ShuffleNet_V2_X0_5_Weights", "ShuffleNet_V2_X1_0_Weights",
    "ShuffleNet_V2_X1_5_Weights", "ShuffleNet_V2_X2_0_Weights", "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0",
]  # fmt: skip


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleaves the channels of `groups` equal groups: a1 a2 b1 b2 becomes a1 b1 a2 b2."""
    batch, channels, height, width = x.size()
    x = x.view(batch, groups, channels // groups, height, width)
    x = torch.transpose(x, 1, 2).contiguous()  # N, C / groups, groups, H, W
    return x.view(batch, channels, height, width)


class InvertedResidual(nn.Module):
    """Half the channels pass (or, at stride 2, take a short way), half are worked on; shuffled.

    Shape: (N, inp, H, W) to (N, oup, H / stride, W / stride). Raises ValueError unless stride is 1
    to 3 and, at stride 1, inp equals oup.
    """

    def __init__(self, inp: int, oup: int, stride: int) -> None:
        super().__init__()
        if not 1 <= stride <= 3:
            raise ValueError("illegal stride value")
        half = oup // 2
        if stride == 1 and inp != half * 2:
            raise ValueError(
                f"Invalid combination of stride {stride}, inp {inp} and oup {oup} values. If "
                "stride == 1 then inp should be equal to oup // 2 << 1."
            )
        self.stride = stride
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(
                self.depthwise_conv(inp, inp, kernel_size=3, stride=stride, padding=1),
                nn.BatchNorm2d(inp),
                nn.Conv2d(inp, half, kernel_size=1, stride=1, padding=0, bias=False),
                nn.BatchNorm2d(half),
                nn.ReLU(inplace=True),
            )
        self.branch2 = nn.Sequential(
            nn.Conv2d(
                inp if stride > 1 else half, half, kernel_size=1, stride=1, padding=0, bias=False
            ),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            self.depthwise_conv(half, half, kernel_size=3, stride=stride, padding=1),
            nn.BatchNorm2d(half),
            nn.Conv2d(half, half, kernel_size=1, stride=1, padding=0, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
        )

    @staticmethod
    def depthwise_conv(
        i: int, o: int, kernel_size: int, stride: int = 1, padding: int = 0, bias: bool = False
    ) -> nn.Conv2d:
        """A convolution that works on each channel alone."""
        return nn.Conv2d(i, o, kernel_size, stride, padding, bias=bias, groups=i)

    def forward(self, x: Tensor) -> Tensor:
        """Both halves, shuffled."""
        if self.stride == 1:
            kept, worked = x.chunk(2, dim=1)
        else:
            kept, worked = self.branch1(x), x
        return channel_shuffle(torch.cat((kept, self.branch2(worked)), dim=1), 2)


class ShuffleNetV2(nn.Module):
    """A convolution, three stages of blocks, a convolution, the mean, and a linear layer.

    Args:
        stages_repeats: blocks in each of the three stages.
        stages_out_channels: channels after each of the five parts.
        inverted_residual: the block.

    Shape: (N, 3, H, W) to (N, num_classes) logits. Raises ValueError for other lengths.
    """

    def __init__(
        self,
        stages_repeats: list[int],
        stages_out_channels: list[int],
        num_classes: int = 1000,
        inverted_residual: Callable[..., nn.Module] = InvertedResidual,
    ) -> None:
        super().__init__()
        if len(stages_repeats) != 3:
            raise ValueError("expected stages_repeats as list of 3 positive ints")
        if len(stages_out_channels) != 5:
            raise ValueError("expected stages_out_channels as list of 5 positive ints")
        self._stage_out_channels = stages_out_channels
        first, *middle, last = stages_out_channels
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, first, 3, 2, 1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
        )
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        width = first
        for number, repeats, wider in zip((2, 3, 4), stages_repeats, middle, strict=True):
            blocks = [inverted_residual(width, wider, 2)]
            blocks += [inverted_residual(wider, wider, 1) for _ in range(repeats - 1)]
            setattr(self, f"stage{number}", nn.Sequential(*blocks))
            width = wider
        self.conv5 = nn.Sequential(
            nn.Conv2d(width, last, 1, 1, 0, bias=False),
            nn.BatchNorm2d(last),
            nn.ReLU(inplace=True),
        )
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, 3, H, W)."""
        x = self.maxpool(self.conv1(x))  # N, 24, H / 4, W / 4
        x = self.stage4(self.stage3(self.stage2(x)))  # H / 32
        x = self.conv5(x).mean([2, 3])  # N, last
        return self.fc(x)


class ShuffleNet_V2_X0_5_Weights(WeightsEnum):
    """Published weights of :func:`shufflenet_v2_x0_5`."""

    IMAGENET1K_V1 = imagenet("shufflenetv2_x0.5-f707e7126e.pth", 1366792, 60.552, 81.746)
    DEFAULT = IMAGENET1K_V1


class ShuffleNet_V2_X1_0_Weights(WeightsEnum):
    """Published weights of :func:`shufflenet_v2_x1_0`."""

    IMAGENET1K_V1 = imagenet("shufflenetv2_x1-5666bf0f80.pth", 2278604, 69.362, 88.316)
    DEFAULT = IMAGENET1K_V1


class ShuffleNet_V2_X1_5_Weights(WeightsEnum):
    """Published weights of :func:`shufflenet_v2_x1_5`."""

    IMAGENET1K_V1 = imagenet(
        "shufflenetv2_x1_5-3c479a10.pth", 3503624, 72.996, 91.086, resize_size=232
    )
    DEFAULT = IMAGENET1K_V1


class ShuffleNet_V2_X2_0_Weights(WeightsEnum):
    """Published weights of :func:`shufflenet_v2_x2_0`."""

    IMAGENET1K_V1 = imagenet(
        "shufflenetv2_x2_0-8be3c8ee.pth", 7393996, 76.23, 93.006, resize_size=232
    )
    DEFAULT = IMAGENET1K_V1


@published(ShuffleNet_V2_X0_5_Weights)
def shufflenet_v2_x0_5(
    *, weights: ShuffleNet_V2_X0_5_Weights | None = None, progress: bool = True, **kwargs: Any
) -> ShuffleNetV2:
    """ShuffleNet v2 with 0.5 times the channels; `kwargs` go to :class:`ShuffleNetV2`."""
    return with_weights(
        ShuffleNetV2, weights, progress, [4, 8, 4], [24, 48, 96, 192, 1024], **kwargs
    )


@published(ShuffleNet_V2_X1_0_Weights)
def shufflenet_v2_x1_0(
    *, weights: ShuffleNet_V2_X1_0_Weights | None = None, progress: bool = True, **kwargs: Any
) -> ShuffleNetV2:
    """ShuffleNet v2 with 1.0 times the channels; `kwargs` go to :class:`ShuffleNetV2`."""
    return with_weights(
        ShuffleNetV2, weights, progress, [4, 8, 4], [24, 116, 232, 464, 1024], **kwargs
    )


@published(ShuffleNet_V2_X1_5_Weights)
def shufflenet_v2_x1_5(
    *, weights: ShuffleNet_V2_X1_5_Weights | None = None, progress: bool = True, **kwargs: Any
) -> ShuffleNetV2:
    """ShuffleNet v2 with 1.5 times the channels; `kwargs` go to :class:`ShuffleNetV2`."""
    return with_weights(
        ShuffleNetV2, weights, progress, [4, 8, 4], [24, 176, 352, 704, 1024], **kwargs
    )


@published(ShuffleNet_V2_X2_0_Weights)
def shufflenet_v2_x2_0(
    *, weights: ShuffleNet_V2_X2_0_Weights | None = None, progress: bool = True, **kwargs: Any
) -> ShuffleNetV2:
    """ShuffleNet v2 with 2.0 times the channels; `kwargs` go to :class:`ShuffleNetV2`."""
    return with_weights(
        ShuffleNetV2, weights, progress, [4, 8, 4], [24, 244, 488, 976, 2048], **kwargs
    )
