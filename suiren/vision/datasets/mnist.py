"""MNIST and the data sets that came after it in its file format: Fashion-MNIST, KMNIST, EMNIST.

An IDX file: two zero bytes, a byte for the type (8: uint8), a byte for the number of dimensions,
the dimensions as big-endian 32-bit integers, the elements. The folder is torchvision's:
`root/MNIST/raw/train-images-idx3-ubyte` and so on, each with or without `.gz`.
"""

import contextlib
import gzip
import os
import string
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from suiren.tensor import Tensor
from suiren.vision.datasets.batches import stacked
from suiren.vision.datasets.download import check_integrity, download_from
from suiren.vision.datasets.utils import extract_archive, verify_str_arg
from suiren.vision.datasets.vision import VisionDataset
from suiren.vision.transforms.kinds import tensor_of

_IDX_TYPES = {
    8: np.uint8, 9: np.int8, 11: np.int16, 12: np.int32, 13: np.float32, 14: np.float64
}  # fmt: skip


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file, which may be compressed with gzip.

    Raises:
        RuntimeError: it is no such file, or not all of it.
    """
    name = os.fspath(path)
    try:
        with gzip.open(name, "rb") if name.endswith(".gz") else open(name, "rb") as file:
            data = file.read()
    except (EOFError, gzip.BadGzipFile) as error:
        raise RuntimeError(f"{name} is damaged: {error}; delete it and download it anew") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise RuntimeError(f"{name} is no IDX file: it begins with {data[:4]!r}")
    ndim = data[3]
    shape = tuple(int(n) for n in np.frombuffer(data, ">i4", ndim, 4))
    kind = np.dtype(_IDX_TYPES[data[2]])
    start, size = 4 + 4 * ndim, prod(shape) * kind.itemsize
    if len(data) - start != size:
        raise RuntimeError(
            f"{name} is damaged: shape {shape} needs {size} bytes, and {len(data) - start} are "
            "there; delete it and download it anew"
        )
    numbers = np.frombuffer(data, kind.newbyteorder(">"), offset=start).reshape(shape)
    return numbers.astype(kind)


class MNIST(VisionDataset):
    """Handwritten digits 0 to 9: 60,000 training and 10,000 test images of 28x28 pixels.

    An item is `(image, label)`: a PIL image of mode "L" and an int, each after its transform.

    Args:
        root: the folder that holds `MNIST/raw`.
        train: the training images or the test images.
        transform, target_transform: functions of the image and of the label.
        download: fetch what is missing (11 MB).

    Attributes:
        data: uint8 tensor (N, 28, 28).
        targets: int64 tensor (N,).
        classes: "0 - zero" to "9 - nine"; `class_to_idx` gives their numbers.

    Raises:
        RuntimeError: files are missing or damaged; the text names them and where they belong.

    Example (no doctest: it downloads):
        train = MNIST("data", train=True, transform=ToTensor(), download=True)
    """

    mirrors = [
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ]
    resources = [
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ]
    classes = [
        "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four",
        "5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine",
    ]  # fmt: skip

    def __init__(
        self,
        root: str | os.PathLike,
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        if download:
            self.download()
        missing = [name for name in self._names() if self._file(name) is None]
        if missing:
            raise RuntimeError(
                f"Dataset not found. You can use download=True to download it, or put "
                f"{' and '.join(missing)} (with or without .gz) into "
                f"{os.path.abspath(self.raw_folder)}"
            )
        self.data, self.targets = self._load_data()

    def _names(self) -> list[str]:
        """The two files of this part: images and labels."""
        part = "train" if self.train else "t10k"
        return [f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"]

    def _file(self, name: str) -> str | None:
        """Where a file is, as it is or compressed."""
        for path in (os.path.join(self.raw_folder, name + end) for end in ("", ".gz")):
            if os.path.isfile(path):
                return path
        return None

    def _check_exists(self) -> bool:
        names = [os.path.splitext(name)[0] for name, _ in self.resources]
        return all(self._file(name) is not None for name in names)

    def _load_data(self) -> tuple[Tensor, Tensor]:
        images, labels = (read_idx(self._file(name) or name) for name in self._names())
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise RuntimeError(
                f"{self.raw_folder}: images of shape {images.shape} and labels of shape "
                f"{labels.shape} do not go together; delete them and download them anew"
            )
        return tensor_of(images), tensor_of(labels.astype(np.int64))

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        from PIL import Image

        # Looked at as arrays: two tensors an item would cost more than all the rest.
        image = Image.fromarray(self.data.peek()[index])
        target: Any = int(self.targets[index]) if self._odd_targets() else self._target(index)
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def _odd_targets(self) -> bool:
        # A user may have put a list in their place.
        return not isinstance(self.targets, Tensor)

    def _target(self, index: int) -> int:
        return int(self.targets.peek()[index])

    def _stacked(self, rows: list[int]) -> list[Tensor] | None:
        """The whole batch of these rows, where nothing a user wrote would be passed over."""
        if type(self).__getitem__ is not MNIST.__getitem__ or self.target_transform is not None:
            return None
        if not isinstance(self.data, Tensor) or self._odd_targets():
            return None
        return stacked(self.data.peek(), self.targets.peek(), rows, self.transform)

    def __len__(self) -> int:
        return len(self.data)

    @property
    def raw_folder(self) -> str:
        """Where the files are: `root/<class>/raw`."""
        return os.path.join(self.root, type(self).__name__, "raw")

    @property
    def processed_folder(self) -> str:
        """Where torchvision once kept converted files."""
        return os.path.join(self.root, type(self).__name__, "processed")

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The number of each class."""
        return {name: number for number, name in enumerate(self.classes)}

    def download(self) -> None:
        """Fetches what is missing, and unpacks it beside the `.gz` files if the folder allows."""
        if self._check_exists():
            return
        os.makedirs(self.raw_folder, exist_ok=True)
        for name, md5 in self.resources:
            if self._file(os.path.splitext(name)[0]) is not None:
                continue
            path = os.path.join(self.raw_folder, name)
            download_from([mirror + name for mirror in self.mirrors], path, md5)
            with contextlib.suppress(OSError):  # reading the .gz takes its place
                extract_archive(path, self.raw_folder)

    def extra_repr(self) -> str:
        """The part."""
        return f"Split: {'Train' if self.train is True else 'Test'}"


