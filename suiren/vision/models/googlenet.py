"""GoogLeNet (Inception v1) with batch normalisation.

Szegedy et al. 2014, "Going Deeper with Convolutions", arXiv:1409.4842. Layers, their names and
their initial values are torchvision's: what the paper makes 5x5 convolutions are 3x3 here, since
the published weights are so.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import suiren as torch
from suiren import Tensor, nn
from suiren.nn import functional as F
from suiren.vision.models._api import WeightsEnum, fix_argument, imagenet, published
from suiren.vision.models._inputs import from_imagenet_to_halves

__all__ = ["GoogLeNet", "GoogLeNetOutputs", "GoogLeNet_Weights", "googlenet"]

Block = Callable[..., nn.Module]


class GoogLeNetOutputs(NamedTuple):
    """What a GoogLeNet with auxiliary classifiers gives while training; each (N, num_classes)."""

    logits: Tensor
    aux_logits2: Tensor | None
    aux_logits1: Tensor | None


class BasicConv2d(nn.Module):
    """A convolution without bias, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, **kwargs: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(N, out_channels, ...) of (N, in_channels, H, W)."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1 and 3x3; 1x1 and 3x3; pooling and 1x1.

    Shape: (N, in_channels, H, W) to (N, ch1x1 + ch3x3 + ch5x5 + pool_proj, H, W).
    """

    def __init__(
        self,
        in_channels: int,
        ch1x1: int,
        ch3x3red: int,
        ch3x3: int,
        ch5x5red: int,
        ch5x5: int,
        pool_proj: int,
        conv_block: Block | None = None,
    ) -> None:
        super().__init__()
        if conv_block is None:
            conv_block = BasicConv2d
        self.branch1 = conv_block(in_channels, ch1x1, kernel_size=1)
        self.branch2 = nn.Sequential(
            conv_block(in_channels, ch3x3red, kernel_size=1),
            conv_block(ch3x3red, ch3x3, kernel_size=3, padding=1),
        )
        self.branch3 = nn.Sequential(
            conv_block(in_channels, ch5x5red, kernel_size=1),
            # 3x3, not 5x5 as its channels are named: the published weights are like this.
            conv_block(ch5x5red, ch5x5, kernel_size=3, padding=1),
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1, ceil_mode=True),
            conv_block(in_channels, pool_proj, kernel_size=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The branches' channels, joined."""
        branches = [self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)]
        return torch.cat(branches, 1)


class InceptionAux(nn.Module):
    """A classifier on features from the middle of the network, to train what lies below.

    Shape: (N, in_channels, H, W) to (N, num_classes) logits.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        conv_block: Block | None = None,
        dropout: float = 0.7,
    ) -> None:
        super().__init__()
        if conv_block is None:
            conv_block = BasicConv2d
        self.conv = conv_block(in_channels, 128, kernel_size=1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes)."""
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4)))  # N, 128, 4, 4
        x = F.relu(self.fc1(torch.flatten(x, 1)), inplace=True)  # N, 1024
        return self.fc2(self.dropout(x))


