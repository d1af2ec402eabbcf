"""Pooling, and batch, layer, instance and group normalisation compared.

You learn what pooling keeps and loses, and that the four normalisations do the same thing, take the
mean away and divide by the standard deviation, over different parts of the batch. Each is computed
by hand and by its module. Takes two seconds.
"""

from pathlib import Path

import torch
from common import options, photograph, pyplot, save, show
from torch import nn

CHANNELS, GROUPS = 6, 2
# For a batch of shape (N, C, H, W): the module, and the dimensions it averages over.
NORMALISATIONS = {
    "batch": (nn.BatchNorm2d(CHANNELS), (0, 2, 3)),
    "layer": (nn.LayerNorm([CHANNELS, 5, 5]), (1, 2, 3)),
    "instance": (nn.InstanceNorm2d(CHANNELS), (2, 3)),
    "group": (nn.GroupNorm(GROUPS, CHANNELS), (2, 3, 4)),  # of (N, groups, C / groups, H, W)
}


def normalise(x, dims):
    """Mean 0 and variance 1 over `dims`; the small number keeps a constant part from 0 / 0."""
    mean = x.mean(dim=dims, keepdim=True)
    variance = x.var(dim=dims, unbiased=False, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def main():
    parser = options(__doc__)
    parser.add_argument("--image", type=Path, help="a photograph (Grace Hopper's portrait)")
    arguments = parser.parse_args()

    image, _ = photograph(arguments.image, 96 if arguments.quick else 256)
    batch = image[None, None]  # 1, 1, H, W
    pooled = {
        "the photograph": batch,
        "MaxPool2d(4)": nn.MaxPool2d(4)(batch),
        "AvgPool2d(4)": nn.AvgPool2d(4)(batch),
        "every fourth pixel": batch[..., ::4, ::4],
        "AdaptiveAvgPool2d(12)": nn.AdaptiveAvgPool2d(12)(batch),
    }
    for name, result in pooled.items():
        spread = result.std().item()
        print(f"{name:<22} {tuple(result.shape[2:])}  mean {result.mean().item():.4f}  "
              f"standard deviation {spread:.4f}")  # fmt: skip

    # Pooling forgives small shifts: what does moving the picture by one pixel change?
    moved = batch.roll(1, dims=3)
    for name, pool in {"max": nn.MaxPool2d(4), "average": nn.AvgPool2d(4)}.items():
        change = (pool(moved) - pool(batch)).abs().mean() / (moved - batch).abs().mean()
        print(f"Of a shift by one pixel, {name} pooling passes on {change.item():.2f}")

    torch.manual_seed(0)
    scale = torch.rand(4, CHANNELS, 1, 1) * 3
    x = torch.randn(4, CHANNELS, 5, 5) * scale + scale.flip(0)  # N, C, H, W
    results, largest = {}, 0.0
    print("Normalised by hand and by the module:")
    for name, (module, dims) in NORMALISATIONS.items():
        shaped = x.unflatten(1, (GROUPS, -1)) if name == "group" else x
        by_hand = normalise(shaped, dims).reshape(x.shape)
        results[name] = by_module = module(x).detach()
        difference = (by_hand - by_module).abs().max().item()
        largest = max(largest, difference)
        parts = shaped.mean(dim=dims).numel()
        print(f"  {name:<9} {parts:3} means over {x.numel() // parts:3} numbers each, "
              f"largest difference {difference:.0e}")  # fmt: skip
    print("Only batch normalisation looks at other images; so it keeps running means for later:")
    running = NORMALISATIONS["batch"][0].running_mean
    print("  ", [round(value, 3) for value in running.tolist()])

    plot = pyplot()
    if plot:
        figure = plot.figure(figsize=(12, 5.6))
        above, below = figure.subfigures(2, 1, height_ratios=[1.5, 1])
        for axes, (name, result) in zip(above.subplots(1, 5), pooled.items(), strict=True):
            show(axes, result, f"{name}\n{tuple(result.shape[2:])}", vmin=0, vmax=1)
        below.suptitle(
            "means of each image (row) and channel (column): "
            "numbers in one frame are normalised together",
            fontsize="medium",
        )
        frames = {
            "batch": [(channel, 0, 1, 4) for channel in range(CHANNELS)],
            "layer": [(0, image, CHANNELS, 1) for image in range(4)],
            "instance": [(c, image, 1, 1) for c in range(CHANNELS) for image in range(4)],
            "group": [(c, image, 3, 1) for c in (0, 3) for image in range(4)],
        }
        axes = below.subplots(1, 5)
        for axis, name in zip(axes, ["before", *results], strict=True):
            means = results.get(name, x).mean(dim=(2, 3)).numpy()  # N, C
            drawn = axis.imshow(means, cmap="coolwarm", vmin=-3, vmax=3)
            for column, row, width, height in frames.get(name, []):
                corner = (column - 0.5, row - 0.5)
                axis.add_patch(plot.Rectangle(corner, width, height, fill=False, linewidth=2))
            axis.set(title=name, xticks=[], yticks=[])
        below.colorbar(drawn, ax=axes, shrink=0.9)
        save(figure, arguments.pictures, __file__)
    sums = ", ".join(f"{name} {(r**3).mean().item():.4f}" for name, r in results.items())
    print(f"Result: mean cubes: {sums}")


if __name__ == "__main__":
    main()
