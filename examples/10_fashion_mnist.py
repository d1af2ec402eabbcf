"""Fashion-MNIST with four convolutions and two linear layers.

You learn the usual way to train a classifier: batches, epochs, a validation after each, train and
test accuracy side by side. The data is that of Xiao, Rasul and Vollgraf, 70,000 pictures of
clothes; MNIST's files have the same format and do as well. `--digits` takes the 1,797 digits that
are part of Suiren instead and needs no files. On 10,000 pictures it takes a minute or two;
`--images 60000` takes all.
"""

import gzip
import time
from pathlib import Path

import numpy as np
import torch
from common import batches, digits, options, pyplot, save, show
from torch import nn

CLOTHES = "t-shirt trousers pullover dress coat sandal shirt sneaker bag boot".split()


class Network(nn.Module):
    """Each pair of convolutions is followed by pooling, which halves height and width."""

    def __init__(self, size, channels=32):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(2 * channels, 2 * channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.linear = nn.Sequential(
            nn.Flatten(), nn.Linear(2 * channels * (size // 4) ** 2, 128), nn.ReLU(),
            nn.Dropout(0.25), nn.Linear(128, 10),
        )  # fmt: skip

    def forward(self, x):  # N, 1, size, size
        return self.linear(self.convolutions(x))  # N, 10


def read(folder, part):
    """Images (N, 1, 28, 28) from 0 to 1 and labels (N) of the part "train" or "t10k"."""
    arrays = []
    for name, header in ((f"{part}-images-idx3-ubyte", 16), (f"{part}-labels-idx1-ubyte", 8)):
        packed, plain = folder / f"{name}.gz", folder / name
        content = gzip.decompress(packed.read_bytes()) if packed.exists() else plain.read_bytes()
        arrays.append(np.frombuffer(content, np.uint8, offset=header))
    images, labels = arrays
    images = torch.tensor(images.reshape(-1, 1, 28, 28))
    return images.float() / 255, torch.tensor(labels.astype(np.int64))


def fashion(folder):
    """The four tensors; what is not in the folder is downloaded, if that is possible."""
    try:
        return *read(folder, "train"), *read(folder, "t10k")
    except FileNotFoundError:
        pass
    try:
        from torchvision.datasets import FashionMNIST

        FashionMNIST("data", download=True)  # into data/FashionMNIST/raw
        folder = Path("data/FashionMNIST/raw")
        return *read(folder, "train"), *read(folder, "t10k")
    except (ImportError, OSError, RuntimeError) as problem:
        raise SystemExit(
            f"There is no Fashion-MNIST in {folder}, and it could not be downloaded:\n  {problem}\n"
            "Fetch train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz,\n"
            "t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz from\n"
            "https://github.com/zalandoresearch/fashion-mnist and give their folder as --data,\n"
            "or take --digits, which needs no files."
        ) from None


def accuracy(model, images, labels):
    """The share of right answers, and the answers."""
    model.eval()
    with torch.no_grad():
        answers = torch.cat([model(part).argmax(dim=1) for part in images.split(500)])
    return (answers == labels).float().mean().item(), answers


def main():
    parser = options(__doc__, epochs=3)
    parser.add_argument(
        "--data", type=Path, default=Path("data/FashionMNIST/raw"), metavar="FOLDER"
    )
    parser.add_argument("--images", type=int, default=10_000, help="to train on (10000)")
    parser.add_argument("--digits", action="store_true", help="small, needs no files")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    if arguments.digits or arguments.quick:
        train_images, train_labels, test_images, test_labels = digits()
        names, channels, batch = [str(digit) for digit in range(10)], 16, 32
    else:
        train_images, train_labels, test_images, test_labels = fashion(arguments.data)
        is_fashion = "fashion" in str(arguments.data.resolve()).lower()
        names = CLOTHES if is_fashion else [str(digit) for digit in range(10)]
        channels, batch = 32, 64
    count = 400 if arguments.quick else arguments.images
    train_images, train_labels = train_images[:count], train_labels[:count]

    model = Network(train_images.shape[-1], channels)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{len(train_labels)} images to train, {len(test_labels)} to test, "
          f"{parameters:,} parameters")  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    history = []
    for epoch in range(1 if arguments.quick else arguments.epochs):
        start = time.perf_counter()
        model.train()
        total, right = 0.0, 0
        for chosen in batches(len(train_labels), batch):
            scores = model(train_images[chosen])  # batch, 10
            loss = nn.functional.cross_entropy(scores, train_labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
            right += (scores.argmax(dim=1) == train_labels[chosen]).sum().item()
        train = right / len(train_labels)
        test, answers = accuracy(model, test_images, test_labels)
        history.append((total / len(train_labels), train, test))
        print(f"epoch {epoch + 1}  loss {history[-1][0]:.4f}  train {train:.4f}  test {test:.4f}  "
              f"{time.perf_counter() - start:.1f} s")  # fmt: skip

    plot = pyplot()
    if plot:
        losses, trains, tests = zip(*history, strict=True)
        figure = plot.figure(figsize=(12, 3.8))
        left, right = figure.subfigures(1, 2, width_ratios=[1, 1.5])
        axes = left.subplots()
        epochs = range(1, len(history) + 1)
        axes.plot(epochs, trains, "o-", label="train")
        axes.plot(epochs, tests, "o-", label="test")
        axes.set(title="accuracy", xlabel="epoch")
        axes.set_xticks(epochs)
        axes.legend()
        right.suptitle("test images, the answers (and what is right)", fontsize="medium")
        wrong = answers != test_labels
        shown = torch.cat([wrong.nonzero().flatten()[:7], (~wrong).nonzero().flatten()[:14]])[:14]
        for axis, number in zip(right.subplots(2, 7).flat, shown.tolist(), strict=True):
            answer, label = names[answers[number]], names[test_labels[number]]
            show(axis, test_images[number], answer if answer == label else f"{answer}\n({label})")
            axis.title.set(size="small", color="black" if answer == label else "C3")
        save(figure, arguments.pictures, __file__)
    loss, train, test = history[-1]
    print(f"Result: loss {loss:.4f}, train accuracy {train:.4f}, test accuracy {test:.4f}")


if __name__ == "__main__":
    main()
