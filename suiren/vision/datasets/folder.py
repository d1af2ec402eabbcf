"""Data sets from folders: one folder for each class, its files the examples."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from suiren.vision.datasets.vision import VisionDataset

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

Sample = tuple[str, int]


def has_file_allowed_extension(filename: str, extensions: str | Sequence[str]) -> bool:
    """Whether the name ends with one of `extensions`, in upper or lower case."""
    ends = extensions if isinstance(extensions, str) else tuple(extensions)
    return filename.lower().endswith(ends)


def is_image_file(filename: str) -> bool:
    """Whether the name is that of an image; see `IMG_EXTENSIONS`."""
    return has_file_allowed_extension(filename, IMG_EXTENSIONS)


def find_classes(directory: str | os.PathLike) -> tuple[list[str], dict[str, int]]:
    """The names of the folders in `directory`, sorted, and their numbers.

    Raises:
        FileNotFoundError: there are none.
    """
    classes = sorted(entry.name for entry in os.scandir(os.fspath(directory)) if entry.is_dir())
    if not classes:
        raise FileNotFoundError(
            f"Couldn't find any class folder in {directory}. The examples of each class belong in "
            "a folder of their own, named after the class"
        )
    return classes, {name: number for number, name in enumerate(classes)}


def make_dataset(
    directory: str | os.PathLike,
    class_to_idx: dict[str, int] | None = None,
    extensions: str | Sequence[str] | None = None,
    is_valid_file: Callable[[str], bool] | None = None,
    allow_empty: bool = False,
) -> list[Sample]:
    """(path, class number) of each file below the class folders, sorted by class, then by path.

    Args:
        extensions: which files count; or
        is_valid_file: a function of a path that says whether it counts.
        allow_empty: whether a class may have no files.

    Raises:
        ValueError: both or neither of the two are given, or there is no class.
        FileNotFoundError: a class has no files.
    """
    folder = os.path.expanduser(directory)
    if class_to_idx is None:
        _, class_to_idx = find_classes(folder)
    elif not class_to_idx:
        raise ValueError("'class_to_index' must have at least one entry to collect any samples.")
    if (extensions is None) == (is_valid_file is None):
        raise ValueError(
            "Both extensions and is_valid_file cannot be None or not None at the same time"
        )
    if is_valid_file is None:
        is_valid_file = lambda path: has_file_allowed_extension(path, extensions or ())  # noqa: E731
    samples: list[Sample] = []
    empty = []
    for name in sorted(class_to_idx):
        before = len(samples)
        for place, _, files in sorted(os.walk(os.path.join(folder, name), followlinks=True)):
            paths = (os.path.join(place, file) for file in sorted(files))
            samples += [(path, class_to_idx[name]) for path in paths if is_valid_file(path)]
        if len(samples) == before:
            empty.append(name)
    if empty and not allow_empty:
        text = f"Found no valid file for the classes {', '.join(empty)}."
        if extensions is not None:
            ends = extensions if isinstance(extensions, str) else ", ".join(extensions)
            text += f" Supported extensions are: {ends}"
        raise FileNotFoundError(text)
    return samples


def pil_loader(path: str | os.PathLike) -> Any:
    """The image in a file, as RGB."""
    from PIL import Image

    with open(path, "rb") as file:
        return Image.open(file).convert("RGB")


default_loader = pil_loader


class DatasetFolder(VisionDataset):
    """Files in one folder for each class: `root/cat/1.ext`, `root/dog/in/here/2.ext`.

    An item is `(sample, class number)`: what the loader returns, each after its transform.

    Args:
        root: the folder of the class folders.
        loader: a function of a path.
        extensions: which files count; or
        is_valid_file: a function of a path that says whether it counts.
        transform, target_transform: functions of the sample and of the class number.
        allow_empty: whether a class may have no files.

    Attributes:
        classes: the class names, sorted; `class_to_idx` gives their numbers.
        samples: list of (path, class number).
        targets: the class number of each.

    Raises:
        FileNotFoundError: no class folders, or a class without files.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        loader: Callable[[str], Any],
        extensions: tuple[str, ...] | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        classes, class_to_idx = self.find_classes(self.root)
        self.loader = loader
        self.extensions = extensions
        self.classes = classes
        self.class_to_idx = class_to_idx
        self.samples = self.make_dataset(
            self.root, class_to_idx, extensions, is_valid_file, allow_empty
        )
        self.targets = [number for _, number in self.samples]

    @staticmethod
    def make_dataset(
        directory: str | os.PathLike,
        class_to_idx: dict[str, int],
        extensions: tuple[str, ...] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> list[Sample]:
        """The examples; a subclass may choose otherwise. See the function of this name."""
        return make_dataset(directory, class_to_idx, extensions, is_valid_file, allow_empty)

    def find_classes(self, directory: str | os.PathLike) -> tuple[list[str], dict[str, int]]:
        """The classes; a subclass may choose otherwise. See the function of this name."""
        return find_classes(directory)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        sample = self.loader(path)
        if self.transform is not None:
            sample = self.transform(sample)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return sample, target

    def __len__(self) -> int:
        return len(self.samples)


class ImageFolder(DatasetFolder):
    """Images in one folder for each class: `root/cat/1.png`, `root/dog/in/here/2.jpg`.

    An item is `(image, class number)`: a PIL image in RGB and an int, each after its transform.
    For the arguments and attributes see `DatasetFolder`; `imgs` is `samples`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from suiren.vision.datasets import ImageFolder
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("cat", "dog"):
        ...         (Path(root) / name).mkdir()
        ...         Image.new("RGB", (4, 4)).save(Path(root) / name / "1.png")
        ...     pets = ImageFolder(root)
        ...     len(pets), pets.class_to_idx, pets[1][1]
        (2, {'cat': 0, 'dog': 1}, 1)
    """

    def __init__(
        self,
        root: str | os.PathLike,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        loader: Callable[[str], Any] = default_loader,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        super().__init__(
            root,
            loader,
            IMG_EXTENSIONS if is_valid_file is None else None,
            transform,
            target_transform,
            is_valid_file,
            allow_empty,
        )
        self.imgs = self.samples
