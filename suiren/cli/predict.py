"""`suiren predict`: the class of each picture, by the model of a run folder.

A run on a folder sees a picture as its training images were seen: resized and padded to the run's
size, grayscale or colour as the run is (see `suiren.cli.images`).

A run on the digits takes any picture of one handwritten or printed digit and redraws it the way
the UCI images were made (`digit_pixels`):

1. Grey, by brightness. An 8x8 picture is taken as it is, apart from step 2.
2. Light ink or dark ink: the digits are light on dark. The border of a picture is paper, so if
   the median of its border is lighter than the middle between the darkest and the lightest
   pixel, the picture is dark on light and is inverted.
3. The paper's brightness goes to 0 and the lightest ink to 255; what is below a third of that is
   shadow, not ink.
4. The box around the ink is cut out and drawn as ink or no ink on 64x64: at full height, at its
   own proportions but no wider than 44 (the UCI digits leave a column free on both sides), in the
   middle. A digit much wider than high gets width 44.
5. Strokes are thickened to about a sixth of the height: the UCI digits were written with a broad
   pen. This and the width raise the share of MNIST digits recognised by the default run from 0.67
   to 0.76; printed digits and a thin pen are further from the training images than MNIST is.
6. The ink in blocks of 8x8 is counted, which gives 8x8.

A picture of one brightness throughout has no ink and stays blank.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import suiren as torch
from suiren.cli import options, runfolder
from suiren.cli.errors import CommandError
from suiren.cli.images import UnreadableImage, border_colour, fit, open_rgb, to_grey
from suiren.cli.progress import Reporter
from suiren.cli.runfolder import RunConfig
from suiren.cli.training import Standardize, make_model

if TYPE_CHECKING:
    from PIL import Image

DIGIT_DETAIL = 512  # pixels; more detail than this helps no digit
SHADOW = 85  # a third of 255
CANVAS = 64  # twice the side of the bitmaps that the UCI digits were counted from
WIDEST = 44  # of CANVAS, what a digit may take of its width
INK = 110  # a pixel of the scaled digit is ink from this brightness on
STROKE = 10.0  # width of a stroke in pixels of CANVAS, at the least

DESCRIPTION = """\
Print the class and probability of each IMAGE, as the model of the run folder RUN sees it:

  PATH: CLASS PROBABILITY

