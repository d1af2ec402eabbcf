"""Pictures of any kind to arrays of one kind, with Pillow.

`open_rgb` takes whatever Pillow can decode to 8-bit RGB, `fit` brings it to a square of one size.
Both `train FOLDER` and `predict` go this way, so a picture looks the same to the model in both.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from suiren.cli.errors import first_line

if TYPE_CHECKING:
    from PIL import Image

# A pixel has colour when its channels are this far apart (of 255), a picture when one pixel in a
# hundred has: JPEG noise and a yellowed scan stay below, a thin red stroke on white does not.
COLOUR_DISTANCE = 24
COLOUR_SHARE = 0.01


class UnreadableImage(Exception):
    """The file is no picture that Pillow can decode; the text says why, in one line."""


def open_rgb(path: Path, wanted_size: int) -> "Image.Image":
    """The picture in `path` as 8-bit RGB, upright.

    - EXIF orientation is applied; of an animation the first frame is taken.
    - Transparency is laid on white.
    - 16- and 32-bit grey values are scaled with 65535 as white; float values with 1 as white, or
      255 if any is above 1.
    - Everything else (bilevel, palette, grey, CMYK, YCbCr, ...) is converted by Pillow.

    `wanted_size` lets the JPEG decoder skip detail that resizing to it would throw away.

    Raises:
        UnreadableImage: not a regular file, or not a picture.
    """
    return open_with_size(path, wanted_size)[0]


def open_with_size(path: Path, wanted_size: int) -> tuple["Image.Image", tuple[int, int]]:
    """What `open_rgb` gives, and (width, height) of the upright picture in the file."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if path.is_dir():
        raise UnreadableImage("is a folder")
    if not path.exists():
        raise UnreadableImage("no such file")
    if not path.is_file():  # opening a named pipe would wait for ever
        raise UnreadableImage("not a regular file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata and large pictures are no news here
            with Image.open(path) as image:
                width, height = image.size
                if image.format == "JPEG":
                    image.draft("RGB", (2 * wanted_size, 2 * wanted_size))
                image.load()
                turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # by a quarter
                upright = _to_rgb(ImageOps.exif_transpose(image))
                return upright, (height, width) if turned else (width, height)
    except UnidentifiedImageError as error:
        raise UnreadableImage("not an image") from error
    except Exception as error:  # a damaged file raises almost anything inside its decoder
        raise UnreadableImage(first_line(error)) from error


def _to_rgb(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        white = 65535.0 if image.mode != "F" else 1.0 if values.max() <= 1.0 else 255.0
        grey = np.clip(np.rint(values * (255.0 / white)), 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("La", "RGBa"):  # colours multiplied by alpha: undo that first
        image = image.convert(image.mode[:-1] + "A")
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("RGB")


def fit(image: "Image.Image", size: int) -> np.ndarray:
    """`image` (RGB) as a uint8 array of shape (size, size, 3).

    The longer side is scaled to `size` (bilinear, averaging when it shrinks), the proportions are
    kept, and the rest is padded on both sides with the median colour of the picture's border.
    """
    longer = max(image.size)
    width = max(1, round(image.width * size / longer))
    height = max(1, round(image.height * size / longer))
    if (width, height) != image.size:
        from PIL import Image

        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)  # height, width, 3
    if width == height:
        return pixels
    canvas: np.ndarray = np.empty((size, size, 3), dtype=np.uint8)
    canvas[:] = border_colour(pixels)
    top, left = (size - height) // 2, (size - width) // 2
    canvas[top : top + height, left : left + width] = pixels
    return canvas


def border_colour(pixels: np.ndarray) -> Any:
    """The median over the outermost pixels of (H, W, ...), in each channel by itself."""
    height, width = pixels.shape[:2]
    edge = np.ones((height, width), dtype=bool)
    edge[1:-1, 1:-1] = False
    return np.median(pixels[edge], axis=0).astype(np.uint8)


def has_colour(pixels: np.ndarray) -> bool:
    """Whether (H, W, 3) holds more than shades of one grey (see COLOUR_DISTANCE)."""
    spread = pixels.max(axis=2).astype(np.int16) - pixels.min(axis=2)  # H, W
    return bool((spread > COLOUR_DISTANCE).mean() >= COLOUR_SHARE)


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """Brightness (..., 1) of (..., 3), by the weights of ITU-R 601 as Pillow's "L" has them."""
    weights = np.array([299, 587, 114])
    return ((pixels @ weights + 500) // 1000).astype(np.uint8)[..., None]
