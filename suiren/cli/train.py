"""`suiren train`: from pictures to a run folder with a model, its numbers and a report."""

import argparse
import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

import suiren as torch
from suiren.cli import networks, options, runfolder
from suiren.cli.batches import Batches
from suiren.cli.errors import EXIT_INTERRUPTED, CommandError, first_line
from suiren.cli.folders import ImageSet
from suiren.cli.interrupts import Interrupted, Interrupts
from suiren.cli.named import NATIVE_SIZE
from suiren.cli.progress import Reporter
from suiren.cli.runfolder import CLASSIFY, KEYPOINTS, RunConfig
from suiren.cli.sources import FOLDER_SIZE, POINTS_SIZE, Source, usual_size
from suiren.cli.training import Job, Standardize, evaluate, train
from suiren.vision.datasets import stratified_split
from suiren.vision.models import list_models, small

DEFAULTS = {"model": "cnn", "epochs": 15, "batch_size": 64, "optimizer": "adam", "seed": 0,
            "schedule": "none", "weight_decay": 0.0}  # fmt: skip
# Tens of thousands of images: fewer epochs, a larger network.
NAMED_DEFAULTS = {"model": "cnn4", "epochs": 5, "schedule": "onecycle"}
TEST_FRACTION = 0.2

DESCRIPTION = """\
Train a network on images.

DATA is one of
  digits         1,797 handwritten digits that are part of suiren (the default)
  mnist, fashion-mnist, cifar10
                 70,000 or 60,000 images, read from --data-root, fetched if not there
  a folder       your own pictures: one sub-folder per class, its name the class's
                 name; or train/ and val/ or test/ with such sub-folders each

Of the digits and of a plain folder one fifth of every class, drawn by the seed, is kept
apart to test on.

With --task keypoints it learns where points are, on images of any sizes: DATA is a folder
of images, --points a CSV file with a row for each: file name, then x, y of every point.

The run folder gets report.html, metrics.csv, curves.png, confusion.png, model.pt and
config.json. Ctrl-C keeps the last complete epoch; --resume goes on from there to the same
result as a run that was not interrupted.
"""

EXAMPLES = """\
examples:
  suiren train mnist --epochs 3
  suiren train photos --model resnet18 --pretrained resnet18.pth --freeze --epochs 5
  suiren train faces --task keypoints --points faces.csv --augment
"""


