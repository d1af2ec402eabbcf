"""Facial keypoints, found by a small convolutional network and by ResNet-18.

You learn regression: a network that gives coordinates in place of classes, trained on images whose
sizes differ. With `--images FOLDER --points FILE.csv` it learns from photographs: the CSV has a
header, then in each row a file's name and x, y of every point in pixels (as in the "Facial
Keypoints" project of Udacity's computer vision course). Without, it learns from drawn faces with
seven points. That takes two minutes.
"""

import csv
import importlib
import math
import time
from pathlib import Path

import numpy as np
import torch
from common import batches, options, pyplot, save, show
from torch import nn

ResNet18 = importlib.import_module("09_resnet18").ResNet18


class SmallNetwork(nn.Module):
    """Four convolutions and two linear layers; x and y of each point, from -1 to 1."""

    def __init__(self, size, points):
        super().__init__()
        layers, channels = [], 1
        for outputs in (16, 32, 64, 64):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
            channels = outputs
        self.convolutions = nn.Sequential(*layers)
        self.linear = nn.Sequential(
            nn.Flatten(), nn.Linear(64 * (size // 16) ** 2, 128), nn.ReLU(),
            nn.Linear(128, 2 * points),
        )  # fmt: skip

    def forward(self, x):  # N, 1, size, size
        return self.linear(self.convolutions(x)).unflatten(1, (-1, 2))  # N, points, 2


def resnet(points):
    """ResNet-18 for grey images: another first layer, and as last one a head for the points."""
    model = ResNet18()
    model.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    model.fc = nn.Sequential(nn.Linear(512, 2 * points), nn.Unflatten(1, (-1, 2)))
    return model


def read_faces(folder, table, size, limit):
    """Grey images (N, 1, size, size) from 0 to 1, and their points (N, points, 2) from -1 to 1.

    The points of an image are shares of its width and height, so it may have any size.
    """
    from PIL import Image

    images, points = [], []
    with open(table, newline="") as file:
        rows = list(csv.reader(file))[1 : limit + 1]
    for name, *numbers in rows:
        with Image.open(folder / name) as image:
            extent = torch.tensor([image.width, image.height])
            small = np.asarray(image.convert("L").resize((size, size)), dtype=np.float32)
        where = torch.tensor([float(number) for number in numbers]).reshape(-1, 2)  # points, 2
        images.append(torch.from_numpy(small / 255).unsqueeze(0))
        points.append(where / extent * 2 - 1)
    return torch.stack(images), torch.stack(points)


def draw_faces(count, size):
    """Drawn faces, as many: eyes, nose, the mouth's two ends and middle, the chin.

    A face is moved, turned, and made larger or smaller at random. What is drawn grows fainter
    with the distance from it, computed for all pixels at once.
    """
    face = torch.tensor(
        [[-0.4, -0.3], [0.4, -0.3], [0.0, 0.1], [-0.35, 0.5], [0.35, 0.5], [0.0, 0.6], [0.0, 1.0]]
    )
    face = face + 0.08 * torch.randn(count, 7, 2)  # count, 7, 2
    face[:, 6] = torch.tensor([0.0, 1.0])
    angle = 0.3 * torch.randn(count, 1, 1)
    turn = torch.cat(
        [
            torch.cat([angle.cos(), angle.sin()], dim=2),
            torch.cat([-angle.sin(), angle.cos()], dim=2),
        ],
        dim=1,
    )  # count, 2, 2
    scale = 0.45 + 0.3 * torch.rand(count, 1, 1)
    middle = 0.4 * torch.rand(count, 1, 2) - 0.2
    points = face * scale @ turn + middle  # count, 7, 2

    steps = torch.linspace(-1, 1, size)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)  # size, size, 2

    def distance(spots):  # count, spots, 2 -> count, spots, size, size
        return (grid - spots[:, :, None, None]).norm(dim=-1)

    head = (distance(middle)[:, 0] < scale).float()  # count, size, size
    images = 0.25 + 0.5 * head + 0.15 * grid[..., 0] * torch.randn(count, 1, 1)
    for weight, spots, width in (
        (-0.6, points[:, :2], 0.10),
        (0.3, points[:, 2:3], 0.08),
        (-0.4, _between(points[:, 3], points[:, 5]), 0.05),
        (-0.4, _between(points[:, 5], points[:, 4]), 0.05),
    ):
        near = torch.exp(-((distance(spots) / (2 * width * scale[..., None])) ** 2))
        images += weight * near.amax(dim=1)
    images += 0.05 * torch.randn(count, size, size)
    return images.clamp(0, 1).unsqueeze(1), points


def _between(start, end, steps=6):
    """Points on the lines from `start` to `end`, both (count, 2)."""
    share = torch.linspace(0, 1, steps).reshape(1, -1, 1)
    return start[:, None] * (1 - share) + end[:, None] * share  # count, steps, 2


def train(name, model, data, epochs, rate, size):
    """Train `model`; give back the mean distance, in pixels, after each epoch, and its answers."""
    train_images, train_points, test_images, test_points = data
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    history = []
    print(f"{name}: {sum(p.numel() for p in model.parameters()):,} parameters")
    for epoch in range(epochs):
        start = time.perf_counter()
        model.train()
        total = 0.0
        for chosen in batches(len(train_images), 16):
            loss = nn.functional.smooth_l1_loss(
                model(train_images[chosen]), train_points[chosen], beta=0.1
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        schedule.step()
        model.eval()
        with torch.no_grad():
            answers = torch.cat([model(part) for part in test_images.split(100)])
        pixels = (answers - test_points).norm(dim=2).mean().item() * size / 2
        history.append((total / len(train_images), pixels))
        print(f"  epoch {epoch + 1}  loss {history[-1][0]:.4f}  mean distance {pixels:.2f} pixels  "
              f"{time.perf_counter() - start:.1f} s")  # fmt: skip
    return history, answers


def main():
    parser = options(__doc__, epochs=6)
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="photographs of faces")
    parser.add_argument("--points", type=Path, metavar="FILE", help="their points, a CSV")
    parser.add_argument("--size", type=int, default=64, help="pixels, a multiple of 16 (64)")
    parser.add_argument("--limit", type=int, default=600, help="number of images (600)")
    arguments = parser.parse_args()
    size, limit, epochs = arguments.size, arguments.limit, arguments.epochs
    if arguments.quick:
        size, limit, epochs = 32, 96, 1
    if (arguments.images is None) != (arguments.points is None):
        parser.error("--images and --points belong together")

    torch.manual_seed(0)
    if arguments.images is None:
        images, points = draw_faces(limit, size)
    else:
        images, points = read_faces(arguments.images, arguments.points, size, limit)
    order = torch.randperm(len(images))
    images, points = images[order], points[order]
    testing = math.ceil(len(images) / 6)
    images = (images - 0.5) * 2  # from -1 to 1: networks learn faster from numbers around zero
    data = images[testing:], points[testing:], images[:testing], points[:testing]
    print(f"{len(images)} faces with {points.shape[1]} points, {testing} of them to test")
    # What any network should beat: always giving the mean of the training points.
    mean = data[1].mean(dim=0)
    guess = (mean - data[3]).norm(dim=2).mean().item() * size / 2
    print(f"The mean face is {guess:.2f} pixels off")

    torch.manual_seed(0)
    # An epoch of the small network costs a tenth of one of ResNet-18, so it gets more of them.
    small, small_answers = train(
        "Small network", SmallNetwork(size, points.shape[1]), data, 3 * epochs, 2e-3, size
    )
    large, large_answers = train("ResNet-18", resnet(points.shape[1]), data, epochs, 1e-3, size)

    plot = pyplot()
    if plot:
        figure = plot.figure(figsize=(13, 5))
        left, right = figure.subfigures(1, 2, width_ratios=[1, 2])
        axes = left.subplots()
        for name, history in {"small network": small, "ResNet-18": large}.items():
            axes.plot(range(1, len(history) + 1), [pixels for _, pixels in history], label=name)
        axes.axhline(guess, color="0.7", linestyle=":", label="the mean face")
        axes.set(title="mean distance on test faces, pixels", xlabel="epoch", ylim=(0, None))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        right.suptitle(
            "green: true points, red: predicted; small network above, ResNet-18 below",
            fontsize="medium",
        )
        grid = right.subplots(2, 5)
        for row, answers in zip(grid, (small_answers, large_answers), strict=True):
            for number, axis in enumerate(row):
                show(axis, data[2][number], vmin=-1, vmax=1)
                for where, color in ((data[3], "lime"), (answers, "red")):
                    x, y = ((where[number] + 1) / 2 * size - 0.5).T.tolist()
                    axis.scatter(x, y, s=6, color=color)
        save(figure, arguments.pictures, __file__)
    print(
        f"Result: mean distance of the mean face {guess:.3f}, "
        f"small network {small[-1][1]:.3f}, ResNet-18 {large[-1][1]:.3f}"
    )


if __name__ == "__main__":
    main()
