"""Where a run's images come from: said on the command line, kept in config.json, read again."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from suiren.cli import networks, options
from suiren.cli.folders import ImageSet, read_digits, read_folder
from suiren.cli.marked import read_marked
from suiren.cli.named import NATIVE_SIZE, drawn, read_named
from suiren.cli.progress import Reporter
from suiren.cli.runfolder import CLASSIFY, KEYPOINTS, RunConfig

DIGITS_SIZE, FOLDER_SIZE, POINTS_SIZE = 8, 32, 96


class Source:
    """Where a run's images come from; all paths absolute."""

    def __init__(
        self,
        data: str,
        folder: str | None = None,
        data_root: str | None = None,
        task: str = CLASSIFY,
        points_file: str | None = None,
        test_folder: str | None = None,
        test_points: str | None = None,
    ) -> None:
        self.data = data
        self.folder = folder
        self.data_root = data_root
        self.task = task
        self.points_file = points_file
        self.test_folder = test_folder
        self.test_points = test_points
        self.shown = folder

    @classmethod
    def of_arguments(cls, arguments: argparse.Namespace) -> "Source":
        """As the command line says."""
        data = arguments.data or "digits"
        if data == "digits":
            return cls("digits")
        if data in NATIVE_SIZE:
            return cls(data, data_root=str(Path(arguments.data_root or "data").resolve()))

        def full(name: str | None) -> str | None:
            return None if name is None else str(Path(name).resolve())

        source = cls("folder", full(data), None, arguments.task or CLASSIFY)
        source.points_file = full(arguments.points)
        source.test_points = full(arguments.test_points)
        if source.test_points is not None:
            source.test_folder = full(arguments.test_data or data)
        source.shown = data  # in messages, as the user wrote it
        return source

    @classmethod
    def of_config(cls, config: RunConfig) -> "Source":
        """As the run has it."""
        return cls(
            config.data, config.folder, config.data_root, config.task, config.points_file,
            config.test_folder, config.test_points,
        )  # fmt: skip

    def moved(self, arguments: argparse.Namespace) -> "Source":
        """The same, with what the command line says about places."""
        given = {
            "folder": arguments.data if self.folder is not None else None,
            "data_root": arguments.data_root if self.data_root is not None else None,
            "points_file": arguments.points,
            "test_folder": arguments.test_data,
            "test_points": arguments.test_points,
        }
        for key, place in given.items():
            if place is not None:
                setattr(self, key, str(Path(place).resolve()))
        if given["folder"] is not None:
            self.shown = given["folder"]
        return self

    def kept_in(self, config: RunConfig) -> RunConfig:
        """`config` with the places of these images."""
        return replace(
            config,
            folder=self.folder,
            data_root=self.data_root,
            points_file=self.points_file,
            test_folder=self.test_folder,
            test_points=self.test_points,
        )

    def read(
        self, size: int, limit: int | None, reporter: Reporter, check: Callable[[], None]
    ) -> ImageSet:
        """The images, at `size`, those that cannot be read named and left out."""
        if self.data == "digits":
            images = read_digits(size)
            if limit is not None:
                images = images.only(drawn(len(images.labels), limit))
            return images
        started = False

        def advance(done: int, total: int) -> None:
            nonlocal started
            if not started:
                reporter.start("reading", total)
                started = True
            reporter.advance(done)
            check()

        def say_skipped(text: str) -> None:
            reporter.warning(f"skipped {text}")

        if self.folder is None:
            return read_named(self.data, Path(self.data_root or "data"), size, limit, advance)
        folder = Path(self.shown or self.folder)
        if self.task == CLASSIFY:
            return read_folder(folder, size, say_skipped, advance, limit)
        parts = [(folder, Path(self.points_file or ""))]
        if self.test_points is not None:
            parts.append((Path(self.test_folder or self.folder), Path(self.test_points)))
        return read_marked(parts, size, say_skipped, advance, limit)


def usual_size(source: Source, model: str) -> int:
    """Height and width to bring images to where the command line does not say."""
    if source.data in NATIVE_SIZE:
        return NATIVE_SIZE[source.data]
    if source.data == "digits":
        return DIGITS_SIZE
    if not networks.is_small(model):
        return options.usual_size(model)
    return POINTS_SIZE if source.task == KEYPOINTS else FOLDER_SIZE
