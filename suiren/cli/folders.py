"""What `suiren train` learns from: the embedded digits, or a folder of class sub-folders.

Either way the result is an ImageSet: every picture at one size, in memory, as bytes. Public data
sets are read by `named.py`, images with points by `marked.py`.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from suiren.cli.errors import CommandError, first_line
from suiren.cli.images import UnreadableImage, fit, has_colour, open_rgb, to_grey
from suiren.vision.datasets.digits import INK_LEVELS, load_arrays

# What file managers leave behind; hidden files are passed over as well.
_LITTER = {"desktop.ini", "thumbs.db", "__macosx"}


# Of all images of a run together, in bytes.
MOST_BYTES = 8 << 30


@dataclass(frozen=True)
class ImageSet:
    """Pictures of one size, each with a class or with points.

    images: uint8 (N, C, S, S), C is 1 or 3; labels: int64 (N,), or float32 (N, P, 2) points as
    shares of width and height (NaN where unknown); classes: K names, none where there are points;
    description: one line about them for the user; test_from: where the images to test on begin,
    None if they are yet to be chosen; names: of the files, None where there are no files.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: list[str]
    description: str
    test_from: int | None = None
    names: list[str] | None = None

    def digest(self) -> str:
        """A SHA-256 of pixels, labels and class names: equal exactly when training is."""
        shape: tuple = (self.images.shape, self.classes)
        if self.test_from is not None:
            shape = (*shape, self.test_from)
        record = hashlib.sha256(repr(shape).encode())
        record.update(np.ascontiguousarray(self.images).data)
        record.update(np.ascontiguousarray(self.labels).data)
        return record.hexdigest()

    def only(self, positions: np.ndarray) -> "ImageSet":
        """These images alone, in this order; what was to be tested on still is."""
        test_from = self.test_from
        if test_from is not None:
            test_from = int((positions < test_from).sum())
        names = None if self.names is None else [self.names[i] for i in positions]
        return replace(
            self,
            images=self.images[positions],
            labels=self.labels[positions],
            test_from=test_from,
            names=names,
        )


def check_memory(count: int, image_size: int, channels: int) -> None:
    """Raise CommandError if so many images of this size would not fit in memory."""
    need = count * image_size * image_size * channels
    if need > MOST_BYTES:
        raise CommandError(
            f"{count} images of {image_size}x{image_size} take {need / 2**30:.0f} GiB of memory; "
            "use a smaller --image-size, or fewer with --limit"
        )


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
    limit: int | None = None,
) -> ImageSet:
    """The pictures in `folder`, one sub-folder per class, at `image_size`.

    If `folder` has the sub-folders `train` and `val`, `valid` or `test`, each with the classes
    below it, the images to test on are those of the latter.

    Classes are the sub-folders in the order of their names; a class's pictures are all files in
    it, at any depth, in the order of their paths. Hidden files and folders are passed over.
    Colour is kept if any picture has colour, otherwise all become grayscale.

    Args:
        say_skipped: called with "PATH: reason" for each file that is no picture.
        advance: called with (files read, files in all) after each file.
        limit: read this many files of each part at most, the same share of every class.

    Raises:
        CommandError: no such folder, fewer than two classes, a class without a picture, or other
            classes to test on than to train on.
    """
    parts = split_folders(folder)
    if parts is None:
        return _read_classes(folder, image_size, say_skipped, advance, limit)
    train_folder, test_folder = parts
    classes, tested = list(list_classes(train_folder)), list(list_classes(test_folder))
    if classes != tested:
        raise CommandError(_different_classes(train_folder, test_folder, classes, tested))
    train = _read_classes(train_folder, image_size, say_skipped, advance, limit, least=1)
    test = _read_classes(test_folder, image_size, say_skipped, advance, limit, least=1)
    pixels = [train.images, test.images]
    if train.images.shape[1] != test.images.shape[1]:  # one of them has colour
        pixels = [np.broadcast_to(p, (len(p), 3, *p.shape[2:])) for p in pixels]
    mode = "colour" if pixels[0].shape[1] == 3 else "grayscale"
    return ImageSet(
        images=np.concatenate(pixels),
        labels=np.concatenate([train.labels, test.labels]),
        classes=classes,
        description=f"{folder}, {len(train.labels)} images in {train_folder.name} and "
        f"{len(test.labels)} in {test_folder.name}, {len(classes)} classes; {mode}, "
        f"resized and padded to {image_size}x{image_size}",
        test_from=len(train.labels),
        names=[*(train.names or ()), *(test.names or ())],
    )


def split_folders(folder: Path) -> tuple[Path, Path] | None:
    """The sub-folders to train and to test on, if `folder` is divided that way."""
    train = folder / "train"
    if not train.is_dir() or not any(entry.is_dir() for entry in train.iterdir()):
        return None
    for name in ("val", "valid", "test"):
        if (folder / name).is_dir():
            return train, folder / name
    return None


def _different_classes(
    train_folder: Path, test_folder: Path, classes: list[str], tested: list[str]
) -> str:
    text = f"{train_folder} and {test_folder} have different classes"
    for place, more in (
        (train_folder, sorted(set(classes) - set(tested))),
        (test_folder, sorted(set(tested) - set(classes))),
    ):
        if more:
            rest = f" and {len(more) - 3} more" if len(more) > 3 else ""
            text += f"; only {place.name} has {', '.join(map(repr, more[:3]))}{rest}"
    return text


def _read_classes(
    folder: Path,
    image_size: int,
    say_skipped: Callable[[str], None],
    advance: Callable[[int, int], None],
    limit: int | None,
    least: int = 2,
) -> ImageSet:
    """The pictures in one folder of class folders, `least` or more in each."""
    files = list_classes(folder)
    total = sum(len(paths) for paths in files.values())
    if limit is not None and total > limit:
        files = {n: _spread(p, max(least, len(p) * limit // total)) for n, p in files.items()}
        total = sum(len(paths) for paths in files.values())
    check_memory(total, image_size, 3)
    squares: list[np.ndarray] = []
    names: list[str] = []
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
                names.append(path.relative_to(folder).as_posix())
                labels.append(label)
                coloured += has_colour(square)
            done += 1
            advance(done, total)
        readable = len(squares) - before
        if readable < least:
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
        names=names,
    )


def _spread(paths: list[Path], count: int) -> list[Path]:
    """`count` of the paths, evenly spaced."""
    return [paths[i * len(paths) // count] for i in range(count)] if count < len(paths) else paths


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
