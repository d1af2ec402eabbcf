"""A whole batch of small images at once, for the transforms that every tutorial has.

`ToTensor` and `Normalize` take some 40 microseconds an image, most of it spent in making a PIL
image and unmaking it: more than a small network needs to train on it. Where the images lie in one
array and nothing else is to be done to them, a batch is made by a few NumPy operations, with the
same arithmetic and so the same bits. The loader asks by `_stacked` (`suiren/utils/data/fetch.py`)
and goes image by image where the answer is None.
"""

from typing import Any

import numpy as np

import suiren as torch
from suiren.vision.transforms.containers import Compose
from suiren.vision.transforms.converting import Normalize, ToTensor
from suiren.vision.transforms.kinds import normalize_array, tensor_of


def stacked(images: np.ndarray, targets: Any, rows: list[int], transform: Any) -> list | None:
    """`[images, labels]` of these rows as `default_collate` would give them; None if `transform` is
    anything but `ToTensor`, alone or with plain `Normalize`s after it, or an image is not uint8.

    Args:
        images: (N, H, W) or (N, H, W, C).
        targets: N ints.
    """
    steps: list[Any] = list(transform.transforms) if type(transform) is Compose else [transform]
    if not steps or type(steps[0]) is not ToTensor or images.dtype != np.uint8:
        return None
    if images.ndim != 3 and images.shape[3:] != (3,):
        return None
    for step in steps[1:]:
        if type(step) is not Normalize or step.inplace:
            return None
        if step._forward_hooks or step._forward_pre_hooks:
            return None
    kind = torch.get_default_dtype()
    if kind is not torch.float32 and kind is not torch.float64:
        return None
    if isinstance(targets, np.ndarray):
        if targets.ndim != 1:
            return None
        labels = targets[rows].astype(np.int64)
    else:
        chosen = [targets[row] for row in rows]
        if not all(type(label) is int for label in chosen):
            return None
        labels = np.array(chosen, np.int64)
    picked = images[rows]
    picked = picked[:, None] if picked.ndim == 3 else picked.transpose(0, 3, 1, 2)  # N, C, H, W
    found: np.ndarray = np.divide(picked, kind.numpy.type(255), dtype=kind.numpy, order="C")
    for step in steps[1:]:
        normalised = normalize_array(found, step.mean, step.std, kind)
        if normalised is None:
            return None
        found = normalised
    return [tensor_of(found), tensor_of(labels)]
