"""`Keypoints`: images with points on them, from a folder and a table."""

import csv as csv_reader
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from suiren.tensor import Tensor
from suiren.vision.datasets.folder import pil_loader
from suiren.vision.datasets.vision import VisionDataset
from suiren.vision.transforms.kinds import tensor_of


class Keypoints(VisionDataset):
    """Images of any size, each with P points: landmarks of a face, joints of a hand.

    The table is a CSV file with a row for each image: its file name, then x, y of every point, in
    pixels of that image from its upper left corner. A header row is passed over; an empty cell is
    a point that is not known (NaN).

    An item is `(image, points)`: a PIL image in RGB and a float32 tensor (P, 2).

    Args:
        folder: the folder of the images.
        csv: the table.
        transform: a function of image and points that returns both, because what moves the pixels
            moves the points; `suiren.vision.transforms.points` has some.
        loader: a function of a path that returns the image.

    Attributes:
        files: the paths of the images.
        points: float32 array (N, P, 2).

    Raises:
        FileNotFoundError: the table or images that it names are not there.
        ValueError: rows of different lengths, a lone coordinate, or a cell that is no number.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from suiren.vision.datasets import Keypoints
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (8, 6)).save(Path(folder) / "a.png")
        ...     table = Path(folder) / "points.csv"
        ...     _ = table.write_text("file,x,y\\na.png,3,2.5\\n")
        ...     image, points = Keypoints(folder, table)[0]
        >>> points
        tensor([[3.0000, 2.5000]])
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        csv: str | os.PathLike,
        transform: Callable[[Any, Tensor], tuple[Any, Any]] | None = None,
        loader: Callable[[str], Any] = pil_loader,
    ) -> None:
        super().__init__(os.fspath(folder), transforms=transform)
        self.loader = loader
        self.files, self.points = read_points(self.root, csv)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = self.loader(self.files[index])
        points: Any = tensor_of(self.points[index].copy())
        if self.transforms is not None:
            image, points = self.transforms(image, points)
        return image, points

    def __len__(self) -> int:
        return len(self.files)


def read_points(folder: str | os.PathLike, csv: str | os.PathLike) -> tuple[list[str], np.ndarray]:
    """The paths of the images (N) and the points, float32 (N, P, 2); see `Keypoints`."""
    folder, table = os.fspath(folder), os.fspath(csv)
    with open(table, encoding="utf-8-sig", newline="") as file:
        numbered = [(i, row) for i, row in enumerate(csv_reader.reader(file), 1) if row]
    if numbered and not os.path.isfile(os.path.join(folder, numbered[0][1][0])):
        # A header, or the first image is missing: a header's row has no name of an image.
        first = numbered[0][1][0]
        if os.path.splitext(first)[1] == "":
            numbered = numbered[1:]
    if not numbered:
        raise ValueError(f"{table} has no rows; each says a file name, then x, y of every point")
    files, rows = [], []
    for line, row in numbered:
        cells = row[1:]
        if len(cells) != len(numbered[0][1]) - 1 or len(cells) % 2 or not cells:
            raise ValueError(
                f"{table}, line {line}: {len(cells)} numbers after the file name; every row needs "
                f"the same, even number (the first has {len(numbered[0][1]) - 1})"
            )
        try:
            rows.append([float(cell) if cell.strip() else np.nan for cell in cells])
        except ValueError as error:
            raise ValueError(f"{table}, line {line}: {error}") from None
        files.append(os.path.join(folder, row[0]))
    missing = [path for path in files if not os.path.isfile(path)]
    if missing:
        raise FileNotFoundError(
            f"{table} names {len(missing)} images that are not in {folder}, such as "
            f"{os.path.basename(missing[0])}"
        )
    return files, np.array(rows, np.float32).reshape(len(files), -1, 2)
