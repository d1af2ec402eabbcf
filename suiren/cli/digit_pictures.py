"""A picture of one handwritten or printed digit as the data set's digits are, for `suiren predict`.

`digit_pixels` redraws it the way the UCI images were made:

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

`mnist_pixels` begins with steps 1 to 3 and goes on as MNIST was made: the box around the ink is
scaled to fit into 20x20 with its proportions kept, in shades of grey, and set into 28x28 so that
the centre of mass of its ink is in the middle. A light-on-dark picture of 28x28 is taken as it is.
"""

from typing import TYPE_CHECKING

import numpy as np

from suiren.cli.images import border_colour, to_grey

if TYPE_CHECKING:
    from PIL import Image

DIGIT_DETAIL = 512  # pixels; more detail than this helps no digit
SHADOW = 85  # a third of 255
CANVAS = 64  # twice the side of the bitmaps that the UCI digits were counted from
WIDEST = 44  # of CANVAS, what a digit may take of its width
INK = 110  # a pixel of the scaled digit is ink from this brightness on
STROKE = 10.0  # width of a stroke in pixels of CANVAS, at the least
MNIST_SIDE, MNIST_BOX = 28, 20


def digit_pixels(image: "Image.Image") -> np.ndarray:
    """A picture of a digit (RGB, any size) as UCI's digits are: uint8 (8, 8), ink light.

    The steps are in this module's docstring.
    """
    ink, whole = _ink(image, 8)
    if whole:
        return ink
    return _count_ink(_thicken(_centre(_box(ink))))


def mnist_pixels(image: "Image.Image") -> np.ndarray:
    """A picture of a digit (RGB, any size) as MNIST's digits are: uint8 (28, 28), ink light.

    The steps are in this module's docstring.
    """
    from PIL import Image

    ink, whole = _ink(image, MNIST_SIDE)
    if whole:
        return ink
    box = _box(ink)
    longer = max(box.size)
    width, height = (max(1, round(side * MNIST_BOX / longer)) for side in box.size)
    scaled = np.asarray(box.resize((width, height), Image.Resampling.BILINEAR)).astype(np.float64)
    total = scaled.sum()
    centre_y = (scaled.sum(1) * np.arange(len(scaled))).sum() / total
    centre_x = (scaled.sum(0) * np.arange(scaled.shape[1])).sum() / total
    top, left = (
        int(np.clip(round((MNIST_SIDE - 1) / 2 - centre), 0, MNIST_SIDE - length))
        for centre, length in zip((centre_y, centre_x), scaled.shape, strict=True)
    )
    canvas: np.ndarray = np.zeros((MNIST_SIDE, MNIST_SIDE), dtype=np.uint8)
    canvas[top : top + height, left : left + width] = scaled
    return canvas


def _ink(image: "Image.Image", side: int) -> tuple[np.ndarray, bool]:
    """How much ink each pixel has, uint8 (H, W), and whether that is all there is to do: the
    picture is blank, then (side, side), or it has that size already."""
    image = _at_most(image, DIGIT_DETAIL)
    grey = to_grey(np.asarray(image))[..., 0].astype(np.float64)  # H, W
    darkest, lightest = grey.min(), grey.max()
    if darkest == lightest:
        return np.zeros((side, side), dtype=np.uint8), True
    paper = float(border_colour(grey))
    if paper > (darkest + lightest) / 2:
        grey, paper, lightest = 255 - grey, 255 - paper, 255 - darkest
    if grey.shape == (side, side):
        return grey.astype(np.uint8), True
    return np.clip((grey - paper) * (255 / (lightest - paper)), 0, 255), False


def _box(ink: np.ndarray) -> "Image.Image":
    """The part of (H, W) that has ink."""
    from PIL import Image

    rows = np.flatnonzero((ink > SHADOW).any(axis=1))
    columns = np.flatnonzero((ink > SHADOW).any(axis=0))
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Image.fromarray(box.astype(np.uint8))


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
