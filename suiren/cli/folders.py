"""What `suiren train` learns from: the embedded digits, or a folder of class sub-folders.

Either way the result is an ImageSet: every picture at one size, in memory, as bytes.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from suiren.cli.errors import CommandError, first_line
from suiren.cli.images import UnreadableImage, fit, has_colour, open_rgb, to_grey
from suiren.vision.datasets.digits import INK_LEVELS, load_arrays

# What file managers leave behind; hidden files are passed over as well.
_LITTER = {"desktop.ini", "thumbs.db", "__macosx"}


@dataclass(frozen=True)
class ImageSet:
    """Labelled pictures of one size.

    images: uint8 (N, C, S, S), C is 1 or 3; labels: int64 (N,); classes: K names;
    description: one line about them for the user.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: list[str]
    description: str

    def digest(self) -> str:
        """A SHA-256 of pixels, labels and class names: equal exactly when training is."""
        record = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        record.update(np.ascontiguousarray(self.images).tobytes())
        record.update(np.ascontiguousarray(self.labels).tobytes())
        return record.hexdigest()


def read_digits(image_size: int) -> ImageSet:
    """The embedded UCI digits, ink as 255 on paper as 0, resized if `image_size` is not 8."""
    counts, labels = load_arrays()
    images = np.rint(counts * (255.0 / INK_LEVELS)).astype(np.uint8)  # N, 8, 8
    if image_size != images.shape[-1]:
        from PIL import Image

        square, way = (image_size, image_size), Image.Resampling.BILINEAR
        images = np.stack([np.asarray(Image.fromarray(i).resize(square, way)) for i in images])
    return ImageSet(
        images=images[:, None],  # N, 1, S, S
        labels=labels.astype(np.int64),
        classes=[str(digit) for digit in range(10)],
        description=f"UCI handwritten digits, {len(labels)} images, 10 classes; "
        f"grayscale, {image_size}x{image_size}",
    )


def read_folder(
    folder: Path,
    image_size: int,
    say_skipped: Callable[[str], None],
    advance: Callable[[int, int], None],
) -> ImageSet:
    """The pictures in `folder`, one sub-folder per class, at `image_size`.

    Classes are the sub-folders in the order of their names; a class's pictures are all files in
    it, at any depth, in the order of their paths. Hidden files and folders are passed over.
    Colour is kept if any picture has colour, otherwise all become grayscale.

    Args:
        say_skipped: called with "PATH: reason" for each file that is no picture.
        advance: called with (files read, files in all) after each file.

    Raises:
        CommandError: no such folder, fewer than two classes, or a class without a picture.
    """
    files = list_classes(folder)
    total = sum(len(paths) for paths in files.values())
    squares: list[np.ndarray] = []
    labels: list[int] = []
    coloured = 0
    done = 0
    for label, (name, paths) in enumerate(files.items()):
        before = len(squares)
        for path in paths:
            try:
                square = fit(open_rgb(path, image_size), image_size)
            except UnreadableImage as error:
                say_skipped(f"{path}: {error}")
            else:
                squares.append(square)
                labels.append(label)
                coloured += has_colour(square)
            done += 1
            advance(done, total)
        readable = len(squares) - before
        if readable < 2:
            raise CommandError(_too_few(name, folder / name, len(paths), readable))

    images = np.stack(squares)  # N, S, S, 3
    if coloured:
        mode = f"colour ({coloured} of {len(squares)} have colour)"
    else:
        mode = "grayscale (none has colour)"
        images = to_grey(images)  # N, S, S, 1
    return ImageSet(
        images=np.ascontiguousarray(images.transpose(0, 3, 1, 2)),  # N, C, S, S
        labels=np.array(labels, dtype=np.int64),
        classes=list(files),
        description=f"{folder}, {len(squares)} images, {len(files)} classes; {mode}, "
        f"resized and padded to {image_size}x{image_size}",
    )


def list_classes(folder: Path) -> dict[str, list[Path]]:
    """Class name to the files of that class, both in order.

    Raises:
        CommandError: `folder` cannot be read, or has fewer than two sub-folders.
    """
    if not folder.exists():
        raise CommandError(f"there is no folder {folder}")
    if not folder.is_dir():
        raise CommandError(f"{folder} is not a folder; give one with a sub-folder for each class")
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        raise CommandError(f"cannot read {folder}: {first_line(error)}") from error
    names = [name for name in names if not _passed_over(name)]
    if not names:
        raise CommandError(f"{folder} has no sub-folders; it needs one for each class")
    if len(names) == 1:
        raise CommandError(
            f"{folder} has one class, {names[0]!r}; at least two sub-folders are needed"
        )
    return {name: _files_below(folder / name) for name in names}


def _files_below(folder: Path) -> list[Path]:
    def cannot(error: OSError) -> None:
        raise CommandError(f"cannot read {error.filename}: {first_line(error)}") from error

    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=cannot):
        folders[:] = [name for name in folders if not _passed_over(name)]
        found.extend(Path(place) / name for name in names if not _passed_over(name))
    return sorted(found)


def _passed_over(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LITTER


def _too_few(name: str, place: Path, files: int, readable: int) -> str:
    if files == 0:
        return f"class {name!r} is empty: {place} has no images"
    if readable == 0:
        return f"class {name!r} is empty: none of the {files} files in {place} is a readable image"
    return f"class {name!r} has one image in {place}; one to train on and one to test are needed"
