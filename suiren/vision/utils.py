"""torchvision.utils: images in a grid, images to files, boxes, points and masks drawn on them."""

import math
import os
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

import suiren as torch
from suiren.tensor import Tensor
from suiren.vision.transforms.kinds import pil_to_tensor, to_pil_image

Color = str | tuple[int, int, int]
Colors = list[Color] | Color | None


def make_grid(
    tensor: Tensor | list[Tensor],
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Tensor:
    """Images side by side as one, (3, H', W').

    Args:
        tensor: (N, C, H, W), or a list of images of one size; C is 1 (shown in grey) or 3.
        nrow: images in a row.
        padding: pixels around each.
        normalize: scale to 0 to 1, by `value_range` or else by the least and largest value.
        scale_each: do so for each image by itself.
        pad_value: value of the padding.

    Raises:
        TypeError: neither a tensor nor a list of tensors.

    Example:
        >>> import suiren as torch
        >>> from suiren.vision.utils import make_grid
        >>> make_grid(torch.zeros(6, 1, 4, 5), nrow=3).shape
        torch.Size([3, 14, 23])
    """
    if not isinstance(tensor, Tensor) and not (
        isinstance(tensor, list) and all(isinstance(image, Tensor) for image in tensor)
    ):
        raise TypeError(f"tensor or list of tensors expected, got {type(tensor)}")
    images = torch.stack(tensor, dim=0) if isinstance(tensor, list) else tensor
    images = images.detach()
    if images.dim() == 2:  # one image without channels
        images = images.unsqueeze(0)
    if images.dim() == 3:  # one image
        if images.size(0) == 1:
            images = torch.cat((images, images, images), 0)
        images = images.unsqueeze(0)
    if images.dim() == 4 and images.size(1) == 1:
        images = torch.cat((images, images, images), 1)  # N, 3, H, W
    if normalize:
        if value_range is not None and not isinstance(value_range, tuple):
            raise TypeError(
                "value_range has to be a tuple (min, max) if specified. min and max are numbers"
            )
        if scale_each:
            images = torch.stack([_scaled(image, value_range) for image in images])
        else:
            images = _scaled(images, value_range)
    if images.size(0) == 1:
        return images.squeeze(0)
    count, channels, height, width = images.shape
    columns = min(nrow, count)
    rows = math.ceil(count / columns)
    height, width = height + padding, width + padding
    grid = images.new_full(
        (channels, height * rows + padding, width * columns + padding), pad_value
    )
    for number in range(count):
        top = number // columns * height + padding
        left = number % columns * width + padding
        grid[:, top : top + height - padding, left : left + width - padding] = images[number]
    return grid


def _scaled(images: Tensor, value_range: tuple[float, float] | None) -> Tensor:
    if value_range is None:
        low, high = float(images.min()), float(images.max())
    else:
        low, high = value_range
    return (images.clamp(low, high) - low) / max(high - low, 1e-5)


def save_image(
    tensor: Tensor | list[Tensor],
    fp: str | os.PathLike | BinaryIO,
    format: str | None = None,
    **kwargs: Any,
) -> None:
    """Writes an image, or several as a grid, to a file; values from 0 to 1.

    Args:
        tensor: (C, H, W), (N, C, H, W) or a list of images.
        fp: a path, whose ending says the format, or a file.
        format: Pillow's name of the format.
        kwargs: for `make_grid`.
    """
    grid = make_grid(tensor, **kwargs)
    # Half a level more, because what follows the point is cut off.
    levels = grid.mul(255).add(0.5).clamp(0, 255).to(torch.uint8)
    to_pil_image(levels).save(fp, format=format)


# ---- drawing


def _need_rgb(name: str, image: Any) -> None:
    if not isinstance(image, Tensor):
        raise TypeError(f"{name}: Tensor expected, got {type(image)}")
    if not (image.dtype is torch.uint8 or image.is_floating_point()):
        raise ValueError(f"{name}: a uint8 or floating point image expected, got {image.dtype}")
    if image.dim() != 3:
        raise ValueError(f"{name}: pass individual images (C, H, W), not batches")
    if image.size(0) not in (1, 3):
        raise ValueError(f"{name}: only grayscale and RGB images are supported")


def _canvas(image: Tensor) -> tuple[Any, Any]:
    """(a PIL image in RGB, what draws on it)."""
    from PIL import ImageDraw

    if image.is_floating_point():
        image = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    if image.size(0) == 1:
        image = image.expand(3, *image.shape[1:])
    picture = to_pil_image(image)
    return picture, ImageDraw.Draw(picture)


def _drawn(picture: Any, image: Tensor) -> Tensor:
    """The picture as a tensor of the dtype of `image`."""
    found = pil_to_tensor(picture)
    return (found / 255).to(image.dtype) if image.is_floating_point() else found


def _palette(count: int) -> list[tuple[int, int, int]]:
    """Colours that are easy to tell apart: multiples of three primes, modulo 255."""
    primes = (2**25 - 1, 2**15 - 1, 2**21 - 1)
    return [tuple(number * prime % 255 for prime in primes) for number in range(count)]  # type: ignore[misc]


def _rgb(colors: Colors, count: int, name: str) -> list[tuple[int, int, int]]:
    """`count` colours as (red, green, blue)."""
    from PIL import ImageColor

    if colors is None:
        return _palette(count)
    listed: list[Any] = list(colors) if isinstance(colors, list) else [colors] * count
    if len(listed) < count:
        raise ValueError(f"{name}: {len(listed)} colors for {count} things to draw")
    return [ImageColor.getrgb(c)[:3] if isinstance(c, str) else tuple(c) for c in listed[:count]]


def draw_bounding_boxes(
    image: Tensor,
    boxes: Tensor,
    labels: Sequence[str | None] | None = None,
    colors: Colors = None,
    fill: bool | None = False,
    width: int = 1,
    font: str | None = None,
    font_size: int | None = None,
) -> Tensor:
    """The image, (3, H, W), with boxes drawn on it.

    Args:
        image: uint8, or floating point from 0 to 1; (1 or 3, H, W).
        boxes: (N, 4), corners as x1, y1, x2, y2.
        labels: a text for each, or None.
        colors: one or N, each a name or (red, green, blue); None chooses.
        fill: tint the inside.
        width: of the lines, in pixels.
        font, font_size: a TrueType file and its size; None takes Pillow's own font.

    Raises:
        TypeError, ValueError: the image is no such tensor, a box has a corner before its first, or
            labels or colors are too few.
    """
    from PIL import Image, ImageDraw, ImageFont

    _need_rgb("draw_bounding_boxes", image)
    corners = boxes.detach().to(torch.float64).tolist()
    for x1, y1, x2, y2 in corners:
        if x1 > x2 or y1 > y2:
            raise ValueError(
                "Boxes need to be in (xmin, ymin, xmax, ymax) format. Use box_convert to convert; "
                f"got {[x1, y1, x2, y2]}"
            )
    if not corners:
        return image
    if labels is not None and len(labels) != len(corners):
        raise ValueError(
            f"The number of boxes ({len(corners)}) and labels ({len(labels)}) mismatch. Please "
            "specify labels for each box."
        )
    chosen = _rgb(colors, len(corners), "draw_bounding_boxes")
    picture, pen = _canvas(image)
    if font is not None:
        letters: Any = ImageFont.truetype(font, font_size or 10)
    else:
        letters = ImageFont.load_default(font_size) if font_size else ImageFont.load_default()
    for number, (x1, y1, x2, y2) in enumerate(corners):
        color = chosen[number]
        if fill:
            tint = Image.new("RGBA", picture.size, (0, 0, 0, 0))
            ImageDraw.Draw(tint).rectangle((x1, y1, x2, y2), fill=(*color, 100))
            picture.paste(tint.convert("RGB"), (0, 0), tint.getchannel("A"))
        pen.rectangle((x1, y1, x2, y2), width=width, outline=color)
        label = None if labels is None else labels[number]
        if label is not None:
            pen.text((x1 + width + 1, y1 + width + 1), label, fill=color, font=letters)
    return _drawn(picture, image)


def draw_keypoints(
    image: Tensor,
    keypoints: Tensor,
    connectivity: list[tuple[int, int]] | None = None,
    colors: Color | None = None,
    radius: int = 2,
    width: int = 3,
    visibility: Tensor | None = None,
) -> Tensor:
    """The image, (3, H, W), with points drawn on it.

    Args:
        image: uint8, or floating point from 0 to 1; (1 or 3, H, W).
        keypoints: (N, K, 2): K points x, y of each of N things.
        connectivity: pairs of points that are joined by a line.
        colors: a name or (red, green, blue); None means red.
        radius: of the points; width: of the lines, in pixels.
        visibility: (N, K), false for points that are left out.

    Raises:
        TypeError, ValueError: the image or the points are no such tensors.
    """
    _need_rgb("draw_keypoints", image)
    if keypoints.ndim != 3 or keypoints.shape[-1] != 2:
        raise ValueError(
            f"keypoints must be of shape (num_instances, K, 2), got {list(keypoints.shape)}"
        )
    picture, pen = _canvas(image)
    color = (255, 0, 0) if colors is None else _rgb(colors, 1, "draw_keypoints")[0]
    if visibility is None:
        shown = np.ones(tuple(keypoints.shape[:2]), bool)
    else:
        shown = visibility.detach().to(torch.bool).peek().reshape(tuple(keypoints.shape[:2]))
    places = keypoints.detach().to(torch.float64).peek()
    for points, visible in zip(places, shown & np.isfinite(places).all(-1), strict=True):
        for (x, y), there in zip(points, visible, strict=True):
            if there:
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
        for first, second in connectivity or []:
            if visible[first] and visible[second]:
                pen.line((*points[first], *points[second]), width=width, fill=color)
    return _drawn(picture, image)


def draw_segmentation_masks(
    image: Tensor, masks: Tensor, alpha: float = 0.8, colors: Colors = None
) -> Tensor:
    """The image with masks laid over it.

    Args:
        image: uint8, or floating point from 0 to 1; (3, H, W).
        masks: bool, (N, H, W) or (H, W).
        alpha: 0 leaves the image, 1 hides it where a mask is.
        colors: one or N, each a name or (red, green, blue); None chooses.

    Raises:
        TypeError, ValueError: image or masks are no such tensors, or colors are too few.
    """
    _need_rgb("draw_segmentation_masks", image)
    if image.size(0) != 3:
        raise ValueError("draw_segmentation_masks: the image must have 3 channels")
    if masks.ndim == 2:
        masks = masks[None]
    if masks.ndim != 3:
        raise ValueError("masks must be of shape (H, W) or (batch_size, H, W)")
    if masks.dtype is not torch.bool:
        raise ValueError(f"The masks must be of dtype bool. Got {masks.dtype}")
    if masks.shape[-2:] != image.shape[-2:]:
        raise ValueError("The image and the masks must have the same height and width")
    overlay = image.detach().clone()
    white = 255 if image.dtype is torch.uint8 else 1.0
    chosen = _rgb(colors, masks.size(0), "draw_segmentation_masks")
    for mask, color in zip(masks, chosen, strict=True):
        tone = torch.tensor([level * white / 255 for level in color]).to(image.dtype)
        overlay = torch.where(mask, tone[:, None, None], overlay)
    mixed = image * (1 - alpha) + overlay * alpha
    return torch.where(masks.any(0), mixed, image.to(mixed.dtype)).to(image.dtype)


__all__ = [
    "draw_bounding_boxes",
    "draw_keypoints",
    "draw_segmentation_masks",
    "make_grid",
    "save_image",
]
