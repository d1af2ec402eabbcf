"""SVHN: house numbers photographed from the street, one digit an image.

The files are MATLAB's (version 5), of which as much is read here as numeric arrays need.
"""

import os
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from suiren.vision.datasets.download import check_integrity, download_from
from suiren.vision.datasets.utils import verify_str_arg
from suiren.vision.datasets.vision import VisionDataset

# Data types of elements, by MATLAB's numbers.
_ELEMENT = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"
}  # fmt: skip
_MATRIX, _COMPRESSED = 14, 15
_COMPLEX = 0x0800


def read_mat(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The numeric arrays in a MATLAB file of version 5, by name.

    Raises:
        RuntimeError: it is no such file, it is damaged, or it holds other than real numbers.
    """
    with open(path, "rb") as file:
        data = file.read()
    if len(data) < 128 or data[126:128] not in (b"IM", b"MI"):
        raise RuntimeError(f"{os.fspath(path)} is no MATLAB file of version 5")
    order = "<" if data[126:128] == b"IM" else ">"
    arrays = {}
    try:
        for kind, body in _elements(data[128:], order):
            if kind == _COMPRESSED:
                ((kind, body),) = _elements(zlib.decompress(body), order)
            if kind == _MATRIX:
                name, array = _array(body, order)
                arrays[name] = array
    except (ValueError, struct.error, zlib.error, KeyError) as error:
        raise RuntimeError(f"{os.fspath(path)} is damaged: {error}; download it anew") from error
    return arrays


def _elements(data: bytes, order: str) -> list[tuple[int, bytes]]:
    """The (type, contents) of the elements that follow each other in `data`."""
    found, position = [], 0
    while position + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, position)
        if kind >> 16:  # up to four bytes are kept within the tag
            found.append((kind & 0xFFFF, data[position + 4 : position + 4 + (kind >> 16)]))
            position += 8
            continue
        body = data[position + 8 : position + 8 + size]
        if len(body) < size:
            raise ValueError(f"an element of {size} bytes ends after {len(body)}")
        found.append((kind, body))
        # All but compressed elements fill up to eight bytes.
        position += 8 + (size if kind == _COMPRESSED else -(-size // 8) * 8)
    return found


def _array(body: bytes, order: str) -> tuple[str, np.ndarray]:
    (_, flags), (_, sizes), (_, name), *parts = _elements(body, order)
    text = name.decode("latin1")
    if struct.unpack_from(order + "I", flags)[0] & _COMPLEX or not parts:
        raise ValueError(f"{text!r} is no array of real numbers")
    kind, numbers = parts[0]
    shape = np.frombuffer(sizes, order + "i4")
    array = np.frombuffer(numbers, order + _ELEMENT[kind])
    return text, array.reshape(tuple(shape), order="F")


class SVHN(VisionDataset):
    """Digits of house numbers, 32x32, RGB: 73,257 to train, 26,032 to test, 531,131 extra.

    An item is `(image, label)`: a PIL image and an int from 0 to 9, each after its transform.

    Args:
        root: the folder of the files, as `train_32x32.mat`.
        split: "train", "test" or "extra".
        transform, target_transform: functions of the image and of the label.
        download: fetch the file if it is not there (182, 64 or 1,330 MB).

    Attributes:
        data: uint8 array (N, 3, 32, 32).
        labels: int64 array (N,); the file's 10 for the digit 0 is 0 here.

    Raises:
        RuntimeError: the file is missing or damaged; the text names it and where it belongs.
    """

    split_list = {
        "train": [
            "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
            "train_32x32.mat",
            "e26dedcc434d2e4c54c9b2d4a06d8373",
        ],
        "test": [
            "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
            "test_32x32.mat",
            "eb5a983be6a315427106f1b164d9cef3",
        ],
        "extra": [
            "http://ufldl.stanford.edu/housenumbers/extra_32x32.mat",
            "extra_32x32.mat",
            "a93ce644f1a588dc4d68dda5feec44a7",
        ],
    }

    def __init__(
        self,
        root: str | os.PathLike,
        split: str = "train",
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.split = verify_str_arg(split, "split", tuple(self.split_list))
        self.url, self.filename, self.file_md5 = self.split_list[self.split]
        if download:
            self.download()
        path = os.path.join(self.root, self.filename)
        if not self._check_integrity():
            raise RuntimeError(
                "Dataset not found or corrupted. You can use download=True to download it, or put "
                f"{self.filename} (MD5 {self.file_md5}) into {os.path.abspath(self.root)}"
            )
        arrays = read_mat(path)
        self.data = np.ascontiguousarray(arrays["X"].transpose(3, 2, 0, 1))  # N, 3, 32, 32
        self.labels = arrays["y"].astype(np.int64).reshape(-1)
        self.labels[self.labels == 10] = 0

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        from PIL import Image

        image: Any = Image.fromarray(np.ascontiguousarray(self.data[index].transpose(1, 2, 0)))
        target: Any = int(self.labels[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __len__(self) -> int:
        return len(self.data)

    def _check_integrity(self) -> bool:
        return check_integrity(os.path.join(self.root, self.filename), self.file_md5)

    def download(self) -> None:
        """Fetches the file unless it is there and right."""
        download_from([self.url], os.path.join(self.root, self.filename), self.file_md5)

    def extra_repr(self) -> str:
        """The part."""
        return f"Split: {self.split}"
