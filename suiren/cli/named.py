"""The public data sets of `suiren train`: mnist, fashion-mnist, cifar10, by their own names.

They are read from where torchvision keeps their files, and fetched if they are not there. The
images to test on are the published ones.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import suiren as torch
from suiren.cli.errors import CommandError, first_line
from suiren.cli.folders import ImageSet, check_memory
from suiren.vision import datasets

TITLES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
NATIVE_SIZE = {"mnist": 28, "fashion-mnist": 28, "cifar10": 32}
_DIGITS = [str(digit) for digit in range(10)]


def read_named(
    name: str,
    root: Path,
    image_size: int,
    limit: int | None,
    advance: Callable[[int, int], None],
) -> ImageSet:
    """The data set called `name`, from the folder `root` or from its server.

    Args:
        root: the folder that holds `MNIST/raw` and so on; files that lie in `root` itself or in
            `root/NAME` are found too.
        limit: take this many images to train on and this many to test on at most; they are drawn,
            always the same ones.
        advance: called with (images resized, images in all); not called if none needs it.

    Raises:
        CommandError: the files are not there and cannot be fetched, or they are damaged.
    """
    train, test = (_open(name, root, train) for train in (True, False))
    arrays = [np.asarray(part.data) for part in (train, test)]
    labels = [np.asarray(part.targets, dtype=np.int64) for part in (train, test)]
    if limit is not None:
        for i in range(2):
            chosen = drawn(len(labels[i]), limit)
            arrays[i], labels[i] = arrays[i][chosen], labels[i][chosen]
    pixels = np.concatenate(arrays)  # N, S, S or N, S, S, 3
    size = pixels.shape[1]
    if image_size != size:
        check_memory(len(pixels), image_size, 3 if pixels.ndim == 4 else 1)
        pixels = _resized(pixels, image_size, advance)
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)  # N, C, S, S
    mode = "grayscale" if pixels.shape[1] == 1 else "colour"
    return ImageSet(
        images=np.ascontiguousarray(pixels),
        labels=np.concatenate(labels),
        classes=_DIGITS if name == "mnist" else list(train.classes),
        description=f"{TITLES[name]}, {len(labels[0])} images to train on and {len(labels[1])} to "
        f"test on, 10 classes; {mode}, {image_size}x{image_size}",
        test_from=len(labels[0]),
    )


def _open(name: str, root: Path, train: bool) -> Any:
    makers = {
        "mnist": datasets.MNIST,
        "fashion-mnist": datasets.FashionMNIST,
        "cifar10": datasets.CIFAR10,
    }
    maker: Any = makers[name]
    try:
        for place in (root, root / name):
            try:
                return maker(place, train=train)
            except RuntimeError as error:
                if "damaged" in str(error):
                    raise
            if name != "cifar10" and any(place.glob("*-idx3-ubyte*")):
                return _beside(maker)(place, train=train)
        return maker(root, train=train, download=True)
    except (RuntimeError, OSError, ValueError) as error:
        # A failed download names the files, the servers and the folder, each on a line.
        reason = " ".join(str(error).split()) if isinstance(error, RuntimeError) else (
            first_line(error)
        )  # fmt: skip
        raise CommandError(
            f"cannot read {TITLES[name]} from {root}: {reason.rstrip('.')}; --data-root says where "
            "its files are"
        ) from error


def _beside(maker: Any) -> Any:
    """The data set, with its files in the root folder itself."""
    return type(maker.__name__, (maker,), {"raw_folder": property(lambda self: self.root)})


def drawn(count: int, limit: int) -> np.ndarray:
    """Positions of `limit` out of `count`, always the same ones, in ascending order."""
    if limit >= count:
        return np.arange(count)
    generator = torch.Generator()  # its own: the run's random stream stays where it is
    generator.manual_seed(count)
    return np.sort(torch.randperm(count, generator=generator).numpy()[:limit])


def _resized(pixels: np.ndarray, size: int, advance: Callable[[int, int], None]) -> np.ndarray:
    from PIL import Image

    way = Image.Resampling.BILINEAR
    found: np.ndarray = np.empty((len(pixels), size, size, *pixels.shape[3:]), dtype=np.uint8)
    for number, image in enumerate(pixels):
        found[number] = np.asarray(Image.fromarray(image).resize((size, size), way))
        if number % 256 == 255:
            advance(number + 1, len(pixels))
    return found
