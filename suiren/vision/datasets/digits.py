"""The UCI handwritten digits: 1,797 real 8x8 images that travel inside the package.

The interface is that of torchvision's MNIST class without the download. The file and its
attribution (E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, CC BY 4.0) are in
`suiren/vision/data/`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import suiren as torch
from suiren.utils.data import Dataset
from suiren.vision.datasets.split import stratified_split
from suiren.vision.transforms.kinds import tensor_of

INK_LEVELS = 16  # a pixel counts the inked dots in a 4x4 block, so 0 to 16


class Digits(Dataset):
    """Handwritten digits 0 to 9, 8x8 pixels, each with its class number.

    `train=True` gives the 1,438 training images, `train=False` the 359 test images, `train=None`
    all 1,797 in the file's order. The split is `stratified_split(labels, 0.2, seed)`. The file
    does not say who wrote which digit, so the same hands appear on both sides of the split.

    An item is `(image, label)`: `image` is a float32 tensor of shape (1, 8, 8) from 0 (paper) to
    1 (ink), `label` an int; `transform` and `target_transform`, if given, are applied to them.

    Attributes:
        data: uint8 tensor of shape (N, 8, 8), values 0 to 16 as in the original file.
        targets: int64 tensor of shape (N,).
        classes: the ten class names, "0" to "9".

    Example:
        >>> from suiren.vision.datasets import Digits
        >>> digits = Digits(train=False)
        >>> len(digits), digits[0][0].shape
        (359, torch.Size([1, 8, 8]))
    """

    classes = [str(digit) for digit in range(10)]

    def __init__(
        self,
        train: bool | None = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        seed: int = 0,
    ) -> None:
        images, labels = load_arrays()
        if train is not None:
            train_positions, test_positions = stratified_split(labels.tolist(), seed=seed)
            chosen = train_positions if train else test_positions
            images, labels = images[chosen], labels[chosen]
        self.train = train
        self.transform = transform
        self.target_transform = target_transform
        self.data = torch.tensor(images)
        self.targets = torch.tensor(labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        # As arrays: recording four operations an item would cost more than all the rest.
        pixels = np.asarray(self.data.peek()[index], np.float32) / np.float32(INK_LEVELS)
        image = tensor_of(pixels[None])  # 1, 8, 8
        label = int(self.targets.peek()[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label

    def __repr__(self) -> str:
        part = {True: "train", False: "test", None: "all"}[self.train]
        return f"Dataset Digits\n    Number of datapoints: {len(self)}\n    Split: {part}"


def load_arrays() -> tuple[np.ndarray, np.ndarray]:
    """The file as it is: images, uint8 (1797, 8, 8) from 0 to 16, and labels, uint8 (1797,)."""
    from importlib.resources import files

    with files("suiren.vision").joinpath("data/digits.npz").open("rb") as stream:
        with np.load(stream, allow_pickle=False) as archive:
            return archive["images"], archive["labels"]
