"""Inception v3.

Szegedy et al. 2015, "Rethinking the Inception Architecture for Computer Vision",
arXiv:1512.00567. Layers, their names and their initial values are torchvision's.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import suiren as torch
from suiren import Tensor, nn
from suiren.nn import functional as F
from suiren.vision.models._api import WeightsEnum, fix_argument, imagenet, published
from suiren.vision.models._inputs import from_imagenet_to_halves

__all__ = ["Inception3", "InceptionOutputs", "Inception_V3_Weights", "inception_v3"]

Block = Callable[..., nn.Module]


class InceptionOutputs(NamedTuple):
    """What an Inception v3 with the auxiliary classifier gives while training."""

    logits: Tensor
    aux_logits: Tensor | None


class BasicConv2d(nn.Module):
    """A convolution without bias, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, **kwargs: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(N, out_channels, ...) of (N, in_channels, H, W)."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


# Kernels that look along one axis: keyword arguments of a convolution.
_ALONG_W7: dict[str, Any] = {"kernel_size": (1, 7), "padding": (0, 3)}
_ALONG_H7: dict[str, Any] = {"kernel_size": (7, 1), "padding": (3, 0)}
_ALONG_W3: dict[str, Any] = {"kernel_size": (1, 3), "padding": (0, 1)}
_ALONG_H3: dict[str, Any] = {"kernel_size": (3, 1), "padding": (1, 0)}


