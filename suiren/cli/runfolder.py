"""The folder of a run: config.json, metrics.csv, model.pt, two pictures and report.html.

Every file is written beside its place and renamed into it, so a reader, a power cut or a full
disk finds the old file or the new one. model.pt is written last and decides which epoch is kept:
rows of metrics.csv after it are dropped on reading.
"""

import argparse
import io
import json
import math
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import suiren as torch
from suiren.cli import options
from suiren.cli.errors import CommandError, first_line
from suiren.files import replacing

FORMAT = 2  # raised when an older suiren could not read the files any more
CONFIG, METRICS, MODEL = "config.json", "metrics.csv", "model.pt"
CURVES, CONFUSION, REPORT = "curves.png", "confusion.png", "report.html"
CLASSIFY, KEYPOINTS = options.TASKS
_TIMES = "test_loss,lr,data_seconds,train_seconds,test_seconds"
HEADER = f"epoch,loss,train_accuracy,test_accuracy,seconds,{_TIMES}"
POINTS_HEADER = f"epoch,loss,train_error,test_error,seconds,{_TIMES}"


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's numbers; config.json holds exactly this.

    folder: absolute path of the pictures, None for data sets that have a name; digest: of the
    pictures (ImageSet.digest); mean, std: of each channel over the training pictures, on a 0 to 1
    scale, or those that the weights at the beginning are used to. What has a default here was not
    there in format 1.

    data: "digits", "folder" or the name of a public data set, which lies in data_root; task:
    "classify" or "keypoints", which has `points` points from points_file (and, to test on,
    test_folder and test_points); limit: images taken at most; pretrained: the file of the weights
    at the beginning.
    """

    format: int
    suiren: str
    folder: str | None
    digest: str
    model: str
    epochs: int
    batch_size: int
    lr: float
    optimizer: str
    image_size: int
    seed: int
    channels: int
    classes: list[str]
    train_images: int
    test_images: int
    mean: list[float]
    std: list[float]
    data: str = "folder"
    data_root: str | None = None
    task: str = CLASSIFY
    points: int = 0
    points_file: str | None = None
    test_folder: str | None = None
    test_points: str | None = None
    limit: int | None = None
    schedule: str = "none"
    weight_decay: float = 0.0
    augment: bool = False
    flip: bool = False
    pretrained: str | None = None
    freeze: bool = False
    backbone_lr: float | None = None


@dataclass(frozen=True)
class Epoch:
    """One row of metrics.csv.

    loss and train_score are means over the epoch as it ran. The scores are accuracies, or for
    points the mean distance to the true point as a share of the image's side. Of `seconds`, which
    is all, data_seconds went by waiting for images, train_seconds in steps of training and
    test_seconds in testing.
    """

    epoch: int
    loss: float
    train_score: float
    test_score: float
    seconds: float
    test_loss: float = 0.0
    lr: float = 0.0
    data_seconds: float = 0.0
    train_seconds: float = 0.0
    test_seconds: float = 0.0

    def row(self) -> str:
        """The line of metrics.csv, without its end."""
        return (
            f"{self.epoch},{self.loss:.6f},{self.train_score:.6f},"
            f"{self.test_score:.6f},{self.seconds:.3f},{self.test_loss:.6f},{self.lr:.6g},"
            f"{self.data_seconds:.3f},{self.train_seconds:.3f},{self.test_seconds:.3f}"
        )


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` in `path`, all of it or nothing.

    Raises:
        CommandError: it cannot be written (no permission, disk full, ...).
    """
    try:
        with replacing(str(path)) as stream:
            stream.write(content)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {first_line(error)}") from error


