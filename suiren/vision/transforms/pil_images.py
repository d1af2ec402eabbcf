"""The image operations on PIL images. `functional` checks arguments and chooses between these and
those of `tensor_geometry` and `tensor_color`; nothing here is meant to be called from outside.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from suiren.vision.transforms.kinds import pil_array
from suiren.vision.transforms.modes import InterpolationMode, pillow_mode

if TYPE_CHECKING:
    from PIL.Image import Image

_ONE_CHANNEL = ("L", "1", "I", "F")


def _color(fill: Any, image: "Image") -> Any:
    """`fill` as a colour of the image's mode; None stands for black."""
    channels = len(image.getbands())
    if fill is None:
        fill = 0
    if isinstance(fill, (int, float)):
        fill = (fill,) * channels if channels > 1 else fill
    elif isinstance(fill, (list, tuple)):
        if len(fill) == 1 and channels > 1:
            fill = tuple(fill) * channels
        elif len(fill) != channels:
            raise ValueError(
                "The number of elements in 'fill' does not match the number of channels of the "
                f"image ({len(fill)} != {channels})"
            )
        else:
            fill = tuple(fill)
    if image.mode == "F" or fill is None:
        return fill
    if isinstance(fill, tuple):
        whole = tuple(int(x) for x in fill)
        return whole[0] if channels == 1 else whole
    return int(fill)


def flip(image: "Image", horizontally: bool) -> "Image":
    from PIL import Image

    kind = Image.Transpose.FLIP_LEFT_RIGHT if horizontally else Image.Transpose.FLIP_TOP_BOTTOM
    return image.transpose(kind)


def crop(image: "Image", top: int, left: int, height: int, width: int) -> "Image":
    return image.crop((left, top, left + width, top + height))


def resize(image: "Image", size: Sequence[int], mode: InterpolationMode) -> "Image":
    return image.resize((size[1], size[0]), pillow_mode(mode))  # type: ignore[arg-type]


def pad(image: "Image", sides: Sequence[int], fill: Any, padding_mode: str) -> "Image":
    """`sides` are left, top, right, bottom."""
    from PIL import Image, ImageOps

    if padding_mode == "constant":
        color = _color(fill, image)
        if image.mode == "P":
            palette = image.getpalette()
            padded = ImageOps.expand(image, border=tuple(sides), fill=color)
            if palette:
                padded.putpalette(palette)
            return padded
        return ImageOps.expand(image, border=tuple(sides), fill=color)
    left, top, right, bottom = sides
    width, height = image.size
    # Negative sides crop; NumPy pads with what is left of them.
    image = image.crop(
        (max(-left, 0), max(-top, 0), width - max(-right, 0), height - max(-bottom, 0))
    )
    rows, columns = (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))
    pixels = np.asarray(image)
    edges = (rows, columns) if pixels.ndim == 2 else (rows, columns, (0, 0))
    padded = Image.fromarray(np.pad(pixels, edges, mode=padding_mode))  # type: ignore[call-overload]
    palette = image.getpalette() if image.mode == "P" else None
    if palette:
        padded = Image.fromarray(np.pad(pixels, edges, mode=padding_mode))  # type: ignore[call-overload]
        padded.putpalette(palette)
    elif padded.mode != image.mode and padded.getbands() != image.getbands():
        padded = Image.frombytes(image.mode, padded.size, padded.tobytes())
    return padded


def affine(image: "Image", matrix: Sequence[float], mode: InterpolationMode, fill: Any) -> "Image":
    from PIL import Image

    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        list(matrix),
        pillow_mode(mode),  # type: ignore[arg-type]
        fillcolor=_color(fill, image),
    )


def rotate(
    image: "Image",
    angle: float,
    mode: InterpolationMode,
    expand: bool,
    center: Sequence[float] | None,
    fill: Any,
) -> "Image":
    where = None if center is None else (center[0], center[1])
    return image.rotate(
        angle,
        pillow_mode(mode),  # type: ignore[arg-type]
        expand,
        where,
        fillcolor=_color(fill, image),
    )


def perspective(
    image: "Image", coefficients: Sequence[float], mode: InterpolationMode, fill: Any
) -> "Image":
    from PIL import Image

    return image.transform(
        image.size,
        Image.Transform.PERSPECTIVE,
        list(coefficients),
        pillow_mode(mode),  # type: ignore[arg-type]
        fillcolor=_color(fill, image),
    )


def enhance(image: "Image", what: str, factor: float) -> "Image":
    """Pillow's ImageEnhance.Brightness, Contrast, Color or Sharpness."""
    from PIL import ImageEnhance

    return getattr(ImageEnhance, what)(image).enhance(factor)


def adjust_hue(image: "Image", factor: float) -> "Image":
    from PIL import Image

    if image.mode in _ONE_CHANNEL:
        return image
    hue, saturation, value = image.convert("HSV").split()
    shift = int(factor * 255)  # hues are 8 bits and run in a circle
    turned = (np.asarray(hue).astype(np.int32) + shift) % 256
    hue = Image.fromarray(turned.astype(np.uint8))
    return Image.merge("HSV", (hue, saturation, value)).convert(image.mode)


def adjust_gamma(image: "Image", gamma: float, gain: float) -> "Image":
    table = [int((255 + 1 - 1e-3) * gain * (level / 255.0) ** gamma) for level in range(256)]
    table = [min(max(level, 0), 255) for level in table]
    return image.convert("RGB").point(table * 3).convert(image.mode)


def to_grayscale(image: "Image", channels: int) -> "Image":
    from PIL import Image

    gray = image.convert("L")
    if channels == 1:
        return gray
    if channels == 3:
        return Image.merge("RGB", (gray, gray, gray))
    raise ValueError(f"num_output_channels should be either 1 or 3, got {channels}")


def erase(image: "Image", top: int, left: int, height: int, width: int, value: Any) -> "Image":
    """`value` is an array that broadcasts to (C, height, width)."""
    from suiren.vision.transforms.kinds import to_pil_image

    pixels = np.array(pil_array(image))  # C, H, W
    pixels[..., top : top + height, left : left + width] = value
    return to_pil_image(np.moveaxis(pixels, 0, -1), mode=image.mode)
