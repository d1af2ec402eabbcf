"""`suiren predict`: the class of each picture, or its points, by the model of a run folder.

A run on a folder sees a picture as its training images were seen: resized and padded to the run's
size, grayscale or colour as the run is (see `suiren.cli.images`). For a run on digits or MNIST a
picture of a digit is redrawn the way theirs were made (see `suiren.cli.digit_pictures`). For
Fashion-MNIST, whose things lie on black, a picture on a light ground is inverted.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import suiren as torch
from suiren.cli import drawings, options, runfolder
from suiren.cli.digit_pictures import DIGIT_DETAIL, digit_pixels, mnist_pixels
from suiren.cli.errors import CommandError
from suiren.cli.images import UnreadableImage, border_colour, fit, open_with_size, to_grey
from suiren.cli.marked import from_square
from suiren.cli.networks import make_model
from suiren.cli.progress import Reporter
from suiren.cli.runfolder import KEYPOINTS, RunConfig
from suiren.cli.training import Standardize, points_of

DESCRIPTION = """\
Print the class and probability of each IMAGE, as the model of the run folder RUN sees it:

  PATH: CLASS PROBABILITY

With a run on digits or mnist, pictures of a digit in any size, dark on light or light on
dark, are cut out and scaled to what the digits look like. A run with --task keypoints
gives the points instead, x,y of each in pixels of the picture:

  PATH: X,Y X,Y ...

Folders and files that are no image are named and skipped; the exit status is 2 only if
none could be read.
"""


def add_command(commands: Any) -> None:
    """Enter `predict` among the subcommands."""
    parser = commands.add_parser(
        "predict", help="print the class of each picture, or its points", description=DESCRIPTION
    )
    parser.add_argument("run_folder", metavar="RUN", help="run folder made by suiren train")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="pictures to look at")
    parser.add_argument(
        "--top", type=options.top, metavar="N", default=1, help="print the N likeliest (1)"
    )
    parser.add_argument(
        "--save", metavar="FOLDER", help="put copies there, with the answer drawn on them"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array, and nothing else")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do `suiren predict` and give the exit status."""
    place = Path(arguments.run_folder)
    config = runfolder.read_config(place)
    checkpoint = runfolder.read_checkpoint(place)
    if checkpoint["epoch"] == 0:
        raise CommandError(
            f"{place} has not completed an epoch yet; train it with: suiren train --resume {place}"
        )
    model = make_model(config)
    runfolder.load_into(model, checkpoint["model"], place)
    model.eval()
    folder = None if arguments.save is None else drawings.make_folder(Path(arguments.save))

    prepare = Standardize(config)
    failures: list[str] = []
    answers: list[dict[str, Any]] = []
    with Reporter(quiet=arguments.json) as reporter:
        reporter.start("images", len(arguments.images))
        for number, name in enumerate(arguments.images):
            reporter.advance(number)
            try:
                pixels, size = model_pixels(Path(name), config)
            except UnreadableImage as error:
                failures.append(f"{name}: {error}")
                # The only picture's reason goes into the error line below.
                if len(arguments.images) > 1:
                    reporter.warning(f"skipped {failures[-1]}")
                continue
            answer = _answer(model, prepare, pixels, size, config, arguments.top)
            answers.append({"image": name, **answer})
            if folder is not None:
                saved = drawings.save(Path(name), folder, answer)
                answers[-1]["saved"] = str(saved)
            if not arguments.json:
                reporter.result(f"{name}: {_shown(answer)}")
    if len(failures) == len(arguments.images):
        if len(failures) == 1:
            raise CommandError(f"cannot read {failures[0]}")
        raise CommandError(f"none of the {len(failures)} images could be read")
    if arguments.json:
        print(json.dumps(answers, indent=2), flush=True)
    return 0


def model_pixels(path: Path, config: RunConfig) -> tuple[np.ndarray, tuple[int, int]]:
    """The picture in `path` as the run's model takes it, uint8 (C, S, S), and its (width, height).

    Raises:
        UnreadableImage: it is no picture.
    """
    side = config.image_size
    if config.data in ("digits", "mnist"):
        image, size = open_with_size(path, DIGIT_DETAIL)
        digit = digit_pixels(image) if config.data == "digits" else mnist_pixels(image)
        if side != digit.shape[0]:
            from PIL import Image

            way = Image.Resampling.BILINEAR
            digit = np.asarray(Image.fromarray(digit).resize((side, side), way))
        return digit[None], size  # 1, S, S
    image, size = open_with_size(path, side)
    pixels = fit(image, side)
    if config.channels == 1:
        pixels = to_grey(pixels)
    if config.data == "fashion-mnist" and border_colour(pixels[..., 0]) > 127:
        pixels = 255 - pixels
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), size  # C, S, S


def _answer(
    model: Any,
    prepare: Standardize,
    pixels: np.ndarray,
    size: tuple[int, int],
    config: RunConfig,
    top: int,
) -> dict[str, Any]:
    """`classes`, the likeliest with their probabilities, or `points`, in pixels."""
    with torch.no_grad():
        outputs = model(prepare(torch.tensor(np.ascontiguousarray(pixels)[None])))  # 1, K
        if config.task == KEYPOINTS:
            places = from_square(points_of(outputs.numpy())[0], size)  # P, 2
            return {"points": [[round(float(x), 2), round(float(y), 2)] for x, y in places]}
        shares = torch.nn.functional.softmax(outputs, dim=1)[0].numpy()  # K
    # Stable, so that of equal probabilities the first class comes first.
    best = np.argsort(-shares, kind="stable")[:top]
    return {
        "classes": [
            {"class": config.classes[i], "probability": round(float(shares[i]), 6)} for i in best
        ]
    }


def _shown(answer: dict[str, Any]) -> str:
    if "points" in answer:
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in answer["points"])
    return ", ".join(f"{row['class']} {row['probability']:.4f}" for row in answer["classes"])