def new_run_folder(out: str | None, name: str) -> Path:
    """Make and return the run's folder: `out`, or the next free runs/<name>-<n>.

    Raises:
        CommandError: `out` holds something already, or the folder cannot be made.
    """
    try:
        if out is not None:
            folder = Path(out)
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise CommandError(
                    f"{folder} is not empty; give another --out, or go on with --resume {folder}"
                )
            return folder
        runs = Path("runs")
        runs.mkdir(exist_ok=True)
        number = 1 + max((_number(entry.name, name) for entry in runs.iterdir()), default=0)
        while True:
            try:
                (runs / f"{name}-{number}").mkdir()
                return runs / f"{name}-{number}"
            except FileExistsError:  # another run took it in this moment
                number += 1
    except OSError as error:
        place = error.filename or out or "runs"
        raise CommandError(f"cannot make the run folder {place}: {first_line(error)}") from error


def _number(entry: str, name: str) -> int:
    number = entry[len(name) + 1 :] if entry.startswith(f"{name}-") else ""
    return int(number) if number.isascii() and number.isdigit() else 0


def write_config(folder: Path, config: RunConfig) -> None:
    """Write config.json."""
    text = json.dumps(asdict(config), indent=2, ensure_ascii=False)
    # A folder name may hold bytes that are no UTF-8; JSON's own escapes keep them.
    encoded = (text + "\n").encode("utf-8", "backslashreplace")
    write_atomically(folder / CONFIG, encoded)


def read_config(folder: Path) -> RunConfig:
    """The run's config.json.

    Raises:
        CommandError: `folder` is no run folder, or the file is damaged.
    """
    if not folder.exists():
        raise CommandError(f"there is no run folder {folder}")
    path = folder / CONFIG
    if not path.is_file():
        raise CommandError(f"{folder} is not a run folder: it has no {CONFIG}")
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise CommandError(f"cannot read {path}: {first_line(error)}") from error
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{path} is damaged: not JSON ({first_line(error)})") from error
    return _checked_config(path, content)


def _checked_config(path: Path, content: Any) -> RunConfig:
    if not isinstance(content, dict):
        raise CommandError(f"{path} is damaged: it should hold an object")
    if isinstance(content.get("format"), int) and content["format"] > FORMAT:
        raise CommandError(f"{path} was written by a newer suiren; update suiren to read it")
    values = {}
    for field in fields(RunConfig):
        if field.name not in content:
            if field.default is not MISSING and content.get("format") == 1:
                continue
            raise CommandError(f"{path} is damaged: {field.name!r} is missing")
        try:
            values[field.name] = _CHECKS[field.name](content[field.name])
        except argparse.ArgumentTypeError as error:
            raise CommandError(f"{path} is damaged: {field.name!r} {error}") from error
    if content["format"] == 1 and values["folder"] is None:
        values["data"] = "digits"
    config = RunConfig(**values)
    if (config.points > 0) is not (config.task == KEYPOINTS):
        raise CommandError(f"{path} is damaged: 'points' does not go with 'task'")
    if config.task == CLASSIFY and len(config.classes) < 2:
        raise CommandError(f"{path} is damaged: 'classes' must be a list of two names or more")
    # A model that takes colour may have colour's statistics for grey images too.
    if len(config.mean) != len(config.std) or len(config.mean) not in (config.channels, 3):
        raise CommandError(f"{path} is damaged: 'mean' and 'std' need {config.channels} numbers")
    return config


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise argparse.ArgumentTypeError(f"must be text, got {value!r}")
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise argparse.ArgumentTypeError("must be a list of names")
    return [_text(item) for item in value]


def _numbers(value: Any) -> list[float]:
    def good(item: Any) -> bool:
        number = isinstance(item, (int, float)) and not isinstance(item, bool)
        return number and math.isfinite(item)

    if not isinstance(value, list) or not all(good(item) for item in value):
        raise argparse.ArgumentTypeError("must be a list of numbers")
    return [float(item) for item in value]


