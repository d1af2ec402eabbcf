"""CIFAR-10 and CIFAR-100, from the Python version of their files.

Those are pickles, and a pickle may name any function to be called: they are read by an unpickler
that knows arrays, lists, dictionaries and strings alone. The folder is torchvision's:
`root/cifar-10-batches-py/data_batch_1` and so on.
"""

import os
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from suiren.tensor import Tensor
from suiren.vision.datasets.archives import extract_archive
from suiren.vision.datasets.batches import stacked
from suiren.vision.datasets.download import check_integrity, download_from
from suiren.vision.datasets.vision import VisionDataset


def _reconstruct(subtype: Any, shape: Any, kind: Any) -> np.ndarray:
    """How a pickle begins an array, whose contents follow."""
    if subtype is not np.ndarray or kind not in (b"b", "b"):
        raise pickle.UnpicklingError(f"only plain arrays are read, got {subtype!r}")
    return np.ndarray(shape, np.int8)


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"only latin1 is read, got {encoding!r}")
    return text.encode("latin1")


_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("_codecs", "encode"): _encode,
}


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of arrays, lists, dictionaries, strings and numbers, and of nothing else.

    Raises:
        pickle.UnpicklingError: the pickle names anything else.
    """

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for."""
        found = _ALLOWED.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(
                f"the pickle names {module}.{name}; only arrays and plain data are read, "
                "because a name may be a function that does harm"
            )
        return found


def read_batch(path: str) -> dict[str, Any]:
    """The dictionary in one of CIFAR's files.

    Raises:
        RuntimeError: it is damaged or holds more than plain data.
    """
    with open(path, "rb") as file:
        try:
            entry = ArrayUnpickler(file, encoding="latin1").load()
        except Exception as error:  # a damaged pickle raises almost anything
            raise RuntimeError(
                f"{path} cannot be read: {error}; delete it and download it anew"
            ) from error
    if not isinstance(entry, dict):
        raise RuntimeError(f"{path} holds no dictionary but {type(entry).__name__}")
    return entry


class CIFAR10(VisionDataset):
    """Photographs of ten kinds of things: 50,000 training and 10,000 test images, 32x32, RGB.

    An item is `(image, label)`: a PIL image and an int, each after its transform.

    Args:
        root: the folder that holds `cifar-10-batches-py`.
        train: the training images or the test images.
        transform, target_transform: functions of the image and of the label.
        download: fetch the archive (170 MB) if the files are not there.

    Attributes:
        data: uint8 array (N, 32, 32, 3).
        targets: list of N ints.
        classes: the names; `class_to_idx` gives their numbers.

    Raises:
        RuntimeError: files are missing or damaged; the text names them and where they belong.
    """

    base_folder = "cifar-10-batches-py"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    filename = "cifar-10-python.tar.gz"
    tgz_md5 = "c58f30108f718f92721af3b95e74349a"
    train_list = [
        ["data_batch_1", "c99cafc152244af753f735de768cd75f"],
        ["data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"],
        ["data_batch_3", "54ebc095f3ab1f0389bbae665268c751"],
        ["data_batch_4", "634d18415352ddfa80567beed471001a"],
        ["data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"],
    ]
    test_list = [["test_batch", "40351d587109b95175f43aff81a1287e"]]
    meta = {
        "filename": "batches.meta",
        "key": "label_names",
        "md5": "5ff9c542aee3614f3951f8cda6e48888",
    }

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
        folder = os.path.join(self.root, self.base_folder)
        wrong = self._wrong()
        if wrong:
            raise RuntimeError(
                "Dataset not found or corrupted. You can use download=True to download it, or put "
                f"{', '.join(wrong)} of {self.filename} into {os.path.abspath(folder)}"
            )
        images, self.targets = [], []
        for name, _ in self.train_list if train else self.test_list:
            entry = read_batch(os.path.join(folder, name))
            images.append(entry["data"])
            self.targets.extend(entry["labels"] if "labels" in entry else entry["fine_labels"])
        planes = np.vstack(images).reshape(-1, 3, 32, 32)
        self.data = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))  # N, 32, 32, 3
        self.classes = list(
            read_batch(os.path.join(folder, self.meta["filename"]))[self.meta["key"]]
        )
        self.class_to_idx = {name: number for number, name in enumerate(self.classes)}

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        from PIL import Image

        image, target = Image.fromarray(self.data[index]), self.targets[index]
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def _stacked(self, rows: list[int]) -> list[Tensor] | None:
        """The whole batch of these rows, where nothing a user wrote would be passed over."""
        if type(self).__getitem__ is not CIFAR10.__getitem__ or self.target_transform is not None:
            return None
        if not isinstance(self.data, np.ndarray) or not isinstance(self.targets, list):
            return None
        return stacked(self.data, self.targets, rows, self.transform)

    def __len__(self) -> int:
        return len(self.data)

    def _wrong(self) -> list[str]:
        """The files that are missing or have another MD5."""
        files = [*self.train_list, *self.test_list, [self.meta["filename"], self.meta["md5"]]]
        folder = os.path.join(self.root, self.base_folder)
        return [name for name, md5 in files if not check_integrity(os.path.join(folder, name), md5)]

    def _check_integrity(self) -> bool:
        return not self._wrong()

    def download(self) -> None:
        """Fetches and unpacks the archive, unless all files are there and right."""
        if not self._wrong():
            return
        archive = os.path.join(self.root, self.filename)
        download_from([self.url], archive, self.tgz_md5)
        extract_archive(archive, self.root)

    def extra_repr(self) -> str:
        """The part."""
        return f"Split: {'Train' if self.train is True else 'Test'}"


class CIFAR100(CIFAR10):
    """Photographs of a hundred kinds of things; otherwise as `CIFAR10`."""

    base_folder = "cifar-100-python"
    url = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    filename = "cifar-100-python.tar.gz"
    tgz_md5 = "eb9058c3a382ffc7106e4002c42a8d85"
    train_list = [["train", "16019d7e3df5f24257cddd939b257f8d"]]
    test_list = [["test", "f0ef6b0ae62326f3e7ffdfab6717acfc"]]
    meta = {
        "filename": "meta",
        "key": "fine_label_names",
        "md5": "7973b15100ade9c7d40fb424638fde48",
    }
