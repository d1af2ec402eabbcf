"""VGG-11, layer by layer.

You learn how the network that made 3 x 3 convolutions popular is put together (Simonyan and
Zisserman, "Very deep convolutional networks for large-scale image recognition", 2014), and that
almost all of its 132,863,336 parameters sit in the first linear layer, but almost all of the work
in the convolutions. Takes ten seconds and 1 GB of memory.
"""

import time

import torch
from common import options, pyplot, save
from torch import nn

# Channels of the convolutions; "M" halves height and width.
PLAN = [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"]


class VGG11(nn.Module):
    """For images of 224 x 224. The names of the parts are those of torchvision."""

    def __init__(self, classes=1000):
        super().__init__()
        layers, channels = [], 3
        for step in PLAN:
            if step == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, step, 3, padding=1), nn.ReLU()]
                channels = step
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)  # 7 x 7 whatever the image's size
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, classes),
        )  # fmt: skip

    def forward(self, x):  # N, 3, H, W
        x = self.avgpool(self.features(x))  # N, 512, 7, 7
        return self.classifier(x.flatten(1))  # N, classes


def work(layer, output):
    """Multiplications with additions that a layer does for one image."""
    if isinstance(layer, nn.Conv2d):
        return output[0].numel() * layer.in_channels * layer.kernel_size[0] ** 2
    return layer.weight.numel() if isinstance(layer, nn.Linear) else 0


def describe(layer):
    """The layer's name and what one wants to know of it."""
    name = type(layer).__name__
    if isinstance(layer, nn.Conv2d):
        height, width = layer.kernel_size
        return f"{name} {height}x{width}, {layer.in_channels} to {layer.out_channels}"
    if isinstance(layer, nn.Linear):
        return f"{name}, {layer.in_features} to {layer.out_features}"
    return name


def main():
    arguments = options(__doc__).parse_args()
    torch.manual_seed(0)
    model = VGG11().eval()
    size = 64 if arguments.quick else 224
    x = torch.rand(1, 3, size, size)

    print(f"{'layer':<28} {'output':<20} {'parameters':>11} {'multiply-adds':>14}")
    rows = []
    start = time.perf_counter()
    with torch.no_grad():
        output = x
        for layer in [*model.features, model.avgpool, nn.Flatten(), *model.classifier]:
            output = layer(output)
            parameters = sum(p.numel() for p in layer.parameters())
            rows.append((layer, tuple(output.shape), parameters, work(layer, output)))
            print(f"{describe(layer):<28} {str(tuple(output.shape)):<20} {parameters:11,} "
                  f"{rows[-1][3]:14,}")  # fmt: skip
        whole = model(x)
    seconds = time.perf_counter() - start
    difference = (whole - output).abs().max().item()
    total = sum(p.numel() for p in model.parameters())
    multiplications = sum(row[3] for row in rows)
    print(f"The layers one by one, less the model: {difference:.0e} ({seconds:.1f} s for both)")
    print(f"Memory of the parameters: {total * 4 / 2**20:.0f} MiB")

    plot = pyplot()
    if plot:
        weighty = [row for row in rows if row[2]]
        names = [
            f"{type(layer).__name__.replace('Conv2d', 'conv')} {number + 1}"
            for number, (layer, *_) in enumerate(weighty)
        ]
        figure, (left, right) = plot.subplots(1, 2, figsize=(11, 4), sharey=True)
        left.barh(names, [row[2] / 1e6 for row in weighty], color="C0")
        left.set(title="parameters, millions")
        right.barh(names, [row[3] / 1e9 for row in weighty], color="C1")
        right.set(title=f"multiply-adds for {size} x {size} pixels, thousand millions")
        left.invert_yaxis()
        save(figure, arguments.pictures, __file__)
    print(
        f"Result: parameters {total}, multiply-adds {multiplications}, "
        f"mean output {output.abs().mean().item():.6f}"
    )


if __name__ == "__main__":
    main()
