"""`suiren train`: from pictures to a run folder with a model, its numbers and two plots."""

import argparse
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import suiren as torch
from suiren.cli import options, runfolder
from suiren.cli.errors import EXIT_INTERRUPTED, CommandError, first_line
from suiren.cli.folders import ImageSet, read_digits, read_folder
from suiren.cli.interrupts import Interrupted, Interrupts
from suiren.cli.progress import Reporter
from suiren.cli.runfolder import RunConfig
from suiren.cli.training import Job, Standardize, predict_classes, train
from suiren.utils.data import TensorDataset
from suiren.vision.datasets import stratified_split
from suiren.vision.models import list_models, small

DEFAULTS = {"model": "cnn", "epochs": 15, "batch_size": 64, "optimizer": "adam", "seed": 0}
DIGITS_SIZE, FOLDER_SIZE = 8, 32
TEST_FRACTION = 0.2

DESCRIPTION = """\
Train an image classifier.

Without FOLDER it learns the 1,797 handwritten digits that are part of suiren. With
FOLDER it learns the pictures there: one sub-folder per class, its name the class's name.
One fifth of every class, drawn by the seed, is kept apart to test on.

The run folder gets metrics.csv, curves.png, confusion.png, model.pt and config.json.
Ctrl-C keeps the last complete epoch; --resume goes on from there to the same result
as a run that was not interrupted.
"""


def add_command(commands: Any) -> None:
    """Enter `train` among the subcommands."""
    parser = commands.add_parser("train", help="train an image classifier", description=DESCRIPTION)
    rates = ", ".join(f"{name} {rate:g}" for name, rate in options.DEFAULT_LR.items())
    add = parser.add_argument
    add("folder", metavar="FOLDER", nargs="?", help="pictures, one sub-folder per class")
    add("--model", type=options.model, metavar="NAME", help=f"{', '.join(list_models(small))} (cnn)")
    add("--epochs", type=options.epochs, metavar="N", help="times through the images (15)")
    add("--batch-size", type=options.batch_size, metavar="N", help="images in a step (64)")
    add("--lr", type=options.learning_rate, metavar="RATE", help=f"learning rate ({rates})")
    add(
        "--optimizer",
        type=options.optimizer,
        metavar="NAME",
        help=f"{', '.join(sorted(options.DEFAULT_LR))} (adam)",
    )
    add(
        "--image-size",
        type=options.image_size,
        metavar="PIXELS",
        help=f"height and width to bring images to ({FOLDER_SIZE}; the digits have {DIGITS_SIZE})",
    )
    add("--seed", type=options.seed, metavar="N", help="of split, weights and shuffles (0)")
    add("--out", metavar="RUN", help="run folder to make (runs/NAME-1, -2, ...)")
    add("--resume", metavar="RUN", help="go on with this run; --epochs may be larger than before")
    add("--quiet", action="store_true", help="print the final test accuracy only")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do `suiren train` and give the exit status."""
    job: Job | None = None
    with Interrupts() as interrupts, Reporter(arguments.quiet) as reporter:
        try:
            if arguments.resume is None:
                job = _new_job(arguments, reporter, interrupts.check)
            else:
                job = _resumed_job(arguments, reporter, interrupts.check)
            train(job, reporter, interrupts.check)
            _finish(job, reporter)
        except (Interrupted, KeyboardInterrupt):
            reporter.close()
            reporter.warning(_how_to_resume("interrupted", job))
            return EXIT_INTERRUPTED
        except BrokenPipeError:
            reporter.warning(_how_to_resume("the output was closed", job))
            raise
    return 0


def _how_to_resume(why: str, job: Job | None) -> str:
    if job is None:
        return f"{why} before training began; nothing was kept"
    command = f"suiren train --resume {_shell_word(str(job.folder))}"
    kept, epochs = runfolder.read_checkpoint(job.folder)["epoch"], job.config.epochs
    if kept == 0:
        return f"{why} before the first epoch was complete; go on with: {command}"
    return f"{why}: epoch {kept} of {epochs} is kept; go on with: {command}"


def _shell_word(text: str) -> str:
    import shlex

    return shlex.quote(text)


def _new_job(arguments: argparse.Namespace, reporter: Reporter, check: Callable[[], None]) -> Job:
    chosen: dict[str, Any] = {
        key: default if getattr(arguments, key) is None else getattr(arguments, key)
        for key, default in DEFAULTS.items()
    }
    lr = options.DEFAULT_LR[chosen["optimizer"]] if arguments.lr is None else arguments.lr
    size = arguments.image_size
    if size is None:
        size = DIGITS_SIZE if arguments.folder is None else FOLDER_SIZE
    # Said before the images are read, which may take a while.
    if arguments.out is not None:
        _check_out(Path(arguments.out))

    images = _read_images(arguments.folder, size, reporter, check)
    train_at, test_at = stratified_split(images.labels.tolist(), TEST_FRACTION, chosen["seed"])
    mean, std = _channel_statistics(images.images[train_at])
    folder = None if arguments.folder is None else str(Path(arguments.folder).resolve())
    config = RunConfig(
        format=runfolder.FORMAT,
        suiren=torch.__version__,
        folder=folder,
        digest=images.digest(),
        lr=lr,
        image_size=size,
        channels=images.images.shape[1],
        classes=images.classes,
        train_images=len(train_at),
        test_images=len(test_at),
        mean=mean,
        std=std,
        **chosen,
    )
    name = "digits" if folder is None else _run_name(folder)
    check()
    place = runfolder.new_run_folder(arguments.out, name)
    job = Job.begin(place, config, *_datasets(images, train_at, test_at))
    _introduce(job, images, reporter)
    return job


def _resumed_job(
    arguments: argparse.Namespace, reporter: Reporter, check: Callable[[], None]
) -> Job:
    place = Path(arguments.resume)
    config = runfolder.read_config(place)
    _refuse_conflicts(arguments, place, config)
    epoch = runfolder.read_checkpoint(place)["epoch"]
    source = arguments.folder or config.folder
    images = _read_images(source, config.image_size, reporter, check)
    if images.digest() != config.digest:
        where = "the embedded digits" if source is None else source
        raise CommandError(
            f"the images of {where} are not those that {place} began with, "
            "so it cannot be resumed; start a new run"
        )
    changed = replace(config, epochs=arguments.epochs or config.epochs)
    if source is not None:
        changed = replace(changed, folder=str(Path(source).resolve()))
    train_at, test_at = stratified_split(images.labels.tolist(), TEST_FRACTION, config.seed)
    job = Job.resume(place, changed, *_datasets(images, train_at, test_at))
    if changed != config:
        runfolder.write_config(place, changed)
    if epoch >= changed.epochs:
        reporter.line(f"{place} is complete: {epoch} epochs; go on with a larger --epochs")
    else:
        _introduce(job, images, reporter)
        reporter.line(f"resuming after epoch {epoch}")
    return job


def _refuse_conflicts(arguments: argparse.Namespace, place: Path, config: RunConfig) -> None:
    if arguments.out is not None and Path(arguments.out).resolve() != place.resolve():
        raise CommandError("--out and --resume name different run folders; give only --resume")
    if arguments.folder is not None and config.folder is None:
        raise CommandError(f"{place} learns the embedded digits, not {arguments.folder}")
    for key in ("model", "batch_size", "lr", "optimizer", "image_size", "seed"):
        wanted, given = getattr(config, key), getattr(arguments, key)
        if given is not None and given != wanted:
            option = "--" + key.replace("_", "-")
            raise CommandError(
                f"{option} {given} conflicts with {place}, which has {wanted}; "
                "a resumed run keeps its settings, only --epochs may grow"
            )
    if arguments.epochs is not None and arguments.epochs < config.epochs:
        raise CommandError(
            f"--epochs {arguments.epochs} is fewer than the {config.epochs} of {place}; "
            "a resumed run may only grow"
        )


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise CommandError(f"--out {out} is a file; give a new folder")
    try:
        taken = out.is_dir() and any(out.iterdir())
    except OSError as error:
        raise CommandError(f"cannot read {out}: {first_line(error)}") from error
    if taken:
        raise CommandError(f"{out} is not empty; give another --out, or go on with --resume {out}")


def _run_name(folder: str) -> str:
    """The folder's name without what would be awkward in a path or on a command line."""
    return re.sub(r"[^\w.-]+", "-", Path(folder).name).strip("-.") or "images"


