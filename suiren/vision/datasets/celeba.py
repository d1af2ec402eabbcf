"""CelebA: faces of celebrities with 40 attributes, boxes and five landmarks."""

import csv
import os
from collections.abc import Callable
from typing import Any

import numpy as np

import suiren as torch
from suiren.tensor import Tensor
from suiren.vision.datasets.utils import extract_archive, verify_str_arg
from suiren.vision.datasets.vision import VisionDataset

_PARTS = {"train": 0, "valid": 1, "test": 2, "all": None}
_FILES = {
    "attr": "list_attr_celeba.txt",
    "identity": "identity_CelebA.txt",
    "bbox": "list_bbox_celeba.txt",
    "landmarks": "list_landmarks_align_celeba.txt",
}


class CelebA(VisionDataset):
    """202,599 aligned photographs of faces, 178x218 pixels.

    An item is `(image, target)`: a PIL image and what `target_type` says, each after its transform.
    With several types the target is a tuple, with none it is None.

    Args:
        root: the folder that holds `celeba`, with `img_align_celeba` and the text files in it.
        split: "train", "valid", "test" or "all".
        target_type: one or a list of "attr" (40 zeros and ones), "identity" (a number), "bbox"
            (x, y, width, height) and "landmarks" (10 numbers: eyes, nose, corners of the mouth).
        transform, target_transform: functions of the image and of the target.
        download: unpack `img_align_celeba.zip` if it is in `root/celeba`. The files are on Google
            Drive, which lets programs fetch them only now and then, so they are got by hand.

    Attributes:
        filename: list of names. identity, bbox, landmarks_align, attr: int64 tensors with a row
            for each. attr_names: the 40 names.

    Raises:
        RuntimeError: files are missing; the text names them and where they belong.
    """

    base_folder = "celeba"

    def __init__(
        self,
        root: str | os.PathLike,
        split: str = "train",
        target_type: list[str] | str = "attr",
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.split = split
        self.target_type = target_type if isinstance(target_type, list) else [target_type]
        if not self.target_type and self.target_transform is not None:
            raise RuntimeError("target_transform is specified but target_type is empty")
        for kind in self.target_type:
            if kind not in _FILES:
                raise ValueError(f'Target type "{kind}" is not recognized.')
        if download:
            self.download()
        part = _PARTS[verify_str_arg(split.lower(), "split", tuple(_PARTS))]
        folder = os.path.join(self.root, self.base_folder)
        wanted = ["list_eval_partition.txt", *_FILES.values(), "img_align_celeba"]
        missing = [name for name in wanted if not os.path.exists(os.path.join(folder, name))]
        if missing:
            raise RuntimeError(
                f"Dataset not found. {', '.join(missing)} belong in {os.path.abspath(folder)}; "
                "the project page of CelebA (Multimedia Lab, The Chinese University of Hong Kong) "
                "leads to them, and download=True unpacks img_align_celeba.zip there"
            )
        names, _, rows = _table(os.path.join(folder, "list_eval_partition.txt"), False)
        chosen = np.ones(len(names), bool) if part is None else rows[:, 0] == part
        self.filename = [name for name, taken in zip(names, chosen, strict=True) if taken]
        tables = {}
        for kind, file in _FILES.items():
            _, header, rows = _table(os.path.join(folder, file), kind != "identity")
            tables[kind] = torch.tensor(rows[chosen])
            if kind == "attr":
                self.attr_names = header
        self.identity = tables["identity"]
        self.bbox = tables["bbox"]
        self.landmarks_align = tables["landmarks"]
        self.attr = torch.div(tables["attr"] + 1, 2, rounding_mode="floor")  # from -1, 1 to 0, 1

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        from PIL import Image

        path = os.path.join(self.root, self.base_folder, "img_align_celeba", self.filename[index])
        with open(path, "rb") as file:
            image: Any = Image.open(file)
            image.load()
        columns: dict[str, Tensor] = {
            "attr": self.attr,
            "bbox": self.bbox,
            "landmarks": self.landmarks_align,
        }
        found: list[Any] = [
            self.identity[index, 0] if kind == "identity" else columns[kind][index, :]
            for kind in self.target_type
        ]
        target: Any = None
        if found:
            target = tuple(found) if len(found) > 1 else found[0]
        if self.transform is not None:
            image = self.transform(image)
        if target is not None and self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __len__(self) -> int:
        return len(self.attr)

    def download(self) -> None:
        """Unpacks the archive of the images, if it is there and they are not."""
        folder = os.path.join(self.root, self.base_folder)
        archive = os.path.join(folder, "img_align_celeba.zip")
        if os.path.isdir(os.path.join(folder, "img_align_celeba")) or not os.path.isfile(archive):
            return
        extract_archive(archive, folder)

    def extra_repr(self) -> str:
        """The targets and the part."""
        return f"Target type: {self.target_type}\nSplit: {self.split}"


def _table(path: str, has_header: bool) -> tuple[list[str], list[str], np.ndarray]:
    """(first column, names of the others, their numbers) of one of the text files."""
    with open(path, encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file, delimiter=" ", skipinitialspace=True))
    header = []
    if has_header:  # the number of rows, then the names
        header = [word for word in lines[1] if word]
        lines = lines[2:]
    names = [line[0] for line in lines]
    numbers = [[int(word) for word in line[1:] if word] for line in lines]
    return names, header, np.array(numbers, np.int64).reshape(len(names), -1)