def add_command(commands: Any) -> None:
    """Enter `train` among the subcommands."""
    parser = commands.add_parser(
        "train", help="train a network on images", description=DESCRIPTION, epilog=EXAMPLES
    )
    names = ", ".join(list_models(small))
    rates = ", ".join(f"{name} {rate:g}" for name, rate in options.DEFAULT_LR.items())

    add = parser.add_argument_group("what is learned").add_argument
    add("data", metavar="DATA", nargs="?", help="digits, mnist, fashion-mnist, cifar10, a folder")
    add("--data-root", metavar="FOLDER", help="where the files of mnist and so on are (data)")
    add("--limit", type=options.count, metavar="N",
        help="train on N images at most, and test on N at most")  # fmt: skip
    add("--task", type=options.task, metavar="NAME", help=f"{', '.join(options.TASKS)} (classify)")
    add("--points", metavar="CSV", help="the table of the points, for --task keypoints")
    add("--test-data", metavar="FOLDER", help="images to test on, for --task keypoints")
    add("--test-points", metavar="CSV", help="the table of their points")
    add("--image-size", type=options.image_size, metavar="PIXELS",
        help="height and width to bring images to (of digits 8, mnist 28, cifar10 32; of a folder "
        f"{FOLDER_SIZE}, with points {POINTS_SIZE}; 224 with models of suiren.vision)")  # fmt: skip
    add("--augment", action="store_true", help="turn, move and scale the images to train on a bit")
    add("--flip", action="store_true", help="mirror half of them: for photographs, not for letters")

    add = parser.add_argument_group("the network").add_argument
    add("--model", type=options.model, metavar="NAME",
        help=f"{names}, or one of suiren.vision such as resnet18 (cnn; of mnist, fashion-mnist and "
        "cifar10 cnn4)")  # fmt: skip
    add("--pretrained", metavar="FILE",
        help="begin with the weights in FILE, a state dict or a run's model.pt; the last layer "
        "begins anew")  # fmt: skip
    add("--freeze", action="store_true", help="train the last layer alone")
    add("--backbone-lr", type=options.learning_rate, metavar="RATE",
        help="learning rate of all but the last layer")  # fmt: skip

    add = parser.add_argument_group("training").add_argument
    add("--epochs", type=options.epochs, metavar="N", help="times through the images (15; of mnist "
        "and so on 5)")  # fmt: skip
    add("--batch-size", type=options.batch_size, metavar="N", help="images in a step (64)")
    add("--lr", type=options.learning_rate, metavar="RATE",
        help=f"learning rate ({rates}; a third of it for models of suiren.vision)")  # fmt: skip
    add("--schedule", type=options.schedule, metavar="NAME",
        help=f"{', '.join(options.SCHEDULES)}: how the learning rate goes (none; of mnist and so "
        "on onecycle)")  # fmt: skip
    add("--optimizer", type=options.optimizer, metavar="NAME",
        help=f"{', '.join(sorted(options.DEFAULT_LR))} (adam)")  # fmt: skip
    add("--weight-decay", type=options.weight_decay, metavar="RATE", help="(0)")
    add("--seed", type=options.seed, metavar="N", help="of split, weights and shuffles (0)")
    add("--workers", type=options.workers, metavar="N", default=0,
        help="processes that prepare images (0: this one does)")  # fmt: skip
    add("--threads", type=options.count, metavar="N", help="threads that compute (all cores)")

    add = parser.add_argument_group("output").add_argument
    add("--out", metavar="RUN", help="run folder to make (runs/NAME-1, -2, ...)")
    add("--resume", metavar="RUN", help="go on with this run; --epochs may be larger than before")
    add("--language", type=options.language, metavar="NAME",
        help=f"of the report: {', '.join(options.LANGUAGES)} (as the system's)")  # fmt: skip
    add("--quiet", action="store_true", help="print the final test accuracy only")
    add("--json", action="store_true", help="print one JSON object at the end, and nothing else")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do `suiren train` and give the exit status."""
    job: Job | None = None
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    with Interrupts() as interrupts, Reporter(arguments.quiet or arguments.json) as reporter:
        try:
            if arguments.resume is None:
                job = _new_job(arguments, reporter, interrupts.check)
            else:
                job = _resumed_job(arguments, reporter, interrupts.check)
            job.workers = arguments.workers
            train(job, reporter, interrupts.check)
            _finish(job, reporter, arguments)
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
    """A new run, as the command line says; nothing is written before all has been read."""
    _refuse_nonsense(arguments)
    source = Source.of_arguments(arguments)
    defaults = DEFAULTS | (NAMED_DEFAULTS if source.data in NATIVE_SIZE else {})
    chosen: dict[str, Any] = {
        key: default if getattr(arguments, key) is None else getattr(arguments, key)
        for key, default in defaults.items()
    }
    lr = arguments.lr
    if lr is None:
        lr = options.default_lr(chosen["optimizer"], chosen["model"])
    size = arguments.image_size or usual_size(source, chosen["model"])
    # Said before the images are read, which may take a while.
    if arguments.out is not None:
        _check_out(Path(arguments.out))
    ours = True
    if arguments.pretrained is not None:
        _, ours = networks.read_weights(Path(arguments.pretrained))

    images = source.read(size, arguments.limit, reporter, check)
    train_at, test_at = _split(images, chosen["seed"])
    mean, std = _channel_statistics(images.images[train_at])
    if not networks.is_small(chosen["model"]):
        if ours:
            mean, std = mean * (3 // len(mean)), std * (3 // len(std))
        else:  # what the published weights are used to
            mean, std = networks.IMAGENET_MEAN, networks.IMAGENET_STD
    config = RunConfig(
        format=runfolder.FORMAT,
        suiren=torch.__version__,
        folder=source.folder,
        digest=images.digest(),
        lr=lr,
        image_size=size,
        channels=images.images.shape[1],
        classes=images.classes,
        train_images=len(train_at),
        test_images=len(test_at),
        mean=mean,
        std=std,
        data=source.data,
        data_root=source.data_root,
        task=source.task,
        points=images.labels.shape[1] if source.task == KEYPOINTS else 0,
        points_file=source.points_file,
        test_folder=source.test_folder,
        test_points=source.test_points,
        limit=arguments.limit,
        augment=arguments.augment,
        flip=arguments.flip,
        pretrained=arguments.pretrained and str(Path(arguments.pretrained).resolve()),
        freeze=arguments.freeze,
        backbone_lr=arguments.backbone_lr,
        **chosen,
    )
    name = source.data if source.folder is None else _run_name(source.folder)
    check()
    job = Job.begin(
        lambda: runfolder.new_run_folder(arguments.out, name),
        config,
        *_datasets(images, config, train_at, test_at),
    )
    _introduce(job, images, reporter)
    return job


def _refuse_nonsense(arguments: argparse.Namespace) -> None:
    """Options that need others, or that contradict each other."""
    points = arguments.task == KEYPOINTS
    if points:
        if arguments.data in (None, "digits", *NATIVE_SIZE):
            raise CommandError("--task keypoints needs a folder of images")
        if arguments.points is None:
            raise CommandError(
                "--task keypoints needs --points FILE.csv: file name, then x, y of every point"
            )
        if arguments.flip:
            raise CommandError(
                "--flip cannot be used with --task keypoints: left and right points would change "
                "places"
            )
        if arguments.test_data is not None and arguments.test_points is None:
            raise CommandError("--test-data needs --test-points, the table of its points")
    else:
        for key in ("points", "test_data", "test_points"):
            if getattr(arguments, key) is not None:
                option = "--" + key.replace("_", "-")
                raise CommandError(f"{option} is for --task keypoints")
    if arguments.freeze and arguments.backbone_lr is not None:
        raise CommandError("--freeze and --backbone-lr contradict each other; give one of them")
    if arguments.freeze and arguments.pretrained is None:
        raise CommandError("--freeze needs --pretrained: random weights are nothing to keep")


def _split(images: ImageSet, seed: int) -> tuple[list[int], list[int]]:
    """Positions of the images to train on and of those to test on."""
    count = len(images.labels)
    if images.test_from is not None:
        return list(range(images.test_from)), list(range(images.test_from, count))
    # Points have no classes: the fifth is drawn from all.
    labels = images.labels.tolist() if images.labels.ndim == 1 else [0] * count
    try:
        return stratified_split(labels, TEST_FRACTION, seed)
    except ValueError as error:
        raise CommandError(f"too few images to train and to test on: {first_line(error)}") from None


def _resumed_job(
    arguments: argparse.Namespace, reporter: Reporter, check: Callable[[], None]
) -> Job:
    place = Path(arguments.resume)
    config = runfolder.read_config(place)
    _refuse_conflicts(arguments, place, config)
    epoch = runfolder.read_checkpoint(place)["epoch"]
    source = Source.of_config(config).moved(arguments)
    images = source.read(config.image_size, config.limit, reporter, check)
    if images.digest() != config.digest:
        where = "the embedded digits" if config.data == "digits" else source.shown or config.data
        raise CommandError(
            f"the images of {where} are not those that {place} began with, "
            "so it cannot be resumed; start a new run"
        )
    changed = replace(source.kept_in(config), epochs=arguments.epochs or config.epochs)
    train_at, test_at = _split(images, config.seed)
    job = Job.resume(place, changed, *_datasets(images, changed, train_at, test_at))
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
    if arguments.data is not None and config.folder is None and arguments.data != config.data:
        what = "the embedded digits" if config.data == "digits" else config.data
        raise CommandError(f"{place} learns {what}, not {arguments.data}")
    keeps = "a resumed run keeps its settings, only --epochs may grow"
    for key in ("model", "batch_size", "lr", "optimizer", "image_size", "seed", "task", "limit",
                "schedule", "weight_decay", "backbone_lr"):  # fmt: skip
        wanted, given = getattr(config, key), getattr(arguments, key)
        if given is not None and given != wanted:
            option = "--" + key.replace("_", "-")
            raise CommandError(
                f"{option} {given} conflicts with {place}, which has {wanted}; {keeps}"
            )
    for key in ("augment", "flip", "freeze", "pretrained"):
        given, wanted = getattr(arguments, key), getattr(config, key)
        if key == "pretrained" and given is not None:
            given = str(Path(given).resolve())
        if given and given != wanted:
            raise CommandError(f"--{key} conflicts with {place}, which began without it; {keeps}")
    if arguments.epochs is not None and arguments.epochs < config.epochs:
        raise CommandError(
            f"--epochs {arguments.epochs} is fewer than the {config.epochs} of {place}; "
            "a resumed run may only grow"
        )
    if (arguments.epochs or 0) > config.epochs and config.schedule != "none":
        raise CommandError(
            f"--epochs cannot grow: the {config.schedule} schedule of {place} ends with epoch "
            f"{config.epochs}; begin a new run with --pretrained {place / runfolder.MODEL}"
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
    images: ImageSet, config: RunConfig, train_at: list[int], test_at: list[int]
) -> tuple[Batches, Batches]:
    def part(positions: list[int], **variations: Any) -> Batches:
        names = None if images.names is None else [images.names[i] for i in positions]
        chosen = images.images[positions], images.labels[positions]
        return Batches(*chosen, names=names, **variations)

    varied = {"augment": config.augment, "flip": config.flip, "seed": config.seed}
    return part(train_at, **varied), part(test_at)


def _introduce(job: Job, images: ImageSet, reporter: Reporter) -> None:
    config = job.config
    parameters = sum(weights.numel() for weights in job.model.parameters())
    reporter.line(f"data: {images.description}")
    if images.test_from is None:
        which = "one fifth of every class" if config.task == CLASSIFY else "one fifth"
        reporter.line(
            f"split: {config.train_images} images to train on, {config.test_images} to test on "
            f"({which}, seed {config.seed})"
        )
    schedule = f", {config.schedule}" if config.schedule != "none" else ""
    reporter.line(
        f"model: {config.model}, {parameters:,} parameters; {config.optimizer}, "
        f"learning rate {config.lr:g}{schedule}, batch size {config.batch_size}"
    )
    if job.note:
        frozen = "; all else is frozen" if config.freeze else ""
        reporter.line(f"weights: {job.note}{frozen}")
    reporter.line(f"run: {job.folder}")


def _finish(job: Job, reporter: Reporter, arguments: argparse.Namespace) -> None:
    """Draw the pictures and the report from the last epoch, and print the final score."""
    from suiren.cli import pictures, report

    config, labels = job.config, job.test_data.labels
    reporter.start("report", len(job.test_data))
    outputs = evaluate(
        job.model, job.test_data, Standardize(config), lambda: None, reporter.advance
    )
    reporter.close()
    curves = pictures.draw_curves(job.history, config.task)
    runfolder.write_atomically(job.folder / runfolder.CURVES, curves)
    if config.task == CLASSIFY:
        classes = len(config.classes)
        pairs = labels * classes + outputs.argmax(1)
        counts = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
        confusion = pictures.draw_confusion(counts, config.classes)
        runfolder.write_atomically(job.folder / runfolder.CONFUSION, confusion)
    page = report.make(job, outputs, arguments.language)
    runfolder.write_atomically(job.folder / runfolder.REPORT, page.encode("utf-8", "replace"))
    score = job.history[-1].test_score
    if arguments.json:
        reporter.result(json.dumps(_as_json(job)))
    elif config.task == CLASSIFY:
        reporter.line(f"report: {job.folder / runfolder.REPORT}")
        reporter.result(f"test accuracy {score:.4f}")
    else:
        reporter.line(f"report: {job.folder / runfolder.REPORT}")
        reporter.result(f"test error {100 * score:.2f}% of the image's side")


def _as_json(job: Job) -> dict[str, Any]:
    """What a program wants to know of a finished run."""
    kind = "accuracy" if job.config.task == CLASSIFY else "error"
    epochs = []
    for epoch in job.history:
        row = asdict(epoch)
        row[f"train_{kind}"], row[f"test_{kind}"] = row.pop("train_score"), row.pop("test_score")
        epochs.append(row)
    return {
        "run": str(job.folder),
        "report": str(job.folder / runfolder.REPORT),
        "model": job.config.model,
        "parameters": sum(weights.numel() for weights in job.model.parameters()),
        "trained": sum(w.numel() for w in job.model.parameters() if w.requires_grad),
        "train_images": job.config.train_images,
        "test_images": job.config.test_images,
        f"test_{kind}": job.history[-1].test_score,
        "epochs": epochs,
    }