def _channels(value: Any) -> int:
    if value not in (1, 3):
        raise argparse.ArgumentTypeError(f"must be 1 or 3, got {value!r}")
    return int(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise argparse.ArgumentTypeError(f"must be true or false, got {value!r}")
    return value


def _or_none(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "format": lambda value: options.integer(value, 1),
    "suiren": _text,
    "folder": _or_none(_text),
    "digest": _text,
    "model": options.model,
    "epochs": options.epochs,
    "batch_size": options.batch_size,
    "lr": options.learning_rate,
    "optimizer": options.optimizer,
    "image_size": options.image_size,
    "seed": options.seed,
    "channels": _channels,
    "classes": _texts,
    "train_images": lambda value: options.integer(value, 1),
    "test_images": lambda value: options.integer(value, 1),
    "mean": _numbers,
    "std": _numbers,
    "data": _text,
    "data_root": _or_none(_text),
    "task": options.task,
    "points": lambda value: options.integer(value, 0),
    "points_file": _or_none(_text),
    "test_folder": _or_none(_text),
    "test_points": _or_none(_text),
    "limit": _or_none(options.count),
    "schedule": options.schedule,
    "weight_decay": options.weight_decay,
    "augment": _flag,
    "flip": _flag,
    "pretrained": _or_none(_text),
    "freeze": _flag,
    "backbone_lr": _or_none(options.learning_rate),
}


def write_metrics(folder: Path, history: list[Epoch], task: str = CLASSIFY) -> None:
    """Write metrics.csv."""
    lines = [POINTS_HEADER if task == KEYPOINTS else HEADER, *(epoch.row() for epoch in history)]
    write_atomically(folder / METRICS, ("\n".join(lines) + "\n").encode())


def read_metrics(folder: Path, epochs: int) -> list[Epoch]:
    """The first `epochs` rows of metrics.csv.

    Raises:
        CommandError: it is missing, damaged, or has fewer rows.
    """
    path = folder / METRICS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {first_line(error)}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is damaged: not text") from error
    # Format 1 had the first columns alone.
    if not lines or lines[0] not in (HEADER, POINTS_HEADER, HEADER.removesuffix("," + _TIMES)):
        raise CommandError(f"{path} is damaged: its first line should be {HEADER}")
    rows = lines[1 : 1 + epochs]
    if len(rows) < epochs:
        raise CommandError(
            f"{path} is damaged: it has {len(rows)} epochs, {MODEL} comes after epoch {epochs}"
        )
    return [_read_row(path, number, line) for number, line in enumerate(rows, start=1)]


def _read_row(path: Path, number: int, line: str) -> Epoch:
    try:
        first, *rest = line.split(",")
        values = [float(value) for value in rest]
        if int(first) != number or len(values) not in (4, 9):
            raise ValueError(f"epoch {first} where {number} should be")
    except ValueError as error:
        raise CommandError(f"{path} is damaged in line {number + 1}: {line!r}") from error
    return Epoch(number, *values)


def write_checkpoint(folder: Path, checkpoint: dict[str, Any]) -> None:
    """Write model.pt."""
    content = io.BytesIO()
    torch.save(checkpoint, content)
    write_atomically(folder / MODEL, content.getvalue())


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """What model.pt holds: `epoch`, `model`, `optimizer` and `random_state`.

    Raises:
        CommandError: it is missing or damaged.
    """
    path = folder / MODEL
    if not path.is_file():
        raise CommandError(f"{folder} is not a complete run folder: it has no {MODEL}")
    try:
        checkpoint = torch.load(path, weights_only=True)
    except Exception as error:  # damaged bytes raise almost anything inside the unpickler
        raise CommandError(f"{path} is damaged: {first_line(error)}") from error
    wanted = {"epoch": int, "model": dict, "optimizer": dict, "random_state": torch.Tensor}
    for key, kind in wanted.items():
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(key), kind):
            raise CommandError(f"{path} is damaged: it has no {key!r}")
    if checkpoint["epoch"] < 0:
        raise CommandError(f"{path} is damaged: its epoch is {checkpoint['epoch']}")
    return checkpoint


def load_into(target: Any, state: dict[str, Any], folder: Path) -> None:
    """`target.load_state_dict(state)`, a mismatch being damage to model.pt."""
    try:
        target.load_state_dict(state)
    except Exception as error:  # wrong names, shapes, or kinds of values
        raise CommandError(
            f"{folder / MODEL} is damaged or of another model: {first_line(error)}"
        ) from error