def _read_images(
    folder: str | None, size: int, reporter: Reporter, check: Callable[[], None]
) -> ImageSet:
    if folder is None:
        return read_digits(size)
    started = False

    def advance(done: int, total: int) -> None:
        nonlocal started
        if not started:
            reporter.start("reading", total)
            started = True
        reporter.advance(done)
        check()

    return read_folder(
        Path(folder), size, lambda text: reporter.warning(f"skipped {text}"), advance
    )


def _channel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel of (N, C, S, S) bytes, on a 0 to 1 scale."""
    # From counts of the 256 values: exact, and no copy of the images as floats.
    levels = np.arange(256) / 255.0
    means, deviations = [], []
    for channel in range(images.shape[1]):
        counts = np.bincount(images[:, channel].ravel(), minlength=256)
        mean = float((counts * levels).sum() / counts.sum())
        variance = float((counts * (levels - mean) ** 2).sum() / counts.sum())
        means.append(mean)
        # Pictures of one flat colour have no deviation; leave them unscaled.
        deviations.append(math.sqrt(variance) if variance > 1e-8 else 1.0)
    return means, deviations


def _datasets(
    images: ImageSet, train_at: list[int], test_at: list[int]
) -> tuple[TensorDataset, TensorDataset]:
    def part(positions: list[int]) -> TensorDataset:
        chosen = images.images[positions], images.labels[positions]
        return TensorDataset(*(torch.tensor(array) for array in chosen))

    return part(train_at), part(test_at)


def _introduce(job: Job, images: ImageSet, reporter: Reporter) -> None:
    config = job.config
    parameters = sum(weights.numel() for weights in job.model.parameters())
    reporter.line(f"data: {images.description}")
    reporter.line(
        f"split: {config.train_images} images to train on, {config.test_images} to test on "
        f"(one fifth of every class, seed {config.seed})"
    )
    reporter.line(
        f"model: {config.model}, {parameters:,} parameters; {config.optimizer}, "
        f"learning rate {config.lr:g}, batch size {config.batch_size}"
    )
    reporter.line(f"run: {job.folder}")


def _finish(job: Job, reporter: Reporter) -> None:
    """Draw the two plots from the last epoch and print the final accuracy."""
    from suiren.cli import pictures

    predicted = predict_classes(job.model, job.test_data, Standardize(job.config), lambda: None)
    labels = job.test_data.tensors[1].numpy()
    classes = len(job.config.classes)
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    reporter.close()
    curves = pictures.draw_curves(job.history)
    confusion = pictures.draw_confusion(counts.reshape(classes, classes), job.config.classes)
    runfolder.write_atomically(job.folder / runfolder.CURVES, curves)
    runfolder.write_atomically(job.folder / runfolder.CONFUSION, confusion)
    reporter.result(f"test accuracy {job.history[-1].test_accuracy:.4f}")
