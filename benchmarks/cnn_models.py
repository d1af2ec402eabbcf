"""The networks that ``cnn.py`` measures, written once for Suiren and for PyTorch.

Each function takes the library and gives ``(step, things)``: the work that is measured, and a
dictionary of the models and inputs, for who wants to know their sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Case(NamedTuple):
    """A network, how many images of which shape, and what is done with them."""

    model: Callable
    shape: tuple[int, ...]
    classes: int
    training: bool = True
    autocast: bool = False


def _norm_relu(nn, convolution, channels, activation=None):
    return [convolution, nn.BatchNorm2d(channels), activation or nn.ReLU(inplace=True)]


def cnn(torch):
    """Four convolutions with batch norm, ReLU and pooling, two linear layers (DESIGN section 9)."""
    nn = torch.nn
    layers = []
    for i, (before, after) in enumerate([(1, 32), (32, 32), (32, 64), (64, 64)]):
        layers += _norm_relu(nn, nn.Conv2d(before, after, 3, padding=1), after, nn.ReLU())
        if i % 2:
            layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10)]
    return nn.Sequential(*layers)


def resnet18(torch):
    """He et al. 2015, 18 layers."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, before, after, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.relu = nn.ReLU(inplace=True)
            self.down = None
            if stride != 1 or before != after:
                self.down = nn.Sequential(
                    nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
                )

        def forward(self, x):
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + (x if self.down is None else self.down(x)))

    layers = _norm_relu(nn, nn.Conv2d(3, 64, 7, 2, 3, bias=False), 64)
    layers.append(nn.MaxPool2d(3, 2, 1))
    before = 64
    for after, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(before, after, stride), Block(after, after, 1)]
        before = after
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    return nn.Sequential(*layers)


def vgg11(torch):
    """Simonyan and Zisserman 2014, configuration A, without batch norm, for 96x96 images."""
    nn = torch.nn
    layers, before = [], 3
    for after in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        if after:
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
            before = after
        else:
            layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(512 * 9, 4096), nn.ReLU(True), nn.Dropout()]
    layers += [nn.Linear(4096, 4096), nn.ReLU(True), nn.Dropout(), nn.Linear(4096, 10)]
    return nn.Sequential(*layers)


def keypoints(torch):
    """Facial keypoints as tutorials find them: four stages of convolution, ReLU and pooling."""
    nn = torch.nn
    layers, before = [], 1
    for after in (32, 64, 128, 256):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        before = after
    layers += [nn.Flatten(), nn.Linear(256 * 36, 256), nn.ReLU(), nn.Dropout(0.3)]
    return nn.Sequential(*layers, nn.Linear(256, 30))


def mobilenet_v2(torch):
    """Sandler et al. 2018: inverted residuals with depthwise convolutions."""
    nn = torch.nn

    class Inverted(nn.Module):
        def __init__(self, before, after, stride, expansion):
            super().__init__()
            hidden, layers = before * expansion, []
            if expansion != 1:
                layers += _norm_relu(
                    nn, nn.Conv2d(before, hidden, 1, bias=False), hidden, nn.ReLU6(inplace=True)
                )
            depthwise = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
            layers += _norm_relu(nn, depthwise, hidden, nn.ReLU6(inplace=True))
            layers += [nn.Conv2d(hidden, after, 1, bias=False), nn.BatchNorm2d(after)]
            self.conv = nn.Sequential(*layers)
            self.residual = stride == 1 and before == after

        def forward(self, x):
            return x + self.conv(x) if self.residual else self.conv(x)

    layers = _norm_relu(nn, nn.Conv2d(3, 32, 3, 2, 1, bias=False), 32, nn.ReLU6(inplace=True))
    before = 32
    for expansion, after, count, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
        (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for i in range(count):
            layers.append(Inverted(before, after, stride if i == 0 else 1, expansion))
            before = after
    last = nn.Conv2d(320, 1280, 1, bias=False)
    layers += _norm_relu(nn, last, 1280, nn.ReLU6(inplace=True))
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers)


def unet(torch):
    """Ronneberger et al. 2015 with padding and batch norm, 32 to 256 channels."""
    nn = torch.nn

    def double(before, after):
        layers = []
        for a in (before, after):
            layers += _norm_relu(nn, nn.Conv2d(a, after, 3, padding=1, bias=False), after)
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            widths = (32, 64, 128, 256)
            befores = (3, *widths[:-1])
            self.down = nn.ModuleList(double(a, b) for a, b in zip(befores, widths, strict=True))
            self.pool = nn.MaxPool2d(2)
            pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
            self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
            self.merge = nn.ModuleList(double(a, b) for a, b in pairs)
            self.last = nn.Conv2d(widths[0], 2, 1)

        def forward(self, x):
            kept = []
            for i, layer in enumerate(self.down):
                x = layer(x if i == 0 else self.pool(x))
                kept.append(x)
            for up, merge, beside in zip(self.up, self.merge, kept[-2::-1], strict=True):
                x = merge(torch.cat([beside, up(x)], dim=1))
            return self.last(x)

    return UNet()


def dcgan_generator(torch):
    """Radford et al. 2015 for 3x32x32 images."""
    nn = torch.nn
    up = nn.ConvTranspose2d
    layers = _norm_relu(nn, up(100, 256, 4, 1, 0, bias=False), 256)
    layers += _norm_relu(nn, up(256, 128, 4, 2, 1, bias=False), 128)
    layers += _norm_relu(nn, up(128, 64, 4, 2, 1, bias=False), 64)
    return nn.Sequential(*layers, up(64, 3, 4, 2, 1, bias=False), nn.Tanh())


def dcgan_discriminator(torch):
    """Its opponent."""
    nn = torch.nn
    layers = [nn.Conv2d(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for a, b in ((64, 128), (128, 256)):
        layers += _norm_relu(
            nn, nn.Conv2d(a, b, 4, 2, 1, bias=False), b, nn.LeakyReLU(0.2, inplace=True)
        )
    return nn.Sequential(*layers, nn.Conv2d(256, 1, 4, 1, 0, bias=False), nn.Flatten())


CASES = {
    "cnn": Case(cnn, (128, 1, 28, 28), 10),
    "resnet4": Case(resnet18, (4, 3, 224, 224), 1000),
    "resnet16": Case(resnet18, (16, 3, 224, 224), 1000),
    "vgg11": Case(vgg11, (8, 3, 96, 96), 10),
    "keypoints": Case(keypoints, (32, 1, 96, 96), 0),
    "dcgan": Case(dcgan_discriminator, (64, 3, 32, 32), 0),
    "mobilenet": Case(mobilenet_v2, (16, 3, 128, 128), 1000),
    "resnet-inference": Case(resnet18, (1, 3, 224, 224), 1000, training=False),
    "unet": Case(unet, (4, 3, 128, 128), 2),
    "cnn-bfloat16": Case(cnn, (128, 1, 28, 28), 10, autocast=True),
    "resnet16-bfloat16": Case(resnet18, (16, 3, 224, 224), 1000, autocast=True),
}
