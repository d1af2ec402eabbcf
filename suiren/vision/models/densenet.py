"""DenseNet with 121, 161, 169 or 201 layers.

Huang et al. 2016, "Densely Connected Convolutional Networks", arXiv:1608.06993. Layers, their
names and their initial values are torchvision's.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import suiren as torch
from suiren import Tensor, nn
from suiren.nn import functional as F
from suiren.vision.models._api import WeightsEnum, fix_argument, imagenet, published

__all__ = [
    "DenseNet", "DenseNet121_Weights", "DenseNet161_Weights", "DenseNet169_Weights",
    "DenseNet201_Weights", "densenet121", "densenet161", "densenet169", "densenet201",
]  # fmt: skip


class _DenseLayer(nn.Module):
    """Normalised 1x1 and 3x3 convolutions of everything that came before, joined."""

    def __init__(
        self,
        num_input_features: int,
        growth_rate: int,
        bn_size: int,
        drop_rate: float,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        inner = bn_size * growth_rate
        self.norm1 = nn.BatchNorm2d(num_input_features)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(num_input_features, inner, kernel_size=1, stride=1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(
            inner, growth_rate, kernel_size=3, stride=1, padding=1, bias=False
        )
        self.drop_rate = float(drop_rate)
        self.memory_efficient = memory_efficient

    def forward(self, input: Tensor | list[Tensor]) -> Tensor:
        """growth_rate new channels (N, growth_rate, H, W)."""
        before = [input] if isinstance(input, torch.Tensor) else input
        x = torch.cat(before, 1)  # N, num_input_features, H, W
        x = self.conv1(self.relu1(self.norm1(x)))
        x = self.conv2(self.relu2(self.norm2(x)))
        if self.drop_rate > 0:
            x = F.dropout(x, p=self.drop_rate, training=self.training)
        return x


class _DenseBlock(nn.ModuleDict):
    """Layers each of which sees the input and what all layers before it made."""

    _version = 2

    def __init__(
        self,
        num_layers: int,
        num_input_features: int,
        bn_size: int,
        growth_rate: int,
        drop_rate: float,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        for i in range(num_layers):
            layer = _DenseLayer(
                num_input_features + i * growth_rate,
                growth_rate=growth_rate,
                bn_size=bn_size,
                drop_rate=drop_rate,
                memory_efficient=memory_efficient,
            )
            self.add_module(f"denselayer{i + 1}", layer)

    def forward(self, init_features: Tensor) -> Tensor:
        """(N, num_input_features + num_layers * growth_rate, H, W)."""
        features = [init_features]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


class _Transition(nn.Sequential):
    """A 1x1 convolution to fewer channels, and half the height and width."""

    def __init__(self, num_input_features: int, num_output_features: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(num_input_features)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(
            num_input_features, num_output_features, kernel_size=1, stride=1, bias=False
        )
        self.pool = nn.AvgPool2d(kernel_size=2, stride=2)


class DenseNet(nn.Module):
    """Dense blocks with transitions between them, the mean, and a linear layer.

    Args:
        growth_rate: channels that each layer adds (k in the paper).
        block_config: layers in each block.
        num_init_features: channels of the first convolution.
        bn_size: channels of a layer's 1x1 convolution, in growth rates.
        drop_rate: dropout after each layer.
        memory_efficient: True is not supported (it computes layers again while going backward).

    Shape: (N, 3, H, W), H and W at least 29, to (N, num_classes) logits.
    Raises NotImplementedError for memory_efficient=True.
    """

    def __init__(
        self,
        growth_rate: int = 32,
        block_config: tuple[int, int, int, int] = (6, 12, 24, 16),
        num_init_features: int = 64,
        bn_size: int = 4,
        drop_rate: float = 0,
        num_classes: int = 1000,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        if memory_efficient:
            raise NotImplementedError(
                "DenseNet got memory_efficient=True, but computing layers again in the backward "
                "pass is not supported; leave it False: the results are the same"
            )
        self.features = nn.Sequential(
            OrderedDict(
                [
                    ("conv0", nn.Conv2d(3, num_init_features, 7, stride=2, padding=3, bias=False)),
                    ("norm0", nn.BatchNorm2d(num_init_features)),
                    ("relu0", nn.ReLU(inplace=True)),
                    ("pool0", nn.MaxPool2d(kernel_size=3, stride=2, padding=1)),
                ]
            )
        )
        width = num_init_features
        for i, num_layers in enumerate(block_config, 1):
            block = _DenseBlock(num_layers, width, bn_size, growth_rate, drop_rate)
            self.features.add_module(f"denseblock{i}", block)
            width += num_layers * growth_rate
            if i != len(block_config):
                self.features.add_module(f"transition{i}", _Transition(width, width // 2))
                width //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(width))
        self.classifier = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.weight, 1)
                nn.init.constant_(module.bias, 0)
            elif isinstance(module, nn.Linear):
                nn.init.constant_(module.bias, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, 3, H, W)."""
        x = F.relu(self.features(x), inplace=True)  # N, width, H / 32, W / 32
        x = torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1)  # N, width
        return self.classifier(x)


