"""ResNet-18, layer by layer.

You learn what a residual block is (He, Zhang, Ren and Sun, "Deep residual learning for image
recognition", 2015), how eight of them and three more layers make ResNet-18 with its 11,689,512
parameters, and what the shortcuts do for the gradient. Takes five seconds.
"""

import torch
from common import options, pyplot, save
from torch import nn


class BasicBlock(nn.Module):
    """relu(F(x) + x): the two convolutions F only have to learn what x still lacks."""

    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:  # x must get the shape of F(x)
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet18(nn.Module):
    """For images of any size. The names of the parts are those of torchvision."""

    def __init__(self, classes=1000):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(64, 64), BasicBlock(64, 64))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):  # N, 3, H, W
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # N, 64, H / 4, W / 4
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # N, 512, H / 32, W / 32
        return self.fc(self.avgpool(x).flatten(1))  # N, classes


def gradients_in_depth(shortcuts, depth=30, channels=16):
    """The mean size of the gradient at the input of each block of a deep stack."""
    torch.manual_seed(0)
    blocks = []
    for _ in range(depth):
        first = nn.Conv2d(channels, channels, 3, padding=1)
        blocks.append(nn.Sequential(first, nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)))
    x = torch.randn(1, channels, 8, 8, requires_grad=True)
    inputs = []
    for block in blocks:
        x.retain_grad()
        inputs.append(x)
        x = torch.relu(block(x) + x) if shortcuts else torch.relu(block(x))
    x.mean().backward()
    return [x.grad.abs().mean().item() for x in inputs]


def main():
    arguments = options(__doc__).parse_args()
    torch.manual_seed(0)
    model = ResNet18().eval()
    size = 64 if arguments.quick else 224
    x = torch.rand(1, 3, size, size)

    print(f"{'part':<10} {'output':<20} {'convolutions':>12} {'parameters':>11}")
    with torch.no_grad():
        output = x
        for name, part in model.named_children():
            output = part(output.flatten(1) if name == "fc" else output)
            convolutions = sum(isinstance(module, nn.Conv2d) for module in part.modules())
            parameters = sum(p.numel() for p in part.parameters())
            print(f"{name:<10} {str(tuple(output.shape)):<20} {convolutions:12} {parameters:11,}")
        difference = (model(x) - output).abs().max().item()
    total = sum(p.numel() for p in model.parameters())
    print(f"Parts one by one, less the model: {difference:.0e}")

    try:
        from torchvision.models import resnet18
    except ImportError:
        print("torchvision is not installed: no comparison with its ResNet-18.")
    else:
        theirs = resnet18()
        theirs.load_state_dict(model.state_dict())  # the same names, or this would fail
        with torch.no_grad():
            difference = (theirs.eval()(x) - output).abs().max().item()
        print(f"torchvision's ResNet-18 with the same weights differs by {difference:.0e}")

    plain, residual = gradients_in_depth(False), gradients_in_depth(True)
    print(f"The gradient below 30 blocks: {plain[0]:.0e}, with shortcuts {residual[0]:.0e}")

    plot = pyplot()
    if plot:
        figure, (left, right) = plot.subplots(1, 2, figsize=(10, 3.8))
        names = ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"]
        parts = dict(model.named_children())
        sizes = [sum(p.numel() for p in parts[name].parameters()) / 1e6 for name in names]
        bars = left.bar(names, sizes)
        left.bar_label(bars, [f"{size:.2f}" for size in sizes])
        left.set(title="parameters, millions")
        right.semilogy(plain, label="without shortcuts")
        right.semilogy(residual, label="with shortcuts")
        right.set(title="gradient at each of 30 blocks", xlabel="block, from the input")
        right.legend()
        save(figure, arguments.pictures, __file__)
    print(
        f"Result: parameters {total}, mean output {output.abs().mean().item():.5f}, "
        f"gradient ratio {residual[0] / residual[-1]:.3f}"
    )


if __name__ == "__main__":
    main()