class InceptionA(nn.Module):
    """Figure 5 of the paper: (N, C, H, W) to (N, 224 + pool_features, H, W)."""

    def __init__(
        self, in_channels: int, pool_features: int, conv_block: Block | None = None
    ) -> None:
        super().__init__()
        conv = BasicConv2d if conv_block is None else conv_block
        self.branch1x1 = conv(in_channels, 64, kernel_size=1)
        self.branch5x5_1 = conv(in_channels, 48, kernel_size=1)
        self.branch5x5_2 = conv(48, 64, kernel_size=5, padding=2)
        self.branch3x3dbl_1 = conv(in_channels, 64, kernel_size=1)
        self.branch3x3dbl_2 = conv(64, 96, kernel_size=3, padding=1)
        self.branch3x3dbl_3 = conv(96, 96, kernel_size=3, padding=1)
        self.branch_pool = conv(in_channels, pool_features, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """The branches' channels, joined."""
        one = self.branch1x1(x)
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        pool = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return torch.cat([one, five, double, pool], 1)


class InceptionB(nn.Module):
    """Halves height and width: (N, C, H, W) to (N, 480 + C, H / 2, W / 2)."""

    def __init__(self, in_channels: int, conv_block: Block | None = None) -> None:
        super().__init__()
        conv = BasicConv2d if conv_block is None else conv_block
        self.branch3x3 = conv(in_channels, 384, kernel_size=3, stride=2)
        self.branch3x3dbl_1 = conv(in_channels, 64, kernel_size=1)
        self.branch3x3dbl_2 = conv(64, 96, kernel_size=3, padding=1)
        self.branch3x3dbl_3 = conv(96, 96, kernel_size=3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """The branches' channels, joined."""
        three = self.branch3x3(x)
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        pool = F.max_pool2d(x, kernel_size=3, stride=2)
        return torch.cat([three, double, pool], 1)


class InceptionC(nn.Module):
    """Figure 6 of the paper, 7x7 kernels as 1x7 and 7x1: (N, C, H, W) to (N, 768, H, W)."""

    def __init__(
        self, in_channels: int, channels_7x7: int, conv_block: Block | None = None
    ) -> None:
        super().__init__()
        conv = BasicConv2d if conv_block is None else conv_block
        inner = channels_7x7
        self.branch1x1 = conv(in_channels, 192, kernel_size=1)
        self.branch7x7_1 = conv(in_channels, inner, kernel_size=1)
        self.branch7x7_2 = conv(inner, inner, **_ALONG_W7)
        self.branch7x7_3 = conv(inner, 192, **_ALONG_H7)
        self.branch7x7dbl_1 = conv(in_channels, inner, kernel_size=1)
        self.branch7x7dbl_2 = conv(inner, inner, **_ALONG_H7)
        self.branch7x7dbl_3 = conv(inner, inner, **_ALONG_W7)
        self.branch7x7dbl_4 = conv(inner, inner, **_ALONG_H7)
        self.branch7x7dbl_5 = conv(inner, 192, **_ALONG_W7)
        self.branch_pool = conv(in_channels, 192, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """The branches' channels, joined."""
        one = self.branch1x1(x)
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        pool = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return torch.cat([one, seven, double, pool], 1)


class InceptionD(nn.Module):
    """Halves height and width: (N, C, H, W) to (N, 512 + C, H / 2, W / 2)."""

    def __init__(self, in_channels: int, conv_block: Block | None = None) -> None:
        super().__init__()
        conv = BasicConv2d if conv_block is None else conv_block
        self.branch3x3_1 = conv(in_channels, 192, kernel_size=1)
        self.branch3x3_2 = conv(192, 320, kernel_size=3, stride=2)
        self.branch7x7x3_1 = conv(in_channels, 192, kernel_size=1)
        self.branch7x7x3_2 = conv(192, 192, **_ALONG_W7)
        self.branch7x7x3_3 = conv(192, 192, **_ALONG_H7)
        self.branch7x7x3_4 = conv(192, 192, kernel_size=3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """The branches' channels, joined."""
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        seven = self.branch7x7x3_4(seven)
        pool = F.max_pool2d(x, kernel_size=3, stride=2)
        return torch.cat([three, seven, pool], 1)


class InceptionE(nn.Module):
    """Figure 7 of the paper, 1x3 and 3x1 side by side: (N, C, H, W) to (N, 2048, H, W)."""

    def __init__(self, in_channels: int, conv_block: Block | None = None) -> None:
        super().__init__()
        conv = BasicConv2d if conv_block is None else conv_block
        self.branch1x1 = conv(in_channels, 320, kernel_size=1)
        self.branch3x3_1 = conv(in_channels, 384, kernel_size=1)
        self.branch3x3_2a = conv(384, 384, **_ALONG_W3)
        self.branch3x3_2b = conv(384, 384, **_ALONG_H3)
        self.branch3x3dbl_1 = conv(in_channels, 448, kernel_size=1)
        self.branch3x3dbl_2 = conv(448, 384, kernel_size=3, padding=1)
        self.branch3x3dbl_3a = conv(384, 384, **_ALONG_W3)
        self.branch3x3dbl_3b = conv(384, 384, **_ALONG_H3)
        self.branch_pool = conv(in_channels, 192, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """The branches' channels, joined."""
        one = self.branch1x1(x)
        three = self.branch3x3_1(x)
        three = torch.cat([self.branch3x3_2a(three), self.branch3x3_2b(three)], 1)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        double = torch.cat([self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)], 1)
        pool = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return torch.cat([one, three, double, pool], 1)


class InceptionAux(nn.Module):
    """A classifier on features from the middle of the network, to train what lies below.

    Shape: (N, in_channels, H, W), H and W at least 17, to (N, num_classes) logits.
    """

    def __init__(
        self, in_channels: int, num_classes: int, conv_block: Block | None = None
    ) -> None:
        super().__init__()
        conv = BasicConv2d if conv_block is None else conv_block
        self.conv0 = conv(in_channels, 128, kernel_size=1)
        self.conv1 = conv(128, 768, kernel_size=5)
        self.conv1.stddev = 0.01  # type: ignore[assignment]
        self.fc = nn.Linear(768, num_classes)
        self.fc.stddev = 0.001  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes)."""
        x = F.avg_pool2d(x, kernel_size=5, stride=3)  # N, in_channels, 5, 5 of 17x17
        x = self.conv1(self.conv0(x))  # N, 768, 1, 1
        x = torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1)  # N, 768
        return self.fc(x)


class Inception3(nn.Module):
    """Eleven Inception blocks, the mean, and a linear layer.

    Args:
        aux_logits: whether there is a second classifier on the way, used while training.
        transform_input: images are normalised with ImageNet's mean and deviation; bring them to
            mean and deviation 1/2, on which the published weights were trained.
        inception_blocks: classes for convolution, blocks A to E and auxiliary classifier.
        init_weights: draw weights anew from a truncated normal distribution; None does so with a
            FutureWarning.

    Shape: (N, 3, H, W), H and W at least 75 (299 is usual), to (N, num_classes) logits; to
    :class:`InceptionOutputs` in training mode with aux_logits, for which H and W are at least 299
    or so.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        transform_input: bool = False,
        inception_blocks: list[Block] | None = None,
        init_weights: bool | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if inception_blocks is None:
            inception_blocks = [
                BasicConv2d, InceptionA, InceptionB, InceptionC, InceptionD, InceptionE,
                InceptionAux,
            ]  # fmt: skip
        if init_weights is None:
            warnings.warn(
                "The default weight initialization of inception_v3 will be changed in future "
                "releases of torchvision. If you wish to keep the old behavior, please set "
                "init_weights=True.",
                FutureWarning,
                stacklevel=2,
            )
            init_weights = True
        if len(inception_blocks) != 7:
            raise ValueError(f"length of inception_blocks should be 7 not {len(inception_blocks)}")
        conv, block_a, block_b, block_c, block_d, block_e, block_aux = inception_blocks
        self.aux_logits = aux_logits
        self.transform_input = transform_input
        self.Conv2d_1a_3x3 = conv(3, 32, kernel_size=3, stride=2)
        self.Conv2d_2a_3x3 = conv(32, 32, kernel_size=3)
        self.Conv2d_2b_3x3 = conv(32, 64, kernel_size=3, padding=1)
        self.maxpool1 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.Conv2d_3b_1x1 = conv(64, 80, kernel_size=1)
        self.Conv2d_4a_3x3 = conv(80, 192, kernel_size=3)
        self.maxpool2 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.Mixed_5b = block_a(192, pool_features=32)
        self.Mixed_5c = block_a(256, pool_features=64)
        self.Mixed_5d = block_a(288, pool_features=64)
        self.Mixed_6a = block_b(288)
        self.Mixed_6b = block_c(768, channels_7x7=128)
        self.Mixed_6c = block_c(768, channels_7x7=160)
        self.Mixed_6d = block_c(768, channels_7x7=160)
        self.Mixed_6e = block_c(768, channels_7x7=192)
        self.AuxLogits = block_aux(768, num_classes) if aux_logits else None
        self.Mixed_7a = block_d(768)
        self.Mixed_7b = block_e(1280)
        self.Mixed_7c = block_e(2048)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(p=dropout)
        self.fc = nn.Linear(2048, num_classes)
        if init_weights:
            self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                std = float(getattr(module, "stddev", 0.1))
                nn.init.trunc_normal_(module.weight, mean=0.0, std=std, a=-2, b=2)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.weight, 1)
                nn.init.constant_(module.bias, 0)

    def forward(self, x: Tensor) -> Any:
        """Logits (N, num_classes), with those of the auxiliary classifier while training."""
        helped = self.training and self.aux_logits
        if self.transform_input:
            x = from_imagenet_to_halves(x)
        # Sizes in the comments are of 299x299 images.
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # N, 64, 147, 147
        x = self.maxpool1(x)  # N, 64, 73, 73
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))  # N, 192, 71, 71
        x = self.maxpool2(x)  # N, 192, 35, 35
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))  # N, 288, 35, 35
        x = self.Mixed_6a(x)  # N, 768, 17, 17
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        aux = self.AuxLogits(x) if helped and self.AuxLogits is not None else None
        x = self.Mixed_7a(x)  # N, 1280, 8, 8
        x = self.Mixed_7c(self.Mixed_7b(x))  # N, 2048, 8, 8
        x = torch.flatten(self.dropout(self.avgpool(x)), 1)  # N, 2048
        logits = self.fc(x)
        return InceptionOutputs(logits, aux) if helped else logits


class Inception_V3_Weights(WeightsEnum):
    """Published weights of :func:`inception_v3`."""

    IMAGENET1K_V1 = imagenet(
        "inception_v3_google-0cc3c7bd.pth", 27161264, 77.294, 93.45, (75, 75),
        crop_size=299, resize_size=342,
    )  # fmt: skip
    DEFAULT = IMAGENET1K_V1


@published(Inception_V3_Weights)
def inception_v3(
    *, weights: Inception_V3_Weights | None = None, progress: bool = True, **kwargs: Any
) -> Inception3:
    """Inception v3; `kwargs` go to :class:`Inception3`.

    With weights, transform_input is True unless given; aux_logits stays True unless given.
    """
    if weights is None:
        return Inception3(**kwargs)
    kwargs.setdefault("transform_input", True)
    wanted = kwargs.get("aux_logits", True)
    kwargs["aux_logits"] = True  # the file has them
    fix_argument(kwargs, "init_weights", False)
    fix_argument(kwargs, "num_classes", weights.meta["num_classes"])
    model = Inception3(**kwargs)
    model.load_state_dict(weights.get_state_dict(progress=progress, check_hash=True))
    if not wanted:
        model.aux_logits = False
        model.AuxLogits = None
    return model