# The published files are from when names could have dots in them: denselayer1.norm.1.weight.
_DOTTED = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")


def _with_new_names(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors under today's names: denselayer1.norm1.weight."""
    return {_DOTTED.sub(r"\1\2", name): tensor for name, tensor in state_dict.items()}


def _densenet(
    growth_rate: int,
    block_config: tuple[int, int, int, int],
    num_init_features: int,
    weights: WeightsEnum | None,
    progress: bool,
    **kwargs: Any,
) -> DenseNet:
    if weights is None:
        return DenseNet(growth_rate, block_config, num_init_features, **kwargs)
    fix_argument(kwargs, "num_classes", weights.meta["num_classes"])
    model = DenseNet(growth_rate, block_config, num_init_features, **kwargs)
    state_dict = weights.get_state_dict(progress=progress, check_hash=True)
    model.load_state_dict(_with_new_names(state_dict))
    return model


class DenseNet121_Weights(WeightsEnum):
    """Published weights of :func:`densenet121`."""

    IMAGENET1K_V1 = imagenet("densenet121-a639ec97.pth", 7978856, 74.434, 91.972, (29, 29))
    DEFAULT = IMAGENET1K_V1


class DenseNet161_Weights(WeightsEnum):
    """Published weights of :func:`densenet161`."""

    IMAGENET1K_V1 = imagenet("densenet161-8d451a50.pth", 28681000, 77.138, 93.56, (29, 29))
    DEFAULT = IMAGENET1K_V1


class DenseNet169_Weights(WeightsEnum):
    """Published weights of :func:`densenet169`."""

    IMAGENET1K_V1 = imagenet("densenet169-b2777c0a.pth", 14149480, 75.6, 92.806, (29, 29))
    DEFAULT = IMAGENET1K_V1


class DenseNet201_Weights(WeightsEnum):
    """Published weights of :func:`densenet201`."""

    IMAGENET1K_V1 = imagenet("densenet201-c1103571.pth", 20013928, 76.896, 93.37, (29, 29))
    DEFAULT = IMAGENET1K_V1


@published(DenseNet121_Weights)
def densenet121(
    *, weights: DenseNet121_Weights | None = None, progress: bool = True, **kwargs: Any
) -> DenseNet:
    """DenseNet with 121 layers; `kwargs` go to :class:`DenseNet`."""
    return _densenet(32, (6, 12, 24, 16), 64, weights, progress, **kwargs)


@published(DenseNet161_Weights)
def densenet161(
    *, weights: DenseNet161_Weights | None = None, progress: bool = True, **kwargs: Any
) -> DenseNet:
    """DenseNet with 161 layers; `kwargs` go to :class:`DenseNet`."""
    return _densenet(48, (6, 12, 36, 24), 96, weights, progress, **kwargs)


@published(DenseNet169_Weights)
def densenet169(
    *, weights: DenseNet169_Weights | None = None, progress: bool = True, **kwargs: Any
) -> DenseNet:
    """DenseNet with 169 layers; `kwargs` go to :class:`DenseNet`."""
    return _densenet(32, (6, 12, 32, 32), 64, weights, progress, **kwargs)


@published(DenseNet201_Weights)
def densenet201(
    *, weights: DenseNet201_Weights | None = None, progress: bool = True, **kwargs: Any
) -> DenseNet:
    """DenseNet with 201 layers; `kwargs` go to :class:`DenseNet`."""
    return _densenet(32, (6, 12, 48, 32), 64, weights, progress, **kwargs)
