"""What `suiren predict --save` leaves: copies of the pictures with the answer drawn on them."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suiren.cli.errors import CommandError, first_line
from suiren.cli.images import open_rgb
from suiren.cli.runfolder import write_atomically

if TYPE_CHECKING:
    from PIL import Image, ImageFont

SMALLEST, LARGEST = 240, 1600  # the longer side of a drawing, in pixels
POINT, RIM = (255, 79, 100), (255, 255, 255)


def make_folder(folder: Path) -> Path:
    """`folder`, made if it is not there.

    Raises:
        CommandError: it cannot be made, or it is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make the folder {folder}: {first_line(error)}") from error
    return folder


def save(path: Path, folder: Path, answer: dict[str, Any]) -> Path:
    """Draw the answer on the picture in `path`, put it into `folder` as a PNG, and say where.

    A file of that name in the folder is replaced, unless it is the picture itself.
    """
    image = open_rgb(path, LARGEST)
    if "points" in answer:
        # The points count in pixels of the file, which the decoder may have skipped a part of.
        image = with_points(image, answer["points"], _size(path))
    else:
        image = with_label(image, answer["classes"])
    target = folder / f"{path.stem}.png"
    if target.exists() and target.samefile(path):
        target = folder / f"{path.stem}-predicted.png"
    content = io.BytesIO()
    image.save(content, "PNG")
    write_atomically(target, content.getvalue())
    return target


def _size(path: Path) -> tuple[int, int]:
    from suiren.cli.images import open_with_size

    return open_with_size(path, SMALLEST)[1]


def _enlarged(image: "Image.Image") -> "Image.Image":
    """Small pictures are drawn larger, with their pixels as squares, so that marks have room."""
    from PIL import Image

    factor = -(-SMALLEST // max(image.size))
    if factor <= 1:
        return image.copy()
    way = Image.Resampling.NEAREST if max(image.size) <= 64 else Image.Resampling.BILINEAR
    return image.resize((image.width * factor, image.height * factor), way)


def with_points(
    image: "Image.Image", points: list[list[float]], size: tuple[int, int]
) -> "Image.Image":
    """A dot at each point, which counts in pixels of a picture of (width, height)."""
    from PIL import ImageDraw

    drawn = _enlarged(image)
    draw = ImageDraw.Draw(drawn)
    radius = max(2.0, max(drawn.size) / 150)
    for x, y in points:
        across, down = x * drawn.width / size[0], y * drawn.height / size[1]
        box = (across - radius, down - radius, across + radius, down + radius)
        draw.ellipse(box, fill=POINT, outline=RIM)
    return drawn


def with_label(image: "Image.Image", classes: list[dict[str, Any]]) -> "Image.Image":
    """The classes and their probabilities on a strip below the picture."""
    from PIL import Image, ImageDraw

    drawn = _enlarged(image)
    height = max(16, min(40, drawn.width // 14))
    texts = [f"{row['class']}  {100 * row['probability']:.1f}%" for row in classes]
    font = _font("".join(texts), height)
    below = len(texts) * 3 * height // 2
    strip = Image.new("RGB", (drawn.width, drawn.height + below), (32, 34, 39))
    strip.paste(drawn, (0, 0))
    draw = ImageDraw.Draw(strip)
    for line, text in enumerate(texts):
        at = (height // 2, drawn.height + line * 3 * height // 2 + height // 4)
        # What the font cannot say is better drawn as a mark than not at all.
        draw.text(at, text.encode("utf-8", "replace").decode(), fill=RIM, font=font)
    return strip


def _font(text: str, height: int) -> "ImageFont.ImageFont | ImageFont.FreeTypeFont":
    """A font of this height that has the letters of `text`, if the system has one."""
    from PIL import ImageFont

    if any(ord(letter) >= 0x2E80 for letter in text):
        from suiren.vision.plots import font_file

        found = font_file()
        if found is not None:
            return ImageFont.truetype(found, height)
    return ImageFont.load_default(height)
