"""A folder of images of differing sizes.

You learn to write a `Dataset` of your own, to give a `DataLoader` images that do not fit into one
tensor (a `collate_fn` pads them), and to build a network that takes any size. The folder has one
sub-folder for each class: `--folder yours`, or, by default, drawn shapes. Takes twenty seconds.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from common import options, pyplot, save, show
from PIL import Image, ImageDraw
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}


class Folder(Dataset):
    """The images of a folder, in grey: (1, H, W) from 0 to 1, and the number of the class."""

    def __init__(self, folder, largest=48):
        self.classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
        self.items = [
            (path, number)
            for number, name in enumerate(self.classes)
            for path in sorted((folder / name).iterdir())
            if path.suffix.lower() in ENDINGS
        ]
        self.largest = largest

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        path, number = self.items[index]
        with Image.open(path) as image:
            image = image.convert("L")
            image.thumbnail((self.largest, self.largest))  # smaller if need be, never distorted
            pixels = np.asarray(image, dtype=np.float32) / 255
        return torch.from_numpy(pixels).unsqueeze(0), number


def pad_together(items):
    """One batch of images of any sizes: grey is added until all are as large as the largest.

    Gives images (N, 1, H, W), masks of the same shape that are 1 where the image is, labels (N).
    """
    images, numbers = zip(*items, strict=True)
    height = max(image.shape[1] for image in images)
    width = max(image.shape[2] for image in images)
    batch = torch.full((len(images), 1, height, width), 0.5)
    masks = torch.zeros(len(images), 1, height, width)
    for position, image in enumerate(images):
        _, h, w = image.shape
        top, left = (height - h) // 2, (width - w) // 2
        batch[position, :, top : top + h, left : left + w] = image
        masks[position, :, top : top + h, left : left + w] = 1
    return batch, masks, torch.tensor(numbers)


class AnySize(nn.Module):
    """Convolutions do not care for the size; a mean over the image's own pixels ends them."""

    def __init__(self, classes):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.linear = nn.Linear(128, classes)

    def forward(self, images, masks):  # N, 1, H, W
        features = self.convolutions(images - 0.5)  # N, 64, H / 4, W / 4
        masks = nn.functional.adaptive_avg_pool2d(masks, features.shape[2:])
        mean = (features * masks).sum(dim=(2, 3)) / masks.sum(dim=(2, 3))  # N, 64
        largest = (features * masks).amax(dim=(2, 3))  # N, 64
        return self.linear(torch.cat([mean, largest], dim=1))  # N, classes


def draw_shapes(folder, each):
    """Circles, squares and triangles on noise, in sizes from 24 to 64, high, wide or square."""
    random = np.random.default_rng(0)
    for name in ("circle", "square", "triangle"):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            width, height = random.integers(24, 65, size=2).tolist()
            shade = int(random.integers(30, 120))
            image = Image.new("L", (width, height), shade)
            radius = random.uniform(0.3, 0.45) * min(width, height)
            x, y = random.uniform(radius, [width - radius, height - radius]).tolist()
            corners = {"circle": 0, "square": 4, "triangle": 3}[name]
            draw, fill = ImageDraw.Draw(image), shade + int(random.integers(80, 130))
            if corners:
                turn = random.uniform(0, 360)
                draw.regular_polygon((x, y, radius), corners, rotation=turn, fill=fill)
            else:
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
            noise = np.asarray(image) + random.normal(0, 8, size=(height, width))
            image = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
            image.save(folder / name / f"{number:03}.png")


def accuracy(model, loader):
    model.eval()
    right = count = 0
    with torch.no_grad():
        for images, masks, labels in loader:
            right += (model(images, masks).argmax(dim=1) == labels).sum().item()
            count += len(labels)
    return right / count


def main():
    parser = options(__doc__, epochs=12)
    parser.add_argument("--folder", type=Path, help="one sub-folder for each class")
    arguments = parser.parse_args()
    epochs = 1 if arguments.quick else arguments.epochs

    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder
        if folder is None:
            folder = Path(temporary) / "shapes"
            draw_shapes(folder, 20 if arguments.quick else 200)
        data = Folder(folder)
        sizes = [tuple(data[index][0].shape[1:]) for index in range(len(data))]
        print(f"{len(data)} images of {', '.join(data.classes)}: {len(set(sizes))} sizes,",
              f"from {min(sizes)} to {max(sizes)}")  # fmt: skip

        torch.manual_seed(0)
        train_part, test_part = random_split(data, [len(data) - len(data) // 5, len(data) // 5])
        train = DataLoader(train_part, batch_size=16, shuffle=True, collate_fn=pad_together)
        test = DataLoader(test_part, batch_size=32, collate_fn=pad_together)
        model = AnySize(len(data.classes))
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        losses, accuracies = [], []
        for epoch in range(epochs):
            model.train()
            total = 0.0
            for images, masks, labels in train:
                loss = nn.functional.cross_entropy(model(images, masks), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(labels)
            losses.append(total / len(train_part))
            accuracies.append(accuracy(model, test))
            print(f"epoch {epoch + 1:2}  loss {losses[-1]:.4f}  test accuracy {accuracies[-1]:.4f}")

        plot = pyplot()
        if plot:
            images, masks, labels = next(iter(test))
            with torch.no_grad():
                answers = model(images, masks).argmax(dim=1)
            figure = plot.figure(figsize=(12, 4))
            left, right = figure.subfigures(1, 2, width_ratios=[1, 2])
            axes = left.subplots()
            axes.plot(range(1, epochs + 1), losses, "o-", label="training loss")
            axes.plot(range(1, epochs + 1), accuracies, "o-", label="test accuracy")
            axes.set(xlabel="epoch")
            axes.legend()
            right.suptitle("a padded batch and the answers", fontsize="medium")
            for axis, image, answer, label in zip(
                right.subplots(2, 6).flat, images, answers.tolist(), labels.tolist(), strict=False
            ):
                show(axis, image, data.classes[answer], vmin=0, vmax=1)
                axis.title.set_color("black" if answer == label else "C3")
            save(figure, arguments.pictures, __file__)
    print(f"Result: sizes {len(set(sizes))}, loss {losses[-1]:.4f}, accuracy {accuracies[-1]:.4f}")


if __name__ == "__main__":
    main()
