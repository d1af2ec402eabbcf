"""VGG with 11, 13, 16 or 19 layers, with and without batch normalisation.

Simonyan and Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
arXiv:1409.1556 (table 1). Layers, their names and their initial values are torchvision's.
"""

from typing import Any

import suiren as torch
from suiren import Tensor, nn
from suiren.vision.models._api import WeightsEnum, imagenet, published, with_weights

__all__ = [
    "VGG", "VGG11_BN_Weights", "VGG11_Weights", "VGG13_BN_Weights", "VGG13_Weights",
    "VGG16_BN_Weights", "VGG16_Weights", "VGG19_BN_Weights", "VGG19_Weights", "vgg11", "vgg11_bn",
    "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
]  # fmt: skip


class VGG(nn.Module):
    """Any features with 512 channels, brought to 7x7, then three linear layers.

    Shape: (N, 3, H, W), H and W at least 32, to (N, num_classes) logits.
    """

    def __init__(
        self,
        features: nn.Module,
        num_classes: int = 1000,
        init_weights: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(True),
            nn.Dropout(p=dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(True),
            nn.Dropout(p=dropout),
            nn.Linear(4096, num_classes),
        )
        if init_weights:
            self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.constant_(module.bias, 0)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.weight, 1)
                nn.init.constant_(module.bias, 0)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.constant_(module.bias, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, 3, H, W)."""
        x = self.avgpool(self.features(x))  # N, 512, 7, 7
        return self.classifier(torch.flatten(x, 1))


def make_layers(cfg: list[int | str], batch_norm: bool = False) -> nn.Sequential:
    """The features: a 3x3 convolution with so many channels for each number, a halving for "M"."""
    layers: list[nn.Module] = []
    channels = 3
    for step in cfg:
        if step == "M":
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        width = int(step)
        layers.append(nn.Conv2d(channels, width, kernel_size=3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU(inplace=True))
        channels = width
    return nn.Sequential(*layers)


def _configuration(*repeats: int) -> list[int | str]:
    """Blocks of convolutions with 64, 128, 256, 512 and 512 channels, a halving after each."""
    found: list[int | str] = []
    for width, repeat in zip((64, 128, 256, 512, 512), repeats, strict=True):
        found += [width] * repeat + ["M"]
    return found


# Under the letters of the paper's table.
cfgs: dict[str, list[int | str]] = {
    "A": _configuration(1, 1, 2, 2, 2),
    "B": _configuration(2, 2, 2, 2, 2),
    "D": _configuration(2, 2, 3, 3, 3),
    "E": _configuration(2, 2, 4, 4, 4),
}


def _vgg(
    cfg: str, batch_norm: bool, weights: WeightsEnum | None, progress: bool, **kwargs: Any
) -> VGG:
    if weights is not None:
        kwargs["init_weights"] = False
    features = make_layers(cfgs[cfg], batch_norm=batch_norm)
    return with_weights(VGG, weights, progress, features, **kwargs)


class VGG11_Weights(WeightsEnum):
    """Published weights of :func:`vgg11`."""

    IMAGENET1K_V1 = imagenet("vgg11-8a719046.pth", 132863336, 69.02, 88.628, (32, 32))
    DEFAULT = IMAGENET1K_V1


class VGG11_BN_Weights(WeightsEnum):
    """Published weights of :func:`vgg11_bn`."""

    IMAGENET1K_V1 = imagenet("vgg11_bn-6002323d.pth", 132868840, 70.37, 89.81, (32, 32))
    DEFAULT = IMAGENET1K_V1


class VGG13_Weights(WeightsEnum):
    """Published weights of :func:`vgg13`."""

    IMAGENET1K_V1 = imagenet("vgg13-19584684.pth", 133047848, 69.928, 89.246, (32, 32))
    DEFAULT = IMAGENET1K_V1


class VGG13_BN_Weights(WeightsEnum):
    """Published weights of :func:`vgg13_bn`."""

    IMAGENET1K_V1 = imagenet("vgg13_bn-abd245e5.pth", 133053736, 71.586, 90.374, (32, 32))
    DEFAULT = IMAGENET1K_V1


class VGG16_Weights(WeightsEnum):
    """Published weights of :func:`vgg16`."""

    IMAGENET1K_V1 = imagenet("vgg16-397923af.pth", 138357544, 71.592, 90.382, (32, 32))
    DEFAULT = IMAGENET1K_V1


class VGG16_BN_Weights(WeightsEnum):
    """Published weights of :func:`vgg16_bn`."""

    IMAGENET1K_V1 = imagenet("vgg16_bn-6c64b313.pth", 138365992, 73.36, 91.516, (32, 32))
    DEFAULT = IMAGENET1K_V1


class VGG19_Weights(WeightsEnum):
    """Published weights of :func:`vgg19`."""

    IMAGENET1K_V1 = imagenet("vgg19-dcbb9e9d.pth", 143667240, 72.376, 90.876, (32, 32))
    DEFAULT = IMAGENET1K_V1


class VGG19_BN_Weights(WeightsEnum):
    """Published weights of :func:`vgg19_bn`."""

    IMAGENET1K_V1 = imagenet("vgg19_bn-c79401a0.pth", 143678248, 74.218, 91.842, (32, 32))
    DEFAULT = IMAGENET1K_V1


@published(VGG11_Weights)
def vgg11(
    *, weights: VGG11_Weights | None = None, progress: bool = True, **kwargs: Any
) -> VGG:
    """The 11-layer model (configuration A); `kwargs` go to :class:`VGG`."""
    return _vgg("A", False, weights, progress, **kwargs)


@published(VGG11_BN_Weights)
def vgg11_bn(
    *, weights: VGG11_BN_Weights | None = None, progress: bool = True, **kwargs: Any
) -> VGG:
    """The 11-layer model (configuration A) with batch norm; `kwargs` go to :class:`VGG`."""
    return _vgg("A", True, weights, progress, **kwargs)


@published(VGG13_Weights)
def vgg13(
    *, weights: VGG13_Weights | None = None, progress: bool = True, **kwargs: Any
) -> VGG:
    """The 13-layer model (configuration B); `kwargs` go to :class:`VGG`."""
    return _vgg("B", False, weights, progress, **kwargs)


@published(VGG13_BN_Weights)
def vgg13_bn(
    *, weights: VGG13_BN_Weights | None = None, progress: bool = True, **kwargs: Any
) -> VGG:
    """The 13-layer model (configuration B) with batch norm; `kwargs` go to :class:`VGG`."""
    return _vgg("B", True, weights, progress, **kwargs)


@published(VGG16_Weights)
def vgg16(
    *, weights: VGG16_Weights | None = None, progress: bool = True, **kwargs: Any
) -> VGG:
    """The 16-layer model (configuration D); `kwargs` go to :class:`VGG`."""
    return _vgg("D", False, weights, progress, **kwargs)


@published(VGG16_BN_Weights)
def vgg16_bn(
    *, weights: VGG16_BN_Weights | None = None, progress: bool = True, **kwargs: Any
) -> VGG:
    """The 16-layer model (configuration D) with batch norm; `kwargs` go to :class:`VGG`."""
    return _vgg("D", True, weights, progress, **kwargs)


@published(VGG19_Weights)
def vgg19(
    *, weights: VGG19_Weights | None = None, progress: bool = True, **kwargs: Any
) -> VGG:
    """The 19-layer model (configuration E); `kwargs` go to :class:`VGG`."""
    return _vgg("E", False, weights, progress, **kwargs)


@published(VGG19_BN_Weights)
def vgg19_bn(
    *, weights: VGG19_BN_Weights | None = None, progress: bool = True, **kwargs: Any
) -> VGG:
    """The 19-layer model (configuration E) with batch norm; `kwargs` go to :class:`VGG`."""
    return _vgg("E", True, weights, progress, **kwargs)
