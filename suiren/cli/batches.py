"""Images as the training loop asks for them: a whole batch by its positions, varied if wanted.

How an image is varied depends on the run's seed, the epoch and the image alone: neither on the
order of the batches nor on how many workers make them, so a resumed run sees the same images.
"""

from typing import Any

import numpy as np

import suiren as torch
from suiren.tensor import Tensor
from suiren.utils.data import Dataset

# What --augment does at most: turned by so many degrees, moved by this share of the side, scaled
# by so much more or less.
TURN, MOVE, SCALE = 10.0, 0.08, 0.1


class Batches(Dataset):
    """Images (N, C, S, S) as bytes with their labels; `data[[3, 1]]` is a batch of two tensors.

    Args:
        images: uint8 (N, C, S, S).
        labels: int64 (N,), or float32 (N, P, 2) points as shares of width and height.
        augment: turn, move and scale each image a little, and its points with it.
        flip: mirror half of the images.
        seed: of the variations.
        names: of the files, for those who look at single images.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        augment: bool = False,
        flip: bool = False,
        seed: int = 0,
        names: list[str] | None = None,
    ) -> None:
        self.images = images
        self.labels = labels
        self.augment = augment
        self.flip = flip
        self.seed = seed
        self.names = names
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, positions: list[int]) -> tuple[Tensor, Tensor]:
        images, labels = self.images[positions], self.labels[positions]
        if self.augment or self.flip:
            for row, position in enumerate(positions):
                random = np.random.Generator(np.random.PCG64([self.seed, self.epoch, position]))
                images[row], labels[row] = self._varied(images[row], labels[row], random)
        return torch.from_numpy(images), torch.from_numpy(labels)

    def _varied(self, image: np.ndarray, label: Any, random: Any) -> tuple[np.ndarray, Any]:
        """`image` (C, S, S) and its points, turned, moved, scaled and mirrored by `random`."""
        if self.flip and random.random() < 0.5:
            image = image[:, :, ::-1]  # there are no points: see the command line
        if not self.augment:
            return image, label
        angle = np.deg2rad(random.uniform(-TURN, TURN))
        scale = random.uniform(1 - SCALE, 1 + SCALE)
        move = random.uniform(-MOVE, MOVE, 2)  # shares of the side
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        if getattr(label, "ndim", 0) == 2:
            label = (label - 0.5) @ turn.T.astype(np.float32) + (0.5 + move).astype(np.float32)
        return _warped(image, turn, move), label


def _warped(image: np.ndarray, turn: np.ndarray, move: np.ndarray) -> np.ndarray:
    """`image` (C, S, S) turned around its middle and moved; the border's median is what is new."""
    from PIL import Image

    side = image.shape[1]
    middle = side / 2
    back = np.linalg.inv(turn)
    shift = middle - back @ (np.array([middle, middle]) + move * side)
    matrix = (*back[0], shift[0], *back[1], shift[1])
    rows = image.transpose(1, 2, 0) if len(image) == 3 else image[0]  # S, S, 3 or S, S
    edge = np.concatenate([rows[0], rows[-1], rows[:, 0], rows[:, -1]])
    fill = np.median(edge, axis=0)
    colour = tuple(int(c) for c in fill) if rows.ndim == 3 else int(fill)
    warped = Image.fromarray(np.ascontiguousarray(rows)).transform(
        (side, side),
        Image.Transform.AFFINE,
        matrix,
        Image.Resampling.BILINEAR,
        fillcolor=colour,
    )
    pixels = np.asarray(warped)
    return pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]  # C, S, S