class FashionMNIST(MNIST):
    """Zalando's photographs of clothes, in MNIST's format; see `MNIST`."""

    mirrors = ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"]
    resources = [
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ]
    classes = [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ]  # fmt: skip


class KMNIST(MNIST):
    """Cursive Japanese characters (Kuzushiji), in MNIST's format; see `MNIST`."""

    mirrors = ["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"]
    resources = [
        ("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
        ("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
        ("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
        ("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134"),
    ]
    classes = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]


_ALL_CLASSES = set(string.digits + string.ascii_letters)
# Letters whose capital looks the same are one class with it.
_MERGED = set("cijklmopsuvwxyz")


class EMNIST(MNIST):
    """Handwritten letters and digits, in MNIST's format; see `MNIST`.

    Args:
        split: "byclass", "bymerge", "balanced", "letters", "digits" or "mnist".
        kwargs: as for `MNIST`; `download=True` fetches one archive of 560 MB.

    As in torchvision the images lie on their side: rows and columns are exchanged.
    """

    url = "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"
    md5 = "58c8d27c78d21e728a6bc7b3cc06412e"
    splits = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")
    classes_split_dict = {
        "byclass": sorted(_ALL_CLASSES),
        "bymerge": sorted(_ALL_CLASSES - _MERGED),
        "balanced": sorted(_ALL_CLASSES - _MERGED),
        "letters": ["N/A", *string.ascii_lowercase],  # their numbers begin with 1
        "digits": list(string.digits),
        "mnist": list(string.digits),
    }

    def __init__(self, root: str | os.PathLike, split: str, **kwargs: Any) -> None:
        self.split = verify_str_arg(split, "split", self.splits)
        super().__init__(root, **kwargs)
        self.classes = self.classes_split_dict[self.split]

    def _names(self) -> list[str]:
        part = f"emnist-{self.split}-{'train' if self.train else 'test'}"
        return [f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"]

    def _check_exists(self) -> bool:
        return all(self._file(name) is not None for name in self._names())

    def download(self) -> None:
        """Fetches the archive of all splits and unpacks this one's files."""
        if self._check_exists():
            return
        archive = os.path.join(self.raw_folder, "gzip.zip")
        if not check_integrity(archive, self.md5):
            download_from([self.url], archive, self.md5)
        extract_archive(archive, self.raw_folder)
        inside = os.path.join(self.raw_folder, "gzip")
        for name in os.listdir(inside):
            if name.endswith(".gz"):
                os.replace(os.path.join(inside, name), os.path.join(self.raw_folder, name))