With a run on the digits, pictures of a digit in any size, dark on light or light on dark,
are cut out and scaled to what the digits look like. Folders and files that are no image
are named and skipped; the exit status is 2 only if none could be read.
"""


def add_command(commands: Any) -> None:
    """Enter `predict` among the subcommands."""
    parser = commands.add_parser(
        "predict", help="print the class of each picture", description=DESCRIPTION
    )
    parser.add_argument("run_folder", metavar="RUN", help="run folder made by suiren train")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="pictures to classify")
    parser.add_argument(
        "--top", type=options.top, metavar="N", default=1, help="print the N likeliest (1)"
    )
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

    reporter = Reporter()
    prepare = Standardize(config)
    failures: list[str] = []
    for name in arguments.images:
        try:
            pixels = model_pixels(Path(name), config)
        except UnreadableImage as error:
            failures.append(f"{name}: {error}")
            # The only picture's reason goes into the error line below.
            if len(arguments.images) > 1:
                reporter.warning(f"skipped {failures[-1]}")
            continue
        reporter.result(f"{name}: {_describe(model, prepare, pixels, config, arguments.top)}")
    if len(failures) == len(arguments.images):
        if len(failures) == 1:
            raise CommandError(f"cannot read {failures[0]}")
        raise CommandError(f"none of the {len(failures)} images could be read")
    return 0


def model_pixels(path: Path, config: RunConfig) -> np.ndarray:
    """The picture in `path` as the run's model takes it: uint8 (C, S, S).

    Raises:
        UnreadableImage: it is no picture.
    """
    size = config.image_size
    if config.folder is None:
        digit = digit_pixels(open_rgb(path, DIGIT_DETAIL))  # 8, 8
        if size != digit.shape[0]:
            from PIL import Image

            way = Image.Resampling.BILINEAR
            digit = np.asarray(Image.fromarray(digit).resize((size, size), way))
        return digit[None]  # 1, S, S
    pixels = fit(open_rgb(path, size), size)
    if config.channels == 1:
        pixels = to_grey(pixels)
    return pixels.transpose(2, 0, 1)  # C, S, S


def digit_pixels(image: "Image.Image") -> np.ndarray:
    """A picture of a digit (RGB, any size) as UCI's digits are: uint8 (8, 8), ink light.

    The steps are in this module's docstring.
    """
    from PIL import Image

    image = _at_most(image, DIGIT_DETAIL)
    grey = to_grey(np.asarray(image))[..., 0].astype(np.float64)  # H, W
    darkest, lightest = grey.min(), grey.max()
    if darkest == lightest:
        return np.zeros((8, 8), dtype=np.uint8)
    paper = float(border_colour(grey))
    if paper > (darkest + lightest) / 2:
        grey, paper, lightest = 255 - grey, 255 - paper, 255 - darkest
    if grey.shape == (8, 8):
        return grey.astype(np.uint8)
    ink = np.clip((grey - paper) * (255 / (lightest - paper)), 0, 255)

    rows = np.flatnonzero((ink > SHADOW).any(axis=1))
    columns = np.flatnonzero((ink > SHADOW).any(axis=0))
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8)
    return _count_ink(_thicken(_centre(Image.fromarray(box))))


def _centre(box: "Image.Image") -> np.ndarray:
    """The digit in the middle of CANVAS x CANVAS, True where there is ink."""
    from PIL import Image

    if box.width > 1.6 * box.height:  # a digit lying down, or a stroke: keep its proportions
        width, height = WIDEST, max(1, round(box.height * WIDEST / box.width))
    else:
        width, height = max(1, min(WIDEST, round(box.width * CANVAS / box.height))), CANVAS
    scaled = np.asarray(box.resize((width, height), Image.Resampling.BILINEAR))
    canvas: np.ndarray = np.zeros((CANVAS, CANVAS), dtype=bool)
    top, left = (CANVAS - height) // 2, (CANVAS - width) // 2
    canvas[top : top + height, left : left + width] = scaled > INK
    return canvas


def _thicken(ink: np.ndarray) -> np.ndarray:
    """Grow the strokes of a bool image, pixel by pixel all round, to a width of STROKE or so."""
    from PIL import Image, ImageFilter

    image = Image.fromarray((ink * 255).astype(np.uint8))
    inside = np.asarray(image.filter(ImageFilter.MinFilter(3))) > 0
    # A stroke of length l and width w has area l * w and a rim of 2 * l pixels.
    width = 2 * ink.sum() / max(1, (ink & ~inside).sum())
    for _ in range(max(0, round((STROKE - width) / 2))):
        image = image.filter(ImageFilter.MaxFilter(3))
    return np.asarray(image) > 0


def _count_ink(ink: np.ndarray) -> np.ndarray:
    """The share of ink in each block, as bytes: uint8 (8, 8)."""
    block = CANVAS // 8
    shares = ink.reshape(8, block, 8, block).mean(axis=(1, 3))  # 8, 8
    return np.rint(shares * 255).astype(np.uint8)


def _at_most(image: "Image.Image", size: int) -> "Image.Image":
    longer = max(image.size)
    if longer <= size:
        return image
    width, height = (max(1, round(side * size / longer)) for side in image.size)
    return image.resize((width, height), 2)  # 2 is Image.Resampling.BILINEAR


def _describe(
    model: Any, prepare: Standardize, pixels: np.ndarray, config: RunConfig, top: int
) -> str:
    with torch.no_grad():
        logits = model(prepare(torch.tensor(np.ascontiguousarray(pixels)[None])))  # 1, K
        shares = torch.nn.functional.softmax(logits, dim=1)[0].numpy()  # K
    # Stable, so that of equal probabilities the first class comes first.
    best = np.argsort(-shares, kind="stable")[:top]
    return ", ".join(f"{config.classes[i]} {shares[i]:.4f}" for i in best)
