"""Images with points for `suiren train --task keypoints`: a folder, and a table of the points.

Each image is brought to a square of one size with its proportions kept, and its points with it;
they are then shares of the square's side. The table is that of `suiren.vision.datasets.Keypoints`.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from suiren.cli.errors import CommandError, first_line
from suiren.cli.folders import ImageSet, check_memory
from suiren.cli.images import UnreadableImage, fit, has_colour, open_with_size, to_grey
from suiren.cli.named import drawn
from suiren.vision.datasets.keypoints import read_points


def read_marked(
    parts: list[tuple[Path, Path]],
    image_size: int,
    say_skipped: Callable[[str], None],
    advance: Callable[[int, int], None],
    limit: int | None = None,
) -> ImageSet:
    """The pictures of each (folder, table), at `image_size`, with their points.

    Of two parts the second is what to test on; of one, that is yet to be chosen.

    Args:
        say_skipped: called with "PATH: reason" for each file that is no picture.
        advance: called with (files read, files in all) after each file.
        limit: read this many of each part at most.

    Raises:
        CommandError: no such folder or table, a table that is not one, images missing, none
            readable, or parts with different numbers of points.
    """
    tables = [_read_table(folder, table) for folder, table in parts]
    if limit is not None:
        for number, (paths, points) in enumerate(tables):
            chosen = drawn(len(paths), limit)
            tables[number] = [paths[i] for i in chosen], points[chosen]
    counts = {points.shape[1] for _, points in tables}
    if len(counts) > 1:
        first, second = (points.shape[1] for _, points in tables)
        raise CommandError(
            f"{parts[0][1]} has {first} points for each image and {parts[1][1]} has {second}; "
            "they must have the same"
        )
    total = sum(len(paths) for paths, _ in tables)
    check_memory(total, image_size, 3)
    squares: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    names: list[str] = []
    readable: list[int] = []
    coloured = done = 0
    for (folder, _), (paths, points) in zip(parts, tables, strict=True):
        before = len(squares)
        for name, where in zip(paths, points, strict=True):
            path = Path(name)
            try:
                image, size = open_with_size(path, image_size)
                square = fit(image, image_size)
            except UnreadableImage as error:
                say_skipped(f"{path}: {error}")
            else:
                squares.append(square)
                labels.append(to_square(where, size))
                names.append(path.relative_to(folder).as_posix())
                coloured += has_colour(square)
            done += 1
            advance(done, total)
        readable.append(len(squares) - before)
        if readable[-1] < (2 if len(parts) == 1 else 1):
            raise CommandError(f"{folder} has too few readable images: {readable[-1]}")
    images = np.stack(squares)  # N, S, S, 3
    if not coloured:
        images = to_grey(images)  # N, S, S, 1
    mode = "colour" if coloured else "grayscale"
    split = f"{readable[0]} images" if len(parts) == 1 else (
        f"{readable[0]} images to train on and {readable[1]} to test on"
    )  # fmt: skip
    return ImageSet(
        images=np.ascontiguousarray(images.transpose(0, 3, 1, 2)),  # N, C, S, S
        labels=np.stack(labels),
        classes=[],
        description=f"{parts[0][0]}, {split}, {counts.pop()} points each; {mode}, "
        f"resized and padded to {image_size}x{image_size}",
        test_from=readable[0] if len(parts) == 2 else None,
        names=names,
    )


def _read_table(folder: Path, table: Path) -> tuple[list[str], np.ndarray]:
    if not folder.is_dir():
        raise CommandError(f"there is no folder {folder}")
    try:
        return read_points(folder, table)
    except FileNotFoundError as error:
        missing = f"there is no file {table}" if error.filename else first_line(error)
        raise CommandError(missing) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{table} is not a table: it is not text") from error
    except (OSError, ValueError) as error:
        reason = first_line(error)
        shown = reason if str(table) in reason else f"cannot read {table}: {reason}"
        raise CommandError(shown) from error


def to_square(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Points (P, 2) in pixels of an image of (width, height) as shares of the square around it."""
    longer = max(size)
    padding = (longer - np.array(size)) / 2  # 2
    return ((points + padding) / longer).astype(np.float32)


def from_square(shares: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The way back: shares (P, 2) of the square as pixels of the image of (width, height)."""
    longer = max(size)
    padding = (longer - np.array(size)) / 2  # 2
    return shares * longer - padding