class GoogLeNet(nn.Module):
    """Nine Inception blocks, the mean, and a linear layer.

    Args:
        aux_logits: whether there are two more classifiers on the way, used while training.
        transform_input: images are normalised with ImageNet's mean and deviation; bring them to
            mean and deviation 1/2, on which the published weights were trained.
        init_weights: draw weights anew from a truncated normal distribution; None does so with a
            FutureWarning.
        blocks: classes for convolution, block and auxiliary classifier.

    Shape: (N, 3, H, W), H and W at least 15, to (N, num_classes) logits; to
    :class:`GoogLeNetOutputs` in training mode with aux_logits.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        transform_input: bool = False,
        init_weights: bool | None = None,
        blocks: list[Block] | None = None,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
    ) -> None:
        super().__init__()
        if blocks is None:
            blocks = [BasicConv2d, Inception, InceptionAux]
        if init_weights is None:
            warnings.warn(
                "The default weight initialization of GoogleNet will be changed in future releases"
                " of torchvision. If you wish to keep the old behavior, please set "
                "init_weights=True.",
                FutureWarning,
                stacklevel=2,
            )
            init_weights = True
        if len(blocks) != 3:
            raise ValueError(f"blocks length should be 3 instead of {len(blocks)}")
        conv_block, inception_block, aux_block = blocks
        self.aux_logits = aux_logits
        self.transform_input = transform_input

        self.conv1 = conv_block(3, 64, kernel_size=7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = conv_block(64, 64, kernel_size=1)
        self.conv3 = conv_block(64, 192, kernel_size=3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = inception_block(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = inception_block(256, 128, 128, 192, 32, 96, 64)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = inception_block(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = inception_block(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = inception_block(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = inception_block(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = inception_block(528, 256, 160, 320, 32, 128, 128)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = inception_block(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = inception_block(832, 384, 192, 384, 48, 128, 128)
        self.aux1 = aux_block(512, num_classes, dropout=dropout_aux) if aux_logits else None
        self.aux2 = aux_block(528, num_classes, dropout=dropout_aux) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(p=dropout)
        self.fc = nn.Linear(1024, num_classes)
        if init_weights:
            self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, mean=0.0, std=0.01, a=-2, b=2)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.weight, 1)
                nn.init.constant_(module.bias, 0)

    def forward(self, x: Tensor) -> Any:
        """Logits (N, num_classes), with those of the auxiliary classifiers while training."""
        helped = self.training and self.aux_logits
        if self.transform_input:
            x = from_imagenet_to_halves(x)
        x = self.maxpool1(self.conv1(x))  # N, 64, H / 4, W / 4
        x = self.maxpool2(self.conv3(self.conv2(x)))  # N, 192, H / 8, W / 8
        x = self.inception3b(self.inception3a(x))
        x = self.maxpool3(x)  # N, 480, H / 16, W / 16
        x = self.inception4a(x)
        aux1 = self.aux1(x) if helped and self.aux1 is not None else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x) if helped and self.aux2 is not None else None
        x = self.maxpool4(self.inception4e(x))  # N, 832, H / 32, W / 32
        x = self.inception5b(self.inception5a(x))
        x = torch.flatten(self.avgpool(x), 1)  # N, 1024
        logits = self.fc(self.dropout(x))
        return GoogLeNetOutputs(logits, aux2, aux1) if helped else logits


class GoogLeNet_Weights(WeightsEnum):
    """Published weights of :func:`googlenet`."""

    IMAGENET1K_V1 = imagenet("googlenet-1378be20.pth", 6624904, 69.778, 89.53, (15, 15))
    DEFAULT = IMAGENET1K_V1


@published(GoogLeNet_Weights)
def googlenet(
    *, weights: GoogLeNet_Weights | None = None, progress: bool = True, **kwargs: Any
) -> GoogLeNet:
    """GoogLeNet; `kwargs` go to :class:`GoogLeNet`.

    With weights, transform_input is True and aux_logits False unless given. The auxiliary
    classifiers' published weights are not trained; asking for them warns.
    """
    if weights is None:
        return GoogLeNet(**kwargs)
    kwargs.setdefault("transform_input", True)
    wanted = kwargs.get("aux_logits", False)
    kwargs["aux_logits"] = True  # the file has them
    fix_argument(kwargs, "init_weights", False)
    fix_argument(kwargs, "num_classes", weights.meta["num_classes"])
    model = GoogLeNet(**kwargs)
    model.load_state_dict(weights.get_state_dict(progress=progress, check_hash=True))
    if wanted:
        warnings.warn(
            "auxiliary heads in the pretrained googlenet model are NOT pretrained, so make sure "
            "to train them",
            stacklevel=3,
        )
    else:
        model.aux_logits = False
        model.aux1 = None
        model.aux2 = None
    return model
